"""Dense CRF with one bilateral kernel: gaze heatmap and image to a soft foreground map.

GazeMedSeg (Zhong et al., MICCAI 2024) refines its heatmaps with the dense CRF of Kraehenbuehl and Koltun (NeurIPS
2011): unary energies ``-log clip([1 - h, h], 1e-5)``, one Gaussian over position and colour, Potts weight ``compat``,
parallel mean field. ``CrfConfig.mode`` decides how it is computed:

- ``compatible``: the published result to rounding error (the test bound is 1e-4);
- ``fast``: every second row and column of a large image carries the iterations, at most five of them, and the last one
  reaches every pixel. The mean field contracts, so that little is lost: thresholded maps of Kvasir-SEG keep a Dice of
  .999 against ``compatible``. ``size`` computes the map at another size in the first place (.996 at 224 x 224);
- ``off``: the heatmap itself.

Decided cases: values of the heatmap outside 0..1 are clipped (bicubic interpolation overshoots); a heatmap of zeros
gives a map close to zero everywhere, so that no threshold finds foreground; images of one pixel, one row or one column
and images of a single colour need no exception; a grey image is stretched to 0..255 and copied to three channels, and
a constant one becomes zeros.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gazeseg.config import CrfConfig
from gazeseg.errors import ConfigError, DataError
from gazeseg.types import Float32Array, UInt8Array

CLIP: Final = 1e-5
"""Smallest probability that the unary energies know."""

FAST_ITERATIONS: Final = 5
"""Most updates in fast mode: the published ten hardly change the map after the fifth."""

FAST_STRIDE: Final = 2
"""Distance of the rows and columns that carry the iterations in fast mode."""

_STRIDE_SIDE_PX = 256  # a shorter image is cheap, and every pixel of it is a source
_STRIDE_SXY_PX = 16.0  # a narrower kernel does not bridge the stride


def crf_probability(
    image: UInt8Array, heat: Float32Array, config: CrfConfig, *, size: tuple[int, int] | None = None
) -> Float32Array:
    """Refine a heatmap along the edges of its image.

    Args:
        image: (H, W, 3) uint8, or (H, W, 1) of any real type.
        heat: (H, W) foreground probability.
        config: kernel widths (``sxy`` in pixels of ``image``), weight, iterations and mode.
        size: (height, width) to work at, fast mode only: image, heatmap and kernel are resized first. The image is
            sampled without averaging: its noise, and with it the reach of the kernel in colour, stays as it was.

    Returns:
        (H, W) float32 foreground probability in [0, 1], or ``size`` of it.

    Raises:
        DataError: if shapes or types do not fit, or the heatmap holds a value that is no number.
        ConfigError: if ``size`` is given in another mode than fast, or the kernel is too narrow for the lattice.

    Examples:
        >>> image = np.zeros((8, 8, 3), np.uint8)
        >>> image[:, 4:] = 200
        >>> heat = np.full((8, 8), 0.3, np.float32)
        >>> heat[2:6, 5:] = 0.9
        >>> probability = crf_probability(image, heat, CrfConfig())
        >>> bool(probability[0, 7] > heat[0, 7] > probability[0, 0])
        True
    """
    if image.ndim != 3 or image.shape[2] not in (1, 3):
        raise DataError(f"CRF image: expected (H, W, 3) or (H, W, 1), got shape {image.shape}")
    if image.shape[2] == 3 and image.dtype != np.uint8:
        raise DataError(f"CRF image: colours must be uint8, got {image.dtype}; scale them to 0..255 first")
    if heat.shape != image.shape[:2] or heat.size == 0:
        raise DataError(f"CRF heatmap: shape {heat.shape} does not fit the image's {image.shape[:2]}; make them equal")
    if not np.isfinite(heat).all():
        raise DataError("CRF heatmap: holds NaN or infinity; give values between 0 and 1")
    if size is not None and config.mode != "fast":
        raise ConfigError(f"crf.mode '{config.mode}' works at the size of the image; set crf.mode to fast for another")
    clipped = np.clip(heat, 0, 1).astype(np.float32, copy=False)
    if config.mode == "off":
        return clipped
    # numba costs seconds to import, and configurations are read by commands that never come here
    from gazeseg.supervision.mean_field import mean_field
    from gazeseg.supervision.permutohedral import build_lattice

    colours = _colours(image)
    height, width = heat.shape
    stride, iterations = 1, config.iterations
    if config.mode == "fast":
        iterations = min(iterations, FAST_ITERATIONS)
        if size is not None:
            if min(size) < 1:
                raise ConfigError(f"CRF working size: expected a height and a width of at least 1, got {size}")
            colours = np.rint(_bilinear(colours, size)).astype(np.uint8)
            clipped = _bilinear(clipped, size)
        if min(clipped.shape) >= _STRIDE_SIDE_PX and config.sxy >= _STRIDE_SXY_PX:
            stride = FAST_STRIDE
    lattice = build_lattice(
        colours,
        sx_px=config.sxy * clipped.shape[1] / width,
        sy_px=config.sxy * clipped.shape[0] / height,
        srgb=config.srgb,
        stride=stride,
        # the published code takes four pixels at a time and fills the last four up with features of zero
        with_origin=config.mode == "compatible" and heat.size % 4 != 0,
    )
    return mean_field(lattice, _log_odds(clipped), compat=config.compat, iterations=iterations)


def _log_odds(probability: Float32Array) -> Float32Array:
    """Difference of the two unary energies; both are clipped, as published."""
    odds: Float32Array = np.log(np.maximum(probability, np.float32(CLIP)))
    odds -= np.log(np.maximum(1 - probability, np.float32(CLIP)))
    return odds


def _colours(image: npt.NDArray[Any]) -> UInt8Array:
    """Three uint8 channels; a single one is stretched from its minimum..maximum to 0..255."""
    if image.shape[2] == 3:
        return image
    grey = image.astype(np.float64)
    low, high = float(grey.min()), float(grey.max())
    if not np.isfinite([low, high]).all():
        raise DataError("CRF image: holds NaN or infinity; give finite grey values")
    if high > low:
        grey = (grey - low) * (255 / (high - low))
    else:
        grey[:] = 0
    return np.repeat(np.rint(grey).astype(np.uint8), 3, axis=2)


def _bilinear(values: npt.NDArray[Any], size: tuple[int, int]) -> Float32Array:
    """Resize (H, W) or (H, W, C) with aligned borders and no averaging, as the loader resizes maps."""
    out = values
    for axis, length in enumerate(size):
        old = values.shape[axis]
        at = np.clip((np.arange(length) + 0.5) * (old / length) - 0.5, 0, old - 1)
        first = np.minimum(at.astype(np.intp), max(old - 2, 0))
        share = (at - first).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        here = out.take(first, axis).astype(np.float32)
        out = here + share * (out.take(np.minimum(first + 1, old - 1), axis) - here)
    return out.astype(np.float32, copy=False)
