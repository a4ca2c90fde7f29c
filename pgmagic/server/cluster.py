"""Set up, start and stop the server. Callers of the functions that do so hold the mutex."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from pgmagic.errors import EmbeddedServerError
from pgmagic.server import parameters, processes
from pgmagic.server.account import hand_over, lending_account, own_name
from pgmagic.server.binaries import binaries_for
from pgmagic.server.locks import POLL_SECONDS, close_lock_file, is_held, lock_exclusively, open_lock_file
from pgmagic.server.sockets import answers, prepare_socket_folder, remove_socket_folder, socket_folder

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    from pgmagic.server.account import Account
    from pgmagic.server.binaries import Binaries
    from pgmagic.server.layout import Layout

START_SECONDS = 120.0
STOP_SECONDS = 60.0
KILL_SECONDS = 5.0
# How long a server must seem to be gone before pgmagic concludes that it is.
GRACE_SECONDS = 0.5
LONGEST_LOG = 1_000_000
# In the file postmaster.pid, the line of the status; the words are padded with spaces.
# Source: src/include/utils/pidfile.h of Postgres
STATUS_LINE = 7


def is_alive(layout: Layout) -> bool:
    """Return whether any process of the server is alive.

    The lock that the processes inherit shows it. On file systems where locks are not inherited (NFS), the process
    number in postmaster.pid shows it; the program and the working directory of that process are checked.
    """
    return is_held(layout.server_lock) or processes.postmaster(layout) is not None


def status(layout: Layout) -> str:
    """Return the status in the server's own file: `ready`, `starting` or `stopping`; empty if there is none."""
    try:
        lines = layout.postmaster_file.read_text().split("\n")
    except OSError:
        return ""
    return lines[STATUS_LINE].strip() if len(lines) > STATUS_LINE else ""


def is_ready(layout: Layout) -> bool:
    """Return whether the server is alive and accepts connections."""
    return is_alive(layout) and status(layout) == "ready" and answers(socket_folder(layout))


def ensure_running(layout: Layout, binaries: Binaries, account: Account, mutex: FileIO) -> None:
    """Make sure that a server accepts connections: the running one, or a new one.

    Raises:
        EmbeddedServerError: the server cannot be set up or started.
    """
    if is_ready(layout):
        return
    if is_alive(layout):
        # A process that was killed left this server starting or stopping; or its socket was removed.
        _await(layout, lambda: status(layout) == "ready" or not is_alive(layout), START_SECONDS)
        if is_ready(layout):
            return
        stop(layout)
    own_name()  # its error message is clearer than that of initdb
    # Processes that were killed left these half made: whoever makes something holds the mutex, which is now ours.
    for leftover in layout.folder.glob("tmp-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)
    usable = binaries_for(account, binaries, layout.folder)
    if not layout.data.exists():
        initialise(layout, usable, account, mutex)
    start(layout, usable, account)


def initialise(layout: Layout, binaries: Binaries, account: Account, mutex: FileIO) -> None:
    """Make the data directory, completely or not at all.

    It is set up in a temporary folder of the same parent, and then renamed. The programs inherit the mutex: if this
    process is killed, the next process waits for the programs before it removes what they left.
    """
    lender = lending_account(account)
    variables = processes.environment(own_libraries=binaries.package is not None)
    workspace = Path(tempfile.mkdtemp(prefix="tmp-", dir=layout.folder))
    data = workspace / "data"
    try:
        hand_over(workspace, account, account.private_mode)
        data.mkdir()
        hand_over(data, lender, 0o700)
        words = [binaries.program("initdb"), "--pgdata", str(data), *parameters.initdb_options(binaries.major)]
        processes.run_to_end(words, lender, variables, data, inherited=mutex)
        # In Postgres's single-user mode, so that the database exists before anybody can connect.
        words = [binaries.program("postgres"), "--single", "-D", str(data), "template1"]
        typed = f"CREATE DATABASE {parameters.DATABASE}\n"
        processes.run_to_end(words, lender, variables, data, typed=typed, inherited=mutex)
        with (data / "postgresql.conf").open("a") as file:
            file.write(parameters.INCLUDE)
        if account.separate:
            for folder, _, files in os.walk(data):
                os.chown(folder, account.uid, account.gid)
                for name in files:
                    os.chown(Path(folder) / name, account.uid, account.gid, follow_symlinks=False)
        data.rename(layout.data)
        descriptor = os.open(layout.folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # so that the new name survives a crash of the machine
        finally:
            os.close(descriptor)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def start(layout: Layout, binaries: Binaries, account: Account) -> None:
    """Start the server and wait until it accepts connections; if interrupted, leave no server running.

    Raises:
        EmbeddedServerError: the server ended, or took too long; the message quotes the last error in its log.
    """
    _check_version(layout)
    _write_configuration(layout, binaries.major, account)
    folder = prepare_socket_folder(layout, account)
    # No process of the server is alive, so this file is outdated. Postgres itself would believe that any process with
    # the same number, even a zombie, is the server, and refuse to start.
    layout.postmaster_file.unlink(missing_ok=True)
    if layout.log.exists() and layout.log.stat().st_size > LONGEST_LOG:
        layout.log.unlink()
    position = layout.log.stat().st_size if layout.log.exists() else 0
    words = [binaries.program("postgres"), "-D", str(layout.data), *parameters.command_line(folder)]
    variables = processes.environment(own_libraries=binaries.package is not None)
    inherited = open_lock_file(layout.server_lock)
    log = open_lock_file(layout.log)
    try:
        os.lseek(log.fileno(), 0, os.SEEK_END)
        lock_exclusively(inherited)
        processes.start_detached(words, account, variables, layout.data, log, inherited)
        close_lock_file(inherited)
        _await_ready(layout, position)
    except BaseException:
        close_lock_file(inherited)
        _kill(layout)
        raise
    finally:
        close_lock_file(inherited)
        close_lock_file(log)


def stop(layout: Layout) -> None:
    """Stop the server and end all connections; kill it if it does not stop.

    Raises:
        EmbeddedServerError: the server's processes do not end.
    """
    for wanted, seconds in ((signal.SIGINT, STOP_SECONDS), (signal.SIGQUIT, KILL_SECONDS)):
        main = processes.postmaster(layout)
        if main is None:
            break
        try:
            main.send_signal(wanted)
        except psutil.NoSuchProcess:
            break
        if _await(layout, lambda: not is_alive(layout), seconds):
            break
    if not _await(layout, lambda: not is_alive(layout), GRACE_SECONDS) and not _kill(layout):
        raise EmbeddedServerError(
            "The embedded Postgres server does not end, even when it is killed: end the processes that work in"
            f" {layout.data}, then try again."
        )
    remove_socket_folder(layout)


def _kill(layout: Layout) -> bool:
    """Kill every process of the server and return whether all are gone; the data is not damaged by this."""
    deadline = time.monotonic() + KILL_SECONDS
    while is_alive(layout) and time.monotonic() < deadline:
        # Repeatedly, because a process that was just started may still be the shell that becomes the server.
        processes.kill_server(layout)
        time.sleep(POLL_SECONDS)
    return not is_alive(layout)


def _await(layout: Layout, reached: Callable[[], bool], seconds: float) -> bool:
    """Wait until `reached()` is true, for at most `seconds`; return whether it is.

    The wait also ends if the server's main process is gone but others stay alive, because those may never end.
    """
    deadline = time.monotonic() + seconds
    headless_since: float | None = None
    while not reached():
        now = time.monotonic()
        headless_since = None if processes.postmaster(layout) else headless_since or now
        if now > deadline or (headless_since is not None and now - headless_since > GRACE_SECONDS):
            return reached()
        time.sleep(POLL_SECONDS)
    return True


def _await_ready(layout: Layout, position: int) -> None:
    """Wait for the server that was just started; its log begins at `position`."""
    deadline = time.monotonic() + START_SECONDS
    gone_since: float | None = None
    while not is_ready(layout):
        now = time.monotonic()
        gone_since = None if is_alive(layout) else gone_since or now
        if now > deadline or (gone_since is not None and now - gone_since > GRACE_SECONDS):
            with layout.log.open("rb") as file:
                file.seek(position)
                complaint = processes.last_complaint(file.read().decode(errors="replace"))
            raise EmbeddedServerError(
                f"The embedded Postgres server did not start: {complaint.rstrip('.')}; its log is {layout.log}."
            )
        time.sleep(POLL_SECONDS)


def _check_version(layout: Layout) -> None:
    """Check the data directory's major version, because our message says what to do and that of Postgres does not."""
    try:
        found = (layout.data / "PG_VERSION").read_text().strip()
    except OSError:
        found = "unknown"
    if found != str(layout.major):
        raise EmbeddedServerError(
            f"{layout.data} should be a data directory of Postgres {layout.major}, but its version is"
            f" {found}: move it elsewhere (pgmagic then makes a new one) or set PGMAGIC_HOME to another"
            " folder."
        )


def _write_configuration(layout: Layout, major: int, account: Account) -> None:
    """Write the server's settings, and the files that say who may connect."""
    for name, content in (
        (parameters.SETTINGS_FILE, parameters.SETTINGS),
        ("pg_hba.conf", parameters.access_rules()),
        ("pg_ident.conf", parameters.account_map(major, own_name())),
    ):
        path = layout.data / name
        if path.is_file() and not path.is_symlink() and path.read_text() == content:
            continue
        # The old file is replaced by a new one: no symbolic link is followed, and no incomplete file can be read.
        descriptor, written = tempfile.mkstemp(dir=layout.folder, prefix="tmp-")
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        hand_over(Path(written), account, 0o600)
        Path(written).replace(path)
