"""The PNG sheets that ``gazeseg check`` and ``gazeseg masks`` leave beside the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gazeseg.data.dataset import Case, Dataset
from gazeseg.data.pseudo import PseudoFolder
from gazeseg.data.schema import SIMULATED
from gazeseg.gaze.control import control_label
from gazeseg.report.overlays import Panel, overlay_sheet
from gazeseg.types import IGNORE, UInt8Array

PANELS = 12


def check_sheet(dataset: Dataset, path: Path) -> Path:
    """Draw scanpath and truth over twelve cases."""
    panels = [
        Panel(
            image=picture(dataset, case),
            title=case.case_id,
            fixations=dataset.fixations[case.case_id],
            contours=_truth(dataset, case),
        )
        for case in _spread(dataset.cases)
    ]
    return overlay_sheet(panels, path, title=f"{dataset.info.name}: {gaze_label(dataset)}")


def masks_sheet(dataset: Dataset, folder: PseudoFolder, path: Path) -> Path:
    """Draw heatmap, pseudo-mask levels and truth over twelve cases that have gaze."""
    panels = []
    for case in _spread([case for case in dataset.cases if folder.file("heatmap", case.case_id).is_file()]):
        levels = folder.levels(case.case_id).astype(bool)
        pseudo = {f"pseudo {t:g}": level for t, level in zip(folder.thresholds, levels, strict=True)}
        panels.append(
            Panel(
                image=picture(dataset, case),
                title=case.case_id,
                heat=folder.heatmap(case.case_id),
                contours={**pseudo, **_truth(dataset, case)},
            )
        )
    control = f", {label}" if (label := control_label(folder.config.gaze)) else ""
    return overlay_sheet(panels, path, title=f"{dataset.info.name}: pseudo-masks from {gaze_label(dataset)}{control}")


def _spread(cases: Sequence[Case]) -> list[Case]:
    """Return a fixed random choice, in the order of the table: even steps would fall in step with repeating names."""
    chosen = np.random.default_rng(0).choice(len(cases), min(PANELS, len(cases)), replace=False)
    return [cases[index] for index in sorted(chosen)]


def picture(dataset: Dataset, case: Case) -> UInt8Array:
    """Return the image, or a grey field where the data set has gaze and masks only."""
    return dataset.image(case) if case.image is not None else np.full((*case.size, 1), 60, np.uint8)


def _truth(dataset: Dataset, case: Case) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]:
    if case.mask is None:
        return {}
    mask = dataset.mask(case)
    return {"truth": (mask > 0) & (mask != IGNORE)}


def gaze_label(dataset: Dataset) -> str:
    """Say what the gaze of a data set is, as it stands beside every picture."""
    return {
        "recorded": "recorded gaze",
        "simulated": SIMULATED,
        "none": "no gaze",
    }[dataset.info.gaze.kind]
