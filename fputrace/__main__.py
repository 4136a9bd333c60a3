"""``python -m fputrace`` is ``fputrace``."""

import sys

from fputrace.cli import process

sys.exit(process())
