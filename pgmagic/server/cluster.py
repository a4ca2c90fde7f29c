"""Setting up, starting and stopping the server; every function here is called with the mutex held."""

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
# How long a server may seem gone, or silent, before it is taken to be so.
GRACE_SECONDS = 0.5
LONGEST_LOG = 1_000_000
# In the file postmaster.pid, the line of the status; the words are padded with spaces.
# Source: src/include/utils/pidfile.h of Postgres
STATUS_LINE = 7


def is_alive(layout: Layout) -> bool:
    """Return whether any process of the server lives.

    The inherited lock is what tells; where the home's file system does not let locks be inherited (NFS), the
    number in postmaster.pid, checked against what that process is and where it works, tells.
    """
    return is_held(layout.server_lock) or processes.postmaster(layout) is not None


def status(layout: Layout) -> str:
    """Return `ready`, `starting` or `stopping`, as the server says of itself; empty where it says nothing."""
    try:
        lines = layout.postmaster_file.read_text().split("\n")
    except OSError:
        return ""
    return lines[STATUS_LINE].strip() if len(lines) > STATUS_LINE else ""


def is_ready(layout: Layout) -> bool:
    """Return whether the server lives and accepts connections."""
    return is_alive(layout) and status(layout) == "ready" and answers(socket_folder(layout))


def ensure_running(layout: Layout, binaries: Binaries, account: Account, mutex: FileIO) -> None:
    """Have a server that accepts connections: the one that runs, or a new one.

    Raises:
        EmbeddedServerError: it cannot be set up or started.

    """
    if is_ready(layout):
        return
    if is_alive(layout):
        # One that another process, since killed, left starting or stopping; or whose socket was taken away.
        _await(layout, lambda: status(layout) == "ready" or not is_alive(layout), START_SECONDS)
        if is_ready(layout):
            return
        stop(layout)
    own_name()  # its error is plainer than what initdb would say
    _remove_leftovers(layout)
    usable = binaries_for(account, binaries, layout.folder)
    if not layout.data.exists():
        initialise(layout, usable, account, mutex)
    start(layout, usable, account)


def initialise(layout: Layout, binaries: Binaries, account: Account, mutex: FileIO) -> None:
    """Make the data directory, wholly or not at all.

    It is set up in a folder beside its place and renamed. The programs inherit the mutex: should this process
    be killed, the next one waits for them before it clears up.
    """
    lender = lending_account(account)
    variables = processes.environment(own_libraries=binaries.package is not None)
    workspace = Path(tempfile.mkdtemp(prefix="tmp-", dir=layout.folder))
    data = workspace / "data"
    try:
        hand_over(workspace, account, account.private_mode)
        data.mkdir()
        hand_over(data, lender, 0o700)
        words = [
            binaries.program("initdb"),
            "--pgdata",
            str(data),
            *parameters.initdb_options(binaries.major),
        ]
        processes.run_to_end(words, lender, variables, data, inherited=mutex)
        # Postgres' single-user mode: the database exists before anybody can connect.
        words = [binaries.program("postgres"), "--single", "-D", str(data), "template1"]
        typed = f"CREATE DATABASE {parameters.DATABASE}\n"
        processes.run_to_end(words, lender, variables, data, typed=typed, inherited=mutex)
        with (data / "postgresql.conf").open("a") as file:
            file.write(parameters.INCLUDE)
        _give_tree(data, account)
        data.rename(layout.data)
        _sync(layout.folder)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def start(layout: Layout, binaries: Binaries, account: Account) -> None:
    """Start the server and wait until it accepts connections; interrupted, leave none running.

    Raises:
        EmbeddedServerError: it ended instead, or took too long; the message holds the log's last complaint.

    """
    _check_version(layout)
    _write_configuration(layout, binaries.major, account)
    folder = prepare_socket_folder(layout, account)
    # No process of a server lives, so whatever this file names is not one. Postgres itself would take any
    # living process with that number, even a zombie, for the server and refuse to start.
    layout.postmaster_file.unlink(missing_ok=True)
    position = _trim_log(layout)
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
    """Stop the server, disconnecting whoever is connected; one that does not obey is killed.

    Raises:
        EmbeddedServerError: its processes do not end.

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
            "The embedded Postgres server does not end, not even when killed: end the processes that work in"
            f" {layout.data}, then try again."
        )
    remove_socket_folder(layout)


def _kill(layout: Layout) -> bool:
    """Kill every process of the server and return whether all are gone; the data survives that."""
    deadline = time.monotonic() + KILL_SECONDS
    while is_alive(layout) and time.monotonic() < deadline:
        # Again and again: a process that was just started may still be the shell that becomes the server.
        processes.kill_server(layout)
        time.sleep(POLL_SECONDS)
    return not is_alive(layout)


def _await(layout: Layout, reached: Callable[[], bool], seconds: float) -> bool:
    """Wait until `reached()`, for at most `seconds`; return whether it was.

    The wait also ends where processes of the server live on without their main process: what does not end in
    a moment then may not end at all.
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
    """Wait for the server that was just started; `position` is where its part of the log begins."""
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
                f"The embedded Postgres server did not start: {complaint.rstrip('.')};"
                f" its log is {layout.log}."
            )
        time.sleep(POLL_SECONDS)


def _check_version(layout: Layout) -> None:
    """Check that the data directory is of this major version, for a message that names the remedy."""
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
    """Write the files that say what fits a workbook and who may connect."""
    for name, content in (
        (parameters.SETTINGS_FILE, parameters.SETTINGS),
        ("pg_hba.conf", parameters.access_rules()),
        ("pg_ident.conf", parameters.account_map(major, own_name())),
    ):
        path = layout.data / name
        if path.is_file() and not path.is_symlink() and path.read_text() == content:
            continue
        # A new file put in place of the old one: no symbolic link is followed, no half of a file is seen.
        descriptor, written = tempfile.mkstemp(dir=layout.folder, prefix="tmp-")
        with os.fdopen(descriptor, "w") as file:
            file.write(content)
        hand_over(Path(written), account, 0o600)
        Path(written).replace(path)


def _trim_log(layout: Layout) -> int:
    """Return where the next start's part of the log begins; a log that has grown long is begun anew."""
    if not layout.log.exists():
        return 0
    if layout.log.stat().st_size > LONGEST_LOG:
        layout.log.unlink()
        return 0
    return layout.log.stat().st_size


def _remove_leftovers(layout: Layout) -> None:
    """Remove what killed processes left half made; whoever makes something holds the mutex, as we do now."""
    for leftover in layout.folder.glob("tmp-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _give_tree(tree: Path, account: Account) -> None:
    """Give a new data directory to `account`; the modes stay."""
    if not account.separate:
        return
    for folder, _, files in os.walk(tree):
        os.chown(folder, account.uid, account.gid)
        for name in files:
            os.chown(Path(folder) / name, account.uid, account.gid, follow_symlinks=False)


def _sync(folder: Path) -> None:
    """Have the operating system write the names in `folder` to disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
