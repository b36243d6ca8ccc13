"""Notebooks run from the first cell to the last, in a quick setting, and are committed with their pictures."""

import sys

import nbformat
import pytest
from places import ROOT

FOLDER = ROOT / "notebooks"
sys.path.insert(0, str(FOLDER))
from execute import execute  # noqa: E402

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
every = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.mark.slow  # half a minute or more each, nearly all of it compilation
@every
@pytest.mark.filterwarnings("default")
def test_runs_quickly(path, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXGA_QUICK", "1")
    execute(path, tmp_path / path.name)
    assert pictures(tmp_path / path.name) == pictures(path)


@every
def test_is_committed_with_its_outputs(path):
    assert pictures(path) >= 2
    notebook = nbformat.read(path, as_version=4)
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


def pictures(path):
    cells = nbformat.read(path, as_version=4).cells
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return sum("image/png" in output.get("data", {}) for output in outputs)
