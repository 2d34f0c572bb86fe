"""Procedural images in three looks, each with the mask of its one structure: endoscopy, MR, ultrasound.

They are made to look at and to try things out on, not to stand for patients: no figure measured on them says anything
about a clinical task. Each look is drawn from a height field, an anatomy of ellipses or a scattering model, so that
the structure can be told from its surroundings by shape, texture and context, not by one grey value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, map_coordinates

from gazeseg.types import FloatArray, UInt8Array

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Phantom:
    """An image uint8 (H, W, 3) and the mask (H, W) of its structure."""

    image: UInt8Array
    mask: BoolArray


@dataclass(frozen=True, slots=True)
class Look:
    """A kind of image: ``draw(size, style, rng)``, where ``style`` is a generator that a patient's images share."""

    modality: str
    draw: Callable[[tuple[int, int], np.random.Generator, np.random.Generator], Phantom]


def draw_endoscopy(size: tuple[int, int], style: np.random.Generator, rng: np.random.Generator) -> Phantom:
    """A polyp on folded mucosa, lit from the camera, with vessels, highlights and the dark corners of an endoscope.

    Args:
        size: (H, W) in px.
        style: Decides colour and texture of the mucosa; the same state gives the same patient.
        rng: Decides everything else.
    """
    y, x = _grid(size)
    hue, vessel_strength, paleness = style.uniform(-1, 1), style.uniform(0.15, 0.5), style.uniform(-0.05, 0.09)
    fold_height = style.uniform(0.055, 0.11)
    fold_period = style.uniform(0.5, 0.8)

    lumen_y, lumen_x = _polar(rng.uniform(0.35, 1.0), rng.uniform(0, 2 * np.pi))
    warp = 0.16 * _noise(size, rng, 0.4)
    distance = np.hypot(y - lumen_y, x - lumen_x)
    folds = 0.5 + 0.5 * np.cos(2 * np.pi * (distance + warp) / fold_period)
    relief = fold_height * folds**2 + 0.03 * _noise(size, rng, 0.3) + 0.004 * _noise(size, rng, 0.05)

    radius = rng.uniform(0.3, 0.58)
    shift, angle = rng.uniform(0.0, 0.5), rng.uniform(0, 2 * np.pi)
    centre_y, centre_x = _polar(shift, angle)
    level, mask = _blob(y - centre_y, x - centre_x, radius, rng.uniform(0.65, 1.0), rng, wobble=0.10)
    dome = np.clip(1 - level**2, 0, None) ** 0.85 * radius * rng.uniform(0.5, 0.85)
    bumps = 0.016 * _noise(size, rng, 0.09) * (level < 1)
    height = np.where(level < 1, relief * np.clip(level, 0.3, 1) ** 2 + dome + bumps, relief)
    height = gaussian_filter(height, 0.012 * min(size))

    shade, gloss = _light(height, y, x, rng)
    vessels = sum(np.exp(-((_noise(size, rng, scale) / width) ** 2)) for scale, width in ((0.25, 0.05), (0.12, 0.06)))
    mucosa = np.array([0.80 + 0.04 * hue, 0.43 + 0.05 * hue + paleness, 0.34 - 0.03 * hue + paleness])
    polyp = mucosa * np.array([1.0, rng.uniform(0.8, 1.06), rng.uniform(0.8, 1.08)]) + rng.uniform(-0.03, 0.05)
    inside = _soft(level, 0.06)[..., None]
    colour = mucosa * (1 - vessel_strength * gaussian_filter(vessels, 0.6)[..., None] * [0.25, 0.6, 0.5])
    polyp_texture = 1 + 0.05 * _noise(size, rng, 0.05)[..., None] + 0.06 * _noise(size, rng, 0.2)[..., None]
    colour = colour * (1 - inside) + polyp * polyp_texture * inside
    rim = np.exp(-(((level - 1.04) / 0.07) ** 2))  # contact shadow
    dark = 1 - np.exp(-((distance / 0.42) ** 2)) * (1 - inside[..., 0])  # light does not come back from the lumen
    fall_off = 1.12 - 0.42 * (y**2 + x**2)
    image = colour * (shade * fall_off * (0.22 + 0.78 * dark) * (1 - 0.3 * rim))[..., None]
    image = image + (gloss * (0.3 + 0.7 * dark))[..., None]
    image = gaussian_filter(image, (0.5, 0.5, 0)) + rng.normal(0, 0.012, image.shape)

    corner = np.abs(y) + np.abs(x)
    frame = np.clip((1.62 - corner) / 0.02, 0, 1) * np.clip((0.985 - np.maximum(np.abs(y), np.abs(x))) / 0.01, 0, 1)
    return Phantom(_to_uint8(image * frame[..., None]), mask & (frame > 0.5))


def draw_mr(size: tuple[int, int], style: np.random.Generator, rng: np.random.Generator) -> Phantom:
    """An axial slice like a T2 MR of the pelvis: fat, muscle, bone, bladder, rectum, and the gland between them.

    Args:
        size: (H, W) in px.
        style: Decides the anatomy and contrast; the same state gives the same patient.
        rng: Decides the slice, its noise and coil shading.
    """
    y, x = _grid(size)
    wide, tall = style.uniform(0.9, 0.98), style.uniform(0.70, 0.84)
    fat, muscle, gland_grey = style.uniform(0.72, 0.9), style.uniform(0.2, 0.3), style.uniform(0.38, 0.52)
    zoom = style.uniform(0.62, 0.74)  # the field of view is narrower than the body
    body_seed, along = style.integers(2**32), rng.uniform(-1, 1)  # position along the body within the patient
    shape = np.random.default_rng(body_seed)
    x = x + 0.025 * _noise(size, rng, 0.5)
    y = y + 0.025 * _noise(size, rng, 0.5)

    y, x = (y - 0.02) * zoom, x * zoom
    body, _ = _blob(y, x, 1.0, 1.0, shape, wobble=0.02, axes=(tall, wide))
    image = np.zeros(size)
    image = _paint(image, body, fat * (1 + 0.10 * _noise(size, rng, 0.08)))
    rim = shape.uniform(0.12, 0.2)
    inner, _ = _blob(y + 0.02, x, 1.0, 1.0, shape, wobble=0.03, axes=(tall - rim, wide - rim * 0.8))
    image = _paint(image, inner, muscle * (1 + 0.16 * _noise(size, rng, 0.06)))
    for side in (-1, 1):
        seam = np.exp(-(((_rotate(y + 0.28, x - side * 0.45, side * 0.9)[0]) / 0.025) ** 2))
        image = np.where(inner < 0.95, image + 0.35 * seam * (np.abs(x) > 0.25), image)
        head, _ = _blob(y + 0.03, x - side * 0.58, 0.17 + 0.02 * along, 1.0, shape, wobble=0.04)
        image = _paint(image, head, 0.10)
        image = _paint(image, head * 1.17, 0.60 * (1 + 0.08 * _noise(size, rng, 0.04)))
    pelvis, _ = _blob(y - 0.03, x, 0.42, 1.0, shape, wobble=0.06, axes=(1.0, 0.86))
    image = _paint(image, pelvis, 0.62 * fat * (1 + 0.2 * _noise(size, rng, 0.07)), edge=0.08)
    bladder, _ = _blob(y + 0.31, x - 0.04 * along, 0.15 + 0.06 * along, 1.0, rng, wobble=0.05, axes=(0.75, 1.3))
    image = _paint(image, bladder, 0.93)
    rectum, _ = _blob(y - 0.33, x - shape.uniform(-0.06, 0.06), 0.115, 1.0, rng, wobble=0.12)
    image = _paint(image, rectum, muscle * 1.1)
    image = _paint(image, rectum * 1.45, rng.choice([0.04, 0.5]) * (1 + 0.3 * _noise(size, rng, 0.05)))
    for side in (-1, 1):
        strap, _ = _blob(*_rotate(y - 0.12, x - side * 0.35, side * 0.25), 0.2, 1.0, rng, wobble=0.06, axes=(1.0, 0.33))
        image = _paint(image, strap, muscle * (1 + 0.15 * _noise(size, rng, 0.05)))

    gland_y, gland_x = 0.04 + rng.uniform(-0.03, 0.03), shape.uniform(-0.05, 0.05)
    gland, mask = _blob(
        y - gland_y, x - gland_x, rng.uniform(0.19, 0.26), 1.0, rng, wobble=0.06, axes=(rng.uniform(0.75, 0.95), 1.15)
    )
    centre, _ = _blob(y - gland_y + 0.045, x - gland_x, 0.15, 1.0, rng, wobble=0.12, axes=(0.75, 1.05))
    image = _paint(image, gland * 0.94, 0.16, edge=0.1)  # the dark capsule
    image = _paint(image, gland, gland_grey * 1.45 * (1 + 0.10 * _noise(size, rng, 0.04)))
    nodules = 1 + 0.45 * _noise(size, rng, 0.045)
    image = _paint(image, np.maximum(centre, gland), gland_grey * 0.8 * nodules)

    coil = 1 + 0.28 * _noise(size, rng, 0.8) + 0.2 * (y**2 + x**2)
    image = gaussian_filter(image * coil, 0.7)
    noisy = np.hypot(image + rng.normal(0, 0.028, size), rng.normal(0, 0.028, size))  # Rician, as in magnitude images
    return Phantom(_grey(noisy / np.quantile(noisy, 0.995)), mask)


def draw_ultrasound(size: tuple[int, int], style: np.random.Generator, rng: np.random.Generator) -> Phantom:
    """A hypoechoic lesion in layered tissue, seen by a curved probe: speckle, attenuation, a cone on black.

    Args:
        size: (H, W) in px.
        style: Decides tissue layers and gain; the same state gives the same patient.
        rng: Decides the lesion and the speckle.
    """
    y, x = _grid(size)
    opening, gain, contrast = style.uniform(0.62, 0.78), style.uniform(0.36, 0.5), style.uniform(0.1, 0.26)
    skin, muscle_depth = style.uniform(0.08, 0.14), style.uniform(0.72, 0.84)
    apex = -1.75
    radius, angle = np.hypot(x, y - apex), np.arctan2(x, y - apex)
    near, far = 0.82, 2.72
    depth, lateral = (radius - near) / (far - near), angle / opening

    ripple = 0.05 * _noise(size, rng, 0.4)
    echo = np.clip(0.62 + 0.16 * _noise(size, rng, 0.25) + 0.12 * _noise(size, rng, 0.09), 0.3, 1.2)
    fibres = np.cos(2 * np.pi * (depth + 1.6 * ripple) / 0.045 + 4 * _noise(size, rng, 0.2)) * _noise(size, rng, 0.15)
    layer = depth + ripple
    echo = np.where(layer < skin, 0.85 + 0.2 * fibres, echo)
    echo = np.where(layer > muscle_depth, 0.45 + 0.2 * fibres, echo)
    for edge in (skin, muscle_depth):
        echo = echo + 0.9 * np.exp(-(((layer - edge) / 0.012) ** 2)) * (0.5 + 0.5 * np.abs(_noise(size, rng, 0.2)))
    for _ in range(rng.integers(1, 4)):  # ducts and vessels: dark as well, but small
        spot_y, spot_x = rng.uniform(-0.5, 0.6), rng.uniform(-0.6, 0.6)
        duct, _ = _blob(y - spot_y, x - spot_x, rng.uniform(0.04, 0.08), 1.0, rng, axes=(0.6, 1.5))
        echo = _paint(echo, duct, 0.12, edge=0.3)

    centre_depth, centre_lateral = rng.uniform(skin + 0.2, muscle_depth - 0.15), rng.uniform(-0.5, 0.5)
    centre_y = apex + (near + centre_depth * (far - near)) * np.cos(centre_lateral * opening)
    centre_x = (near + centre_depth * (far - near)) * np.sin(centre_lateral * opening)
    tilted = _rotate(y - centre_y, x - centre_x, rng.uniform(-0.5, 0.5))
    lesion, mask = _blob(*tilted, rng.uniform(0.28, 0.46), 1.0, rng, wobble=0.12, axes=(rng.uniform(0.55, 0.85), 1.2))
    echo = _paint(echo, lesion, contrast * (1 + 0.25 * _noise(size, rng, 0.06)), edge=0.16)
    echo = echo + 0.3 * np.exp(-(((lesion - 1.08) / 0.06) ** 2)) * (0.5 + 0.5 * _noise(size, rng, 0.15))
    behind = _behind(lesion, depth, lateral, centre_depth, centre_lateral)
    echo = echo * (1 + rng.choice([-0.4, 0.5]) * behind)  # solid lesions shadow, cysts enhance

    speckle = _speckle(size, depth, lateral, rng)
    attenuation = np.exp(-1.1 * np.clip(depth, 0, 1)) * 1.45
    intensity = np.clip(echo, 0.02, None) * attenuation * speckle
    image = np.log1p(9 * intensity) / np.log(10) * (gain + 0.3)
    image = gaussian_filter(image, 0.5)
    cone = (
        np.clip((1 - np.abs(lateral)) / 0.015, 0, 1) * np.clip(depth / 0.008, 0, 1) * np.clip((1 - depth) / 0.008, 0, 1)
    )
    return Phantom(_grey(image * cone), mask & (cone > 0.5))


LOOKS: Final = (
    Look("endoscopy", draw_endoscopy),
    Look("mr", draw_mr),
    Look("ultrasound", draw_ultrasound),
)


def _grid(size: tuple[int, int]) -> tuple[FloatArray, FloatArray]:
    """(H, W) coordinates with -1 and 1 at the borders, so that frames and bodies fill the image."""
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float64)
    return (y + 0.5) / height * 2 - 1, (x + 0.5) / width * 2 - 1


def _polar(radius: float, angle: float) -> tuple[float, float]:
    return radius * float(np.sin(angle)), radius * float(np.cos(angle))


def _rotate(y: FloatArray, x: FloatArray, angle: float) -> tuple[FloatArray, FloatArray]:
    return y * np.cos(angle) - x * np.sin(angle), y * np.sin(angle) + x * np.cos(angle)


def _noise(size: tuple[int, int], rng: np.random.Generator, scale: float) -> FloatArray:
    """Smooth noise (H, W) of zero mean and unit deviation; ``scale`` is its grain as a share of the image side."""
    cells = max(2, round(1 / scale))
    coarse = rng.normal(size=(cells + 3, cells + 3))
    field: FloatArray = _spline(size[0], cells) @ coarse @ _spline(size[1], cells).T
    field -= field.mean()
    return field / (float(field.std()) + 1e-9)


@lru_cache(maxsize=256)
def _spline(samples: int, cells: int) -> FloatArray:
    """Weights (samples, cells + 3) of a uniform cubic B-spline over ``cells`` intervals."""
    t = (np.arange(samples) + 0.5) / samples * cells
    first = t.astype(int)
    f = (t - first)[:, None]
    weights = (
        np.concatenate([(1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3], axis=1) / 6
    )
    matrix = np.zeros((samples, cells + 3))
    np.put_along_axis(matrix, first[:, None] + np.arange(4), weights, axis=1)
    return matrix


def _blob(
    y: FloatArray,
    x: FloatArray,
    radius: float,
    flat: float,
    rng: np.random.Generator,
    *,
    wobble: float = 0.08,
    axes: tuple[float, float] = (1.0, 1.0),
) -> tuple[FloatArray, BoolArray]:
    """A closed, wobbly outline around the origin: (distance, 1 on the outline; inside).

    The outline is an ellipse of ``radius`` times ``axes`` (y, x), squeezed by ``flat`` at a random angle, with random
    harmonics of relative size ``wobble``.
    """
    turn = rng.uniform(0, np.pi)
    v, u = _rotate(y / axes[0], x / axes[1], turn)
    v = v / flat
    distance = np.hypot(u, v)
    direction = (u + 1j * v) / np.maximum(distance, 1e-9)
    outline, turned = np.ones_like(distance), direction
    for harmonic in range(2, 7):
        turned = turned * direction  # its real part is the cosine of harmonic * angle
        outline += (wobble * rng.normal() / harmonic**0.8 * np.exp(1j * rng.uniform(0, 2 * np.pi)) * turned).real
    level = distance / (radius * np.clip(outline, 0.4, 1.8))
    return level, level < 1


def _soft(level: FloatArray, edge: float) -> FloatArray:
    return np.clip((1 - level) / edge + 0.5, 0, 1)


def _paint(image: FloatArray, level: FloatArray, value: FloatArray | float, edge: float = 0.05) -> FloatArray:
    """Put ``value`` where ``level`` < 1, with a soft border."""
    inside = _soft(level, edge)
    return image * (1 - inside) + value * inside


def _light(height: FloatArray, y: FloatArray, x: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Lambert shading and highlights of a height field lit by two lamps beside the camera."""
    rows, columns = height.shape
    slope_y, slope_x = np.gradient(height, 2 / rows, 2 / columns)
    normal = np.stack([-slope_y, -slope_x, np.ones_like(height)])
    normal /= np.linalg.norm(normal, axis=0)
    shade, gloss = np.zeros_like(height), np.zeros_like(height)
    turn = rng.uniform(0, np.pi)
    for side in (0, np.pi):
        lamp_y, lamp_x = _polar(0.35, turn + side)
        to_lamp = np.stack([lamp_y - y, lamp_x - x, 1.6 - height])
        to_lamp /= np.linalg.norm(to_lamp, axis=0)
        to_eye = np.stack([-y, -x, 1.5 - height])
        to_eye /= np.linalg.norm(to_eye, axis=0)
        half = to_lamp + to_eye
        half /= np.linalg.norm(half, axis=0)
        shade += 0.5 * np.clip((normal * to_lamp).sum(axis=0), 0, None)
        gloss += np.clip((normal * half).sum(axis=0), 0, None) ** 250
    wet = 0.5 + 0.5 * _noise(height.shape, rng, 0.06)
    return 0.25 + 0.85 * shade, 0.55 * np.clip(gloss * np.clip(wet, 0, 1.5), 0, 1.2)


def _behind(
    lesion: FloatArray, depth: FloatArray, lateral: FloatArray, centre_depth: float, centre_lateral: float
) -> FloatArray:
    """How much of the beam reached a point through the lesion, 0..1."""
    inside = lesion < 1
    if not inside.any():
        return np.zeros_like(lesion)
    width = 0.75 * float(np.abs(lateral[inside] - centre_lateral).max())
    beam = np.exp(-(((lateral - centre_lateral) / max(width, 1e-3)) ** 4))
    below = np.clip((depth - centre_depth) / 0.12, 0, 1) * np.exp(-2.2 * np.clip(depth - centre_depth, 0, None))
    return beam * below * (lesion >= 1)


def _speckle(size: tuple[int, int], depth: FloatArray, lateral: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Fully developed speckle: Rayleigh amplitude, fine along the beam and wider across it, coarser with depth."""
    lines, samples = 3 * size[1] // 4, 2 * size[0]
    scatter = rng.normal(size=(2, samples, lines))
    amplitude = np.hypot(*gaussian_filter(scatter, (0, 1.1, 0.8)))
    rows, columns = depth * (samples - 1), (lateral + 1) / 2 * (lines - 1)
    field = map_coordinates(amplitude, [rows, columns], order=1, mode="nearest")
    scaled: FloatArray = field / (field.mean() + 1e-9)
    return scaled


def _grey(image: FloatArray) -> UInt8Array:
    return np.repeat(_to_uint8(image)[..., None], 3, axis=2)


def _to_uint8(image: FloatArray) -> UInt8Array:
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
