"""Pieces that several verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from cyclopts import Parameter

from gazeseg.errors import ConfigError, suggest

Overrides = Annotated[str, Parameter(allow_leading_hyphen=True, show=False)]
"""Configuration keys, ``--section.key value``; cyclopts hands over every token it does not know."""


def overrides(tokens: Sequence[str], options: Sequence[str]) -> dict[str, Any]:
    """Parse ``tokens`` as configuration keys; a misspelt option of the verb gets the nearest of ``options``.

    Raises:
        ConfigError: for a token that is neither.
    """
    from gazeseg.config import parse_overrides  # pydantic stays out of --help

    for token in tokens:
        if token.startswith("--") and "." not in token.partition("=")[0]:
            near = suggest(token.partition("=")[0], [f"--{name}" for name in options])
            raise ConfigError(f"unknown option '{token}'{near} (configuration keys look like --section.key value)")
    return parse_overrides(tokens)
