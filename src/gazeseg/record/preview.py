"""What a reader sees after an image: heatmap and pseudo-mask of the gaze just recorded, in a fraction of a second."""

from __future__ import annotations

import base64
import io
import time
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter

from gazeseg.config import CrfConfig, MasksConfig
from gazeseg.report.overlays import contour_lines
from gazeseg.supervision.crf import crf_probability
from gazeseg.supervision.heatmap import heatmap
from gazeseg.types import Fixations, Float32Array, FloatArray, UInt8Array

LONGEST_PX: Final = 640  # the contour of a larger image is drawn from a smaller one: nobody sees the difference
HEAT_PX: Final = 192
SMOOTH_PX: Final = 1.5


@dataclass(frozen=True, slots=True)
class Preview:
    """The mask (H, W) of the lowest and the highest threshold, what is drawn of them, and how long it took."""

    masks: dict[float, npt.NDArray[np.bool_]]
    heat: Float32Array
    took_ms: float


def make_preview(image: UInt8Array, fixations: Fixations, config: MasksConfig) -> Preview:
    """Draw the heatmap and cut the CRF map at its thresholds, in fast mode.

    Args:
        image: (H, W, 1) or (H, W, 3) uint8.
        fixations: Of this image.
        config: The recipe of the data set; its thresholds are filled in.

    Returns:
        Maps at the image's size, or at ``LONGEST_PX`` for larger ones.
    """
    start = time.perf_counter()
    scale = min(1.0, LONGEST_PX / max(image.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    if scale < 1:
        pixels = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).resize(
            (width, height), Image.Resampling.BOX
        )
        image = np.asarray(pixels).reshape(height, width, -1)
        fixations = _scaled(fixations, (height, width))
    heat = heatmap(fixations, config.maps).values
    probability = heat
    if heat.any() and config.crf.mode != "off":
        crf = CrfConfig(**{**config.crf.model_dump(), "mode": "fast", "sxy": max(config.crf.sxy * scale, 1.0)})
        probability = crf_probability(image, heat, crf)
    thresholds = config.pseudo.thresholds or (0.5,)
    masks = {threshold: probability >= threshold for threshold in sorted(thresholds)}
    return Preview(masks, heat, 1e3 * (time.perf_counter() - start))


def preview_json(preview: Preview, size: tuple[int, int]) -> dict[str, Any]:
    """Return what the page draws: polygons in image px by threshold, and the heatmap as a small grey PNG."""
    scale = size[1] / preview.heat.shape[1], size[0] / preview.heat.shape[0]
    return {
        "contours": [
            {"threshold": threshold, "lines": polygons(mask, scale), "share": round(float(mask.mean()), 5)}
            for threshold, mask in preview.masks.items()
        ],
        "heat": heat_png(preview.heat),
        "took_ms": round(preview.took_ms, 1),
    }


def polygons(mask: npt.NDArray[np.bool_], scale: tuple[float, float] = (1.0, 1.0)) -> list[list[list[float]]]:
    """Return the outline of a mask as polygons of [x, y] in image px, for the eye.

    What is finer than some pixels is left out: on noisy images the border of a pseudo-mask is frayed, and specks hide
    its course. The masks that ``gazeseg masks`` writes keep them.
    """
    if mask.any():
        smooth = gaussian_filter(mask.astype(np.float32), SMOOTH_PX, mode="nearest") >= 0.5
        mask = smooth if smooth.any() else mask
    return [_carried(line, scale).round(1).tolist() for line in contour_lines(mask)]


def heat_png(heat: Float32Array) -> str:
    """Return a map (H, W) in [0, 1] as a grey PNG of at most ``HEAT_PX``, in base64."""
    picture = Image.fromarray(np.rint(heat * 255).astype(np.uint8))
    picture.thumbnail((HEAT_PX, HEAT_PX), Image.Resampling.BILINEAR)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode()


def warm_up() -> None:
    """Compile and import what the first preview needs, so that no reader waits for it."""
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        image = rng.integers(0, 255, (300, 320, channels), dtype=np.uint8)
        fix = Fixations(np.array([150.0]), np.array([150.0]), np.zeros(1), np.array([300.0]), (300, 320), "warm")
        preview_json(make_preview(image, fix, MasksConfig()), (300, 320))


def _scaled(fix: Fixations, size: tuple[int, int]) -> Fixations:
    x = (fix.x_px + 0.5) * size[1] / fix.image_size[1] - 0.5
    y = (fix.y_px + 0.5) * size[0] / fix.image_size[0] - 0.5
    return Fixations(x, y, fix.onset_ms, fix.duration_ms, size, fix.image_id, fix.reader_id)


def _carried(line: FloatArray, scale: tuple[float, float]) -> FloatArray:
    carried: FloatArray = (line + 0.5) * np.array(scale) - 0.5
    return carried
