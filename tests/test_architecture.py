"""The import direction of the package, read from its source."""

import ast
from pathlib import Path

import gazeseg

ROOT = Path(gazeseg.__file__).parent
LAYERS = [
    {"errors", "types", "config", "console"},
    {"gaze"},
    {"supervision"},
    {"data"},
    {"text"},
    {"nets", "losses", "promptable"},
    {"methods"},
    {"train"},
    {"evaluate", "predict"},
    {"report", "export"},
    {"ablate"},
    {"reproduce"},
    {"record"},
    {"cli", "__main__", "__init__"},  # the package itself offers `load`, and imports it when it is called
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
TORCH_FREE = ("gaze", "supervision", "report", "record")


def _part(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_part_has_its_layer() -> None:
    parts = {_part(path) for path in ROOT.rglob("*.py")}
    assert parts == set(RANK)


def test_imports_point_one_way() -> None:
    wrong = []
    for path in ROOT.rglob("*.py"):
        for name in _imports(path):
            parts = name.split(".")
            if parts[0] == "gazeseg" and len(parts) > 1 and parts[1] in RANK and RANK[parts[1]] > RANK[_part(path)]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_the_gaze_side_and_the_report_never_import_torch() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for part in TORCH_FREE
        for path in (ROOT / part).rglob("*.py")
        for name in _imports(path)
        if name.split(".")[0] in {"torch", "monai", "lightning_fabric"}
    ]
    assert wrong == []


def test_modules_can_be_read_in_one_sitting() -> None:
    long = {
        str(path.relative_to(ROOT)): n for path in ROOT.rglob("*.py") if (n := len(path.read_text().splitlines())) > 450
    }
    assert long == {}
