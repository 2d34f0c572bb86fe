"""``python -m gazeseg``: the command line."""

from gazeseg.cli import main

raise SystemExit(main())
