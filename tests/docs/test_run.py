"""Commands of README and docs, run as they are shown, on generated data and runs of two iterations.

A page says ``DS``, ``RUN`` or ``photos`` where a reader has something of their own; ``bench`` says what is here.
What cannot be run here is in ``EXCUSED`` with the reason and is checked by its syntax in ``test_commands.py``. The
tutorials are walked through in ``test_tutorials.py``.
"""

import re
import shlex
import shutil
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import pytest
from pages import PAGES, ROOT, Ended, commands, economise, lay_out_kvasir

from gazeseg.ablate.job import Job
from gazeseg.cli import main
from gazeseg.data.dataset import Dataset

EXCUSED = {
    "* --help": "prints and exits",
    "gazeseg demo *": "the whole way; run by `make demo`",
    "*--refine prompt*": "the weights of LiteMedSAM; tests/promptable",
    "*kvasir_gaze_prompt*": "prompted masks; tests/methods/test_gaze_prompt.py",
    "*--executor slurm*": "a SLURM cluster; tests/ablate",
    "*--provider openai*": "a model in the network; tests/text",
    "gazeseg encode *": "the weights of a text encoder; tests/text",
    "*--method fgi*": "embeddings, hence the same weights; tests/cli/test_verbs.py",
    "*anna.asc*": "a recording; tests/gaze",
    "gazeseg reproduce kvasir/*": "Kvasir-SEG; tests/reproduce",
    "*acdc*": "ACDC in its published layout; tests/data/importers",
    "*isic*": "ISIC in its published layout; tests/data/importers, tests/text",
    "*--method bcp*": "volumes; tests/methods",
    "*--by volume*": "volumes; tests/evaluate",
    "*bcp2*": "volumes; tests/evaluate",
    "*--to onnx": "seconds of tracing; tests/export",
    "*--to pt2*": "seconds of tracing; tests/export",
    "*--to monai-bundle": "seconds of tracing; tests/export",
    "*--train.log tensorboard": "an extra; tests/train/test_trackers.py",
    "*--checkpoint best*": "a run that selects on validation; tests/predict",
    "*--table-only": "a grid that was trained; tests/ablate",
    "*gaze_of_another_image": "the grid of ablate.md once more",
}
SHOWN = {
    re.sub(r"^gazeseg (check|masks) (ours|kvasir)$", r"gazeseg \1 DS", command): page.name  # the same, said three times
    for page in PAGES
    if page.parent.name != "tutorials"
    for command in commands(page)
    if not any(fnmatch(command, pattern) for pattern in EXCUSED)
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Path:
    """A folder with a data set, pseudo-masks of its gaze and of a control, and an evaluated run."""
    root = tmp_path_factory.mktemp("docs")
    lay_out_kvasir(root)
    data, run = str(root / "generated"), str(root / "runs" / "made")
    for control in ([], ["--gaze.control", "shuffled_cases"]):
        assert main(["masks", data, "--crf.mode", "fast", *control]) == 0
    assert main(economise(["train", "--method", "gaze_partial", "--data", data, "--out", run])) == 0
    assert main(["evaluate", run, "--split", "test"]) == 0
    (root / "photos").mkdir()
    for case in Dataset.load(Path(data)).cases[:3]:
        shutil.copy(case.image, root / "photos")
    shutil.copy(root / "generated" / "gaze" / "fixations.csv", root / "all_fixations.csv")
    return root


@pytest.fixture
def bench(lab, tmp_path, monkeypatch) -> dict[str, str]:
    """Work in an empty folder that has what the pages name; return what stands for each name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Job, "start", lambda job: Ended(job.run()))  # torch is loaded here already
    for name in ("images", "masks", "lists", "kvasir_fixation.csv", "photos"):
        (tmp_path / name).symlink_to(lab / name)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    kept = {path.stem for path in (lab / "photos").iterdir()}
    lines = (lab / "all_fixations.csv").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines[1:] if line.split(",")[0] in kept]
    (tmp_path / "fixations.csv").write_text("\n".join([lines[0], *rows]) + "\n", encoding="utf-8")
    data, run = str(lab / "generated"), str(lab / "runs" / "made")
    case = Dataset.load(lab / "generated").split("test")[0].case_id
    return {
        "DS": data, "kvasir": data, "ours": data, "CASE": case, "INPUT": "photos", "IMAGES": "photos",
        "new_photos": "photos", "RUN": run, "runs": str(lab / "runs"), "runs/*": run,
    }  # fmt: skip


def translated(command: str, places: dict[str, str]) -> list[str]:
    """Put what is here in the place of the names of a page; what a command makes goes into the working folder."""
    words = shlex.split(command)[1:]
    made = words.index("--out") + 1 if "--out" in words else -1
    found = []
    for at, word in enumerate(words):
        is_run = word.startswith("runs/") and "*" not in word
        found.append(word if at == made else places["RUN"] if is_run else places.get(word, word))
    if found[0] == "ablate":
        found += ["--only", "base", "--seeds", "0"]
    return economise(found)


def test_every_command_is_run_or_excused():
    shown = [command for page in PAGES if page.parent.name != "tutorials" for command in commands(page)]
    assert [pattern for pattern in EXCUSED if not any(fnmatch(command, pattern) for command in shown)] == []
    assert len(SHOWN) > len(set(shown)) / 2
    assert len({command.split()[1] for command in SHOWN}) >= 16


@pytest.mark.slow
@pytest.mark.parametrize("command", SHOWN)
def test_it_does_what_it_says(command, bench, monkeypatch, capsys):
    if command.split()[1] in ("record", "review"):
        server = pytest.importorskip("gazeseg.record.server", reason='pip install "gazeseg[web]"')
        monkeypatch.setattr(server, "serve", lambda app, *, port=0: None)  # nobody is there to stop it
    if "--format nifti" in command:  # a picture has no place in space
        nibabel = pytest.importorskip("nibabel", reason='pip install "gazeseg[medical]"')
        volume = np.random.default_rng(0).integers(0, 255, (40, 48, 2), np.uint8)
        nibabel.save(nibabel.Nifti1Image(volume, np.diag([0.5, 0.5, 3, 1])), "scan.nii.gz")
        bench |= {"INPUT": "scan.nii.gz"}
    words = translated(command, bench)
    assert main(words) == 0, capsys.readouterr().err
    if "--out" in words:
        out = Path(words[words.index("--out") + 1])
        assert out.exists() or list(out.parent.glob(f"{out.name}.*"))
