"""The data that passes between stages: frozen, typed, checked on construction.

Conventions of the whole package: pixel (0, 0) is the top left and pixel centres lie at integers; x comes before y in
pixels of a named space; arrays are (H, W); times are milliseconds in NumPy and seconds in tensors; masks hold class
indices, and 255 is the only ignore value.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt

from gazeseg.errors import DataError

if TYPE_CHECKING:  # torch costs seconds to import and the gaze side never needs it
    import torch

IGNORE: Final = 255
"""Label of a pixel that no loss and no metric looks at."""

FloatArray = npt.NDArray[np.float64]
Float32Array = npt.NDArray[np.float32]
UInt8Array = npt.NDArray[np.uint8]
Split = Literal["train", "val", "test", "none"]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise DataError(message)


@dataclass(frozen=True, slots=True)
class ScreenGeometry:
    """A display: size in pixels and centimetres, viewing distance in centimetres."""

    width_px: int
    height_px: int
    width_cm: float
    height_cm: float
    distance_cm: float

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            _require(value > 0, f"ScreenGeometry.{field.name} must be positive, got {value}")


@dataclass(frozen=True, slots=True)
class Recording:
    """Raw gaze samples of one reader on one image, in **screen** pixels; NaN marks a lost sample.

    Shapes: every array is (N,). ``time_ms`` rises strictly.
    """

    time_ms: FloatArray
    x_px: FloatArray
    y_px: FloatArray
    image_id: str
    reader_id: str = ""
    pupil: FloatArray | None = None
    screen: ScreenGeometry | None = None

    def __post_init__(self) -> None:
        n = len(self.time_ms)
        for name in ("x_px", "y_px", "pupil"):
            array = getattr(self, name)
            _require(
                array is None or len(array) == n,
                f"Recording of '{self.image_id}': {name} has another length than time_ms ({n})",
            )
        _require(bool(np.all(np.diff(self.time_ms) > 0)), f"Recording of '{self.image_id}': time_ms must rise strictly")


@dataclass(frozen=True, slots=True)
class Fixations:
    """Fixations of one case in temporal order, in **image** pixels; they may lie off the image.

    Shapes: every array is (K,), K may be 0. A pixel (column j, row i) covers [j - 0.5, j + 0.5), so a position
    normalised to 0..1 becomes ``x_px = x * W - 0.5``.
    """

    x_px: FloatArray
    y_px: FloatArray
    onset_ms: FloatArray
    duration_ms: FloatArray
    image_size: tuple[int, int]  # (H, W)
    image_id: str
    reader_id: str = ""

    def __post_init__(self) -> None:
        for name in ("x_px", "y_px", "onset_ms", "duration_ms"):
            array = np.ascontiguousarray(getattr(self, name), dtype=np.float64)
            object.__setattr__(self, name, array)
            _require(
                array.shape == (len(self.x_px),),
                f"Fixations of '{self.image_id}': {name} has shape {array.shape}, expected ({len(self.x_px)},)",
            )
            _require(bool(np.isfinite(array).all()), f"Fixations of '{self.image_id}': {name} holds NaN or infinity")
        _require(bool((self.duration_ms > 0).all()), f"Fixations of '{self.image_id}': duration_ms must be positive")
        _require(bool((np.diff(self.onset_ms) >= 0).all()), f"Fixations of '{self.image_id}': onset_ms must not fall")
        _require(min(self.image_size) > 0, f"Fixations of '{self.image_id}': image_size {self.image_size} is empty")

    def __len__(self) -> int:
        return len(self.x_px)

    @property
    def on_image(self) -> npt.NDArray[np.bool_]:
        """(K,) True where the fixation falls on a pixel of the image."""
        height, width = self.image_size
        return (
            (self.x_px >= -0.5) & (self.x_px < width - 0.5) & (self.y_px >= -0.5) & (self.y_px < height - 0.5)
        )  # half-open: the right border of the last pixel is outside


@dataclass(frozen=True, slots=True)
class GazeMap:
    """A map of attention, (H, W) float32 in [0, 1], with the Gaussian width that drew it."""

    values: Float32Array
    sigma_px: float
    image_id: str

    def __post_init__(self) -> None:
        _require(self.values.ndim == 2, f"GazeMap of '{self.image_id}': expected (H, W), got {self.values.shape}")
        low, high = float(self.values.min()), float(self.values.max())
        _require(
            bool(np.isfinite([low, high]).all()) and low >= 0 and high <= 1,
            f"GazeMap of '{self.image_id}': values {low:g}..{high:g} leave [0, 1]",
        )


@dataclass(frozen=True, slots=True)
class PseudoMasks:
    """Nested targets, one a threshold: labels (L, H, W) uint8 class indices, 255 = ignore; thresholds (L,)."""

    labels: UInt8Array
    thresholds: tuple[float, ...]
    image_id: str

    def __post_init__(self) -> None:
        _require(
            self.labels.ndim == 3 and self.labels.shape[0] == len(self.thresholds),
            f"PseudoMasks of '{self.image_id}': labels {self.labels.shape}, but {len(self.thresholds)} thresholds",
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """What a method's training step receives. A field that the method does not need is ``None``.

    Shapes: image (B, C, H, W) float, normalised; labelled (B,) bool; mask and weak (B, H, W) int64; pseudo (B, L, H, W)
    int64, one level a threshold; gaze_map (B, 1, H, W) in [0, 1]; track (B, N, 4) = x_px, y_px, onset_s,
    duration_s in pixels of the *transformed* image, zero-padded; track_length (B,); text (B, T, D), a zero row is
    padding; text_length (B,), 0 = no text; text_fields (B, T) index of the description's field, 255 = none. Where
    batches are drawn in two streams, the first ``labelled_first`` cases are labelled and the others are not.
    """

    ids: tuple[str, ...]
    image: torch.Tensor
    labelled: torch.Tensor | None = None
    labelled_first: int | None = None
    mask: torch.Tensor | None = None
    weak: torch.Tensor | None = None
    pseudo: torch.Tensor | None = None
    gaze_map: torch.Tensor | None = None
    track: torch.Tensor | None = None
    track_length: torch.Tensor | None = None
    text: torch.Tensor | None = None
    text_length: torch.Tensor | None = None
    text_fields: torch.Tensor | None = None

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return a new batch with every tensor on ``device``."""
        moved: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and field.name not in ("ids", "labelled_first"):
                moved[field.name] = value.to(device, non_blocking=non_blocking)
        return dataclasses.replace(self, **moved)


@dataclass(frozen=True, slots=True)
class CaseScore:
    """Metrics of one class in one case; distances are in ``unit``, NaN where a surface is missing."""

    case_id: str
    patient_id: str
    class_index: int
    dice: float
    iou: float
    sensitivity: float
    precision: float
    hd95: float
    hd95_max: float
    asd: float
    assd: float
    unit: Literal["px", "mm"]
    empty: Literal["none", "prediction", "truth", "both"]
