"""Locks on files, which the operating system releases when their holder dies.

A process number in a file becomes outdated and may be reused; an flock ends with the processes that hold its open file.

Source: https://man7.org/linux/man-pages/man2/flock.2.html
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from io import FileIO
from typing import TYPE_CHECKING

from pgmagic.errors import EmbeddedServerError

if sys.platform != "win32":
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL_SECONDS = 0.005

# Every lock file that this process has open. A forked child closes them; otherwise it would hold its parent's locks.
_open_files: set[FileIO] = set()


def open_lock_file(path: Path) -> FileIO:
    """Return the file at `path` open for locking; a new one is readable by its owner only."""

    def opener(name: str, _flags: int) -> int:
        # O_NOFOLLOW, because a symbolic link made by somebody else must not make a root process open another file.
        return os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    file = FileIO(str(path), "r+", opener=opener)
    _open_files.add(file)
    return file


def close_lock_file(file: FileIO) -> None:
    """Close `file`; this releases its lock unless another process inherited the open file."""
    _open_files.discard(file)
    file.close()


def lock_exclusively(file: FileIO) -> None:
    """Take the exclusive lock of `file`; at most the short probe of another process delays this."""
    if sys.platform != "win32":
        fcntl.flock(file, fcntl.LOCK_EX)


def is_held(path: Path) -> bool:
    """Return whether a living process holds the exclusive lock of the file at `path`.

    The probe takes a shared lock, so that two probes at the same time do not mistake each other for a holder.
    """
    if sys.platform == "win32":
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


@contextlib.contextmanager
def mutex(path: Path, timeout: float) -> Iterator[FileIO]:
    """Hold the lock of the file at `path` during the block, and yield the locked file.

    Raises:
        EmbeddedServerError: another process has held it for `timeout` seconds.
    """
    file = open_lock_file(path)
    try:
        _wait_for(file, path, timeout)
        yield file
    finally:
        if sys.platform != "win32":
            # Without this, a child that another thread forked meanwhile would keep the lock.
            fcntl.flock(file, fcntl.LOCK_UN)
        close_lock_file(file)


def _wait_for(file: FileIO, path: Path, timeout: float) -> None:
    """Take the exclusive lock of `file`, polling, so that the wait can be interrupted and ends after `timeout`."""
    if sys.platform == "win32":
        return
    deadline = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise EmbeddedServerError(
                    f"Another process has been starting or stopping the embedded Postgres server for"
                    f" {timeout:.0f} seconds (it holds the lock {path}): wait for it or end it, then try"
                    " again."
                ) from None
            time.sleep(POLL_SECONDS)
        else:
            return


def forget_after_fork() -> None:
    """Close every lock file in a forked child; the parent keeps its locks."""
    for file in list(_open_files):
        close_lock_file(file)
