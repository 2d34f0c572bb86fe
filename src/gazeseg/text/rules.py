"""Describe an image by rules, from its pixels inside and around the gaze pseudo-mask.

A stand-in for a vision-language model, labelled as one: it needs no network and no weights, and it measures what such a
model would be asked for (place, size, outline, brightness, colour, texture). It is handed the broad pseudo-mask, never
the truth, so what it says can be wrong wherever the gaze is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage
from scipy.spatial import ConvexHull

from gazeseg.text.schema import Description, Domain, read_description
from gazeseg.types import FloatArray, UInt8Array

VERSION: Final = "rules-1"
"""Part of the cache key: raise it with every change of a rule."""

LONGEST: Final = 256  # px; larger images are reduced: every rule is about shares and contrasts
ROUND, OVAL = 0.8, 0.6  # least ratio of the axes of the ellipse with the same second moments
SOLID: Final = 0.92  # least share of the convex hull
PART: Final = 0.2  # of the whole area: smaller components are crumbs
MUCH, SOME = 16.0, 5.0  # steps of CIE L*
TINT: Final = 4.0  # a visible difference of a* or b*
SHARP: Final = 4.0  # CIE L*a*b* difference between the two sides of the outline
FINE, COARSE = 3.5, 5.0  # standard deviation of L* below the scale of the object
GLARE_L, GLARE_SHARE = 92.0, 0.02
BLACK: Final = 12  # of 255: the frame of an endoscope's picture and the air around a body are no surroundings

BoolMask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Measures:
    """What the rules look at. Colours are CIE L*a*b* (D65)."""

    area: float  # share of the image
    x: float  # centroid, 0 left to 1 right
    y: float  # 0 top to 1 bottom
    parts: int
    axis_ratio: float  # minor to major, of the largest part
    solidity: float  # area to convex hull, of the largest part
    lightness: float  # L* inside less L* around
    red: float  # a* inside less around
    yellow: float  # b* inside less around
    edge: float  # colour difference across the outline
    texture: float  # standard deviation of fine L* inside
    glare: float  # share of the inside that is burnt out


def describe_by_rules(image: UInt8Array, mask: BoolMask, domain: Domain) -> Description | None:
    """Describe what lies in ``mask``; None for an empty mask, about which there is nothing to say.

    Args:
        image: Pixels, uint8 (H, W, C) with C 1 or 3.
        mask: The broad gaze pseudo-mask, (H, W).
        domain: Whose vocabulary; colour is left out where it has no words for it.
    """
    if not mask.any():
        return None
    found = measure(image, mask)
    coloured = image.shape[2] == 3 and domain != "prostate"
    values = {
        "location": _location(found),
        "boundary": f"{'smooth' if found.solidity >= SOLID else 'irregular'} and "
        f"{'sharp' if found.edge >= SHARP else 'blurred'}",
        "characteristics": _terms(found, coloured=coloured),
        "area_percentage": round(100 * found.area),
        "confidence": _confidence(found),
    }
    return read_description(values, domain, VERSION)


def measure(image: UInt8Array, mask: BoolMask) -> Measures:
    """Measure the inside of a mask that is not empty against its surroundings."""
    area = float(mask.mean())
    rows, columns = np.nonzero(mask)
    y, x = (float(rows.mean()) + 0.5) / mask.shape[0], (float(columns.mean()) + 0.5) / mask.shape[1]
    image, mask = _reduced(image, mask)
    side = float(np.sqrt(mask.sum()))
    reach = max(3.0, 0.35 * side)
    image, mask = _cropped(image, mask, int(reach) + 8)  # 8: the Gaussian of the texture
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel())[1:]
    largest = labels == 1 + int(sizes.argmax())
    lab = _lab(image)
    around = _ring(mask, outwards=reach)
    rim = max(2.0, 0.06 * side)
    inner, outer = mask & ~_eroded(mask, rim), _ring(mask, outwards=rim)
    seen = image.max(axis=2) > BLACK
    difference = _mean(lab, mask & seen) - _mean(lab, around & seen)
    fine = lab[..., 0] - ndimage.gaussian_filter(lab[..., 0], 2.0)
    return Measures(
        area=area,
        x=x,
        y=y,
        parts=int((sizes >= PART * sizes.sum()).sum()),
        axis_ratio=_axis_ratio(largest),
        solidity=_solidity(largest),
        lightness=float(difference[0]),
        red=float(difference[1]),
        yellow=float(difference[2]),
        edge=float(np.linalg.norm(_mean(lab, inner & seen) - _mean(lab, outer & seen))),
        texture=float(fine[mask].std()),
        glare=float((lab[..., 0][mask] > GLARE_L).mean()),
    )


def _location(found: Measures) -> str:
    if found.area > 0.8:
        return "whole image"
    if found.parts > 2:
        return "several places"
    row = ("upper", "middle", "lower")[min(2, int(3 * found.y))]
    column = ("left", "centre", "right")[min(2, int(3 * found.x))]
    return "centre" if (row, column) == ("middle", "centre") else f"{row} {column}"


def _terms(found: Measures, *, coloured: bool) -> list[str]:
    if found.parts > 1:
        terms = ["several parts"]
    elif found.axis_ratio >= ROUND:
        terms = ["round"]
    else:
        terms = ["oval" if found.axis_ratio >= OVAL else "elongated"]
    if found.solidity < SOLID:
        terms.append("lobulated")
    light = found.lightness
    much = "much " if abs(light) >= MUCH else ""
    if abs(light) < SOME:
        terms.append("as bright as around")
    else:
        terms.append(f"{much}{'brighter' if light > 0 else 'darker'} than around")
    if coloured:
        terms.append(_colour(found))
    texture = "smooth" if found.texture < FINE else "coarse" if found.texture >= COARSE else "mixed"
    terms.append(f"{texture} texture")
    if found.glare >= GLARE_SHARE:
        terms.append("bright reflections")
    return terms


def _colour(found: Measures) -> str:
    """Name the larger of the two colour differences."""
    if max(abs(found.red), abs(found.yellow)) < TINT:
        return "same colour as around"
    if abs(found.red) >= abs(found.yellow):
        return "redder than around" if found.red > 0 else "paler than around"
    return "yellower than around" if found.yellow > 0 else "bluer than around"


def _confidence(found: Measures) -> str:
    """Say how far what was looked at stands out as one thing."""
    signs = (found.edge >= SHARP, found.solidity >= SOLID, found.parts == 1)
    return {3: "high", 2: "medium"}.get(sum(signs), "low")


def _reduced(image: UInt8Array, mask: BoolMask) -> tuple[UInt8Array, BoolMask]:
    factor = -(-max(mask.shape) // LONGEST)
    if factor == 1:
        return image, mask
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).reduce(factor)
    pixels = np.asarray(picture).reshape(picture.height, picture.width, image.shape[2])
    small = mask[factor // 2 :: factor, factor // 2 :: factor]
    small = np.pad(small, [(0, n - m) for n, m in zip(pixels.shape, small.shape, strict=False)])
    if not small.any():  # thinner than a step: keep what was touched
        small = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).reduce(factor)) > 0
    return pixels, small


def _cropped(image: UInt8Array, mask: BoolMask, margin: int) -> tuple[UInt8Array, BoolMask]:
    """Cut to the mask's box and ``margin`` px around it: nothing further away is looked at."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = tuple(slice(max(0, int(side[0]) - margin), int(side[-1]) + margin + 1) for side in (rows, columns))
    return image[box], mask[box]


def _lab(image: UInt8Array) -> FloatArray:
    """Convert sRGB uint8 (H, W, 3), or grey (H, W, 1), to CIE L*a*b* with the D65 white point."""
    linear = _LINEAR[image]
    if image.shape[2] == 1:
        linear = np.repeat(linear, 3, axis=2)
    xyz = linear @ _XYZ
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    lab: FloatArray = np.stack(
        [116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1
    )
    return lab


_GREY = np.arange(256) / 255
_LINEAR = np.where(_GREY <= 0.04045, _GREY / 12.92, ((_GREY + 0.055) / 1.055) ** 2.4)
# IEC 61966-2-1 primaries to CIE XYZ, each row of the transpose divided by the white point
_XYZ = (
    np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    / np.array([[0.9505], [1.0], [1.089]])
).T


def _mean(lab: FloatArray, mask: BoolMask) -> FloatArray:
    """Return the mean colour in a mask; the image's where the mask is empty, which makes every contrast small."""
    chosen: FloatArray = lab[mask] if mask.any() else lab.reshape(-1, 3)
    mean: FloatArray = chosen.mean(axis=0)
    return mean


def _ring(mask: BoolMask, *, outwards: float) -> BoolMask:
    """Return the pixels outside a mask and at most ``outwards`` px from it."""
    ring: BoolMask = (ndimage.distance_transform_edt(~mask) <= outwards) & ~mask
    return ring


def _eroded(mask: BoolMask, inwards: float) -> BoolMask:
    inside: BoolMask = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] > inwards
    return inside


def _axis_ratio(mask: BoolMask) -> float:
    """Minor to major axis of the ellipse with the second moments of the mask; a pixel counts as a unit square."""
    points = np.stack(np.nonzero(mask)).astype(np.float64)
    covariance = np.cov(points, bias=True) + np.eye(2) / 12
    low, high = np.linalg.eigvalsh(covariance)
    return float(np.sqrt(low / high))


def _solidity(mask: BoolMask) -> float:
    """Area over the area of the convex hull of the pixels' corners: 1 for a rectangle, whatever its size."""
    rows = np.flatnonzero(mask.any(axis=1))
    first, last = mask[rows].argmax(axis=1), mask.shape[1] - mask[rows, ::-1].argmax(axis=1)
    sides = [(rows + down, column) for down in (0, 1) for column in (first, last)]
    corners = np.concatenate([np.stack(side, axis=1) for side in sides])
    return float(mask.sum() / ConvexHull(corners).volume)  # in two dimensions "volume" is the area
