"""``python -m pipeline`` is the command ``faceveil``."""

import sys

from pipeline.supervise import main

sys.exit(main())
