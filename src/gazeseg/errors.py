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

    def __init__(self, package: str, extra: str, *, command: str = "") -> None:
        """Name the missing ``package`` and the ``extra`` that brings it, or the ``command`` where no extra can."""
        command = command or f'pip install "gazeseg[{extra}]"'
        super().__init__(f"{package} is not installed; install it with: {command}")


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or the list of known names when none is near.

    Examples:
        >>> suggest("gazemedsge", ["full", "gazemedseg"])
        "; did you mean 'gazemedseg'?"
        >>> suggest("zzz", ["b", "a"])
        '; known: a, b'
    """
    names = sorted(known)
    return near_miss(name, names) or f"; known: {', '.join(names) if names else 'none'}"


def near_miss(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or nothing: unlike names of verbs, thousands of ids are not worth listing.

    Examples:
        >>> near_miss("case_10", ["case_01", "other"])
        "; did you mean 'case_01'?"
        >>> near_miss("zzz", ["case_01", "other"])
        ''
    """
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean '{near[0]}'?" if near else ""
