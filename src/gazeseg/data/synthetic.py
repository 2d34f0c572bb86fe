"""The demo data set: procedural images of three looks, their masks, and gaze simulated on the masks."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from gazeseg.data.dataset import Case, Dataset, DatasetInfo, GazeInfo, Roots
from gazeseg.data.images import write_image
from gazeseg.data.layout import staging, write_tables
from gazeseg.data.phantoms import LOOKS
from gazeseg.data.schema import SIMULATED
from gazeseg.errors import DataError
from gazeseg.gaze.simulate import simulate_fixations
from gazeseg.types import Split

_PER_PATIENT: Final = 3  # images of one patient share anatomy and colours, so a split by image would leak


def make_demo_dataset(out: Path, *, cases: int = 120, size: tuple[int, int] = (144, 144), seed: int = 0) -> Dataset:
    """Make a data set that needs no download: the same arguments give the same files.

    Looks alternate by patient; all images are stored as RGB, so that one network sees them. About 20 % of the patients
    of each look are for test and 10 % for validation. Native sizes vary by a quarter around ``size``.

    Args:
        out: The folder to make.
        cases: Number of images, at least 6.
        size: (H, W) in px around which the native sizes vary, at least 32.
        seed: Seed of everything random.

    Raises:
        DataError: if there are too few or too small images, or ``out`` cannot be made.
    """
    if cases < 2 * len(LOOKS) or min(size) < 32:
        raise DataError(
            f"a demo data set needs 6 or more images of 32 px or more, got {cases} of {size[0]} x {size[1]}"
        )
    per_patient = _PER_PATIENT if cases >= 30 else 1
    patients = -(-cases // per_patient)
    made, fixations = [], []
    with staging(out) as folder:
        for index in range(cases):
            patient, number = divmod(index, per_patient)
            look = LOOKS[patient % len(LOOKS)]
            style = np.random.default_rng([seed, 0, patient])
            rng = np.random.default_rng([seed, 1, index])
            height, width = (round(side * rng.uniform(0.8, 1.25)) for side in size)
            phantom = look.draw((height, width), style, rng)
            patient_id = f"{look.modality}-{patient // len(LOOKS) + 1:02d}"
            case_id = f"{patient_id}_{number + 1}"
            image, mask = folder / "images" / f"{case_id}.png", folder / "masks" / f"{case_id}.png"
            write_image(image, phantom.image)
            write_image(mask, phantom.mask.astype(np.uint8) * 255)  # 255, so that a viewer shows it
            split = _split(patient // len(LOOKS), -(-patients // len(LOOKS)))
            made.append(Case(case_id, patient_id, split, image, mask, height, width))
            fixations.append(simulate_fixations(phantom.mask, rng, preset="eyelink", image_id=case_id))
        info = DatasetInfo(
            name="demo",
            classes=("background", "structure"),
            channels=3,
            modality=", ".join(look.modality for look in LOOKS) + " (procedural)",
            mask_encoding="binary",
            roots=Roots(images=folder / "images", masks=folder / "masks"),
            gaze=GazeInfo(kind="simulated", source="gazeseg.gaze.simulate, preset eyelink", note=SIMULATED),
            split_note=f"by patient within each look, seed {seed}",
        )
        write_tables(folder, info, made, fixations, final=out)
    return Dataset.load(out)


def _split(position: int, count: int) -> Split:
    """Split of the patient at ``position`` of ``count`` of its look: train, then val, then test."""
    test, val = max(1, round(0.2 * count)), max(count >= 4, round(0.1 * count))
    if position >= count - test:
        return "test"
    return "val" if position >= count - test - val else "train"
