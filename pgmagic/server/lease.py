"""Leases: several processes share one server, and the last process to release its lease stops the server.

Each process that uses the server holds the lock of a file of its own. When a process is killed, its lock goes, and its
lease ends; if all were killed, the server runs on until another process takes a lease and releases it.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pgmagic.errors import EmbeddedServerError
from pgmagic.server import cluster, parameters
from pgmagic.server.account import server_account
from pgmagic.server.binaries import find_binaries
from pgmagic.server.layout import Layout, default_home, prepare
from pgmagic.server.locks import close_lock_file, forget_after_fork, is_held, lock_exclusively, mutex, open_lock_file
from pgmagic.server.sockets import PORT, socket_folder

if TYPE_CHECKING:
    from io import FileIO
    from types import TracebackType
    from typing import Self

    from pgmagic.server.binaries import Binaries

MUTEX_SECONDS = 180.0


@dataclass(frozen=True)
class ServerInfo:
    """What is known about an embedded server without starting it."""

    version: str
    """The version of the programs that are used, or would be."""
    data_directory: Path
    socket_directory: Path
    log: Path
    initialised: bool
    """Whether the data directory exists."""
    running: bool
    attached: int
    """How many processes use the server now."""
    other_versions: tuple[Path, ...]
    """Folders of other major versions in the same home; they are never changed."""

    @property
    def conninfo(self) -> dict[str, str]:
        """The parameters of `psycopg.connect`, for a server that runs."""
        return _conninfo(self.socket_directory)


@dataclass
class _Attachment:
    """How this process uses one server: `count` leases, and the lease file that it holds."""

    layout: Layout
    file: FileIO
    path: Path
    count: int = 0


@dataclass
class Lease:
    """The right to use a running server, until it is released or this process ends."""

    conninfo: dict[str, str]
    """Parameters of `psycopg.connect`. There is no password: the server asks the operating system who connects."""
    notes: tuple[str, ...]
    """Sentences that the user should see, for example about the data of an older version of Postgres."""
    _layout: Layout = field(repr=False)
    _process: int = field(repr=False)
    _released: bool = field(default=False, repr=False)

    def release(self) -> None:
        """Give the lease back; the server stops when no process has a lease.

        A second call does nothing, and neither does a call in a forked child, because the lease is its parent's.
        """
        with _guard:
            if self._released or self._process != os.getpid():
                return
            self._released = True
            attachment = _attached[self._layout]
            attachment.count -= 1
            if attachment.count == 0:
                _leave(attachment)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


_guard = threading.RLock()
_attached: dict[Layout, _Attachment] = {}


def acquire(home: Path | None = None) -> Lease:
    """Return a lease of the server in `home`, which is set up and started if necessary.

    It also starts a server that crashed or was stopped while this process held a lease. If interrupted, it leaves
    neither an incomplete data directory nor a server that it started.

    Raises:
        EmbeddedServerError: there is no server for this platform, or it cannot be set up or started.
    """
    binaries = find_binaries()
    layout = _layout_of(home, binaries.major)
    try:
        return _acquire(layout, binaries)
    except OSError as error:
        raise EmbeddedServerError(
            f"The embedded Postgres server in {layout.folder} cannot be used ({error.strerror or error}:"
            f" {error.filename or layout.folder}): correct that, or set PGMAGIC_HOME to another folder."
        ) from error


def _acquire(layout: Layout, binaries: Binaries) -> Lease:
    """Take or share this process's lease file, and make sure that the server runs."""
    account = server_account(layout.folder, layout.home)
    prepare(layout, account)
    with _guard, mutex(layout.mutex, MUTEX_SECONDS) as held:
        known = attachment = _attached.get(layout)
        if attachment is None:
            # The mutex is held, so nobody removes the file as unused before it is locked.
            path = layout.leases / f"{os.getpid()}-{secrets.token_hex(4)}"
            file = open_lock_file(path)
            lock_exclusively(file)
            attachment = _Attachment(layout, file, path)
        try:
            cluster.ensure_running(layout, binaries, account, held)
        except BaseException:
            if known is None:
                _detach(attachment)
            raise
        attachment.count += 1
        _attached[layout] = attachment
        notes = tuple(
            f"{folder} contains data of another major version of Postgres. It was left as it is, and"
            f" Postgres {layout.major} uses {layout.folder}: to move the data, dump it with the old version."
            for folder in layout.other_versions()
        )
        return Lease(_conninfo(socket_folder(layout)), notes, layout, os.getpid())


def status(home: Path | None = None) -> ServerInfo:
    """Return what is known about the server in `home`, without starting or changing anything.

    Raises:
        EmbeddedServerError: there is no server for this platform, or its folder may not be read.
    """
    binaries = find_binaries()
    layout = _layout_of(home, binaries.major)
    try:
        return ServerInfo(
            version=binaries.version,
            data_directory=layout.data,
            socket_directory=socket_folder(layout),
            log=layout.log,
            initialised=layout.data.exists(),
            running=cluster.is_ready(layout),
            attached=len(_living_leases(layout)),
            other_versions=layout.other_versions(),
        )
    except PermissionError as error:
        raise _forbidden(layout) from error


def stop(home: Path | None = None) -> bool:
    """Stop the server in `home` even if processes use it, and return whether it was running.

    The processes lose their connections; the next `acquire` starts the server again.

    Raises:
        EmbeddedServerError: the server does not stop, or belongs to another account.
    """
    layout = _layout_of(home, find_binaries().major)
    try:
        if not layout.mutex.exists():
            return False
        with _guard, mutex(layout.mutex, MUTEX_SECONDS):
            running = cluster.is_alive(layout)
            if running:
                cluster.stop(layout)
            return running
    except PermissionError as error:
        raise _forbidden(layout) from error


def _layout_of(home: Path | None, major: int) -> Layout:
    """Return the paths of the server in `home`, or in the default home if it is None."""
    return Layout(default_home() if home is None else Path(home).expanduser().resolve(), major)


def _detach(attachment: _Attachment) -> None:
    """Remove the lease file and its lock."""
    attachment.path.unlink(missing_ok=True)
    close_lock_file(attachment.file)


def _leave(attachment: _Attachment) -> None:
    """Remove this process's lease file, and stop the server if no other process has one."""
    layout = attachment.layout
    if not layout.folder.exists():
        # Somebody removed the whole home.
        del _attached[layout]
        close_lock_file(attachment.file)
        return
    with mutex(layout.mutex, MUTEX_SECONDS):
        del _attached[layout]
        _detach(attachment)
        if not _living_leases(layout, remove_dead=True) and cluster.is_alive(layout):
            cluster.stop(layout)


def _living_leases(layout: Layout, *, remove_dead: bool = False) -> list[Path]:
    """Return the lease files that a living process holds; call it with `remove_dead` only if the mutex is held."""
    own = _attached.get(layout)
    living = []
    for path in layout.leases.iterdir() if layout.leases.is_dir() else ():
        # Our own file is not probed: on NFS, closing a second handle of a file releases its lock.
        if (own is not None and path == own.path) or is_held(path):
            living.append(path)
        elif remove_dead:
            path.unlink(missing_ok=True)
    return living


def _conninfo(socket_directory: Path) -> dict[str, str]:
    """Return the parameters of a connection to the server with this socket folder."""
    return {
        "host": str(socket_directory),
        # Empty but given, because otherwise PGHOSTADDR in the environment could name another server.
        "hostaddr": "",
        "port": str(PORT),
        "user": parameters.ROLE,
        "dbname": parameters.DATABASE,
    }


def _forbidden(layout: Layout) -> EmbeddedServerError:
    """Return the error for a server of another account."""
    return EmbeddedServerError(
        f"The embedded server in {layout.home} belongs to another account, and this account may not read its files:"
        " set PGMAGIC_HOME to a folder of your own."
    )


def _forget_after_fork() -> None:
    """Make a forked child hold no lease, because the leases are its parent's."""
    global _guard
    _guard = threading.RLock()
    _attached.clear()
    forget_after_fork()


@atexit.register
def _leave_all() -> None:
    """Give back every lease of this process when it ends."""
    with _guard:
        for attachment in list(_attached.values()):
            # The next process that starts the server finds and reports any problem.
            with contextlib.suppress(Exception):
                _leave(attachment)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
