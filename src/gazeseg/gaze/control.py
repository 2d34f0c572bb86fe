"""Gaze with one thing about it spoilt on purpose: what a method gains from gaze shows in what it loses without.

========================  =============================================================================================
``shuffled_cases``        each case gets the gaze of another one: what any gaze of such images is worth
``shuffled_order``        the same fixations, visited in random order: what the order is worth
``equal_durations``       every fixation lasts the mean of its case: what the durations are worth
``centre_prior``          positions from a Gaussian about the centre: what the habit of looking there is worth
``jitter:PX``             Gaussian noise of PX image px on every position; ``jitter:P%``: of the longer side
``webcam``                the errors of a webcam tracker: an offset of the whole viewing and noise on each fixation
========================  =============================================================================================

No control looks at a mask. As in real recordings, fixations may leave the image; the stages that follow leave those
out. Each case is a function of its own gaze, the seed and its id alone, so that a subset of the cases gets the same;
in ``shuffled_cases`` it also depends on who precedes it in a random ring, so there the pool must be the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from typing import Final

import numpy as np

from gazeseg.config import GazeConfig, check_control
from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.simulate import PRESETS
from gazeseg.types import Fixations, FloatArray

# Share of the side. The recorded gaze of Kvasir-SEG, all cases pooled, spreads by 0.192 of the width and 0.200 of the
# height: the prior is as wide as gaze is, and differs in not knowing the image. That a Gaussian is a fair baseline is
# Clarke & Tatler, Vision Research 102 (2014) 41-51.
CENTRE_SIGMA: Final = 0.2
_LABELS: Final = {
    "shuffled_cases": "of another case",
    "shuffled_order": "shuffled order",
    "equal_durations": "equal durations",
    "centre_prior": "replaced by a centre prior",
    "webcam": "webcam noise added",
}


def apply_control(fixations: Mapping[str, Fixations], control: str, *, seed: int) -> dict[str, Fixations]:
    """Return the gaze of every case under a control; a case without gaze keeps none.

    What is rebuilt:

    - ``shuffled_cases``: the receiver's image size; positions at the same share of its sides. Cases that have gaze
      form one ring in random order and each gets its predecessor's, so none its own and none twice.
    - ``shuffled_order``: positions and durations move together; ``equal_durations``: durations become their mean,
      so the looking time stays. In both the onset of the first fixation and the gaps between the fixations stay
      as they were, in sequence; fixations that overlap (no tracker writes any) are put end to end.
    - ``centre_prior``: count, onsets and durations stay; sd 0.2 of each side.
    - ``jitter``, ``webcam``: onsets and durations stay.

    Args:
        fixations: Fixations in image px by case id: the whole pool, for ``shuffled_cases`` trades within it.
        control: ``none``, or one of the table above.
        seed: Of all chance.

    Returns:
        Fixations by the same ids in the same order, in px of the case's own image.

    Raises:
        ConfigError: for an unknown control, or ``jitter`` without a number.
        DataError: for ``shuffled_cases`` with fewer than two cases that have gaze.

    Examples:
        >>> still = np.array([5.0, 7.0])
        >>> fix = Fixations(still, still, np.array([0.0, 250.0]), np.array([200.0, 100.0]), (9, 9), "a")
        >>> apply_control({"a": fix}, "equal_durations", seed=0)["a"].onset_ms
        array([  0., 200.])
    """
    try:
        name, _, amount = check_control(control).partition(":")
    except ValueError as error:
        raise ConfigError(f"gaze.control: {error}") from None
    if name == "none":
        return dict(fixations)
    if name == "shuffled_cases":
        return _shuffled_cases(fixations, seed)
    return {case_id: _spoilt(fix, name, amount, _rng(seed, case_id)) for case_id, fix in fixations.items()}


def changes_maps(gaze: GazeConfig) -> bool:
    """True where heatmaps and pseudo-masks differ from those of the true gaze: a sum over fixations knows no order."""
    return gaze.scope == "all" and gaze.control not in ("none", "shuffled_order")


def map_control(gaze: GazeConfig) -> tuple[str, int]:
    """Return the control and seed that heatmaps and pseudo-masks are under: ``("none", 0)`` where it spares them."""
    return (gaze.control, gaze.seed) if changes_maps(gaze) else ("none", 0)


def control_label(gaze: GazeConfig) -> str:
    """Return what to write behind the kind of gaze in every result, empty without a control.

    Examples:
        >>> control_label(GazeConfig(control="shuffled_order", scope="track"))
        'shuffled order (track only)'
        >>> control_label(GazeConfig(control="jitter:12"))
        'jitter 12 px'
    """
    name, _, amount = gaze.control.partition(":")
    if name == "none":
        return ""
    label = _LABELS.get(name) or f"jitter {amount if amount.endswith('%') else amount + ' px'}"
    return label + (" (track only)" if gaze.scope == "track" else "")


def control_slug(gaze: GazeConfig) -> str:
    """Return what tells the folder of a control's pseudo-masks from that of the true gaze, empty for the latter.

    Examples:
        >>> control_slug(GazeConfig(control="jitter:2.5%", seed=1))
        '-jitter-2.5pct-seed1'
    """
    if not changes_maps(gaze):
        return ""
    return f"-{gaze.control.replace(':', '-').replace('%', 'pct')}" + (f"-seed{gaze.seed}" if gaze.seed else "")


def _shuffled_cases(fixations: Mapping[str, Fixations], seed: int) -> dict[str, Fixations]:
    gazed = [case_id for case_id, fix in fixations.items() if len(fix)]
    if len(gazed) < 2:
        raise DataError(
            f"gaze.control shuffled_cases: {len(gazed)} of {len(fixations)} cases have gaze and the gaze of another "
            "one needs two; use a data set with more gaze or another control"
        )
    ring = sorted(gazed, key=lambda case_id: (_digest(seed, case_id), case_id))
    donors = dict(zip(ring, [ring[-1], *ring[:-1]], strict=True))
    return {
        case_id: _carried_over(fixations[donors[case_id]], fix) if case_id in donors else fix
        for case_id, fix in fixations.items()
    }


def _carried_over(donor: Fixations, receiver: Fixations) -> Fixations:
    """Return the donor's gaze at the same shares of the sides of the receiver's image."""
    (old_height, old_width), (height, width) = donor.image_size, receiver.image_size
    return dataclasses.replace(
        donor,
        x_px=(donor.x_px + 0.5) * (width / old_width) - 0.5,
        y_px=(donor.y_px + 0.5) * (height / old_height) - 0.5,
        image_size=receiver.image_size,
        image_id=receiver.image_id,
    )


def _spoilt(fix: Fixations, name: str, amount: str, rng: np.random.Generator) -> Fixations:
    if not len(fix):
        return fix
    height, width = fix.image_size
    sides = np.array([width, height], np.float64)
    if name == "shuffled_order":
        order = rng.permutation(len(fix))
        return _retimed(dataclasses.replace(fix, x_px=fix.x_px[order], y_px=fix.y_px[order]), fix.duration_ms[order])
    if name == "equal_durations":
        return _retimed(fix, np.full(len(fix), fix.duration_ms.mean()))
    noise = rng.normal(size=(len(fix), 2))
    if name == "centre_prior":
        x_px, y_px = ((0.5 + CENTRE_SIGMA * noise) * sides - 0.5).T
        return dataclasses.replace(fix, x_px=x_px, y_px=y_px)
    if name == "webcam":
        tracker = PRESETS["webcam"]
        offset = rng.normal(size=2) * sides * tracker.bias
        moves = offset + noise * tracker.jitter * np.sqrt(sides.prod())
    else:
        percent = amount.endswith("%")
        moves = noise * (float(amount.rstrip("%")) * (sides.max() / 100 if percent else 1.0))
    return dataclasses.replace(fix, x_px=fix.x_px + moves[:, 0], y_px=fix.y_px + moves[:, 1])


def _retimed(fix: Fixations, duration_ms: FloatArray) -> Fixations:
    """Return ``fix`` with other durations, whose onsets keep the first one and the gaps, in sequence."""
    gaps_ms = np.maximum(np.diff(fix.onset_ms) - fix.duration_ms[:-1], 0.0)
    onset_ms = fix.onset_ms[0] + np.concatenate([[0.0], np.cumsum(duration_ms[:-1] + gaps_ms)])
    return dataclasses.replace(fix, onset_ms=onset_ms, duration_ms=duration_ms)


def _rng(seed: int, case_id: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(_digest(seed, case_id)))


def _digest(seed: int, case_id: str) -> bytes:
    """Unlike ``hash()``, the same in every process."""
    return hashlib.sha256(f"{seed}|{case_id}".encode()).digest()
