"""Ordered, truncated gaze tracks and the ladder of maps that they become.

A reconstruction of the gaze track maps of GradTrack (Wang et al., MICCAI 2025, arXiv 2505.22230) from its abstract and
second-hand summaries, not checked against the paper: which end of a track is kept, how much of it, the form and width
of a map and the role of the durations are our choices, each a field of :class:`Ladder`.

A track is (N, 3): x, y in 0..1 of the image, whatever its proportions, as on the square canvas of GazeMedSeg, and a
duration d > 0 of which only ratios matter; rows in the order of the fixations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from gazeseg.types import Float32Array, FloatArray

End = Literal["first", "last"]
Preset = Literal["R1", "R2", "R3", "mild_R1"]
Mode = Literal["dist", "kde"]

TINY: Final = 1e-8  # keeps the stretch of a flat density finite


@dataclass(frozen=True, slots=True)
class Ladder:
    """How one track becomes K maps.

    Attributes:
        keep: The end of the track that stays when it is cut.
        rhos: Share of the fixations that stays, one a map, deepest stage first; each in (0, 1].
        n_min: Never fewer fixations than this, or all where there are fewer.
        mode: ``dist``: the strongest of the fixations' Gaussians at each pixel; ``kde``: their sum, as in a heatmap.
        sigma: Standard deviation as a share of the side.
        gamma: Exponent of the durations; 0 makes them equal. ``dist`` only: the heatmap is linear in the duration.
    """

    keep: End
    rhos: tuple[float, ...]
    n_min: int
    mode: Mode
    sigma: float
    gamma: float


def preset(name: Preset, levels: int) -> tuple[End, tuple[float, ...]]:
    """Return ``keep`` and ``rhos`` of a reading of "reverse-truncated" for K levels, s = 0 .. K-1 from deep to fine.

    ======= ===== ========== ================ =======================================================
    preset  keep  rho(s)     K = 4            meaning
    ======= ===== ========== ================ =======================================================
    R1      last  1 - s/K    1, .75, .5, .25  whole track first, then the search at its start is cut
    R2      last  (s + 1)/K  .25, .5, .75, 1  the last fixations first, whole track at the end
    R3      first (s + 1)/K  .25, .5, .75, 1  the earliest fixations first, whole track at the end
    mild_R1 last  1 - s/10   1, .9, .8, .7    R1 with shallow cuts
    ======= ===== ========== ================ =======================================================

    Examples:
        >>> preset("R1", 4)
        ('last', (1.0, 0.75, 0.5, 0.25))
    """
    if name == "mild_R1":
        return "last", tuple((10 - stage) / 10 for stage in range(levels))
    growing = tuple((stage + 1) / levels for stage in range(levels))
    if name == "R1":
        return "last", growing[::-1]
    return ("last" if name == "R2" else "first"), growing


def kept(length: int, rho: float, n_min: int) -> int:
    """Return how many of ``length`` fixations stay: min(N, max(n_min, ceil(rho N)))."""
    return min(length, max(n_min, math.ceil(rho * length)))


def truncate(track: FloatArray, rho: float, *, keep: End, n_min: int) -> FloatArray:
    """Return the first or last rows of a track; the order of the fixations enters here and nowhere else.

    Args:
        track: (N, 3) x, y, duration in temporal order.
        rho: Share that stays.
        keep: Which end stays.
        n_min: Never fewer than this, or all.
    """
    count = kept(len(track), rho, n_min)
    return track[len(track) - count :] if keep == "last" else track[:count]


def unit_track(track_px: npt.NDArray[np.floating], size: tuple[int, int]) -> FloatArray:
    """Turn (N, 4) x_px, y_px, onset_s, duration_s as in ``Batch.track`` into a track.

    Pixel centres are integers, so an image of width W spans -0.5 .. W - 0.5 and x = (x_px + .5) / W.

    Args:
        track_px: Rows in temporal order, without padding.
        size: (H, W) of the image in whose pixels the rows are.
    """
    values = np.asarray(track_px, dtype=np.float64)
    height, width = size
    track: FloatArray = np.stack([(values[:, 0] + 0.5) / width, (values[:, 1] + 0.5) / height, values[:, 3]], axis=1)
    return track


def distance_map(track: FloatArray, size: tuple[int, int], *, sigma: float, gamma: float) -> FloatArray:
    """Draw max_i w_i exp(-D_i^2 / (2 sigma^2)) with w_i = (d_i / max_j d_j)^gamma, divided by its maximum.

    D_i is the distance to fixation i in units of the side.

    Args:
        track: (N, 3).
        size: (H, W) of the map.
        sigma: Share of the side.
        gamma: Exponent of the durations.

    Returns:
        (H, W) in [0, 1] with maximum 1; zeros without a fixation.
    """
    rows, columns = _responses(track, size, sigma)
    weights = (track[:, 2] / track[:, 2].max(initial=0)) ** gamma
    values = np.zeros(size)
    for row, column in zip(weights[:, None] * rows, columns, strict=True):
        np.maximum(values, np.outer(row, column), out=values)
    peak = values.max()
    return values / peak if peak > 0 else values


def density_map(track: FloatArray, size: tuple[int, int], *, sigma: float) -> FloatArray:
    """Draw sum_i (d_i / sum_j d_j) exp(-D_i^2 / (2 sigma^2)), stretched to 0..1: GazeMedSeg's heatmap of the track.

    Args:
        track: (N, 3).
        size: (H, W) of the map.
        sigma: Share of the side.

    Returns:
        (H, W) in [0, 1]; zeros without a fixation.
    """
    rows, columns = _responses(track, size, sigma)
    if not len(track):
        return np.zeros(size)
    values: FloatArray = (rows * (track[:, 2] / track[:, 2].sum())[:, None]).T @ columns
    low = values.min()
    stretched: FloatArray = (values - low) / (values.max() - low + TINY)
    return stretched


def track_map(track: FloatArray, size: tuple[int, int], ladder: Ladder) -> FloatArray:
    """Draw one map of a whole track, (H, W) in [0, 1], by the ladder's mode."""
    if ladder.mode == "dist":
        return distance_map(track, size, sigma=ladder.sigma, gamma=ladder.gamma)
    return density_map(track, size, sigma=ladder.sigma)


def track_maps(track: FloatArray, size: tuple[int, int], ladder: Ladder) -> Float32Array:
    """Draw the maps of the truncated tracks, deepest stage first.

    Args:
        track: (N, 3) x, y in 0..1 and duration, in temporal order; N may be 0.
        size: (H, W) of the maps.
        ladder: How to cut and draw.

    Returns:
        (K, H, W) float32 in [0, 1]; zeros for an empty track.

    Examples:
        >>> ladder = Ladder("last", (1.0, 0.5), n_min=1, mode="dist", sigma=0.1, gamma=0.5)
        >>> track_maps(np.array([[0.1, 0.1, 0.3], [0.9, 0.9, 0.3]]), (10, 10), ladder)[:, 0, 0].round(2).tolist()
        [1.0, 0.0]
    """
    cut = [truncate(track, rho, keep=ladder.keep, n_min=ladder.n_min) for rho in ladder.rhos]
    return np.stack([track_map(part, size, ladder) for part in cut]).astype(np.float32)


def _responses(track: FloatArray, size: tuple[int, int], sigma: float) -> tuple[FloatArray, FloatArray]:
    """Return the 1-D Gaussians of each fixation along y (N, H) and along x (N, W); a Gaussian is their product."""
    along = []
    for positions, extent in ((track[:, 1], size[0]), (track[:, 0], size[1])):
        centres = (np.arange(extent) + 0.5) / extent
        along.append(np.exp(-((centres - positions[:, None]) ** 2) / (2 * sigma**2)))
    return along[0], along[1]
