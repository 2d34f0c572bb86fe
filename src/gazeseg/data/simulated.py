"""Gaze for the training cases of a data set that nobody looked at, drawn from their masks."""

from __future__ import annotations

import functools
import hashlib
import os
import statistics
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import numpy as np

from gazeseg.console import track
from gazeseg.data.images import MaskEncoding, read_mask
from gazeseg.data.pseudo import PseudoFolder
from gazeseg.data.schema import SIMULATED, Case, GazeInfo
from gazeseg.errors import DataError
from gazeseg.gaze.simulate import Preset, simulate_fixations
from gazeseg.types import IGNORE, Fixations

_DRAWN_AT: Final = 512  # px of the longer side: distances over photographs of 20 megapixels cost seconds a case


@dataclass(frozen=True, slots=True)
class SimulatedGaze:
    """Scanpaths by case id, and what ``dataset.yaml`` says about them."""

    fixations: dict[str, Fixations]
    info: GazeInfo


def simulate_gaze(
    cases: Iterable[Case],
    *,
    preset: Preset = "eyelink",
    seed: int = 0,
    num_classes: int = 2,
    encoding: MaskEncoding = "auto",
) -> SimulatedGaze:
    """Draw one scanpath for every case of the split ``train`` that has a mask; the masks of other splits stay unread.

    The scanpath of a case depends on its id, its mask, the preset and the seed, not on the other cases. Any foreground
    class is a target. An empty mask gives no fixation, see :func:`gazeseg.gaze.simulate.simulate_fixations`.

    Args:
        cases: The cases of a data set.
        preset: Noise of the tracker.
        seed: Decides every scanpath.
        num_classes: Classes of the masks, background included.
        encoding: How mask values mean classes.

    Raises:
        DataError: if no training case has a mask, or a mask cannot be read.
    """
    targets = [case for case in cases if case.split == "train" and case.mask is not None]
    if not targets:
        raise DataError("simulated gaze is drawn from the masks of training cases, and none has one; import with masks")
    work = functools.partial(_draw, preset=preset, seed=seed, num_classes=num_classes, encoding=encoding)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        drawn = list(track(pool.map(work, targets), "simulated gaze", len(targets)))
    source = f"gazeseg.gaze.simulate on the masks of {len(targets)} training cases, preset {preset}, seed {seed}"
    fixations = {fix.image_id: fix for fix in drawn}
    return SimulatedGaze(fixations, GazeInfo(kind="simulated", source=source, note=SIMULATED))


def gaze_leak(folder: PseudoFolder, looked_at: Collection[str]) -> str:
    """Say how much of the truth simulated gaze carries: the Dice of its thresholded maps with any foreground.

    Args:
        folder: The pseudo-masks, scored when they were made; no mask is read here.
        looked_at: Cases that count; those without gaze agree trivially.

    Returns:
        Such as ``heatmap Dice with the truth .60 / .67 at .2 / .3``; empty where nothing was scored.
    """
    found = folder.quality(among=looked_at)
    if not found:
        return ""
    source = folder.config.pseudo.source
    name = "heatmap" if source == "crf" and folder.config.crf.mode == "off" else source
    cuts = sorted(found)
    scores = " / ".join(f"{statistics.fmean(row['dice'] for row in found[cut]):.2f}" for cut in cuts)
    return f"{name} Dice with the truth {scores} at {' / '.join(f'{cut:g}' for cut in cuts)}"


def _draw(case: Case, *, preset: Preset, seed: int, num_classes: int, encoding: MaskEncoding) -> Fixations:
    assert case.mask is not None  # noqa: S101 -- chosen so by the caller
    labels = read_mask(case.mask, case.size, num_classes, case.case_id, encoding)
    target = (labels > 0) & (labels != IGNORE)
    step = -(-max(case.size) // _DRAWN_AT)
    coarse = target[step // 2 :: step, step // 2 :: step]
    if step == 1 or not coarse.any():  # the second: an object of a few px, lost between the steps
        coarse = target
    name = hashlib.sha256(case.case_id.encode()).digest()
    rng = np.random.default_rng([seed, int.from_bytes(name[:8], "little")])
    drawn = simulate_fixations(np.ascontiguousarray(coarse), rng, preset=preset, image_id=case.case_id)
    rows, columns = (full / size for full, size in zip(case.size, coarse.shape, strict=True))
    return Fixations(
        (drawn.x_px + 0.5) * columns - 0.5,
        (drawn.y_px + 0.5) * rows - 0.5,
        drawn.onset_ms,
        drawn.duration_ms,
        case.size,
        case.case_id,
        drawn.reader_id,
    )
