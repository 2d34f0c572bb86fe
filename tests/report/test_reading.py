"""What the pictures of a reading draw from: the Gaussian of the training map, truth, order."""

import dataclasses
import itertools

import numpy as np
import pytest

from gazeseg.config import MapsConfig
from gazeseg.data.dataset import Dataset
from gazeseg.errors import ConfigError, DataError
from gazeseg.gaze.scanpath import until
from gazeseg.report.reading import describe, dwell_density, gaussian_px, load_reading, require_gaze
from gazeseg.supervision.heatmap import heatmap
from gazeseg.types import Fixations


@pytest.mark.parametrize("maps", [MapsConfig(canvas="native", sigma=9.0), MapsConfig(canvas="square768", sigma=60.0)])
def test_density_is_the_training_heatmap_before_its_stretch(maps):
    rng = np.random.default_rng(0)
    size = (150, 200)
    fix = Fixations(rng.integers(60, 140, 9), rng.integers(50, 100, 9), np.arange(9) * 400.0, rng.uniform(100, 600, 9),
                    size, "a")  # fmt: skip
    density = dwell_density(fix, gaussian_px(maps, size), size)
    stretched = (density - density.min()) / (density.max() - density.min())
    np.testing.assert_allclose(stretched, heatmap(fix, maps).values, atol=0.02)  # its canvas rounds positions


def test_one_fixation_weighs_its_duration_and_coarse_cells_keep_the_place():
    fix = Fixations([30.0], [10.0], [0.0], [250.0], (40, 60), "a")
    assert dwell_density(fix, (5, 5), (40, 60))[10, 30] == pytest.approx(250)
    coarse = dwell_density(fix, (5, 5), (20, 30))
    assert np.unravel_index(coarse.argmax(), coarse.shape) == (5, 15)


def test_density_grows_with_the_reading(world):
    fix = load_reading(world.dataset, "case 00").fixations
    maps = [dwell_density(until(fix, t), (6, 6), (36, 48)) for t in np.linspace(0, 4000, 9)]
    assert all((after >= before).all() for before, after in itertools.pairwise(maps))
    assert maps[0].max() == 0


def test_degrees_without_a_scale_are_refused():
    with pytest.raises(ConfigError, match="px_per_degree"):
        gaussian_px(MapsConfig(canvas="native", sigma=1.0, sigma_unit="deg"), (40, 60))


def test_inside_agrees_with_the_share_and_leaves_fixations_off_the_image_outside(world):
    reading = load_reading(world.dataset, "case 01")
    assert reading.inside.mean() == pytest.approx(reading.figures.inside)
    moved = dataclasses.replace(reading.fixations, x_px=reading.fixations.x_px + 1000)
    away = dataclasses.replace(reading, fixations=moved)
    assert not away.inside.any()
    assert f"{len(moved)} off the image" in describe(away.figures)


def test_course_runs_from_0_towards_1(world):
    course = load_reading(world.dataset, "case 02").course
    assert course[0] == 0
    assert (np.diff(course) > 0).all()
    assert course[-1] < 1


def test_about_names_simulated_gaze(make_world, tmp_path):
    simulated = make_world(tmp_path, gaze="simulated", train=3, test=1)
    assert "simulated gaze (uses ground truth)" in load_reading(simulated.dataset, "case 00").about


def test_a_case_nobody_looked_at_and_an_unknown_one_are_named(make_world, tmp_path):
    made = make_world(tmp_path, train=3, test=1)
    table = made.dataset.root / "gaze" / "fixations.csv"
    rows = table.read_text(encoding="utf-8").splitlines(keepends=True)
    table.write_text("".join(row for row in rows if not row.startswith("case 01,")), encoding="utf-8")
    reading = load_reading(Dataset.load(made.dataset.root), "case 01")
    assert describe(reading.figures) == "no fixation"
    with pytest.raises(DataError, match="case 'case 01' has no fixation"):
        require_gaze(reading, made.dataset.root)
    with pytest.raises(DataError, match="did you mean 'case 02'"):
        load_reading(made.dataset, "case 002")


def test_outline_is_that_of_the_truth_and_none_without(make_world, tmp_path, world):
    reading = load_reading(world.dataset, "case 00")
    [polygon] = reading.outline
    rows, columns = np.nonzero(reading.truth)
    x, y = polygon.T
    assert [x.min(), x.max(), y.min(), y.max()] == pytest.approx(
        [columns.min() - 0.5, columns.max() + 0.5, rows.min() - 0.5, rows.max() + 0.5]
    )
    blind = make_world(tmp_path / "blind", masks=False, train=3, test=1)
    assert load_reading(blind.dataset, "case 00").outline == []
