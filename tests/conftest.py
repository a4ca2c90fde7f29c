"""Fixtures: a database that is always there, a schema for each test, and a kernel's shell.

The database is the embedded Postgres, in a home of its own, or the server that PGMAGIC_TEST_DATABASE_URL names.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
os.environ.pop("PGMAGIC_DATABASE_URL", None)
for variable in ("PGMAGIC_NOTEBOOK", "JPY_SESSION_NAME"):
    os.environ.pop(variable, None)

# Tests interrupt what they start; from a job in a script's background it would inherit that SIGINT is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

import django  # noqa: E402 - after the settings

django.setup()

from pgmagic import pgtrigger  # noqa: E402, F401 - supplies what declarations ask of other rooms

TEST_URL = os.environ.get("PGMAGIC_TEST_DATABASE_URL")


def pytest_sessionfinish() -> None:
    """Save what this process covered, if it is measured: xdist may end a worker before its own end would."""
    if os.environ.get("COVERAGE_PROCESS_START"):
        from coverage import Coverage

        measuring = Coverage.current()
        if measuring is not None:
            measuring.save()


@pytest.fixture(scope="session")
def database_url() -> Iterator[str | None]:
    """The URL of the database under test; None stands for the embedded server."""
    if TEST_URL:
        yield TEST_URL
        return
    # As root, the server's account has to get through to its home, which pytest's own folders do not allow.
    home = Path(tempfile.mkdtemp(prefix="pgmagic-test-"))
    home.chmod(0o755)
    former = os.environ.get("PGMAGIC_HOME")
    os.environ["PGMAGIC_HOME"] = str(home)
    yield None
    from django.db import connections

    from pgmagic import server
    from pgmagic.db import backend

    connections.close_all()
    backend.choice.leave()
    server.stop(home)
    os.environ.pop("PGMAGIC_HOME") if former is None else os.environ.update(PGMAGIC_HOME=former)
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def schema(database_url: str | None) -> Iterator[str]:
    """A schema of the test's own, in which unqualified names resolve; models of cells are forgotten afterwards."""
    from django.db import connection, connections

    from pgmagic.db import backend
    from pgmagic.declare import model_registry

    name = f"test_{uuid.uuid4().hex[:12]}"
    connections.close_all()
    former = backend.choice.schema
    backend.choice.url, backend.choice.schema = database_url, name
    yield name
    for label in model_registry.cell_labels():
        model_registry.forget_label(label)
    connections.close_all()
    with connection.cursor() as cursor:
        cursor.execute(f'DROP SCHEMA "{backend.choice.schema}" CASCADE')
        cursor.execute(f'DROP SCHEMA IF EXISTS "{name}" CASCADE')
    connections.close_all()
    backend.choice.schema = former


@pytest.fixture
def as_in_a_project(schema: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let SQL be compiled as in a project: for no schema, so that names are found along the search_path."""
    from pgmagic.db.backend.base import DatabaseWrapper

    monkeypatch.setattr(DatabaseWrapper, "own_schema", None)


@pytest.fixture
def connection(schema: str) -> Any:
    """Django's connection, open, in the test's schema."""
    from django.db import connection as default

    default.ensure_connection()
    return default


class Shell:
    """A kernel's shell with pgmagic loaded; `run` executes a cell and returns its result."""

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    def run(self, cell: str) -> Any:
        """Return the value of a cell that must succeed."""
        result = self.shell.run_cell(cell, store_history=True)
        result.raise_error()
        return result.result

    def error(self, cell: str) -> BaseException:
        """Return the error of a cell that must fail."""
        result = self.shell.run_cell(cell, store_history=True)
        error = result.error_before_exec or result.error_in_exec
        assert error is not None, f"this cell did not fail: {cell}"
        return error

    def __getitem__(self, name: str) -> Any:
        return self.shell.user_ns[name]


@pytest.fixture
def shell(schema: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    """A fresh IPython shell with pgmagic loaded, working in the test's schema."""
    from IPython.core.interactiveshell import InteractiveShell

    from pgmagic.db import backend
    from pgmagic.notebook import extension

    InteractiveShell.clear_instance()
    main = sys.modules["__main__"]
    ipython = InteractiveShell.instance()
    monkeypatch.setattr("pgmagic.notebook.session.notebook_schema", lambda _shell: schema)
    if TEST_URL:
        monkeypatch.setenv("PGMAGIC_DATABASE_URL", TEST_URL)
    extension.load(ipython)
    assert backend.choice.schema == schema
    yield Shell(ipython)
    extension.unload(ipython)
    InteractiveShell.clear_instance()
    sys.modules["__main__"] = main
