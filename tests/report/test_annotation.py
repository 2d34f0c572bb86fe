import dataclasses
import re

import pytest

from gazeseg.evaluate import annotation
from gazeseg.report.report import write_report
from gazeseg.train.runfolder import Annotation, RunFolder

MARK = "simulated gaze (uses ground truth)"


def keep(run, **counts):
    """Give a run what a version that keeps it would have written."""
    folder = RunFolder(run)
    folder.write_task(dataclasses.replace(folder.task(), annotation=Annotation(**counts)))
    return run


def text_of(path):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", path.read_text(encoding="utf-8")))


@pytest.fixture
def published(world, monkeypatch):
    name = world.dataset.info.name
    monkeypatch.setitem(annotation.MASKS, name, annotation.Published(1.5, 6, "a test"))
    return world


def test_the_table_and_the_headline_state_the_annotation_time(published):
    gaze = keep(published.run("gaze"), gaze_cases=6, fixation_s=720.0, viewing_s=900.0, masks=0)
    full = published.run("full", method="full", supervised=True, gaze="none")
    full = keep(full, gaze_cases=0, fixation_s=0.0, viewing_s=0.0, masks=6)
    text = text_of(write_report([gaze, full], published.root / "r.html"))
    assert "Annotation (h)" in text
    assert "Annotation of its training cases took 0.2 h, against 1.5 h for the masks of the bound." in text
    assert "Annotation, gaze: measured, the sum of the fixation durations of 6 training cases, 120.0 s a case" in text
    assert "Annotation, masks: published, 1.5 h for 6; a test." in text
    results = text.split("Paired comparison")[0]
    assert " 0.20 1 " in results  # annotation, seeds
    assert " 1.5 1 " in results


def test_runs_that_did_not_keep_it_are_unknown(world):
    text = text_of(write_report([world.run()], world.root / "r.html"))
    assert " unknown 1 " in text
    assert "Annotation of its" not in text


def test_simulated_gaze_does_not_pass_for_gaze_without_masks(make_world, tmp_path):
    world = make_world(tmp_path, gaze="simulated", train=3, test=3)
    run = keep(world.run(), gaze_cases=0, fixation_s=0.0, viewing_s=0.0, masks=3)
    text = text_of(write_report([run], tmp_path / "r.html"))
    assert f"Learned from {MARK}; masks were used to draw it." in text
    assert "no mask was used" not in text
    assert "Best without masks" not in text
    assert "masks, not published" in text
    assert "simulated gaze has no annotation time of its own" in text
    training = text.split("Training cases")[1]
    assert MARK in training  # its supervision, in the table of the runs
