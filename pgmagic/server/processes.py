"""Start programs as the server's account, and find the server's processes."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import psutil

from pgmagic.errors import EmbeddedServerError
from pgmagic.server.account import powerless

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from io import FileIO
    from pathlib import Path

    from pgmagic.server.account import Account
    from pgmagic.server.layout import Layout

# No other variables of the environment are passed on: the server outlives this process, and variables may be secret.
PASSED_ON = ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


def environment(*, own_libraries: bool) -> dict[str, str]:
    """Return the environment of Postgres's programs; `own_libraries` if they come with their libraries.

    The wheel's programs find their own libraries, which a search path meant for other programs could replace.
    """
    names = PASSED_ON[:2] if own_libraries else PASSED_ON
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def run_to_end(
    words: Sequence[str],
    account: Account,
    variables: dict[str, str],
    folder: Path,
    *,
    typed: str = "",
    inherited: FileIO,
) -> None:
    """Run a program of Postgres as `account` in `folder`, and end it if this process is interrupted.

    The program inherits the open file `inherited`: if this process is killed, the lock on the file stays until the
    program has ended.

    Raises:
        EmbeddedServerError: the program failed; the message ends with its last error.
    """
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env=variables,
            user=account.user,
            group=account.group,
            extra_groups=account.extra_groups,
            umask=0o077,
            pass_fds=(inherited.fileno(),),
            start_new_session=True,  # an interrupt reaches only this process, which then decides
        )
    except OSError as error:
        if account.separate:
            raise powerless(account, error) from error
        raise EmbeddedServerError(f"{words[0]} cannot be run ({error.strerror}): install it anew.") from error
    try:
        output, _ = process.communicate(typed)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if process.returncode != 0:
        raise EmbeddedServerError(
            f"Setting up the embedded Postgres server failed: `{os.path.basename(words[0])}` reported:"  # noqa: PTH119
            f" {last_complaint(output)}"
        )


def start_detached(
    words: Sequence[str], account: Account, variables: dict[str, str], folder: Path, log: FileIO, inherited: FileIO
) -> None:
    """Start a program as `account`, so that it is not a child of this process.

    A shell starts the program and ends: the program has no terminal, an interrupt does not reach it, and after its end
    it does not stay as a zombie of a process that never waits for it. It inherits the open file `inherited`.
    """
    subprocess.run(
        ["/bin/sh", "-c", '"$@" &', "sh", *words],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd=folder,
        env=variables,
        user=account.user,
        group=account.group,
        extra_groups=account.extra_groups,
        umask=0o077,
        pass_fds=(inherited.fileno(),),
        start_new_session=True,
        check=True,
    )


def postmaster(layout: Layout) -> psutil.Process | None:
    """Return the server's main process, or None; never another process that was given its old number."""
    try:
        number = int(layout.postmaster_file.read_text().split("\n", 1)[0])
        process = psutil.Process(number)
    except (OSError, ValueError, psutil.Error):
        return None
    return process if _works_in(process, layout) else None


def server_processes(layout: Layout) -> Iterator[psutil.Process]:
    """Yield every process of the server, including those that outlived its main process."""
    for process in psutil.process_iter():
        if _works_in(process, layout):
            yield process


def kill_server(layout: Layout) -> None:
    """Kill every process of the server; its data survives, as after a crash."""
    for process in server_processes(layout):
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def _works_in(process: psutil.Process, layout: Layout) -> bool:
    """Return whether `process` is a living Postgres that works in the data directory of `layout`."""
    try:
        if process.name() != "postgres" or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return os.path.samefile(process.cwd(), layout.data)  # noqa: PTH121
    except (psutil.Error, OSError):
        return False


def last_complaint(output: str) -> str:
    """Return the last error in a log or in a program's output."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for mark in ("FATAL:", "PANIC:", "error:", "ERROR:"):
        for line in reversed(lines):
            if mark in line:
                return line.partition(mark)[2].strip()
    return lines[-1] if lines else "nothing"
