"""What prediction costs around the network: files to masks, DICOM SEG, and ONNX Runtime beside PyTorch.

"Published" is the bare network on prepared batches for the pipeline, highdicom's constructor alone for SEG, and PyTorch
for ONNX Runtime. Pictures and series are generated; weights are random, which costs the same.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pydicom
import torch
from ledger import Row, time_pair
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from gazeseg import methods
from gazeseg.config import RunConfig
from gazeseg.export.graphs import export_onnx
from gazeseg.export.network import Deployed, example
from gazeseg.predict.folder import predict_folder
from gazeseg.predict.predictor import Predictor
from gazeseg.predict.sources import find_sources
from gazeseg.predict.writers import dicom_seg
from gazeseg.train.runfolder import Task
from gazeseg.types import UInt8Array

RNG = np.random.default_rng(0)
PICTURE = (530, 621)  # the median of Kvasir-SEG
SLICES, SLICE = 20, 384


def _predictor(network: str, side: int, batch_size: int) -> Predictor:
    config = RunConfig.model_validate(
        {
            "method": {"name": "full"},
            "data": {"size": (side, side)},
            "network": {"name": network, "pretrained": False},
        }
    )
    method = methods.create(config.method, network=config.network, in_channels=3, num_classes=2, levels=1, seed=0)
    task = Task("generated", ("background", "object"), 3, 1, (0.5,), "none", True, 0, 0)
    return Predictor(method, task, config, device=torch.device("cpu"), batch_size=batch_size)


def _pictures(folder: Path, count: int) -> None:
    folder.mkdir()
    for k in range(count):
        coarse = Image.fromarray(RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8))
        coarse.resize(PICTURE[::-1], Image.Resampling.BICUBIC).save(folder / f"{k:03}.jpg", quality=90)


def _pipeline(network: str, side: int, count: int, batch_size: int, overhead_ms: float | None) -> Row:
    predictor = _predictor(network, side, batch_size)
    batches = [example(predictor, batch=batch_size, height=side, width=side) for _ in range(count // batch_size)]
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name), Path(name) / "out"
        _pictures(folder / "in", count)

        @torch.inference_mode()
        def bare() -> None:
            for batch in batches:
                predictor.method.predict(batch)

        def ours() -> None:
            shutil.rmtree(out, ignore_errors=True)
            predict_folder(predictor, folder / "in", out)

        slow, fast = time_pair(bare, ours, repeats=3)
    slow, fast = slow / count, fast / count
    met = slow / fast >= 0.9 if overhead_ms is None else fast - slow <= overhead_ms
    goal = ">= 0.9x" if overhead_ms is None else f"<= {overhead_ms:g} ms more an image"
    said = f"{fast - slow:.1f} ms an image of {PICTURE[0]} x {PICTURE[1]} more, files included"
    return Row(f"predict, {network} at {side}, batch {batch_size}", slow, fast, said, goal, met)


def _series(folder: Path) -> UInt8Array:
    """Write an axial series, and return masks with a disc in the middle slices."""
    folder.mkdir()
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(SLICES):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        item.SOPClassUID, item.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        item.PatientID, item.StudyInstanceUID, item.SeriesInstanceUID = "generated", study, series
        item.FrameOfReferenceUID, item.Modality, item.InstanceNumber = frame, "MR", k + 1
        item.ImagePositionPatient, item.ImageOrientationPatient = [0, 0, 3 * k], [1, 0, 0, 0, 1, 0]
        item.PixelSpacing, item.SliceThickness = [0.5, 0.5], 3
        item.Rows = item.Columns = SLICE
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated, item.BitsStored, item.HighBit, item.PixelRepresentation = 16, 12, 11, 0
        item.PixelData = RNG.integers(0, 4096, (SLICE, SLICE), dtype=np.uint16).tobytes()
        item.save_as(folder / f"{k:03}.dcm", enforce_file_format=True)
    y, x = np.mgrid[:SLICE, :SLICE]
    disc = ((y - 190) ** 2 + (x - 200) ** 2 < 60**2).astype(np.uint8)
    return np.stack([disc if 4 < k < 16 else 0 * disc for k in range(SLICES)])


def _seg() -> Row:
    import highdicom
    from pydicom.sr.codedict import codes

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        labels = _series(folder / "series")
        [source] = find_sources(folder / "series", folder / "out").sources
        frames = source.read()
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in source.parts]
        classes = ("background", "object")
        dicom_seg.write_masks(folder / "out" / "a", labels, frames, classes=classes, method="full")
        for header in headers:  # what highdicom asks for
            header.PatientName = header.PatientBirthDate = header.PatientSex = header.AccessionNumber = None
            header.StudyID = header.StudyDate = header.StudyTime = header.ReferringPhysicianName = None
        algorithm = highdicom.AlgorithmIdentificationSequence(
            name="plain", family=codes.cid7162.ArtificialIntelligence, version="1"
        )
        description = highdicom.seg.SegmentDescription(
            segment_number=1,
            segment_label="object",
            segmented_property_category=codes.SCT.Tissue,
            segmented_property_type=codes.SCT.Tissue,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )

        def plain() -> None:
            highdicom.seg.Segmentation(
                source_images=headers,
                pixel_array=labels,
                segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
                segment_descriptions=[description],
                series_instance_uid=highdicom.UID(),
                series_number=1,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="plain",
                manufacturer_model_name="plain",
                software_versions="1",
                device_serial_number="none",
                omit_empty_frames=False,
            )

        def ours() -> None:
            dicom_seg.write_masks(folder / "out" / "a", labels, frames, classes=classes, method="full")

        slow, fast = time_pair(plain, ours, repeats=5)
        count = pydicom.dcmread(folder / "out" / "a.dcm").NumberOfFrames
    slow, fast = slow / SLICES, fast / SLICES
    return Row(
        f"DICOM SEG, a slice of {SLICE} x {SLICE}", slow, fast, f"{count} frames", "<= 50 ms a slice", fast <= 50
    )


def _onnx(name: str, side: int, batch: int, most_ms: float | None) -> Row:
    import onnxruntime

    predictor = _predictor(name, side, batch)
    network, image = Deployed(predictor).eval(), example(predictor, batch=batch)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        parity = export_onnx(predictor, model)
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        array = image.numpy()

        @torch.inference_mode()
        def pytorch() -> None:
            network(image)

        slow, fast = time_pair(pytorch, lambda: session.run(None, {"image": array}), repeats=15)
    bound = "<= 1e-4 apart" + (f", <= {most_ms:g} ms" if most_ms else "")
    met = parity.largest <= 1e-4 and fast <= (most_ms or fast)
    stage = f"ONNX Runtime, {name} at {side}, batch {batch}"
    return Row(stage, slow, fast, f"max diff {parity.largest:.0e}", bound, met)


def rows() -> list[Row]:
    """Time the pipeline with a large and a small network, SEG writing, and ONNX Runtime."""
    torch.set_num_threads(1)
    return [
        _pipeline("basic_unet", 224, 4, 4, None),
        _pipeline("small_unet", 96, 32, 16, 30.0),
        _seg(),
        _onnx("small_unet", 96, 8, None),
        _onnx("efficientnet_lite0", 224, 1, 50.0),  # 20 images a second of one core
    ]
