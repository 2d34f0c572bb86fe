import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from gazeseg.data.dataset import Dataset
from gazeseg.data.schema import Case, DatasetInfo, GazeInfo, Roots
from gazeseg.errors import DataError
from gazeseg.evaluate.annotation import MASKS, annotation_cost, cost_sentence, distinct_notes
from gazeseg.train.annotation import measure
from gazeseg.train.runfolder import Annotation, RunFolder, Task
from gazeseg.types import Fixations

TASK = Task("Kvasir-SEG", ("background", "polyp"), 3, 2, (0.5, 0.3), "recorded", False, 900, 1)
GAZE = Annotation(gaze_cases=900, fixation_s=7200.0, viewing_s=9000.0, masks=0)  # two hours, 8 s a case, 10 s with gaps


def task(annotation=GAZE, **changes):
    return dataclasses.replace(TASK, annotation=annotation, **changes)


def masks(count, **changes):
    return task(Annotation(0, 0.0, 0.0, count), gaze="none", mask_supervised=True, **changes)


def dataset(kind="recorded", root=Path("nowhere")):
    """Three cases: 200 + 300 ms from 10 to 610 ms, 1000 ms from 0 on, and nothing."""
    rows = {"a": ([10.0, 310.0], [200.0, 300.0]), "b": ([0.0], [1000.0]), "c": ([], [])}
    cases = tuple(Case(name, name, "train", None, None, 8, 8) for name in rows)
    info = DatasetInfo(name="made", roots=Roots(), gaze=GazeInfo(kind=kind))
    data = Dataset(root, info, cases)
    data.__dict__["fixations"] = {
        name: Fixations(
            np.ones(len(onset)), np.ones(len(onset)), np.array(onset), np.array(duration), (8, 8), name, "anna"
        )
        for name, (onset, duration) in rows.items()
    }
    return data


# ---- counting, when a run starts


def test_gaze_is_the_sum_of_the_durations_by_hand():
    data = dataset()
    found = measure(data, data.cases, gaze=True, masks=0)
    assert found == Annotation(gaze_cases=2, fixation_s=pytest.approx(1.5), viewing_s=pytest.approx(1.6), masks=0)
    assert measure(data, data.cases[:1], gaze=True, masks=0).fixation_s == pytest.approx(0.5)


def test_a_method_that_looks_at_no_gaze_does_not_pay_for_it():
    data = dataset()
    assert measure(data, data.cases, gaze=False, masks=3) == Annotation(0, 0.0, 0.0, 3)


def test_simulated_gaze_costs_the_masks_that_it_was_drawn_from():
    data = dataset("simulated")
    assert measure(data, data.cases, gaze=True, masks=0) == Annotation(0, 0.0, 0.0, 2)
    assert measure(data, data.cases, gaze=False, masks=3) == Annotation(0, 0.0, 0.0, 3)
    assert measure(data, data.cases, gaze=False, masks=0) == Annotation(0, 0.0, 0.0, 0)


TIMES = """case_id,reader_id,outcome,locate_s,scan_s,review_s,total_s,attempts,fixations,source
a,anna,accepted,1.000,2.500,0.500,4.000,1,2,mouse
a,ben,accepted,9.000,9.000,9.000,27.000,1,5,mouse
b,anna,accepted,0.500,1.000,0.500,2.000,2,1,mouse
c,anna,skipped,30.000,0.000,0.000,30.000,1,0,mouse
"""


def timed(root, text=TIMES, **keys):
    (root / "gaze").mkdir()
    (root / "gaze" / "times.csv").write_text(text)
    return dataset(root=root, **keys)


def test_the_time_that_the_recorder_measured_is_that_of_the_reader_whose_gaze_is_used(tmp_path):
    data = timed(tmp_path)
    found = measure(data, data.cases, gaze=True, masks=0)
    assert (found.gaze_cases, found.timed_cases, found.timed_s) == (2, 2, 6.0)  # not ben's, not the skipped case
    assert measure(data, data.cases[1:], gaze=True, masks=0).timed_s == 2.0
    assert measure(data, data.cases, gaze=False, masks=3) == Annotation(0, 0.0, 0.0, 3)


def test_a_time_without_the_gaze_that_it_was_measured_with_counts_for_nothing(tmp_path):
    data = timed(tmp_path, TIMES.replace("anna", "carl"))
    assert measure(data, data.cases, gaze=True, masks=0).timed_cases == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (TIMES.replace("total_s", "sum"), "line 2: KeyError.'total_s'"),
        (TIMES.replace("4.000", "soon"), "line 2: .*soon"),
        (TIMES.replace("2.000", "-2"), "line 4: total_s is -2"),
        ("case_id,reader_id,outcome,total_s\na,anna\n", "line 2"),
    ],
)
def test_a_broken_table_of_times_is_one_line(tmp_path, text, said):
    data = timed(tmp_path, text)
    with pytest.raises(DataError, match=f"times.csv, {said}") as error:
        measure(data, data.cases, gaze=True, masks=0)
    assert "\n" not in str(error.value)


# ---- what it cost


def test_gaze_in_hours():
    cost = annotation_cost([task()])
    assert (cost.text, cost.hours, cost.masks_h) == ("2.00", pytest.approx(2.0), 0.0)
    [note] = cost.notes
    assert "sum of the fixation durations of 900 training cases, 8.0 s a case" in note
    assert "10.0 s" in note


def test_the_time_at_the_screen_goes_before_the_durations_of_fixations():
    whole = dataclasses.replace(GAZE, timed_cases=900, timed_s=3 * 3600.0)
    cost = annotation_cost([task(whole)])
    assert (cost.text, cost.hours) == ("3.00", pytest.approx(3.0))
    [note] = cost.notes
    assert "the time at the screen of 900 training cases, 12.0 s a case" in note
    assert "fixation durations of 900 training cases, 8.0 s a case" in note
    # some cases alone were timed: two kinds of time are not added up
    part = annotation_cost([task(dataclasses.replace(GAZE, timed_cases=300, timed_s=3600.0))])
    assert part.text == "2.00"
    assert part.notes[0].endswith("300 of them were timed by the recorder, 12.0 s a case at the screen")


def test_published_masks_in_proportion():
    assert annotation_cost([masks(900)]).text == "18.7"
    tenth = annotation_cost([masks(90)])
    assert tenth.hours == pytest.approx(1.87)
    assert "18.7 h for 900, in proportion for 90; GNAN" in tenth.notes[0]
    assert MASKS.keys() == {"Kvasir-SEG"}


def test_masks_of_which_nobody_published_the_time():
    cost = annotation_cost([masks(60, dataset="NCI-ISBI 2013")])
    assert (cost.text, cost.hours, cost.masks_h) == ("not published", None, None)
    assert cost.notes == ("masks: nobody published what those of NCI-ISBI 2013 took",)


def test_both_kinds_add_up():
    both = Annotation(gaze_cases=900, fixation_s=7200.0, viewing_s=9000.0, masks=90)
    cost = annotation_cost([task(both, mask_supervised=True)])
    assert (cost.text, cost.hours) == ("3.9", pytest.approx(3.87))
    assert len(cost.notes) == 2
    unpublished = annotation_cost([task(both, mask_supervised=True, dataset="made")])
    assert (unpublished.text, unpublished.hours, unpublished.gaze_h) == ("2.00 + masks, not published", None, 2.0)


def test_simulated_gaze_has_no_time_of_its_own():
    cost = annotation_cost([task(Annotation(0, 0.0, 0.0, 1999), gaze="simulated", dataset="ISIC 2017")])
    assert (cost.text, cost.hours, cost.gaze_h) == ("masks, not published", None, 0.0)
    assert cost.notes[-1] == "simulated gaze has no annotation time of its own: it uses the masks"


def test_neither_gaze_nor_masks():
    cost = annotation_cost([task(Annotation(0, 0.0, 0.0, 0), gaze="none")])
    assert (cost.text, cost.hours, cost.notes) == ("none", 0.0, ())


def test_text_costs_no_reader_but_is_named():
    cost = annotation_cost([task(text="rules (stand-in)")])
    assert cost.hours == pytest.approx(2.0)
    assert cost.notes[-1] == "text: by rules (stand-in), no reader's time"


def test_runs_of_an_older_version_are_unknown():
    cost = annotation_cost([task(), task(None)])
    assert (cost.text, cost.hours) == ("unknown", None)


def test_seeds_that_learn_from_other_cases_are_averaged():
    other = dataclasses.replace(GAZE, gaze_cases=800, fixation_s=3600.0)
    assert annotation_cost([task(), task(other)]).text == "1.50"


def test_the_sentence():
    gaze, bound, blind = annotation_cost([task()]), annotation_cost([masks(900)]), annotation_cost([task(None)])
    assert cost_sentence(gaze, bound) == (
        "Annotation of its training cases took 2 h, against 18.7 h for the masks of the bound."
    )
    assert cost_sentence(gaze, blind) == "Annotation of its training cases took 2 h."
    assert cost_sentence(blind, bound) == ""
    assert distinct_notes([gaze, gaze, bound]) == (*gaze.notes, *bound.notes)


# ---- through the run folder


def test_the_run_folder_keeps_it_and_old_ones_can_be_read(tmp_path):
    folder = RunFolder(tmp_path)
    (tmp_path / "config.yaml").write_text("method: {name: full}\n")
    folder.write_task(task())
    assert folder.task() == task()
    old = json.loads(folder.task_file.read_text())
    del old["annotation"]
    folder.task_file.write_text(json.dumps(old))
    assert folder.task().annotation is None
