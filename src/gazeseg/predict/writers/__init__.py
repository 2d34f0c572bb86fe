"""Writers of masks, one format a module, and which format fits which kind of source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from gazeseg.errors import ConfigError, suggest
from gazeseg.predict.sources.base import Kind, Source

Format = Literal["png", "nifti", "dicom-seg"]

FORMATS: Final[dict[Kind, tuple[Format, ...]]] = {
    "image": ("png",),
    "nifti": ("nifti", "png"),
    "dicom": ("dicom-seg", "nifti", "png"),
}
"""What each kind of source can become; the first is the default."""

_REASONS: Final[dict[tuple[Kind, Format], str]] = {
    ("image", "nifti"): "an image file has no place in space that a NIfTI file could state",
    ("image", "dicom-seg"): "DICOM SEG refers to DICOM images",
    ("nifti", "dicom-seg"): "DICOM SEG refers to DICOM images; segment the series that the volume was made from",
}


def choose_formats(sources: Iterable[Source], wanted: str | None) -> dict[Kind, Format]:
    """Return the format for each kind of source.

    Raises:
        ConfigError: for an unknown format, or one that cannot hold masks of a source.
    """
    known = ("png", "nifti", "dicom-seg")
    if wanted is not None and wanted not in known:
        raise ConfigError(f"unknown format '{wanted}'{suggest(wanted, known)}")
    chosen: dict[Kind, Format] = {}
    for source in sources:
        if source.kind in chosen:
            continue
        fitting = FORMATS[source.kind]
        found = next((name for name in fitting if name == wanted), None) if wanted else fitting[0]
        if found is None:
            reason = _REASONS[source.kind, "nifti" if wanted == "nifti" else "dicom-seg"]
            raise ConfigError(
                f"{source.path}: cannot be written as {wanted}: {reason}; choose --format {' or '.join(fitting)}"
            )
        chosen[source.kind] = found
    return chosen
