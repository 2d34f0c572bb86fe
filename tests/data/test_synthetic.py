import hashlib
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import binary_dilation, label

from gazeseg.data.dataset import Dataset
from gazeseg.data.phantoms import LOOKS
from gazeseg.data.split import check_splits
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.errors import DataError


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Dataset:
    return make_demo_dataset(tmp_path_factory.mktemp("demo") / "DS", cases=45, size=(64, 72))


def digest(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        make_demo_dataset(tmp_path / name, cases=6, size=(40, 40), seed=seed)
    assert digest(tmp_path / "a") == digest(tmp_path / "b")
    images = {name: {k: v for k, v in digest(tmp_path / name).items() if k.startswith("images")} for name in "ac"}
    assert not set(images["a"].values()) & set(images["c"].values())


def test_splits_are_by_patient_and_hold_every_look(demo):
    check_splits(demo.cases)
    for name in ("train", "val", "test"):
        looks = {case.patient_id.split("-")[0] for case in demo.split(name)}
        assert looks == {look.modality for look in LOOKS}, name
    counts = [len(demo.split(name)) for name in ("train", "val", "test")]
    assert sum(counts) == len(demo.cases) == 45
    assert counts[0] > 0.5 * 45
    assert len({case.size for case in demo.cases}) > 10
    assert all(51 <= case.height <= 80 for case in demo.cases)


def test_the_gaze_says_that_it_is_simulated_and_lies_on_the_structure(demo):
    assert demo.info.gaze.kind == "simulated"
    assert demo.info.gaze.note == "simulated gaze (uses ground truth)"
    shares = []
    for case in demo.cases:
        fix, mask = demo.fixations[case.case_id], demo.mask(case)
        rows, columns = (np.rint(v).astype(int)[fix.on_image] for v in (fix.y_px, fix.x_px))
        shares.append(mask[rows, columns].mean())
    assert len(shares) == 45
    assert 0.6 < np.mean(shares) < 0.98


def test_masks_are_one_structure_of_a_fair_size(demo):
    for case in demo.cases:
        mask = demo.mask(case)
        assert 0.02 < mask.mean() < 0.4, case.case_id
        assert label(mask)[1] <= 2, case.case_id


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: look.modality)
def test_a_look_is_a_visible_structure_that_no_grey_value_gives_away(look):
    contrasts, best = [], []
    for index in range(8):
        phantom = look.draw((96, 112), np.random.default_rng([0, index]), np.random.default_rng([1, index]))
        assert phantom.image.shape == (96, 112, 3)
        assert phantom.image.dtype == np.uint8
        assert (look.modality == "endoscopy") == (phantom.image[..., 0] != phantom.image[..., 2]).any()
        grey = phantom.image.mean(axis=2)
        ring = binary_dilation(phantom.mask, iterations=6) & ~phantom.mask
        contrasts.append(abs(grey[phantom.mask].mean() - grey[ring].mean()))
        dice = [
            2 * (phantom.mask & side).sum() / (phantom.mask.sum() + side.sum())
            for t in range(8, 248, 8)
            for side in (grey > t, (grey < t) & (grey > 0))
        ]
        best.append(max(dice))
    assert np.mean(contrasts) > 8
    assert np.mean(best) < 0.75  # thresholding is no way out


def test_a_patient_keeps_its_style():
    """Images of one patient are closer in colour than images of two."""
    draw = LOOKS[0].draw
    within, between = [], []
    for patient in range(6):
        colours = [
            np.median(
                draw((64, 64), np.random.default_rng(style), np.random.default_rng([7, patient, k])).image, (0, 1)
            )
            for k, style in enumerate((patient, patient, patient + 50))
        ]
        within.append(np.abs(colours[0] - colours[1]).mean())
        between.append(np.abs(colours[0] - colours[2]).mean())
    assert np.median(within) < np.median(between)


def test_too_few_or_too_small_images(tmp_path):
    for arguments in ({"cases": 5}, {"size": (16, 64)}):
        with pytest.raises(DataError, match="6 or more images of 32 px or more"):
            make_demo_dataset(tmp_path / "DS", **arguments)
    assert not (tmp_path / "DS").exists()
