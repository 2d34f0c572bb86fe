"""The notebooks, executed anew: no cell fails, and what is printed holds what the text and the stored outputs say."""

import re

import pytest
from pages import ROOT

nbformat = pytest.importorskip("nbformat", reason='pip install "gazeseg[dev]"')
nbclient = pytest.importorskip("nbclient", reason='pip install "gazeseg[dev]"')

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LIMIT_S = 900  # a cell takes seconds; a busy machine is slower


def printed(notebook) -> str:
    """Return what the cells of a notebook printed."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert not [output for output in outputs if output.output_type == "error"]
    return "".join(output.text for output in outputs if output.output_type == "stream" and output.name == "stdout")


def figure(text: str, pattern: str) -> float:
    """Return the number that a pattern finds."""
    found = re.search(pattern, text)
    assert found is not None, f"{pattern} is not in {text}"
    return float(found[1])


def check_masks(text: str) -> None:
    """The own gaze beats that of another case at every threshold; the lower threshold is the better CRF mask."""
    pairs = re.findall(r"own gaze ([\d.]+), gaze of another case ([\d.]+)", text)
    assert len(pairs) == 3
    assert all(float(own) > float(other) + 0.2 for own, other in pairs)
    assert figure(text, r"CRF at \.3: Dice ([\d.]+)") > figure(text, r"CRF at \.5: Dice ([\d.]+)")


def check_compare(text: str) -> None:
    """Both methods have learnt, and every test case is in the comparison."""
    assert figure(text, r"gaze_unet: Dice ([\d.]+)") > 0.4
    assert figure(text, r"gaze_partial: Dice ([\d.]+)") > 0.4
    assert figure(text, r"over (\d+) cases") == 18
    assert figure(text, r"pseudo-masks at 0\.3: Dice ([\d.]+)") > figure(text, r"pseudo-masks at 0\.5: Dice ([\d.]+)")


def check_doubt(text: str) -> None:
    """Every stage shows attention beside its target; the expected Dice beats knowing nothing."""
    assert text.count("'attention, ") == text.count("'target: ") >= 3
    assert figure(text, r"temperature ([\d.]+)") > 0
    areas = re.findall(r"(\w+): area ([\d.]+) \(best possible ([\d.]+), knowing nothing ([\d.]+)\)", text)
    assert [name for name, *_ in areas] == ["expected_dice", "mean_entropy", "mean_disagreement"]
    assert all(float(best) <= float(area) for _, area, best, _ in areas)
    _, expected, _, nothing = areas[0]
    assert float(expected) < float(nothing)


CLAIMS = {"compare": check_compare, "doubt": check_doubt, "masks": check_masks}


def test_each_has_its_claims_stated():
    assert sorted(CLAIMS) == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_outputs_hold_what_the_text_says(path):
    notebook = nbformat.read(path, 4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))  # from top to bottom, once
    assert path.stat().st_size < 400_000
    assert not re.search(r"/(home|root|tmp|work)/", path.read_text(encoding="utf-8"))
    CLAIMS[path.stem](printed(notebook))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path, tmp_path):
    notebook = nbformat.read(path, 4)
    nbclient.NotebookClient(notebook, timeout=LIMIT_S, resources={"metadata": {"path": str(tmp_path)}}).execute()
    CLAIMS[path.stem](printed(notebook))
