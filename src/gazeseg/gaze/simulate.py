"""Scanpaths drawn from a mask: gaze for data sets that have none, for demonstrations and for tests.

Every result made with it must be marked "simulated gaze (uses ground truth)". The recorded readers of GazeMedSeg
(MICCAI 2024) were told to locate the target roughly and then to scan it from centre to boundary; a scanpath here does
the same in two stages:

1. locate: a start near the image centre and a few short fixations that close in on the target;
2. scan: points of the target with density ~ (distance to the boundary)^depth_power, spread out because the eye seldom
   returns, one object after another, from its depth outwards in short steps; some of them look aside instead.

Errors follow: one offset for the whole viewing (calibration, head) and one for each fixation. As in the published
tables, fixations off the image or shorter than 50 ms are removed, so that a viewing with a large offset may keep few or
none. The scanpath is a function of the mask, the preset and the state of the generator alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, label

from gazeseg.errors import ConfigError, DataError, suggest
from gazeseg.types import Fixations, FloatArray

BoolArray = npt.NDArray[np.bool_]
IndexArray = npt.NDArray[np.intp]
Preset = Literal["eyelink", "webcam"]

SHORTEST_MS: Final = 50.0  # GazeMedSeg removes shorter fixations
FIRST_ONSET_MS: Final = 7.0  # the recorded trials start with it
SACCADE_MS: Final = 15.0  # recorded gaps between fixations: 13 ms for the shortest saccades ...
SACCADE_MS_PER_SIDE: Final = 80.0  # ... and 37 ms for those of 0.2 to 0.4 of the side


@dataclass(frozen=True, slots=True)
class NoiseModel:
    """How a reader looks and how an eye tracker errs. Lengths are shares of the image, so no size is assumed.

    Attributes:
        bias: standard deviation of the offset of a whole viewing, as a share of the width and of the height.
        jitter: standard deviation of the offset of each fixation, an axis, as a share of sqrt(width * height).
        off_target: mean share of the scanning fixations that look aside; it varies between viewings, Beta(1, 1/p - 1).
        surround: standard deviation of how far they do, and of the detours of the first stage, as a share of the width
            and height.
        count: fewest and most fixations, uniform, before any is removed.
        locate: fewest and most of them that belong to the first stage, uniform.
        start: standard deviation of the first fixation about the image centre, as a share of the width and height.
        depth_power: exponent of the distance to the boundary in the density of the second stage.
        spread: candidates among which each point of the second stage is the one farthest from those before; 1 is
            independent points, more cover the target more evenly.
        duration_median_ms: median of the log-normal durations of the second stage.
        duration_log_sd: standard deviation of their logarithm.
        locate_duration: factor on the durations of the first stage.
    """

    bias: tuple[float, float]
    jitter: float
    off_target: float
    surround: float = 0.1
    count: tuple[int, int] = (6, 54)
    locate: tuple[int, int] = (1, 3)
    start: float = 0.05
    depth_power: float = 1.0
    spread: int = 10
    duration_median_ms: float = 220.0
    duration_log_sd: float = 0.45
    locate_duration: float = 0.75

    def __post_init__(self) -> None:
        if not 0 <= self.off_target < 1:
            raise ConfigError(f"NoiseModel.off_target is a share below 1, got {self.off_target}")
        if not (1 <= self.count[0] <= self.count[1] and 0 <= self.locate[0] <= self.locate[1] and self.spread >= 1):
            raise ConfigError(
                f"NoiseModel needs 1 <= fewest <= most fixations and spread >= 1, got count {self.count}, "
                f"locate {self.locate}, spread {self.spread}"
            )


# Fitted to Kvasir-SEG's masks. eyelink: the recorded gaze of GazeMedSeg (share inside .850 mean, .900 median; centroid
# offset .040; heatmap at .5 against the mask Dice .745). webcam: a published study of webcam gaze on the same images
# (share inside .17 median; centroid offset .267, its sd .211 and .189).
PRESETS: Final[Mapping[str, NoiseModel]] = {
    "eyelink": NoiseModel(bias=(0.023, 0.029), jitter=0.005, off_target=0.06),
    "webcam": NoiseModel(bias=(0.27, 0.25), jitter=0.11, off_target=0.10),
}


def simulate_fixations(
    mask: BoolArray,
    rng: np.random.Generator,
    *,
    preset: Preset | NoiseModel = "eyelink",
    image_id: str = "",
    reader_id: str = "simulated",
) -> Fixations:
    """Draw the scanpath of one reader over one image.

    Args:
        mask: (H, W) the target; several objects are scanned one after another.
        rng: the only source of chance.
        preset: ``"eyelink"`` (a research tracker), ``"webcam"`` (a bad one), or a model of your own.
        image_id: names the case.
        reader_id: names the reader.

    Returns:
        Fixations in image px. **An empty mask gives none**: a heatmap is stretched to 0..1 whatever the gaze, so that a
        search that finds nothing would become a target of full strength.

    Raises:
        ConfigError: for an unknown preset.
        DataError: if the mask is not (H, W) bool.

    Examples:
        >>> disc = np.hypot(*np.ogrid[-32:32, -32:32]) < 12
        >>> fix = simulate_fixations(disc, np.random.default_rng(0), image_id="disc")
        >>> bool(fix.on_image.all())
        True
    """
    model = preset if isinstance(preset, NoiseModel) else PRESETS.get(preset)
    if model is None:
        raise ConfigError(f"unknown gaze preset '{preset}'{suggest(str(preset), PRESETS)}")
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise DataError(
            f"case '{image_id}': a mask must be (H, W) bool, got {mask.dtype} {mask.shape}; compare it with 0"
        )
    size = (mask.shape[0], mask.shape[1])
    if not mask.any():
        nothing = np.zeros(0)
        return Fixations(nothing, nothing, nothing, nothing, size, image_id, reader_id)
    total = int(rng.integers(model.count[0], model.count[1], endpoint=True))
    locating = min(int(rng.integers(model.locate[0], model.locate[1], endpoint=True)), total)
    centre = np.argwhere(mask).mean(axis=0) + 0.5
    points = np.concatenate([_locate(size, centre, model, locating, rng), _scan(mask, model, total - locating, rng)])
    extent = np.array(size, np.float64)
    points += rng.normal(size=2) * extent * model.bias[::-1]
    points += rng.normal(size=points.shape) * model.jitter * np.sqrt(extent.prod())
    duration_ms = model.duration_median_ms * np.exp(model.duration_log_sd * rng.normal(size=total))
    duration_ms[:locating] *= model.locate_duration
    amplitude = np.hypot(*(np.diff(points, axis=0) / extent).T)
    gap_ms = SACCADE_MS + SACCADE_MS_PER_SIDE * amplitude
    onset_ms = FIRST_ONSET_MS + np.concatenate([[0.0], np.cumsum(duration_ms[:-1] + gap_ms)])
    kept = (points >= 0).all(axis=1) & (points < extent).all(axis=1) & (duration_ms >= SHORTEST_MS)
    y, x = points[kept].T - 0.5
    return Fixations(x, y, onset_ms[kept].round(), duration_ms[kept].round(), size, image_id, reader_id)


def _locate(
    size: tuple[int, int], centre: FloatArray, model: NoiseModel, count: int, rng: np.random.Generator
) -> FloatArray:
    """(count, 2) y, x in px from the top left corner: from the middle of the image towards the target, ever closer."""
    extent = np.array(size, np.float64)
    start = extent * (0.5 + model.start * rng.normal(size=2))
    way = np.linspace(0, 1, count, endpoint=False)[:, None]
    detour = rng.normal(size=(count, 2)) * extent * model.surround * np.sqrt(way * (1 - way))
    points: FloatArray = start + way * (centre - start) + detour
    return points


def _scan(mask: BoolArray, model: NoiseModel, count: int, rng: np.random.Generator) -> FloatArray:
    """(count, 2) y, x in px from the top left corner: over the target, from the depth of each object outwards."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    # The border of the image is a boundary too: one row of background around the box of the target.
    box = np.pad(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1], 1)
    corner = np.array([rows[0], columns[0]]) - 1
    pixels = np.argwhere(box)
    depth = distance_transform_edt(box)[box]
    objects = label(box, structure=np.ones((3, 3)))[0][box] - 1
    deepest = np.zeros(objects.max() + 1)
    np.maximum.at(deepest, objects, depth)
    density = np.cumsum(depth**model.depth_power)
    candidates = np.searchsorted(density, rng.random((count, model.spread)) * density[-1], side="right")
    chosen = _spread_out(candidates, pixels)
    visit = rng.permutation(len(deepest))[objects[chosen]]
    order = _outwards(pixels[chosen], 1 - depth[chosen] / deepest[objects[chosen]], visit)
    points: FloatArray = pixels[chosen[order]] + corner + rng.random((count, 2))
    distraction = rng.beta(1, 1 / model.off_target - 1) if model.off_target else 0.0  # most viewings have little of it
    aside = rng.random(count) < distraction
    points[aside] += rng.normal(size=(int(aside.sum()), 2)) * mask.shape * model.surround
    return points


def _spread_out(candidates: IndexArray, pixels: IndexArray) -> IndexArray:
    """(count,) of each row of (count, k) candidates the one farthest from those taken: the eye seldom returns."""
    taken = np.empty(len(candidates), np.intp)
    for step, row in enumerate(candidates):
        gaps = pixels[row][:, None] - pixels[taken[:step]]  # (k, step, 2)
        nearest = (gaps**2).sum(axis=-1).min(axis=1, initial=np.iinfo(np.intp).max)
        taken[step] = row[int(np.argmax(nearest))]
    return taken


def _outwards(points: IndexArray, shallowness: FloatArray, visit: IndexArray) -> IndexArray:
    """(count,) an order that finishes one object before the next, and goes outwards in short steps."""
    length = np.hypot(*np.ptp(points, axis=0)) + 1.0 if len(points) else 1.0
    order: list[int] = []
    left = np.ones(len(points), np.bool_)
    step = np.zeros(len(points))
    while left.any():
        now = left & (visit == visit[left].min())
        cost = np.where(now, 0.5 * step / length + shallowness, np.inf)
        order.append(int(np.argmin(cost)))
        left[order[-1]] = False
        step = np.hypot(*(points - points[order[-1]]).T)
    return np.array(order, np.intp)
