"""``gazeseg methods``: what can be trained, what each needs and how far to trust it."""

from __future__ import annotations

from gazeseg.errors import ConfigError, suggest


def methods(name: str | None = None, /) -> None:
    """List the methods, or one method with its configuration keys.

    Example: `gazeseg methods gazemedseg`

    Args:
        name: A method; without it all are listed.
    """
    from rich.table import Table

    from gazeseg.console import stdout
    from gazeseg.methods import available

    known = available()
    if name is None:
        table = Table("method", "what it does", "needs", "reference", "status", box=None, pad_edge=False)
        for key, method in sorted(known.items()):
            reference = f"{method.reference.title} ({method.reference.venue})"
            table.add_row(key, method.summary, ", ".join(sorted(method.needs)), reference, method.reference.status)
        stdout.print(table)
        return
    if name not in known:
        raise ConfigError(f"unknown method '{name}'{suggest(name, known)}")
    method = known[name]
    stdout.print(f"{name}: {method.summary}", markup=False)
    stdout.print(f"status     {method.reference.status}", markup=False)
    stdout.print(f"reference  {method.reference.title}, {method.reference.venue}, {method.reference.url}", markup=False)
    stdout.print(f"needs      {', '.join(sorted(method.needs))}", markup=False)
    for field_name, field in method.Config.model_fields.items():
        stdout.print(f"  --method.{field_name}  default {field.default!r}", markup=False)
