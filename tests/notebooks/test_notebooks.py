"""Every notebook runs from top to bottom, twice in a row, can be solved, and is committed without outputs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from pgmagic.cli.environment import prepare_environment
from pgmagic.cli.execute import execute
from pgmagic.db import backend, schemas
from pgmagic import server
from tests.notebooks.solving import solved, verdict

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def kernels_database(database_url: str | None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let kernels work on the database under test, which stays up between them."""
    for name in ("DJANGO_SETTINGS_MODULE", "DJANGO_ALLOW_ASYNC_UNSAFE"):
        monkeypatch.delenv(name, raising=False)
    # Set so that monkeypatch puts back whatever `prepare_environment` makes of them.
    monkeypatch.setenv("PYTHONPATH", "")
    prepare_environment()
    if database_url:
        monkeypatch.setenv("PGMAGIC_DATABASE_URL", database_url)
        yield
    else:
        with server.acquire():
            yield


@each_notebook
@pytest.mark.slow
def test_notebook_runs_twice_in_a_row_and_its_solution_solves_the_exercise(
    path, kernels_database, database_url, monkeypatch
):
    before = path.read_bytes()
    try:
        first = run(path)
        # The second time, somebody solves it, and runs the check again.
        read = nbformat.read
        monkeypatch.setattr(nbformat, "read", lambda *args, **kwargs: solved(read(*args, **kwargs)))
        second = run(path)
    finally:
        _drop_schema(path, database_url)
    assert path.read_bytes() == before
    for notebook in (first, second):
        assert verdict(notebook, "check").startswith("Not yet"), verdict(notebook, "check")
    assert verdict(second, "check-again").startswith("Solved"), verdict(second, "check-again")


def run(path: Path) -> Any:
    """Return a notebook with its outputs."""
    execution = asyncio.run(execute(path, 120, lambda _done, _all: None))
    failure = execution.failure
    assert failure is None, f"cell {failure.cell}:\n{failure.source}\n\n{failure.error}"
    return execution.notebook


@each_notebook
def test_notebook_is_committed_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None), f"cell {number} has outputs"


def test_there_are_notebooks():
    assert NOTEBOOKS


def _drop_schema(path: Path, url: str | None) -> None:
    """Leave nothing of a notebook in a database that somebody named for the tests."""
    from django.db import connection, connections

    connections.close_all()
    backend.choice.url, backend.choice.schema = url, None
    with connection.cursor() as cursor:
        cursor.execute(f'DROP SCHEMA IF EXISTS "{schemas.schema_name(path.stem, str(path))}" CASCADE')
    connections.close_all()
