"""From many prompted masks to one honest target: where they agree, how far the case is to be trusted, and if at all.

The members of an ensemble (see :mod:`gazeseg.supervision.prompts`) are averaged to a probability. How far they agree is
the stability; what the gaze and the model itself say of the result is the quality of the case, which decides whether it
is kept. Nothing here looks at a true mask.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gazeseg.config import PromptConfig
from gazeseg.errors import DataError
from gazeseg.supervision.prompts import CUT, Answer, Promptable, Prompts, gaze_prompts, mask_prompts
from gazeseg.supervision.quality import mask_quality
from gazeseg.types import Fixations, Float32Array, FloatArray, UInt8Array

ENOUGH: Final = 0.5  # gaze wanders: it tells a failure from a success, not good from better

Masks = npt.NDArray[np.bool_]
Resize = Callable[[Float32Array, tuple[int, int]], Float32Array]


@dataclass(frozen=True, slots=True)
class Fused:
    """The mean of an ensemble.

    Attributes:
        probability: (h, w) foreground, the mean of the members.
        masks: (M, h, w) bool, the members cut at a half.
        predicted_iou: The model's own estimate, mean over all prompts, in 0..1.
        prompts: Number of prompts.
    """

    probability: Float32Array
    masks: Masks
    predicted_iou: float
    prompts: int


@dataclass(frozen=True, slots=True)
class CaseQuality:
    """Signs, each in 0..1, that a prompted mask is the object that was looked at.

    Attributes:
        dwell: Share of the dwell time on the image that lies inside the mask.
        agreement: Dice of the mask with the one of the CRF; told, not counted. Where they differ it is mostly the CRF
            that errs: it misses most of an object that fills the image.
        stability: Mean IoU of all members, of every round, with the mask of the case.
        predicted_iou: ``Fused.predicted_iou``.
        area: Share of the image that the mask covers.
        score: One figure: predicted_iou times stability, and less where the mask holds less than half of the dwell
            time (:data:`ENOUGH`); 0 where the area is out of bounds.
    """

    dwell: float
    agreement: float
    stability: float
    predicted_iou: float
    area: float
    score: float


@dataclass(frozen=True, slots=True)
class Labelled:
    """What a promptable model makes of one case.

    Attributes:
        probability: (H, W) foreground; the second opinion, or without one the map of the way without a model, where
            ``fallback`` is not empty.
        stability: (H, W) 1 where all members of every round agree, 0 where half of them say foreground.
        quality: What speaks for the prompted mask; None where there was nothing to ask about.
        fallback: Why the prompted mask was not kept, empty where it was.
        prompts: Number of prompts that were asked.
        objects: Number of objects that gaze pointed at, at its most generous level.
    """

    probability: Float32Array
    stability: Float32Array
    quality: CaseQuality | None
    fallback: str
    prompts: int
    objects: int


def label_case(
    model: Promptable,
    image: UInt8Array,
    fix: Fixations,
    heat: Float32Array,
    plain: Float32Array,
    config: PromptConfig,
    *,
    opinion: Float32Array | None = None,
    resize: Resize,
) -> Labelled:
    """Ask a model about one case: with prompts from gaze, then ``rounds`` times about its own mean mask.

    The mean of the last round is the target; the members of all rounds together tell its stability. A second opinion is
    asked about in the same way, and the target is the mean of what the two ways end with.

    Args:
        model: Encodes the image once.
        image: (H, W, C) uint8.
        fix: Fixations of the case.
        heat: (H, W) heatmap.
        plain: (H, W) soft map of the way without a model: what the mask is compared with, and what it falls back to
            without an opinion.
        config: Prompts, and what is kept.
        opinion: (H, W) foreground by a student, whose mask is asked about ``rounds`` times, once at least. One without
            foreground is none.
        resize: Brings a map to another size.
    """
    size = (heat.shape[0], heat.shape[1])
    prompts = gaze_prompts(fix, heat, config)
    if opinion is not None and not (opinion >= CUT).any():
        opinion = None
    instead, nothing = plain if opinion is None else opinion, np.zeros_like(plain)
    if not len(prompts):
        return Labelled(instead, nothing, None, "no mode in the heatmap", 0, 0)
    embedding = model.encode(image)
    ways = [_looks(model, embedding, prompts, 1 + config.rounds, config)]
    if opinion is not None:
        ways.append(_looks(model, embedding, mask_prompts(opinion, size, config), max(1, config.rounds), config))
    rounds = [fused for way in ways for fused in way]
    members = np.concatenate([fused.masks for fused in rounds])
    mean = np.mean([way[-1].probability for way in ways], axis=0)
    predicted_iou = float(np.mean([way[-1].predicted_iou for way in ways]))
    probability = np.clip(resize(mean, size), 0, 1)
    quality = case_quality(probability, overlap(members, mean >= CUT), predicted_iou, fix, plain, config)
    asked, objects = sum(fused.prompts for fused in rounds), int(np.bincount(prompts.members).max())
    fallback = _refused(quality, config)
    if fallback:
        return Labelled(instead, nothing, quality, fallback, asked, objects)
    return Labelled(probability, np.clip(resize(stability(members), size), 0, 1), quality, "", asked, objects)


def _looks(model: Promptable, embedding: Any, prompts: Prompts, count: int, config: PromptConfig) -> list[Fused]:
    """Ask with ``prompts``, then about the mean mask of the round before, until ``count`` rounds or nothing is left."""
    rounds: list[Fused] = []
    while len(prompts) and len(rounds) < count:
        rounds.append(fuse(model.masks(embedding, prompts), prompts.members))
        prompts = mask_prompts(rounds[-1].probability, prompts.image_size, config)
    return rounds


def fuse(answer: Answer, members: npt.NDArray[np.int64]) -> Fused:
    """Unite the prompts of each member (maximum) and average the members.

    Args:
        answer: Of the model to P prompts, P at least 1.
        members: (P,) member of each prompt.

    Raises:
        DataError: if there is no prompt.

    Examples:
        >>> answer = Answer(np.array([[[0.9, 0.1]], [[0.7, 0.7]]], np.float32), np.array([0.8, 0.6]))
        >>> fused = fuse(answer, np.array([0, 1]))
        >>> np.round(fused.probability, 2), stability(fused.masks), overlap(fused.masks, fused.probability >= CUT)
        (array([[0.8, 0.4]], dtype=float32), array([[1., 0.]], dtype=float32), 0.75)
    """
    if not len(members):
        raise DataError("no prompt to fuse; a case without one falls back to its CRF target")
    united = np.stack([answer.probability[members == member].max(axis=0) for member in np.unique(members)])
    return Fused(
        probability=np.clip(united.mean(axis=0), 0, 1).astype(np.float32),
        masks=united >= CUT,
        predicted_iou=float(np.clip(answer.predicted_iou, 0, 1).mean()),
        prompts=len(members),
    )


def stability(masks: Masks) -> Float32Array:
    """Return (h, w) 1 where all of (M, h, w) agree, 0 where half of them say foreground: ``|2 share - 1|``."""
    agreed: Float32Array = np.abs(2 * masks.mean(axis=0) - 1).astype(np.float32)
    return agreed


def overlap(masks: Masks, mask: Masks) -> float:
    """Return the mean IoU of (M, h, w) with (h, w); 0 with an empty one."""
    union = (masks | mask).sum(axis=(1, 2))
    return float(((masks & mask).sum(axis=(1, 2)) / np.maximum(union, 1)).mean())


def dwell_inside(fix: Fixations, mask: npt.NDArray[np.bool_]) -> float:
    """Return the share of the dwell time on the image that lies on ``mask`` (H, W); 0 without a fixation on it."""
    seen = fix.on_image
    total = float(fix.duration_ms[seen].sum())
    if not total:
        return 0.0
    rows, columns = _pixels(fix.y_px[seen], mask.shape[0]), _pixels(fix.x_px[seen], mask.shape[1])
    return float(fix.duration_ms[seen][mask[rows, columns]].sum()) / total


def case_quality(
    probability: Float32Array,
    stable: float,
    predicted_iou: float,
    fix: Fixations,
    plain: Float32Array,
    config: PromptConfig,
) -> CaseQuality:
    """Judge a prompted mask by what else is known of the case.

    Args:
        probability: (H, W) of the image's size.
        stable: Mean IoU of the members with the mask, 0..1.
        predicted_iou: The model's own estimate, 0..1.
        fix: The fixations of the case.
        plain: (H, W) soft map of the CRF, or the heatmap where there is none.
        config: Bounds of the area.
    """
    mask = probability >= CUT
    area = float(mask.mean())
    dwell = dwell_inside(fix, mask)
    plausible = config.min_area <= area <= config.max_area
    return CaseQuality(
        dwell=dwell,
        agreement=mask_quality(mask, plain >= CUT)["dice"],
        stability=stable,
        predicted_iou=predicted_iou,
        area=area,
        score=predicted_iou * stable * min(1.0, dwell / ENOUGH) if plausible else 0.0,
    )


def _refused(quality: CaseQuality, config: PromptConfig) -> str:
    """Say why a mask is not kept; empty if it is."""
    if quality.area < config.min_area:
        return f"covers {quality.area:.2%} of the image, less than {config.min_area:.2%}"
    if quality.area > config.max_area:
        return f"covers {quality.area:.0%} of the image, more than {config.max_area:.0%}"
    if quality.score < config.min_quality:
        return f"score {quality.score:.2f} below {config.min_quality:.2f}"
    return ""


def _pixels(position_px: FloatArray, extent: int) -> npt.NDArray[np.intp]:
    return np.clip(np.floor(position_px + 0.5), 0, extent - 1).astype(np.intp)
