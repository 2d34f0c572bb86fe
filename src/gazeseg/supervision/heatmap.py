"""Fixations to a duration-weighted Gaussian density.

The published way (GazeMedSeg, arXiv 2407.07406, released code) drops every fixation with its duration on a canvas,
runs a dense separable Gaussian filter over it and resizes the result. A canvas with N fixations has rank N, so the same
map is the product

    G = A^T diag(d) B,    A (N, H): row k is the 1-D filter's response along y to a unit at y_k;  B (N, W): along x

at a small share of the cost. The resize is separable as well, hence acts on the rows of A and B, and the map is never
resized as an image.
"""

from __future__ import annotations

import functools
import warnings
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view

from gazeseg.config import MapsConfig
from gazeseg.errors import ConfigError
from gazeseg.supervision.regions import without_outliers
from gazeseg.types import Fixations, Float32Array, FloatArray, GazeMap

IndexArray = npt.NDArray[np.intp]

CANVAS: Final = 768  # side of the published canvas
TRUNCATE: Final = 4.0  # the kernel ends at 4 sigma, as in scipy.ndimage
BICUBIC_A: Final = -0.75  # Keys' constant that reproduces the published maps; OpenCV and PyTorch use it
FLAT: Final = 1e-6  # (max - min) / max below this shows where the kernel was cut off, not gaze
SINGLE: Final = 0.5  # (max - min) / max above this keeps single precision within 1e-6 after the stretch to 0..1


def heatmap(fix: Fixations, config: MapsConfig) -> GazeMap:
    """Draw the heatmap of one case at the size of its image.

    Args:
        fix: fixations in image px. Those off the image contribute nothing, whichever the canvas.
        config: the canvas (see :func:`square768` and :func:`native`) and the width of the Gaussian.

    With ``outlier``, fixations apart from the main region are dropped first, see
    :func:`gazeseg.supervision.regions.without_outliers`.

    Returns:
        (H, W) float32 in [0, 1], stretched so that the canvas spans 0..1; zeros without a fixation on the image. Its
        ``sigma_px`` is in pixels of the canvas. A common factor on the durations changes nothing.

    Raises:
        ConfigError: if degrees are asked for on the square canvas or without ``px_per_degree``.

    Examples:
        >>> one = Fixations([9.5], [4.5], [0.0], [300.0], image_size=(10, 20), image_id="a")
        >>> heatmap(one, MapsConfig(canvas="native", sigma=2.0)).values.shape
        (10, 20)
    """
    drawn = _drawn(fix, config)
    if not config.outlier or not len(fix):
        return drawn
    height, width = fix.image_size
    stretch = (height / CANVAS, width / CANVAS) if config.canvas == "square768" else (1.0, 1.0)
    sigma_px = (drawn.sigma_px * stretch[0], drawn.sigma_px * stretch[1])
    kept = without_outliers(fix, drawn.values, tau=config.outlier_tau, mass=config.outlier_mass, sigma_px=sigma_px)
    return _drawn(kept, config)


def _drawn(fix: Fixations, config: MapsConfig) -> GazeMap:
    if config.sigma_unit == "px":
        sigma_px = config.sigma
    elif config.canvas == "square768":
        raise ConfigError(
            f"maps.sigma_unit '{config.sigma_unit}' has no meaning on the stretched canvas; set maps.canvas to 'native'"
        )
    elif config.sigma_unit == "side":
        sigma_px = config.sigma * min(fix.image_size)
    elif config.px_per_degree is None:
        raise ConfigError("maps.sigma_unit 'deg' needs maps.px_per_degree (image px per degree of visual angle)")
    else:
        sigma_px = config.sigma * config.px_per_degree
    return square768(fix, sigma_px) if config.canvas == "square768" else native(fix, sigma_px)


def square768(fix: Fixations, sigma_px: float) -> GazeMap:
    """Draw the published map: a 768 x 768 canvas, whatever the image, then a bicubic resize and a clip to 0..1.

    On an image that is not square the Gaussian is an ellipse: ``sigma_px / 768`` of the width by as much of the height.
    The canvas index is ``round(x * 768) - 1`` with x in 0..1, halves to even, kept within the canvas (the released code
    lets x = 0 wrap to the far edge). The minimum and maximum are those of the canvas, taken before the resize.

    Args:
        fix: fixations in image px; those off the image contribute nothing.
        sigma_px: standard deviation in px of the canvas.
    """
    height, width = fix.image_size
    seen = fix.on_image
    if not seen.any():
        return _blank(fix, sigma_px)
    rows = _responses(_canvas_index(fix.y_px[seen], height), CANVAS, sigma_px)
    columns = _responses(_canvas_index(fix.x_px[seen], width), CANVAS, sigma_px)
    rows *= _weights(fix.duration_ms[seen])
    low, high = _extremes(rows, columns)
    if high - low <= FLAT * high:
        return _flat(fix, sigma_px)
    values = _stretched(_resized(rows, height), _resized(columns, width), low, high)
    return GazeMap(values, sigma_px, fix.image_id)


def native(fix: Fixations, sigma_px: float) -> GazeMap:
    """Draw the map on the image itself: a round Gaussian, each fixation at the centre of the pixel it falls on.

    Args:
        fix: fixations in image px; those off the image contribute nothing.
        sigma_px: standard deviation in px of the image.
    """
    height, width = fix.image_size
    seen = fix.on_image
    if not seen.any():
        return _blank(fix, sigma_px)
    rows = _responses(_pixel_index(fix.y_px[seen], height), height, sigma_px)
    columns = _responses(_pixel_index(fix.x_px[seen], width), width, sigma_px)
    rows *= _weights(fix.duration_ms[seen])
    low, high = _extremes(rows, columns)
    if high - low <= FLAT * high:
        return _flat(fix, sigma_px)
    return GazeMap(_stretched(rows, columns, low, high), sigma_px, fix.image_id)


def _blank(fix: Fixations, sigma_px: float) -> GazeMap:
    return GazeMap(np.zeros(fix.image_size, np.float32), sigma_px, fix.image_id)


def _flat(fix: Fixations, sigma_px: float) -> GazeMap:
    warnings.warn(
        f"heatmap of '{fix.image_id}' is the same everywhere (sigma {sigma_px:g} px is too wide) and is set to zero",
        stacklevel=4,  # the caller of heatmap()
    )
    return _blank(fix, sigma_px)


def _canvas_index(position_px: FloatArray, extent: int) -> IndexArray:
    scaled = (position_px + 0.5) * (CANVAS / extent)
    # Half of a pixel is a frequent position; the first rounding removes what the way through image px left behind it.
    return np.clip(np.round(np.round(scaled, 6)) - 1, 0, CANVAS - 1).astype(np.intp)


def _pixel_index(position_px: FloatArray, extent: int) -> IndexArray:
    return np.minimum(np.floor(position_px + 0.5), extent - 1).astype(np.intp)  # the sum may round up to the extent


def _weights(duration_ms: FloatArray) -> FloatArray:
    """(N, 1) shares of the total duration, so that a common factor cancels before anything is rounded."""
    share: FloatArray = (duration_ms / duration_ms.sum())[:, None]
    return share


def _responses(positions: IndexArray, extent: int, sigma_px: float) -> FloatArray:
    """(N, extent) responses of the truncated 1-D Gaussian filter to a unit at each position, borders reflected.

    Reflection about the outer pixel edges makes a signal even with period 2 * extent, so the response at i is
    P(i - j) + P(i + j + 1), where P is the kernel wrapped to that period.
    """
    periodic = _wrapped_kernel(extent, sigma_px)
    windows = sliding_window_view(periodic, extent)  # windows[extent + s] starts at P(s)
    response: FloatArray = windows[extent - positions]
    response += windows[extent + positions + 1]
    return response


@functools.lru_cache(maxsize=64)
def _wrapped_kernel(extent: int, sigma_px: float) -> FloatArray:
    """P(-extent) .. P(2 * extent), read-only: it is shared between calls."""
    radius = int(TRUNCATE * sigma_px + 0.5)
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (offsets / sigma_px) ** 2)
    period = 2 * extent
    wrapped = np.zeros(period)
    np.add.at(wrapped, offsets % period, kernel / kernel.sum())
    periodic: FloatArray = wrapped[np.arange(-extent, period + 1) % period]
    periodic.flags.writeable = False
    return periodic


def _resized(rows: FloatArray, extent: int) -> FloatArray:
    """(N, CANVAS) -> (N, extent) by bicubic interpolation, pixel centres at half integers, no antialiasing."""
    indices, weights = _bicubic(extent)
    out = np.zeros((len(rows), extent))
    for index, weight in zip(indices, weights, strict=True):
        out += rows[:, index] * weight
    return out


@functools.lru_cache(maxsize=256)  # a data set has few distinct extents; each entry is some 60 kB at most
def _bicubic(extent: int) -> tuple[IndexArray, FloatArray]:
    """The four taps and weights, (4, extent) each, that take an axis of the canvas to ``extent`` samples."""
    source = (np.arange(extent) + 0.5) * (CANVAS / extent) - 0.5
    base = np.floor(source)
    taps = base + np.arange(-1, 3)[:, None]
    distance = np.abs(source - taps)
    a = BICUBIC_A
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.clip(taps, 0, CANVAS - 1).astype(np.intp), np.where(distance <= 1, near, far)


def _extremes(rows: FloatArray, columns: FloatArray) -> tuple[float, float]:
    """Minimum and maximum of ``rows.T @ columns``; in single precision where that is precise enough."""
    for dtype in (np.float32, np.float64):
        product = _product(rows, columns, dtype)
        low, high = float(product.min()), float(product.max())
        if high - low > SINGLE * high:
            break
    return low, high


def _stretched(rows: FloatArray, columns: FloatArray, low: float, high: float) -> Float32Array:
    """(H, W) float32 ``(rows.T @ columns - low) / (high - low)``, clipped to 0..1 against bicubic overshoot."""
    scale = 1 / (high - low)
    # One more row carries the constant: bicubic weights sum to one, so it survives the resize.
    constant = np.ones((1, columns.shape[1]))
    left = np.concatenate([rows * scale, np.full((1, rows.shape[1]), -low * scale)])
    dtype = np.float32 if high - low > SINGLE * high else np.float64
    values = _product(left, np.concatenate([columns, constant]), dtype)
    np.clip(values, 0, 1, out=values)
    out: Float32Array = values.astype(np.float32, copy=False)
    return out


def _product(rows: FloatArray, columns: FloatArray, dtype: type[np.floating[Any]]) -> npt.NDArray[np.floating[Any]]:
    product: npt.NDArray[np.floating[Any]] = rows.astype(dtype, copy=False).T @ columns.astype(dtype, copy=False)
    return product
