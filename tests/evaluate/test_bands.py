"""Acceptance bands of the ACDC protocol: published figures lie in them, and no other run has one."""

from pathlib import Path

import pytest

from gazeseg.config import RunConfig, build, merge, read_yaml
from gazeseg.evaluate.bands import acceptance_band

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("file", "patients", "published"),
    [("acdc_full", 7, 0.7941), ("acdc_ua_mt", 7, 0.8165), ("acdc_bcp", 7, 0.8884), ("acdc_bcp", 3, 0.8759)],
)
def test_published_figures_lie_in_the_bands_of_our_configurations(file, patients, published):
    config = build(RunConfig, read_yaml(CONFIGS / f"{file}.yaml"), file)
    band = acceptance_band(config, "ACDC", patients)
    assert band.low <= published <= band.high


@pytest.mark.parametrize(
    ("changes", "dataset", "patients"),
    [
        ({}, "Synapse", 7),
        ({}, "ACDC", 70),
        ({"data": {"size": [128, 128]}}, "ACDC", 7),
        ({"train": {"iterations": 1500}}, "ACDC", 7),
        ({"network": {"name": "small_unet"}}, "ACDC", 7),
        ({"method": {"name": "hg_dtgl"}}, "ACDC", 7),
    ],
)
def test_other_runs_have_none(changes, dataset, patients):
    values = merge(read_yaml(CONFIGS / "acdc_bcp.yaml"), changes)
    assert acceptance_band(build(RunConfig, values, "test"), dataset, patients) is None
