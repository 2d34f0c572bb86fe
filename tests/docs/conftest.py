"""Makes ``test_commands.py`` importable from the test beside it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
