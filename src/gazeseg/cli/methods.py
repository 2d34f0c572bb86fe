"""``gazeseg methods``: what can be trained, what each needs and how far to trust it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


def methods(name: str | None = None, /) -> None:
    """List the methods, or one method with its configuration keys.

    Example: `gazeseg methods gazemedseg`

    Args:
        name: A method; without it all are listed.
    """
    from gazeseg.methods import available, find

    if name is None:
        for key, method in sorted(available().items()):
            print(f"{key:<14}{method.reference.status:<16}needs {', '.join(sorted(method.needs)):<10}{method.summary}")
            print(f"{'':<14}{method.reference.title}, {method.reference.venue}")
        return
    method = find(name)
    print(f"{name}: {method.summary}")
    print(f"status     {method.reference.status}")
    print(f"reference  {method.reference.title}, {method.reference.venue}, {method.reference.url}")
    print(f"needs      {', '.join(sorted(method.needs))}")
    for key, default in _keys(method.Config):
        print(f"  --method.{key:<24} {default if default is not None else 'from the profile'}")


def _keys(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield every key of a configuration model with its default, sections unfolded."""
    from pydantic import BaseModel

    for name, field in model.model_fields.items():
        if isinstance(field.default, BaseModel):
            yield from _keys(type(field.default), f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field.default
