"""Errors that a user can act on.

Every message is one line: what was got, where (file, case, key), and the fix. The command line prints it and exits
with status 2; anything that is not a ``GazeSegError`` is ours, keeps its traceback and exits with status 1.
"""

import difflib
from collections.abc import Iterable


class GazeSegError(Exception):
    """Base of all errors raised on purpose."""


class ConfigError(GazeSegError):
    """An unknown key, name or verb, or a value outside its range."""


class DataError(GazeSegError):
    """A file, table or image that cannot be used as it is."""


class MissingDependencyError(GazeSegError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        """Name the missing ``package`` and the ``extra`` that brings it."""
        super().__init__(f'{package} is not installed; install it with: pip install "gazeseg[{extra}]"')


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or the list of known names when none is near.

    Example:
        >>> suggest("gazemedsge", ["full", "gazemedseg"])
        "; did you mean 'gazemedseg'?"
        >>> suggest("zzz", ["b", "a"])
        '; known: a, b'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; known: {', '.join(names) if names else 'none'}"
