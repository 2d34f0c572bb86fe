"""The fixation table that GazeMedSeg published (MICCAI 2024): Kvasir-SEG and NCI-ISBI, EyeLink, one reader.

One row a fixation. ``CURRENT_FIX_X`` and ``CURRENT_FIX_Y`` are normalised to 0..1 of the image, origin top left;
``CURRENT_FIX_DURATION`` and ``CURRENT_FIX_START`` are milliseconds. ``CURRENT_FIX_INDEX`` gives the order only: it has
gaps where the authors removed fixations. ``IMAGE`` ends in ``.jpg`` for prostate slices as well, so it is matched by
its stem. ``CURRENT_FIX_PUPIL``, ``IMAGE_HEIGHT`` and ``IMAGE_WIDTH`` are not used: normalised positions hold for a copy
of the image of any size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.gaze.io.validate import Table, group_by_case, pixels
from gazeseg.types import Fixations

COLUMNS: Final = (
    "IMAGE",
    "CURRENT_FIX_INDEX",
    "CURRENT_FIX_X",
    "CURRENT_FIX_Y",
    "CURRENT_FIX_DURATION",
    "CURRENT_FIX_START",
)


def read_gazemedseg_csv(
    path: Path, sizes: Mapping[str, tuple[int, int]], *, spelled_ids: Mapping[str, str] | None = None
) -> dict[str, Fixations]:
    """Read the published table.

    Args:
        path: the CSV file.
        sizes: (H, W) in px of every case by its id. A case without a row is absent from the result.
        spelled_ids: names as the table spells them (with or without ending) -> case id, where the two differ.

    Returns:
        Case id -> fixations in image px (``x * W - 0.5``), in the order of ``CURRENT_FIX_INDEX``.

    Raises:
        DataError: if the file is no such table, or a row has an unknown image, a coordinate outside 0..1, a duration
            that is not positive, or an index that its image has already.
    """
    table = Table.read(path)
    table.require(COLUMNS)
    cases = table.case_ids("IMAGE", sizes, spelled_ids or {})
    index = table.numbers("CURRENT_FIX_INDEX")
    _refuse_repeats(table, cases, index.tolist())
    height, width = np.array([sizes[case] for case in cases], np.float64).reshape(-1, 2).T
    return group_by_case(
        table,
        cases,
        sizes,
        x_px=pixels(table.unit_interval("CURRENT_FIX_X"), width),
        y_px=pixels(table.unit_interval("CURRENT_FIX_Y"), height),
        onset_ms=table.numbers("CURRENT_FIX_START"),
        duration_ms=table.durations("CURRENT_FIX_DURATION"),
        order=index,
        readers=[""] * len(cases),
        onset_column="CURRENT_FIX_START",
    )


def _refuse_repeats(table: Table, cases: list[str], index: list[float]) -> None:
    """One index twice in one image means two readers, or a table pasted twice: the maps would add up silently."""
    seen: set[tuple[str, float]] = set()
    repeated = np.zeros(len(cases), np.bool_)
    for row, key in enumerate(zip(cases, index, strict=True)):
        repeated[row] = key in seen
        seen.add(key)
    table.refuse("CURRENT_FIX_INDEX", repeated, "is there twice for its image; keep one reader and one viewing a file")
