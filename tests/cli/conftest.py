"""The `pgmagic` command as a process of its own, with an embedded server of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from pgmagic import server

ROOT = Path(__file__).parents[2]
Pgmagic = Callable[..., subprocess.CompletedProcess[str]]
MakeNotebook = Callable[..., Path]


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A PGMAGIC_HOME for these tests; as root, the server's account has to get through to it."""
    base = Path(tempfile.mkdtemp(prefix="pgmagic-cli-", dir=Path(tempfile.gettempdir()).resolve()))
    base.chmod(0o755)
    yield base / "home"
    server.stop(base / "home")
    shutil.rmtree(base)


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """Let processes that are started now heed every signal, also where these tests run in a job that ignores some."""
    # A signal with a handler is, for a program that is started, one with its default effect.
    former = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """The environment of the command: nothing names a database."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PGMAGIC_", "DJANGO_", "JPY_", "JUPYTER_", "PG"))
    }
    return {**inherited, "PGMAGIC_HOME": str(home), "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


@pytest.fixture
def pgmagic(environment: dict[str, str], tmp_path: Path) -> Pgmagic:
    """A function that runs the command in an empty folder and returns the ended process."""

    def run(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pgmagic.cli", *map(str, arguments)],
            cwd=tmp_path,
            env={**environment, **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


@pytest.fixture
def make_notebook(tmp_path: Path) -> MakeNotebook:
    """A function that writes a notebook of code cells and returns its path."""

    def make(name: str, *cells: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells]), path)
        return path

    return make
