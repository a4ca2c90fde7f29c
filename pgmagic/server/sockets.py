"""The folder of the server's socket: in the home where a connection can name it, else a new private one.

A world-writable folder is never used itself: there another user could put up a server of his own.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pgmagic.errors import EmbeddedServerError
from pgmagic.server.account import first_unreachable, hand_over
from pgmagic.server.layout import check_private

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgmagic.server.account import Account
    from pgmagic.server.layout import Layout

PORT = 5432
SOCKET_NAME = f".s.PGSQL.{PORT}"
RECORD_NAME = "socket-directory"
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
ANSWER_SECONDS = 5.0
# The field sun_path without its closing zero byte.
LONGEST_PATH = 103 if sys.platform == "darwin" else 107


def socket_folder(layout: Layout) -> Path:
    """Return the folder in which the server's socket is, or would be if it can be in the home."""
    record = layout.folder / RECORD_NAME
    try:
        return Path(os.fsdecode(record.read_bytes()))
    except FileNotFoundError:
        return layout.folder / "socket"


def prepare_socket_folder(layout: Layout, account: Account) -> Path:
    """Return a private folder for the socket, with no socket in it; call it with no server running.

    Its name is recorded in the home where it lies elsewhere, and a recorded one is used again unless it was
    cleaned away or is no longer private.
    """
    folder = socket_folder(layout)
    record = layout.folder / RECORD_NAME
    if not _usable(folder, account):
        folder = layout.folder / "socket"
        record.unlink(missing_ok=True)
        if not fits(folder):
            folder = _make_elsewhere(account)
            _write_atomically(record, os.fsencode(folder))
        elif not folder.exists():
            folder.mkdir(mode=0o700)
            hand_over(folder, account, 0o700)
    check_private(folder, account)
    _remove_leftovers(folder)
    return folder


def remove_socket_folder(layout: Layout) -> None:
    """Remove a folder that was made outside the home; call it with no server running."""
    record = layout.folder / RECORD_NAME
    if not record.exists():
        return
    folder = socket_folder(layout)
    if folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == layout.data.stat().st_uid:
        _remove_leftovers(folder)
        if not any(folder.iterdir()):
            folder.rmdir()
    record.unlink()


def answers(folder: Path) -> bool:
    """Return whether a server answers on the socket in `folder`.

    It is asked whether it speaks SSL, and any answer will do. A mere connection would not: the operating
    system still accepts one for a server that is being killed.

    Source: https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-SSL
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ANSWER_SECONDS)
        try:
            probe.connect(str(folder / SOCKET_NAME))
            probe.sendall(SSL_REQUEST)
            return probe.recv(1) != b""
        except (BlockingIOError, TimeoutError):
            return True  # its queue is full, or it is slow: it is there, and its users may be waiting, too
        except OSError:
            return False


def fits(folder: Path) -> bool:
    """Return whether `folder` can be named as the host of a connection.

    The operating system limits the length of a socket's path, and libpq takes a comma for the end of a host.
    """
    return len(os.fsencode(folder / SOCKET_NAME)) <= LONGEST_PATH and "," not in str(folder)


def _remove_leftovers(folder: Path) -> None:
    """Remove a killed server's socket, and its lock file: the process number in it may be reused by now."""
    for leftover in folder.glob(SOCKET_NAME + "*"):
        leftover.unlink()


def _usable(folder: Path, account: Account) -> bool:
    """Return whether `folder` exists, is short enough, reachable and private."""
    if not folder.is_dir() or not fits(folder) or first_unreachable(folder, account) is not None:
        return False
    try:
        check_private(folder, account)
    except EmbeddedServerError:
        return False
    return True


def _make_elsewhere(account: Account) -> Path:
    """Return a new folder for the socket outside the home, with a name that nobody could foresee."""
    for parent in _parents(account):
        if not parent.is_dir() or first_unreachable(parent, account) is not None:
            continue
        if not fits(parent / "pgmagic-12345678"):
            continue
        try:
            folder = Path(tempfile.mkdtemp(prefix="pgmagic-", dir=parent))
        except OSError:
            continue
        hand_over(folder, account, 0o700)
        return folder
    raise EmbeddedServerError(
        "The path of the embedded server's socket is too long or holds a comma, and no private folder for it"
        f" can be made in {tempfile.gettempdir()}: set PGMAGIC_HOME to a folder with a shorter, plain path."
    )


def _parents(account: Account) -> Iterator[Path]:
    """Yield the folders to try: first those that other users cannot write to."""
    if account.separate:
        yield Path("/run")
    elif os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(os.environ["XDG_RUNTIME_DIR"])
    yield Path(tempfile.gettempdir()).resolve()
    yield Path("/tmp").resolve()  # noqa: S108 - a new private folder is made in it


def _write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees all of it or none."""
    descriptor, name = tempfile.mkstemp(prefix="tmp-", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(name).replace(path)
