"""``python -m pipeline`` is the command ``faceveil``."""

import sys

from pipeline.cli import main

sys.exit(main())
