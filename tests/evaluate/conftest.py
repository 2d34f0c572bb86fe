"""Makes ``test_evaluate.py`` importable: the runs and data sets it builds serve the tests beside it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
