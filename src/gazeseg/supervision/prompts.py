"""From gaze to prompts: boxes and points that ask a promptable model for what was looked at.

One prompt follows the chance of one heatmap level. Many, from several levels, margins and shifts, are the members of an
ensemble whose mean is a target and whose disagreement tells where it is not to be trusted
(:mod:`gazeseg.supervision.fusion`). No mask is ever looked at.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from gazeseg.config import PromptConfig
from gazeseg.errors import DataError
from gazeseg.types import Fixations, Float32Array, FloatArray, UInt8Array

FOREGROUND: Final = 1
BACKGROUND: Final = 0
NOTHING: Final = -1
"""Label of a place in ``Prompts.points`` that holds no point."""

SPACING: Final = 0.1  # share of the longer side: points of one sign lie at least this far apart
LOOKED_AT: Final = 0.1  # share of the heatmap's maximum: below it, a place was looked at briefly or not at all
CUT: Final = 0.5  # of a probability, where a mask is wanted
FRAGMENT: Final = 0.1  # share of the largest region of a mask: what is smaller is a splinter of it and no object
GRID: Final = 16  # candidates a side for a point that was never looked at


@dataclass(frozen=True, slots=True)
class Prompts:
    """P prompts about one image, in its pixels; P may be 0.

    Attributes:
        boxes: (P, 4) x0, y0, x1, y1, the centres of the outermost pixels inside; all on the image.
        points: (P, N, 2) x, y; N may be 0.
        labels: (P, N) 1 foreground, 0 background, -1 no point.
        members: (P,) number of the ensemble member, 0, 1, ..; prompts of one member ask for different objects.
        image_size: (H, W).
    """

    boxes: FloatArray
    points: FloatArray
    labels: npt.NDArray[np.int64]
    members: npt.NDArray[np.int64]
    image_size: tuple[int, int]

    def __post_init__(self) -> None:
        count, spread = len(self.boxes), self.points.shape[1]
        shapes = (self.boxes.shape, self.points.shape, self.labels.shape, self.members.shape)
        if shapes != ((count, 4), (count, spread, 2), (count, spread), (count,)):
            raise DataError(f"prompts: shapes {shapes} of boxes, points, labels and members do not fit")
        height, width = self.image_size
        x, y = self.boxes[:, 0::2], self.boxes[:, 1::2]
        if count and (min(x.min(), y.min()) < 0 or x.max() > width - 1 or y.max() > height - 1):
            raise DataError(f"prompts: a box leaves the image of {height} x {width}; clip it first")

    def __len__(self) -> int:
        return len(self.boxes)


class Answer(NamedTuple):
    """What a promptable model says to P prompts.

    Attributes:
        probability: (P, h, w) foreground, on a grid of the model's own that spans the image.
        predicted_iou: (P,) the model's own estimate of its overlap with the truth.
    """

    probability: Float32Array
    predicted_iou: FloatArray


class Promptable(Protocol):
    """A model that segments what a prompt points at; an image is encoded once and asked about many times."""

    identity: str
    """Names the weights: a case is done again when it changes."""

    def encode(self, image: UInt8Array) -> Any:
        """Return what :meth:`masks` needs of an image, (H, W, 1) or (H, W, 3) uint8."""

    def masks(self, embedding: Any, prompts: Prompts) -> Answer:
        """Answer all prompts about one encoded image."""


def gaze_prompts(fix: Fixations, heat: Float32Array, config: PromptConfig) -> Prompts:
    """Ask for what was looked at in many ways: each level with each margin, as it is and ``jitter`` times shifted.

    Args:
        fix: The fixations of the case, in image px.
        heat: (H, W) heatmap of the case.
        config: Levels, margins, shifts, points and the seed; the case's id also decides the shifts.

    Returns:
        Prompts in a fixed order; none for a heatmap of zeros or one without a mode.

    Examples:
        >>> heat = np.zeros((8, 8), np.float32)
        >>> heat[2:5, 3:7] = 1
        >>> fix = Fixations([4.0], [3.0], [0.0], [300.0], image_size=(8, 8), image_id="a")
        >>> config = PromptConfig(levels=(0.5,), margins=(0.0,), jitter=0)
        >>> gaze_prompts(fix, heat, config).boxes.tolist()
        [[3.0, 2.0, 6.0, 4.0]]
    """
    size = (heat.shape[0], heat.shape[1])
    rng = np.random.default_rng([config.seed, zlib.crc32(fix.image_id.encode())])
    boxes, members = [np.zeros((0, 4))], [np.zeros(0, np.int64)]
    member = 0
    for level in config.levels:
        found = object_boxes(heat, level, config.mode_share)
        for margin in config.margins:
            plain = grown(found, margin, size)
            for variant in (plain, *(shifted(plain, config.jitter_share, rng, size) for _ in range(config.jitter))):
                boxes.append(variant)
                members.append(np.full(len(variant), member))
                member += 1
    every = np.concatenate(boxes)
    positive = dwell_points(fix, config.points)
    negative = left_points(fix, heat, config.negatives) if config.negatives and len(every) else np.zeros((0, 2))
    points, labels = _assigned(every, positive, negative)
    return Prompts(every, points, labels, np.concatenate(members), size)


def mask_prompts(probability: Float32Array, size: tuple[int, int], config: PromptConfig) -> Prompts:
    """Ask again about what was found: a box around each object of a mask, with each of ``round_margins``.

    Gaze says where an object is and only roughly how large; the first answers know better.

    Args:
        probability: (h, w) on any grid that spans the image.
        size: (H, W) of the image.
        config: Margins.

    Returns:
        Prompts with boxes alone; none where no pixel is foreground.
    """
    regions, count = ndimage.label(probability >= CUT, structure=np.ones((3, 3)))
    areas = ndimage.sum_labels(np.ones_like(regions), regions, np.arange(1, count + 1))
    spans = ndimage.find_objects(regions)
    large = [spans[index] for index in range(count) if areas[index] >= FRAGMENT * areas.max()]
    corners = np.array([[x.start, y.start, x.stop - 1, y.stop - 1] for y, x in large], dtype=np.float64).reshape(-1, 4)
    scale = np.tile([size[1] / probability.shape[1], size[0] / probability.shape[0]], 2)
    found = _on_image((corners + 0.5) * scale - 0.5, size)
    boxes = np.concatenate([np.zeros((0, 4)), *(grown(found, margin, size) for margin in config.round_margins)])
    members = np.repeat(np.arange(len(config.round_margins)), len(found))
    return Prompts(boxes, np.zeros((len(boxes), 0, 2)), np.zeros((len(boxes), 0), np.int64), members, size)


def object_boxes(heat: Float32Array, level: float, mode_share: float) -> FloatArray:
    """Box what was looked at: one box around each region above a level that holds a mode of the heatmap.

    Args:
        heat: (H, W), not negative.
        level: Lowest value inside a region, as a share of the maximum.
        mode_share: A region counts if its own maximum is at least this share of the whole one: 1 takes the strongest
            alone. Never below ``level``.

    Returns:
        (K, 4) x0, y0, x1, y1, strongest mode first; K is 0 where the heatmap is the same everywhere.
    """
    peak = float(heat.max())
    if peak <= float(heat.min()):
        return np.zeros((0, 4))
    regions, count = ndimage.label(heat >= level * peak, structure=np.ones((3, 3)))
    tops = np.asarray(ndimage.maximum(heat, regions, np.arange(1, count + 1)))
    order = [index for index in np.argsort(-tops, kind="stable") if tops[index] >= mode_share * peak]
    found = ndimage.find_objects(regions)
    spans = [(found[index][1], found[index][0]) for index in order]
    return np.array([[x.start, y.start, x.stop - 1, y.stop - 1] for x, y in spans], dtype=np.float64).reshape(-1, 4)


def grown(boxes: FloatArray, margin: float, size: tuple[int, int]) -> FloatArray:
    """Move every side out by ``margin`` times the box's extent (in, if negative), clipped to the image.

    A box keeps at least the pixel in its middle.

    Args:
        boxes: (P, 4).
        margin: Share of the width, and of the height.
        size: (H, W) of the image.
    """
    extent = boxes[:, 2:] - boxes[:, :2] + 1
    return _on_image(np.concatenate([boxes[:, :2] - margin * extent, boxes[:, 2:] + margin * extent], axis=1), size)


def shifted(boxes: FloatArray, share: float, rng: np.random.Generator, size: tuple[int, int]) -> FloatArray:
    """Move each of the four sides by Gaussian noise of ``share`` times the box's extent, clipped to the image."""
    extent = np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)
    return _on_image(boxes + rng.normal(0.0, share, boxes.shape) * extent, size)


def _on_image(boxes: FloatArray, size: tuple[int, int]) -> FloatArray:
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    low, high = np.minimum(boxes[:, :2], middle), np.maximum(boxes[:, 2:], middle)  # sides that crossed meet
    last = np.array([size[1] - 1, size[0] - 1], dtype=np.float64)
    clipped: FloatArray = np.concatenate([np.clip(low, 0, last), np.clip(high, 0, last)], axis=1)
    return clipped


def dwell_points(fix: Fixations, count: int) -> FloatArray:
    """Pick the places that were looked at longest, far enough apart (non-maximum suppression).

    The dwell of a place is the total duration of the fixations within :data:`SPACING` of it.

    Args:
        fix: Fixations in image px; those off the image are left out.
        count: Most points.

    Returns:
        (n, 2) x, y with n <= ``count``, longest dwell first.
    """
    seen = fix.on_image
    places = np.stack([fix.x_px[seen], fix.y_px[seen]], axis=1)
    near = _distances(places, places) <= SPACING * max(fix.image_size)
    dwell = near @ fix.duration_ms[seen]
    chosen: list[int] = []
    for index in np.argsort(-dwell, kind="stable"):
        if len(chosen) < count and not near[index, chosen].any():
            chosen.append(int(index))
    return _clipped(places[chosen], fix.image_size)


def left_points(fix: Fixations, heat: Float32Array, count: int) -> FloatArray:
    """Pick places that are no object: looked at briefly and left, and then those farthest from any look.

    Args:
        fix: Fixations in image px.
        heat: (H, W); a place is a candidate where it is below :data:`LOOKED_AT` of the maximum.
        count: Most points.

    Returns:
        (n, 2) x, y with n <= ``count``; points at least :data:`SPACING` apart.
    """
    height, width = heat.shape
    low = heat < LOOKED_AT * float(heat.max())
    seen = fix.on_image
    looks = _clipped(np.stack([fix.x_px[seen], fix.y_px[seen]], axis=1), (height, width))
    brief = looks[low[_pixel(looks, 1), _pixel(looks, 0)]]
    rows, columns = ((np.arange(GRID) + 0.5) * extent / GRID - 0.5 for extent in (height, width))
    grid = _clipped(np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2), (height, width))
    unseen = grid[low[_pixel(grid, 1), _pixel(grid, 0)]]
    far = np.argsort(-_distances(unseen, looks).min(axis=1, initial=np.inf), kind="stable")
    apart = SPACING * max(height, width)
    chosen = np.zeros((0, 2))
    for place in np.concatenate([brief, unseen[far]]):
        if len(chosen) < count and (_distances(place[None], chosen) > apart).all():
            chosen = np.concatenate([chosen, place[None]])
    return chosen


def _assigned(
    boxes: FloatArray, positive: FloatArray, negative: FloatArray
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Give each box the positive points inside it and the negative ones outside; (P, N, 2) and labels (P, N)."""
    places = np.concatenate([positive, negative])
    signs = np.repeat([FOREGROUND, BACKGROUND], [len(positive), len(negative)])
    x, y = places[:, 0], places[:, 1]
    inside = (x >= boxes[:, :1]) & (x <= boxes[:, 2:3]) & (y >= boxes[:, 1:2]) & (y <= boxes[:, 3:])
    labels = np.where(inside == (signs == FOREGROUND), signs, NOTHING)
    return np.broadcast_to(places, (len(boxes), *places.shape)).copy(), labels


def _distances(first: FloatArray, second: FloatArray) -> FloatArray:
    distances: FloatArray = np.linalg.norm(first[:, None] - second[None], axis=-1)
    return distances


def _clipped(places: FloatArray, size: tuple[int, int]) -> FloatArray:
    clipped: FloatArray = np.clip(places, 0, [size[1] - 1, size[0] - 1])
    return clipped


def _pixel(places: FloatArray, axis: int) -> npt.NDArray[np.intp]:
    return np.rint(places[:, axis]).astype(np.intp)
