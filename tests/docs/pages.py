"""The pages of README and docs as blocks of code, and a walk through a page as its reader takes it."""

import csv
import glob
import importlib
import re
import runpy
import shlex
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gazeseg.cli import main
from gazeseg.data.synthetic import make_demo_dataset
from gazeseg.gaze.io.gazemedseg_csv import COLUMNS

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SMALL = {
    "--data.size": "32,32", "--network.name": "small_unet", "--network.features": "4,8,8",
    "--train.iterations": "2", "--train.batch_size": "2", "--train.threads": "1", "--train.device": "cpu",
}  # fmt: skip


@dataclass(frozen=True)
class Block:
    """A block of code; one with a title is a file that the reader saves."""

    language: str
    title: str
    text: str


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page in order."""
    found = re.findall(
        r'^```(\w*)[^\n]*?(?:title="([^"]+)")?\n(.*?)^```$', page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    return [Block(*parts) for parts in found]


def lines(block: Block) -> list[str]:
    """Return the command lines of a block, one a string, comments and continuations resolved."""
    found = []
    for line in block.text.replace("\\\n", " ").splitlines():
        found += [" ".join(part.split()) for part in line.split("  #")[0].split("&&")]
    return [line for line in found if line]


def commands(page: Path) -> list[str]:
    """Return the gazeseg commands of the code blocks of a page."""
    return [line for block in blocks(page) for line in lines(block) if line.startswith("gazeseg ")]


def economise(words: list[str]) -> list[str]:
    """Make training as small as can be, whatever the page asks for."""
    if words[0] not in ("train", "ablate"):
        return words
    kept = [word for at, word in enumerate(words) if word not in SMALL and (at == 0 or words[at - 1] not in SMALL)]
    return kept + [word for pair in SMALL.items() for word in pair]


def run_page(page: Path, folder: Path, case: str) -> list[str]:
    """Save the files of a page in ``folder``, the working directory, and run its commands in order.

    Args:
        page: The page.
        folder: Where the reader works.
        case: Takes the place of a case of the demo data set.

    Returns:
        The commands that were run.

    Raises:
        AssertionError: if a command fails or is none that a reader can type here.
    """
    done = []
    for block in blocks(page):
        if block.title:
            (folder / block.title).write_text(block.text, encoding="utf-8")
        elif not block.language:
            for line in lines(block):
                run_line(line, folder, case)
                done.append(line)
    return done


def run_line(line: str, folder: Path, case: str) -> None:
    """Run one command line as a shell in ``folder`` would."""
    words = [found for word in shlex.split(line) for found in (sorted(glob.glob(word)) if "*" in word else [word])]
    words = [case if re.fullmatch(r"(mr|endoscopy|ultrasound)-\d\d_\d", word) else word for word in words]
    match words:
        case ["gazeseg", *rest]:
            assert main(economise(rest)) == 0, line
        case ["python", "-m", "pytest", "-q", file]:  # a second pytest would load torch again
            tests = [value for name, value in runpy.run_path(file).items() if name.startswith("test_")]
            assert tests, line
            for test in tests:
                test()
        case ["python", file]:
            runpy.run_path(file, run_name="__main__")
        case ["pip", "install", "--no-deps", "--editable", "."]:
            install_here(folder)
        case ["pip", "install", _]:
            assert re.fullmatch(r"gazeseg\[[\w,]+\]", words[2]), line
        case _:
            raise AssertionError(f"no reader can type this: {line}")


def install_here(folder: Path) -> None:
    """Do what an editable installation does to entry points: write the metadata of the package beside its module."""
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {target}\n" for name, target in entries.items())
        for group, entries in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups), encoding="utf-8")
    assert str(folder) in sys.path
    importlib.invalidate_caches()


class Ended:
    """A run of a grid that was done in this process and ended well.

    Args:
        done: What doing it returned.
    """

    def __init__(self, done: None) -> None:
        self.done = done

    def poll(self) -> int:
        """Return the exit status."""
        return 0


def lay_out_kvasir(folder: Path) -> None:
    """Generate images in ``folder``, also under the names that Kvasir-SEG and GazeMedSeg use."""
    made = make_demo_dataset(folder / "generated", cases=12, size=(48, 48))
    for name in ("images", "masks", "lists"):
        (folder / name).mkdir()
    rows = []
    for case in made.cases:
        Image.open(case.image).save(folder / "images" / f"{case.case_id}.jpg")
        Image.open(case.mask).convert("RGB").save(folder / "masks" / f"{case.case_id}.jpg")
        gaze, (height, width) = made.fixations[case.case_id], case.size
        for index, (x, y, onset, duration) in enumerate(
            zip(gaze.x_px, gaze.y_px, gaze.onset_ms, gaze.duration_ms, strict=True)
        ):
            rows.append([f"{case.case_id}.jpg", index, (x + 0.5) / width, (y + 0.5) / height, duration, onset])
    with (folder / "kvasir_fixation.csv").open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    for split, wanted in (("train", ("train", "val")), ("test", ("test",))):
        ids = [case.case_id for case in made.cases if case.split in wanted]
        (folder / "lists" / f"{split}.txt").write_text("\n".join(ids), encoding="utf-8")
