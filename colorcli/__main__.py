"""``python -m colorcli``."""

import sys

from colorcli.cli import main

sys.exit(main())
