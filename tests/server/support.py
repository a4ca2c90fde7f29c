"""What the tests of the embedded server share."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import psycopg

from pgmagic.server import processes
from pgmagic.server.binaries import find_binaries
from pgmagic.server.layout import Layout

if TYPE_CHECKING:
    from pathlib import Path

IS_ROOT = os.geteuid() == 0
Worker = subprocess.Popen[str]


def layout_of(home: Path) -> Layout:
    return Layout(home.resolve(), find_binaries().major)


def server_pid(home: Path) -> int:
    main = processes.postmaster(layout_of(home))
    assert main is not None
    return main.pid


def said_by(worker: Worker) -> str:
    """The next line that a worker prints; empty if it ended."""
    assert worker.stdout is not None
    return worker.stdout.readline().strip()


def leave(worker: Worker) -> int:
    """Let a worker end in good order, and return its exit code."""
    worker.communicate("\n", timeout=60)
    return worker.returncode


def answer(conninfo: dict[str, str], query: str = "SELECT 1") -> object:
    """The first value of a query's answer, over a connection of its own."""
    with psycopg.connect(**conninfo) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def modes_above(path: Path) -> dict[Path, tuple[int, int, int]]:
    """Mode, owner and group of `path` and every folder above it."""
    return {part: (part.stat().st_mode, part.stat().st_uid, part.stat().st_gid) for part in (path, *path.parents)}


def content_of(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """Mode, time of change and content of everything in `folder`."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in (folder, *folder.rglob("*"))
    }
