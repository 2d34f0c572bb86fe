"""Dice, IoU, HD95 and ASD of one case: ours against each metric taken alone on the full image.

The published way (medpy's definitions, written here plainly): every surface metric erodes both masks and calls a
Euclidean distance transform of the whole image again, two for HD95 and one for ASD.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from ledger import Row, time_pair
from scipy import ndimage

from gazeseg.evaluate.metrics import score_case

Mask = npt.NDArray[np.uint8]


def _directed(a: npt.NDArray[np.bool_], b: npt.NDArray[np.bool_], spacing: Any) -> npt.NDArray[np.float64]:
    cross = ndimage.generate_binary_structure(a.ndim, 1)
    a_border = a & ~ndimage.binary_erosion(a, cross)
    b_border = b & ~ndimage.binary_erosion(b, cross)
    return ndimage.distance_transform_edt(~b_border, sampling=spacing)[a_border]


def _published(prediction: Mask, truth: Mask, spacing: Any) -> tuple[float, float, float, float]:
    a, b = prediction == 1, truth == 1
    hit = np.count_nonzero(a & b)
    dice = 2 * hit / (np.count_nonzero(a) + np.count_nonzero(b))
    iou = hit / np.count_nonzero(a | b)
    hd95 = np.percentile(np.concatenate((_directed(a, b, spacing), _directed(b, a, spacing))), 95)
    asd = _directed(a, b, spacing).mean()
    return float(dice), float(iou), float(hd95), float(asd)


def _blob(shape: tuple[int, ...], radius: float, seed: int) -> Mask:
    """A wobbly ellipsoid near the centre."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.arange(n) - n / 2 - rng.uniform(-n / 40, n / 40) for n in shape], indexing="ij")
    y, x = axes[-2:]
    angle = np.arctan2(y, x)
    wobble = sum(rng.normal(0, 0.08) * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) for k in range(2, 7))
    depth = (axes[0] / (0.45 * shape[0])) ** 2 if len(shape) == 3 else 0.0
    return (np.hypot(y, x) ** 2 / (radius * (1 + wobble)) ** 2 + depth < 1).astype(np.uint8)


def rows() -> list[Row]:
    """Time one 2-D and one anisotropic 3-D case."""
    out = []
    for name, shape, radius, spacing, goal in (
        ("metrics, 512x512", (512, 512), 90.0, None, 10),
        ("metrics, 10x256x256 anisotropic", (10, 256, 256), 60.0, (10.0, 1.4, 1.4), 6),
    ):
        prediction, truth = _blob(shape, radius, 1), _blob(shape, radius * 1.1, 2)

        def published(p: Mask = prediction, t: Mask = truth, s: Any = spacing) -> Any:
            return _published(p, t, s)

        def ours(p: Mask = prediction, t: Mask = truth, s: Any = spacing) -> Any:
            [score] = score_case(p, t, num_classes=2, spacing_mm=s)
            return score.dice, score.iou, score.hd95, score.asd

        slow, fast = time_pair(published, ours, inner=5)
        difference = float(np.abs(np.subtract(published(), ours())).max())
        met = slow / fast >= goal and difference <= 1e-6
        out.append(Row(name, slow, fast, f"max difference {difference:.0e}", f">= {goal}x, equal to 1e-6", met))
    return out
