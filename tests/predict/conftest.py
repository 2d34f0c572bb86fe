"""Makes ``clinical.py`` importable from the tests beside and below it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
