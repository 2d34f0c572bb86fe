"""Hospital files as they are: prostate MR series and colonoscopy frames through a network, read back by others."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK
import torch

from gazeseg import methods
from gazeseg.config import RunConfig
from gazeseg.data.images import read_image
from gazeseg.predict.folder import predict_folder
from gazeseg.predict.predictor import Predictor
from gazeseg.train.runfolder import Task

pytestmark = pytest.mark.real


def untrained(channels):
    """A small network with random weights: its masks are meaningless, where they lie is what is looked at."""
    config = RunConfig.model_validate(
        {"method": {"name": "full"}, "data": {"size": (96, 96)}, "network": {"name": "small_unet"}}
    )
    options = {"network": config.network, "in_channels": channels, "num_classes": 2, "levels": 1, "seed": 0}
    method = methods.create(config.method, **options)
    with torch.no_grad():
        method.network.head.weight.mul_(20)
    task = Task("none", ("background", "object"), channels, 1, (0.5,), "none", True, 0, 0)
    return Predictor(method, task, config, device=torch.device("cpu"))


def test_prostate_series_become_seg_and_nifti_of_one_geometry(real_data, tmp_path):
    source = real_data / "nci-isbi" / "dicom"
    for form in ("dicom-seg", "nifti"):
        assert predict_folder(untrained(1), source, tmp_path / form, format=form) == {}
    folders = sorted(path for path in source.iterdir() if path.is_dir())
    assert len(folders) >= 2
    for folder in folders:
        reader = SimpleITK.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        series = reader.Execute()
        volume = SimpleITK.ReadImage(tmp_path / "nifti" / f"{folder.name}.nii.gz")
        assert volume.GetSize() == series.GetSize()
        for name in ("GetSpacing", "GetOrigin", "GetDirection"):
            np.testing.assert_allclose(getattr(volume, name)(), getattr(series, name)(), atol=1e-3)
        path = tmp_path / "dicom-seg" / f"{folder.name}.dcm"
        onto = SimpleITK.Resample(
            SimpleITK.ReadImage(path), series, SimpleITK.Transform(), SimpleITK.sitkNearestNeighbor
        )
        mask = SimpleITK.GetArrayFromImage(volume)
        assert 0 < mask.mean() < 1
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(onto) > 0, mask > 0)
        item = pydicom.dcmread(path)
        referred = {
            image.ReferencedSOPInstanceUID for image in item.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        }
        assert referred == {pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID for p in folder.glob("*.dcm")}
        assert nib.load(tmp_path / "nifti" / f"{folder.name}.nii.gz").shape == series.GetSize()


def test_colonoscopy_frames_get_masks_of_their_size(real_data, tmp_path):
    paths = sorted((real_data / "kvasir-seg" / "images").glob("*.jpg"))[:6]
    (tmp_path / "in").mkdir()
    for path in paths:
        (tmp_path / "in" / path.name).symlink_to(path)
    assert predict_folder(untrained(3), tmp_path / "in", tmp_path / "out") == {}
    for path in paths:
        mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "out" / f"{path.stem}.png"))
        assert mask.shape == read_image(path).shape[:2]
        assert set(np.unique(mask)) <= {0, 1}
