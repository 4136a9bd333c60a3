"""``python -m fputrace`` is ``fputrace``."""

import sys

from fputrace.cli import main

sys.exit(main())
