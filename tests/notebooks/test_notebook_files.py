"""The notebooks as files: what is committed is clean, complete and the same on every machine."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SERIES = [
    "00_start_here",
    "01_protecting_rows",
    "02_append_only",
    "03_read_only_fields",
    "04_soft_delete",
    "05_versioning",
    "06_official_interfaces",
    "07_state_machines",
    "08_tracking_history",
    "09_context_and_audit",
    "10_cookbook",
    "11_history_as_dataframes",
    "12_to_production",
]
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# A path that starts at the root of a file system, or a home folder.
ABSOLUTE_PATH = re.compile(
    r"(?<![\w:/.<])(?:/(?:home|root|tmp|usr|work|Users|var|opt|mnt)/|~/|[A-Za-z]:\\\\)"
)


def cells(path, kind="code"):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def python_of(cell):
    """Return the Python of a code cell: that of a cell magic is what follows its line."""
    lines = cell.source.splitlines()
    body = lines[1:] if lines[0].startswith("%%") else lines
    return TransformerManager().transform_cell("\n".join(body))


def test_the_series_is_complete():
    assert [path.stem for path in NOTEBOOKS][: len(SERIES)] == SERIES


@each_notebook
def test_format_is_valid(path):
    raw = json.loads(path.read_text(encoding="utf-8"))
    assert raw["nbformat"] == 4
    assert raw["nbformat_minor"] == 5
    nbformat.validate(raw)


@each_notebook
def test_nothing_of_a_run_is_committed(path):
    raw = json.loads(path.read_text(encoding="utf-8"))
    for cell in raw["cells"]:
        assert set(cell["metadata"]) <= {"tags"}, cell["id"]
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), cell["id"]
    assert raw["metadata"] == {
        "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }


@each_notebook
def test_cells_have_names_of_their_own(path):
    """Written by hand, so that they say what a cell is about, and survive a cell put in front of them."""
    ids = [cell["id"] for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z][a-z0-9-]{1,40}", name) for name in ids), ids


@each_notebook
def test_first_code_cell_loads_pgmagic_and_starts_afresh(path):
    assert cells(path)[0].source.splitlines() == ["%load_ext pgmagic", "%pgreset"]


@each_notebook
def test_code_compiles(path):
    for cell in cells(path):
        if cell.source.startswith("%%pgsql"):
            continue
        ast.parse(python_of(cell), filename=cell.id)


@each_notebook
def test_no_absolute_path(path):
    assert ABSOLUTE_PATH.findall(path.read_text(encoding="utf-8")) == []


@each_notebook
def test_title_and_links(path):
    """The title begins with the number, and links lead to notebooks that are there."""
    first, *_ = cells(path, "markdown")
    assert first.source.startswith(f"# {path.stem[:2]} · ")
    links = re.findall(r"\]\(([^)#]+)\)", "\n".join(cell.source for cell in cells(path, "markdown")))
    missing = [link for link in links if "://" not in link and not (FOLDER / link).exists()]
    assert links
    assert missing == []
