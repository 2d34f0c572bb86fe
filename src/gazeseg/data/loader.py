"""Batches from a :class:`~gazeseg.data.cache.Store`: random ones for training, ordered ones for validation.

A training batch is a pure function of (seed, step). Which cases it holds and how they are transformed is drawn from
``np.random.default_rng([seed, ..., step])``, so a resumed run needs no loader state and gets the batches it would have
had.

With ``resident`` and a GPU, the uint8 arrays live on that device; picking, augmenting and thresholding then happen
there, and the host never waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gazeseg.config import DataConfig, Labelled, PartialConfig, PseudoConfig
from gazeseg.console import warn
from gazeseg.data.cache import SOFT, Store
from gazeseg.data.labelled import labelled_patients
from gazeseg.data.streams import Rows, case_streams
from gazeseg.data.text import CaseTexts
from gazeseg.data.transforms import (
    Normalise,
    TransformParams,
    flip_pixels,
    move_pixels,
    move_points,
    normalise,
    recolour,
    resolve_normalise,
    sample_transforms,
    send,
    standardise,
    to_planes,
)
from gazeseg.data.turns import turn_pixels
from gazeseg.errors import ConfigError, suggest
from gazeseg.types import IGNORE, Batch, Fixations, FloatArray, UInt8Array

TEXT: Final = frozenset({"text", "text_length", "text_fields"})
KNOWN_NEEDS: Final = TEXT | {
    "labelled",
    "mask",
    "weak",
    "pseudo",
    "gaze_map",
    "track",
    "track_length",
}
TRANSFORM: Final = 1  # stream of random numbers below one seed; see also gazeseg.data.streams.ORDER
RESIDENT_SHARE: Final = 0.5  # of the free device memory; the rest is for the network
GREY: Final = standardise(torch.arange(256).float().view(1, 1, 1, 256), "unit").flatten().numpy()  # of each byte
CLASS: Final = np.arange(256)  # of each byte of a mask
TIE: Final = 1e-3  # of 255: keeps a map that equals a threshold on its side of it, whatever the interpolation rounds


def store_fields(needs: Iterable[str], pseudo: PseudoConfig) -> frozenset[str]:
    """Return the fields of :func:`~gazeseg.data.cache.open_store` from which a method's ``needs`` are made.

    Raises:
        ConfigError: for a need that no loader can meet.

    Examples:
        >>> sorted(store_fields({"pseudo", "weak"}, PseudoConfig()))
        ['crf', 'heatmap']
        >>> sorted(store_fields({"weak"}, PseudoConfig(source="prompt")))
        ['prompt']
    """
    wanted = frozenset(needs)
    for unknown in sorted(wanted - KNOWN_NEEDS):
        raise ConfigError(
            f"the method needs '{unknown}', which the loader does not give{suggest(unknown, KNOWN_NEEDS)}"
        )
    fields = wanted & {"mask"}
    if "weak" in wanted:
        fields |= {pseudo.ternary_source}
    if "gaze_map" in wanted:
        fields |= {"heatmap"}
    if "pseudo" in wanted:
        fields |= {"levels" if pseudo.threshold_at == "native" else pseudo.source}
    return fields


class TrainLoader:
    """Random, augmented batches.

    Cases come as one endless stream of permutations, cut into batches: every case once an epoch, no tail dropped, and a
    batch larger than the data set simply spans several epochs. With ``data.labelled_per_batch`` there are two such
    streams: the first cases of each batch come from the labelled ones, the rest from the others.

    A case without gaze on its image contributes nothing: ``pseudo`` and ``weak`` are 255, ``gaze_map`` is 0 and
    ``track_length`` 0. Fixations off the image are left out of ``track``, as the heatmap leaves them out. The part of a
    rotated or shrunk image where nothing was is 255 in every target. A case without text has ``text_length`` 0.
    """

    def __init__(
        self,
        store: Store,
        *,
        data: DataConfig,
        pseudo: PseudoConfig,
        partial: PartialConfig,
        needs: Iterable[str],
        batch_size: int,
        seed: int,
        device: torch.device | str = "cpu",
        resident: bool = True,
        text: CaseTexts | None = None,
    ) -> None:
        """Prepare batches.

        Args:
            store: Decoded arrays with the fields that :func:`store_fields` names.
            data: Augmentation, normalisation, and the patients whose masks may be seen.
            pseudo: How soft maps become levels; ``thresholds`` must be filled in if ``pseudo`` is needed.
            partial: How the heatmap, or the prompted map, becomes the ternary target ``weak``.
            needs: Fields of the batch beyond ids, image and labelled.
            batch_size: Cases a batch.
            seed: Decides order and transforms.
            device: Where batches are made.
            resident: Keep the uint8 arrays on that device if it is a GPU and they fit in half its free memory.
            text: Token embeddings of the store's cases, in its order, where ``text`` is needed.

        Raises:
            ConfigError: if a need cannot be met, the normalisation does not fit the images, or there are no cases for
                one of the two streams.
        """
        self.needs = frozenset(needs)
        self.fields = store_fields(self.needs, pseudo)
        for field in sorted(self.fields):
            if getattr(store, field) is None:
                raise ConfigError(f"the store was opened without '{field}', which {', '.join(sorted(self.needs))} need")
        if "pseudo" in self.needs and pseudo.thresholds is None:
            raise ConfigError("pseudo.thresholds are not filled in; give them as --pseudo.thresholds 0.5,0.3")
        if "weak" in self.needs and not partial.tau_b < partial.tau_f:
            raise ConfigError(f"partial.tau_b {partial.tau_b:g} must be below partial.tau_f {partial.tau_f:g}")
        if self.needs & TEXT and text is None:
            raise ConfigError(f"no text embeddings given, which {', '.join(sorted(self.needs & TEXT))} need")
        self.store = store
        self.data = data
        self.pseudo = pseudo
        self.partial = partial
        self.batch_size = batch_size
        self.seed = seed
        self.device = torch.device(device)
        self._kind: Normalise = resolve_normalise(data.normalise, store.channels)
        self._ids = np.array(store.ids, dtype=object)
        self._labelled = labelled_rows(store, data.labelled)
        if "mask" in self.needs:
            self._labelled &= np.array([case.mask is not None for case in store.cases])
        if data.labelled_per_batch is not None and "mask" not in self.needs:
            raise ConfigError("data.labelled_per_batch is for methods that learn from masks; leave it out")
        self._streams = case_streams(self._labelled, batch_size, data.labelled_per_batch, seed)
        self._gazed = np.array([bool(fixations.on_image.any()) for fixations in store.fixations])
        looks = store.fixations if store.tracks is None else store.tracks
        self._tracks = [_network_track(f, store.size) for f in looks] if self._wants_track else []
        self._text = text if self.needs & TEXT else None
        self._host: dict[str, UInt8Array] = {name: getattr(store, name) for name in ("image", *sorted(self.fields))}
        self._resident = self._upload() if resident and self.device.type == "cuda" else None

    def batch(self, step: int) -> Batch:
        """Return the batch of one step, from 0; the same for the same seed and step, whatever was asked before."""
        rows = np.concatenate([stream.cut(step) for stream in self._streams])
        rng = np.random.default_rng([self.seed, TRANSFORM, step])
        params = sample_transforms(self.data.augment, len(rows), rng)
        gazed, labelled = self._gazed[rows], self._labelled[rows]
        if params.nearest and params.resamples and self.device.type == "cpu":
            pixels, inside = self._turned(rows, params)
        else:
            pixels, inside = self._transformed(self._gather(rows), params)
            if "mask" in pixels:  # bytes are quicker to fill
                pixels["mask"] = _ignore(pixels["mask"], self._send_if_any(~labelled), None).long()

        weak = pseudo = gaze_map = None
        silent = self._send_if_any(~gazed)
        if "pseudo" in self.needs:
            pseudo = _ignore(self._levels(pixels), silent, inside).long()  # bytes, then one conversion
        if "weak" in self.needs:
            weak = _ignore(self._ternary(pixels[self.pseudo.ternary_source]), silent, inside).long()
        if "gaze_map" in self.needs:
            gaze_map = (pixels["heatmap"].float() / 255).clamp_(0, 1).unsqueeze(1)
        track = length = None
        if self._wants_track:
            track, length = self._track(rows, params)
        text = text_length = text_fields = None
        if self._text is not None:
            tokens, text_length, fields = (send(array, self.device) for array in self._text.padded(rows))
            text, text_fields = tokens.float(), fields.long()
        return Batch(
            ids=tuple(self._ids[rows]),
            image=pixels["image"],
            labelled=send(labelled, self.device),
            labelled_first=self.data.labelled_per_batch,
            mask=pixels.get("mask"),
            weak=weak,
            pseudo=pseudo,
            gaze_map=gaze_map,
            track=track,
            track_length=length,
            text=text,
            text_length=text_length,
            text_fields=text_fields,
        )

    @property
    def masks_seen(self) -> int:
        """Number of cases whose mask a method may learn from."""
        return int(self._labelled.sum()) if "mask" in self.needs else 0

    @property
    def _wants_track(self) -> bool:
        return bool(self.needs & {"track", "track_length"})

    def _upload(self) -> dict[str, Tensor] | None:
        needed = sum(array.nbytes for array in self._host.values())
        free = torch.cuda.mem_get_info(self.device)[0]
        if needed > RESIDENT_SHARE * free:
            warn(
                f"{needed / 2**30:.1f} GiB of images are more than half of the {free / 2**30:.1f} GiB free on the GPU; "
                "batches are made from the cache on disk instead"
            )
            return None
        return {name: torch.from_numpy(array.copy()).to(self.device) for name, array in self._host.items()}

    def _gather(self, rows: Rows) -> dict[str, Tensor]:
        """Return the stored uint8 arrays of some cases on the device."""
        if self._resident is None:
            return {name: send(array[rows], self.device) for name, array in self._host.items()}
        index = send(rows, self.device)
        return {name: array.index_select(0, index) for name, array in self._resident.items()}

    def _transformed(
        self, pixels: Mapping[str, Tensor], params: TransformParams
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Augment: image to normalised (B, C, H, W); maps stay in 0..255; also where the image is, None: everywhere."""
        out = {**pixels, "image": to_planes(pixels["image"])}
        if not params.resamples:
            out = {name: flip_pixels(array, params) for name, array in out.items()}
        image = out["image"].float()
        if params.recolours:
            image = recolour(image, params)
        out["image"] = standardise(image, self._kind)
        if not params.resamples:
            return out, None

        soft = [name for name in SOFT if name in out]
        hard = [name for name in ("mask", "levels") if name in out]
        maps = torch.stack([out[name].float() for name in soft], dim=1) if soft else None
        planes = [out[name].unsqueeze(1) if name == "mask" else out[name] for name in hard]
        warped = move_pixels(out["image"], maps, torch.cat(planes, dim=1) if planes else None, params)
        out["image"] = warped.image.contiguous()
        if warped.maps is not None:
            out.update(zip(soft, warped.maps.unbind(1), strict=True))
        if warped.labels is not None:
            out.update(zip(hard, torch.split(warped.labels, [plane.shape[1] for plane in planes], dim=1), strict=True))
            if "mask" in out:
                out["mask"] = out["mask"].squeeze(1)
        return out, warped.inside.squeeze(1)

    def _turned(self, rows: Rows, params: TransformParams) -> tuple[dict[str, Tensor], Tensor | None]:
        """Move whole pixels, on the CPU: as :meth:`_transformed`, but ``mask`` is ready."""
        out: dict[str, Tensor] = {}
        planes = self.store.image.transpose(0, 3, 1, 2)
        if self._kind == "unit" and self.store.channels == 1:  # black is 0 before and after
            out["image"] = turn_pixels(planes, params, 0, rows=rows, table=GREY)
        else:
            image = standardise(torch.from_numpy(planes[rows]).contiguous().float(), self._kind)
            out["image"] = turn_pixels(image.numpy(), params, 0)
        for name, array in self._host.items():
            if name in SOFT:
                out[name] = turn_pixels(array[:, None], params, 0, rows=rows)[:, 0]
            elif name == "levels":
                out[name] = turn_pixels(array, params, IGNORE, rows=rows)
            elif name == "mask":
                unseen = ~self._labelled[rows]
                out[name] = turn_pixels(array[:, None], params, IGNORE, rows=rows, table=CLASS, blank=unseen)[:, 0]
        if not self.needs & {"pseudo", "weak"}:
            return out, None
        everywhere = np.ones((1, 1, *self.store.size), np.uint8)
        return out, turn_pixels(everywhere, params, 0, rows=np.zeros_like(rows))[:, 0].bool()

    def _levels(self, pixels: Mapping[str, Tensor]) -> Tensor:
        """Return (B, L, H, W) uint8 of 0 and 1."""
        if self.pseudo.threshold_at == "native":
            return pixels["levels"]
        soft = pixels[self.pseudo.source]
        return torch.stack([_reaches(soft, t) for t in self.pseudo.thresholds or ()], dim=1)

    def _ternary(self, soft: Tensor) -> Tensor:
        """Return (B, H, W) uint8 of 0, 1 and 255: GNAN's target, as :func:`gazeseg.supervision.levels.ternary`."""
        foreground = _reaches(soft, self.partial.tau_f)
        above = _exceeds(soft, self.partial.tau_b) | foreground
        return above * IGNORE - foreground * (IGNORE - 1)

    def _track(self, rows: Rows, params: TransformParams) -> tuple[Tensor, Tensor]:
        """Return (B, N, 4) float32 and (B,) int64; N is the longest of the batch, at least 1."""
        tracks = [self._tracks[row] for row in rows]
        lengths = np.array([len(track) for track in tracks], dtype=np.int64)
        padded = np.zeros((len(rows), max(1, int(lengths.max())), 4))
        for b, track in enumerate(tracks):
            padded[b, : len(track)] = track
        padded[..., 0], padded[..., 1] = move_points(padded[..., 0], padded[..., 1], params, self.store.size)
        padded[np.arange(padded.shape[1]) >= lengths[:, None]] = 0
        return send(padded.astype(np.float32), self.device), send(lengths, self.device)

    def _send_if_any(self, flags: npt.NDArray[np.bool_]) -> Tensor | None:
        return send(flags, self.device) if flags.any() else None


def batches(
    store: Store, size: int, device: torch.device | str = "cpu", *, kind: Normalise = "auto"
) -> Iterator[Batch]:
    """Yield every case once in stored order, not augmented: for validation.

    ``mask`` is there if the store has masks; 255 throughout, and ``labelled`` False, for a case without one.

    Args:
        store: Decoded arrays.
        size: Cases a batch; the last one may be smaller.
        device: Where the batches are wanted.
        kind: ``data.normalise`` of the run.
    """
    target = torch.device(device)
    for start in range(0, len(store), size):
        part = slice(start, start + size)
        labelled = np.array([case.mask is not None for case in store.cases[part]])
        yield Batch(
            ids=store.ids[part],
            image=normalise(send(store.image[part].copy(), target), kind),
            labelled=send(labelled, target),
            mask=None if store.mask is None else send(store.mask[part].copy(), target).long(),
        )


def labelled_rows(store: Store, labelled: Labelled) -> npt.NDArray[np.bool_]:
    """Return (N,) True for the cases of labelled patients, see :func:`gazeseg.data.labelled.labelled_patients`."""
    chosen = labelled_patients(store.cases, labelled)
    return np.array([case.patient_id in chosen for case in store.cases])


def _network_track(fixations: Fixations, size: tuple[int, int]) -> FloatArray:
    """Return (K, 4): x_px, y_px of the network-size image, onset_s, duration_s of the fixations on the image."""
    kept = fixations.on_image
    height, width = fixations.image_size
    track: FloatArray = np.stack(
        [
            (fixations.x_px[kept] + 0.5) * size[1] / width - 0.5,  # a pixel centre at integers is half a pixel in
            (fixations.y_px[kept] + 0.5) * size[0] / height - 0.5,
            fixations.onset_ms[kept] / 1000,
            fixations.duration_ms[kept] / 1000,
        ],
        axis=1,
    )
    return track


def _reaches(soft: Tensor, threshold: float) -> Tensor:
    """Return uint8 1 where a map in 0..255 is at least ``255 * threshold``, else 0."""
    bound = 255 * threshold - TIE
    if soft.is_floating_point():
        return (soft >= bound).to(torch.uint8)
    whole = max(1, math.ceil(bound))
    return soft.clamp(whole - 1, whole).sub_(whole - 1)  # what a comparison gives, several times faster on a CPU


def _exceeds(soft: Tensor, threshold: float) -> Tensor:
    """Return uint8 1 where a map in 0..255 is above ``255 * threshold``, else 0."""
    bound = 255 * threshold + TIE
    if soft.is_floating_point():
        return (soft > bound).to(torch.uint8)
    whole = math.floor(bound)
    return soft.clamp(whole, whole + 1).sub_(whole)


def _ignore(target: Tensor, samples: Tensor | None, inside: Tensor | None) -> Tensor:
    """Set 255 in whole samples (B,) and outside the image (B, H, W); ``target`` is (B, H, W) or (B, L, H, W)."""
    if samples is not None:
        if target.device.type == "cpu":  # whole rows at once; on a GPU an index would have to be waited for
            target.numpy()[samples.numpy()] = IGNORE
        else:
            target = target.masked_fill_(samples.reshape(-1, *(1,) * (target.ndim - 1)), IGNORE)
    if inside is not None:
        outside = ~inside if target.ndim == 3 else ~inside.unsqueeze(1)
        target = target.masked_fill_(outside, IGNORE)
    return target
