"""``gazeseg check``: is the data what it should be, and does the gaze lie where it should?"""

from __future__ import annotations

from pathlib import Path


def check(dataset: Path, /, *, out: Path | None = None) -> None:
    """Count cases, prove the splits disjoint, and measure the gaze, with controls that reveal a wrong frame.

    Example: `gazeseg check DS --out check.json`

    With masks: the share of fixations inside the mask, the centroid offset, and the same share for gaze that was
    flipped, transposed or taken from another image. `check.png` in the data set folder shows twelve cases.

    Args:
        dataset: The data set folder.
        out: Also write every figure as JSON here.
    """
    import json

    from gazeseg.data.check import check_dataset, describe
    from gazeseg.data.dataset import Dataset
    from gazeseg.data.images import write_bytes
    from gazeseg.report.sheets import check_sheet

    data = Dataset.load(dataset)
    result = check_dataset(data)
    print(describe(result))
    print(f"overlays: {check_sheet(data, data.root / 'check.png')}")
    if out is not None:
        write_bytes(out, (json.dumps(result, indent=2) + "\n").encode())
