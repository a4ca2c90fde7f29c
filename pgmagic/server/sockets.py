"""The folder of the server's socket: in the home if its path is short enough, or else a new private folder.

The socket is never put directly into a world-writable folder, because another user could start a server there.
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
    """Return the folder of the server's socket; before the first start, its folder in the home."""
    record = layout.folder / RECORD_NAME
    try:
        return Path(os.fsdecode(record.read_bytes()))
    except FileNotFoundError:
        return layout.folder / "socket"


def prepare_socket_folder(layout: Layout, account: Account) -> Path:
    """Return a private folder for the socket, with no socket in it; call this only while no server runs.

    If the folder is outside the home, the home records its name. A recorded folder is used again unless it was removed
    or is no longer private.
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
    """Remove a folder that was made outside the home; call this only while no server runs."""
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

    This asks the server whether it supports SSL; any answer counts. A connection alone proves nothing, because the
    operating system still accepts connections for a server that is being killed.

    Source: https://www.postgresql.org/docs/18/protocol-flow.html#PROTOCOL-FLOW-SSL
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(ANSWER_SECONDS)
        try:
            probe.connect(str(folder / SOCKET_NAME))
            probe.sendall(SSL_REQUEST)
            return probe.recv(1) != b""
        except (BlockingIOError, TimeoutError):
            return True  # the server exists: its queue is full, or it is slow, and other users may be waiting, too
        except OSError:
            return False


def fits(folder: Path) -> bool:
    """Return whether `folder` can be named as the host of a connection.

    The operating system limits the length of a socket's path, and libpq ends the name of a host at a comma.
    """
    return len(os.fsencode(folder / SOCKET_NAME)) <= LONGEST_PATH and "," not in str(folder)


def _remove_leftovers(folder: Path) -> None:
    """Remove a killed server's socket and its lock file, whose process number may belong to another process by now."""
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
    """Return a new folder for the socket outside the home, with a name that nobody can guess."""
    # Folders that other users cannot write to come first.
    parents = [Path(tempfile.gettempdir()).resolve(), Path("/tmp").resolve()]  # noqa: S108 - for a new private folder
    if account.separate:
        parents.insert(0, Path("/run"))
    elif os.environ.get("XDG_RUNTIME_DIR"):
        parents.insert(0, Path(os.environ["XDG_RUNTIME_DIR"]))
    for parent in parents:
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
        "The path of the embedded server's socket is too long or contains a comma, and no private folder for it"
        f" can be made in {tempfile.gettempdir()}: set PGMAGIC_HOME to a folder with a shorter path without commas."
    )


def _write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` so that a reader sees all of it or nothing."""
    descriptor, name = tempfile.mkstemp(prefix="tmp-", dir=path.parent)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(name).replace(path)
