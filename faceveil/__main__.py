"""``python -m faceveil`` is the command ``faceveil``."""

import sys

from faceveil.pipeline.supervise import main

sys.exit(main())
