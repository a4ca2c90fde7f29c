"""Homes for real servers, and processes that use them.

pytest's own temporary folders are closed to every account but ours, so that root's server could not reach its
home there: the homes here are made elsewhere, and removed with whatever still runs in them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgmagic import server
from pgmagic.server import processes, sockets
from pgmagic.server.layout import Layout

from .support import layout_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .support import Worker


def _remove(base: Path) -> None:
    """Remove `base` with the servers in it and their sockets' folders outside."""
    for data in base.rglob("postgres-*/data"):
        layout = Layout(data.parent.parent, int(data.parent.name.partition("-")[2]))
        processes.kill_server(layout)
        sockets.remove_socket_folder(layout)
    shutil.rmtree(base)


@contextlib.contextmanager
def _open_folder() -> Iterator[Path]:
    base = Path(tempfile.mkdtemp(prefix="pgm-", dir=Path(tempfile.gettempdir()).resolve()))
    base.chmod(0o755)
    try:
        yield base
    finally:
        _remove(base)


@pytest.fixture
def base() -> Iterator[Path]:
    """A new folder that every account can pass."""
    with _open_folder() as folder:
        yield folder


@pytest.fixture
def cold_home(base: Path) -> Path:
    """A home that does not exist yet."""
    return base / "home"


@pytest.fixture(scope="session")
def _initialised() -> Iterator[Path]:
    with _open_folder() as folder:
        server.acquire(folder / "home").release()
        yield folder / "home"


@pytest.fixture
def home(_shared: Path) -> Iterator[Path]:
    """A home that has been set up, with no server running; tests that leave it as it was share it."""
    yield _shared
    server.stop(_shared)
    for lease in layout_of(_shared).leases.iterdir():
        lease.unlink()


@pytest.fixture
def own_home(base: Path, _initialised: Path) -> Path:
    """A home that has been set up, for one test alone: a copy, which is faster than initdb."""
    return _copy(_initialised, base)


@pytest.fixture(scope="session")
def _shared(_initialised: Path) -> Iterator[Path]:
    with _open_folder() as folder:
        yield _copy(_initialised, folder)


def _copy(home: Path, folder: Path) -> Path:
    subprocess.run(["/bin/cp", "-a", home, folder / "home"], check=True)
    return folder / "home"


@pytest.fixture
def start_worker() -> Iterator[Callable[..., Worker]]:
    """A function that starts a process which uses the server in a home."""
    workers: list[Worker] = []

    def start(home: Path, task: str = "wait") -> Worker:
        worker = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("worker.py")), str(home), task],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.kill()
        worker.wait()
        for stream in (worker.stdin, worker.stdout, worker.stderr):
            if stream is not None:
                stream.close()


@pytest.fixture(scope="module")
def running(_initialised: Path) -> Iterator[dict[str, str]]:
    """The parameters of a connection to a running server that a module's tests share."""
    with _open_folder() as folder, server.acquire(_copy(_initialised, folder)) as lease:
        yield lease.conninfo
