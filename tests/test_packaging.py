"""What an installation brings along, and what starting costs."""

import importlib.metadata
import re
import resource
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def _installed() -> set[str]:
    return {dist.metadata["Name"].lower() for dist in importlib.metadata.distributions()}


def test_neither_torchvision_nor_cuda_came_in() -> None:
    assert {name for name in _installed() if re.match(r"torchvision|torchaudio|nvidia|cuda|triton", name)} == set()


def test_installed_versions_are_the_pinned_ones() -> None:
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line and "#" not in line
    )
    wrong = {
        name: version
        for name, version in pins.items()
        if name.lower() in _installed() and importlib.metadata.version(name).split("+")[0] != version
    }
    assert wrong == {}


def test_every_recipe_is_in_the_package() -> None:
    package = ROOT / "src" / "gazeseg"
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["gazeseg"]
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    assert set((package / "reproduce" / "recipes").rglob("*.yaml")) <= packed


def _run(*arguments: str) -> tuple[str, float]:
    """Return the output and the seconds of a core: those of the clock where nothing else runs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_importing_and_help_load_no_torch() -> None:
    listing = (
        "import sys; print(*sorted(m for m in ('torch', 'monai', 'pandas', 'matplotlib', 'numba') if m in sys.modules))"
    )
    assert _run("-c", f"import gazeseg; {listing}")[0].strip() == ""
    helped = f"import gazeseg.cli; gazeseg.cli.main(['--help']); {listing}"
    assert _run("-c", helped)[0].splitlines()[-1].strip() == ""


def test_importing_and_help_take_less_than_half_a_second() -> None:
    for arguments in (("-c", "import gazeseg"), ("-c", "import gazeseg.cli; gazeseg.cli.main(['--help'])")):
        # the best of five: a busy machine is slower even by its own clock
        assert min(_run(*arguments)[1] for _ in range(5)) < 0.5
