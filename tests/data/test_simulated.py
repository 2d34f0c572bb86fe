from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gazeseg.config import CrfConfig, MasksConfig
from gazeseg.data.pseudo import PseudoFolder
from gazeseg.data.schema import Case
from gazeseg.data.simulated import gaze_leak, simulate_gaze
from gazeseg.errors import DataError
from gazeseg.gaze.quality import centroid_offset, in_mask_share


def case(root: Path, name: str, size=(60, 80), radius=0.2, split="train") -> Case:
    y, x = np.indices(size)
    mask = np.hypot(y - 0.6 * size[0], x - 0.3 * size[1]) < radius * min(size)
    Image.fromarray(mask.astype(np.uint8) * 255).save(root / f"{name}.png")
    return Case(name, name, split, None, root / f"{name}.png", *size)


def test_a_scanpath_does_not_depend_on_the_other_cases(tmp_path):
    cases = [case(tmp_path, name) for name in ("a", "b", "c")]
    whole, alone = simulate_gaze(cases).fixations, simulate_gaze(cases[1:2]).fixations
    assert list(whole) == ["a", "b", "c"]
    assert whole["b"].x_px.tolist() == alone["b"].x_px.tolist()
    assert whole["a"].x_px.tolist() != whole["b"].x_px.tolist()  # equal masks, other names


def test_gaze_on_a_large_mask_lies_in_the_frame_of_the_image(tmp_path):
    cases = [case(tmp_path, f"large{k}", size=(1530, 2041)) for k in range(12)]
    made = simulate_gaze(cases).fixations
    truth = np.asarray(Image.open(cases[0].mask)) > 0
    fixes = [made[entry.case_id] for entry in cases]
    assert all(fix.image_size == (1530, 2041) for fix in fixes)
    assert all(fix.on_image.all() for fix in fixes)
    assert np.median([in_mask_share(fix, truth) for fix in fixes]) > 0.7
    offsets = [centroid_offset(fix, truth) for fix in fixes]
    assert np.mean(offsets) < 0.08  # 0.04 is usual; a frame of half the size would give 0.3


def test_an_object_of_one_pixel_is_found_in_a_large_mask(tmp_path):
    mask = np.zeros((1200, 1600), np.uint8)
    mask[401, 803] = 255
    Image.fromarray(mask).save(tmp_path / "dot.png")
    [fix] = simulate_gaze([Case("dot", "dot", "train", None, tmp_path / "dot.png", 1200, 1600)]).fixations.values()
    assert np.hypot(np.median(fix.x_px) - 803, np.median(fix.y_px) - 401) < 0.15 * 1600


def test_only_training_cases_with_a_mask_get_gaze(tmp_path):
    held_out = case(tmp_path, "v", split="val")
    made = simulate_gaze([case(tmp_path, "t"), held_out])
    assert list(made.fixations) == ["t"]
    assert made.info.kind == "simulated"
    with pytest.raises(DataError, match="none has one"):
        simulate_gaze([held_out])


def test_what_simulated_gaze_gives_away_is_read_from_the_scored_maps(tmp_path):
    (tmp_path / "quality.csv").write_text(
        "case_id,threshold,dice,precision,recall,gaze\n"
        "a,0.5,0.6,1,1,x\na,0.2,0.8,1,1,x\nb,0.5,0.7,1,1,x\nb,0.2,0.6,1,1,x\nc,0.5,1,1,1,x\nc,0.2,1,1,1,x\n"
    )
    folder = PseudoFolder(tmp_path, MasksConfig(crf=CrfConfig(mode="off")))
    assert gaze_leak(folder, {"a", "b"}) == "heatmap Dice with the truth 0.70 / 0.65 at 0.2 / 0.5"
    assert gaze_leak(folder, set()) == ""
    assert gaze_leak(PseudoFolder(tmp_path / "none", folder.config), {"a"}) == ""
