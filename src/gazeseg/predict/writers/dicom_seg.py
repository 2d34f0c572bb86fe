"""Masks as DICOM Segmentation objects that refer to the images they were made from."""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from gazeseg import __version__
from gazeseg.data.images import write_bytes
from gazeseg.errors import MissingDependencyError
from gazeseg.predict.sources.base import DicomOrigin, Frames, UnfitError
from gazeseg.types import UInt8Array

SERIES_NUMBER: Final = 7000  # beyond what scanners count to; viewers sort by it
_NEEDED: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_OPTIONAL: Final = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                    "StudyDate", "StudyTime", "ReferringPhysicianName")  # fmt: skip


def write_masks(stem: Path, labels: UInt8Array, frames: Frames, *, classes: tuple[str, ...], method: str) -> list[Path]:
    """Write class indices (N, H, W) as a BINARY segmentation, one segment a foreground class; return the file.

    Every segment has a frame for every source frame, empty ones included, so that readers see the source's volume.
    Segments are of the neutral type "Tissue" (SNOMED CT 85756007): a class name is no code.

    Args:
        stem: The target without its ending.
        labels: Masks in the order of ``frames``.
        frames: What they were made from.
        classes: Names, background first.
        method: Named as the algorithm.

    Raises:
        UnfitError: if the source lacks what a reference to it needs.
        DataError: if the file cannot be written.
        MissingDependencyError: without highdicom.
    """
    highdicom = _highdicom()
    from pydicom.sr.codedict import codes
    from pydicom.uid import ExplicitVRLittleEndian

    origin = frames.dicom
    if origin is None:
        raise UnfitError("no DICOM source to refer to")
    if frames.no_grid and len(frames.images) > 1 and "FrameOfReferenceUID" not in origin.headers[0]:
        raise UnfitError("frames without a position in space cannot share a DICOM SEG")  # highdicom takes one alone
    _complete(origin)
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name=f"gazeseg {method}", family=codes.cid7162.ArtificialIntelligence, version=__version__
    )
    segments = [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=name[:64],
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, name in enumerate(classes[1:], 1)
    ]
    measures = None
    if origin.spacing_mm is not None:
        step, *pixel = origin.spacing_mm
        thickness = origin.headers[0].get("SliceThickness") or step
        measures = highdicom.PixelMeasuresSequence(
            pixel_spacing=pixel, slice_thickness=float(thickness), spacing_between_slices=step
        )
    try:
        found = highdicom.seg.Segmentation(
            source_images=list(origin.headers),
            pixel_array=labels[np.argsort(origin.order)],  # a multi-frame object keeps its own order
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=segments,
            series_instance_uid=highdicom.UID(),
            series_number=SERIES_NUMBER,
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="gazeseg",
            manufacturer_model_name=method,
            software_versions=__version__,
            device_serial_number="none",
            transfer_syntax_uid=ExplicitVRLittleEndian,
            pixel_measures=measures,
            omit_empty_frames=False,
            content_label="SEGMENTATION",
            series_description=f"gazeseg {method}"[:64],
        )
    except (ValueError, TypeError, AttributeError, KeyError) as error:  # what its checks of the source raise
        reason = " ".join(str(error).split())[:200]
        raise UnfitError(f"no DICOM SEG can refer to it ({reason})") from None
    buffer = io.BytesIO()
    found.save_as(buffer)
    target = stem.with_name(f"{stem.name}.dcm")
    write_bytes(target, buffer.getvalue())
    return [target]


@cache
def _highdicom() -> Any:
    """Import the library, once, without its remarks on the names of anonymised patients."""
    try:
        import highdicom
    except ImportError:
        raise MissingDependencyError("highdicom", "medical") from None
    warnings.filterwarnings("ignore", message="The string .* is unlikely to represent the intended person name")
    return highdicom


def _complete(origin: DicomOrigin) -> None:
    """Check what a reference needs, and add the empty values that anonymisers leave out."""
    for header in origin.headers:
        missing = [name for name in _NEEDED if not header.get(name)]
        if missing:
            raise UnfitError(f"its source has no {missing[0]} to refer to")
        for name in _OPTIONAL:
            if name not in header:
                setattr(header, name, None)
