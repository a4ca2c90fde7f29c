"""Where the embedded server's files lie, and who may enter those folders.

    <home>/                      PGMAGIC_HOME, or the platform's folder for a user's data
        postgres-18/             one folder per major version; only we and the server's account enter it
            data/                the data directory
            socket/              the server's socket, where the path is short enough for one
            socket-directory     otherwise: the name of the folder that was made for it
            server.log
            start-stop.lock      held while a process starts or stops the server
            server.lock          held by the server's own processes for as long as one of them lives
            leases/              one locked file for each process that uses the server
            programs-18.6-…/     a copy of the programs, where the server's account cannot reach them

The permissions of a folder that existed before are never changed.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from pgmagic.errors import EmbeddedServerError
from pgmagic.server.account import first_unreachable, hand_over, lending_account, name_of

if TYPE_CHECKING:
    from pgmagic.server.account import Account

HOME_VARIABLE = "PGMAGIC_HOME"
VERSION_FOLDER = re.compile(r"postgres-(\d+)")


@dataclass(frozen=True)
class Layout:
    """The paths of one server: those of a home folder and a major version."""

    home: Path
    major: int

    @property
    def folder(self) -> Path:
        """The folder of this major version."""
        return self.home / f"postgres-{self.major}"

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The server's log."""
        return self.folder / "server.log"

    @property
    def mutex(self) -> Path:
        """The lock of whoever starts or stops the server."""
        return self.folder / "start-stop.lock"

    @property
    def server_lock(self) -> Path:
        """The lock that the server's processes inherit."""
        return self.folder / "server.lock"

    @property
    def leases(self) -> Path:
        """The folder of the leases."""
        return self.folder / "leases"

    @property
    def postmaster_file(self) -> Path:
        """The file in which a running server states its process, socket folder and status."""
        return self.data / "postmaster.pid"

    def other_versions(self) -> tuple[Path, ...]:
        """Return the folders of other major versions in this home, oldest first."""
        found = []
        for path in self.home.iterdir() if self.home.is_dir() else ():
            match = VERSION_FOLDER.fullmatch(path.name)
            if match and int(match[1]) != self.major:
                found.append((int(match[1]), path))
        return tuple(path for _, path in sorted(found))


def default_home() -> Path:
    """Return the folder of the server's files: PGMAGIC_HOME, else the platform's, else root's own.

    Root's is outside root's home folder, which the server's account could not enter.
    """
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named).expanduser().resolve()
    if sys.platform != "win32" and os.geteuid() == 0:
        root_home = "/Library/Application Support/pgmagic" if sys.platform == "darwin" else "/var/lib/pgmagic"
        return Path(root_home)
    return platformdirs.user_data_path("pgmagic", appauthor=False).resolve()


def prepare(layout: Layout, account: Account) -> None:
    """Make the folders that are missing; check that those which exist are ours alone.

    Raises:
        EmbeddedServerError: a folder cannot be made, cannot be reached by the server's account, or can be
        entered
            by another account.

    """
    try:
        _check_home(layout.home, account)
        _make_parents(layout.home, account)
        for folder in (layout.home, layout.folder):
            if not folder.exists():
                _make_private(folder, account)
        _check_reachable(layout.folder, account)
        check_private(layout.folder, account)
        layout.leases.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EmbeddedServerError(
            f"The folder {layout.folder} for the embedded Postgres server cannot be made or used"
            f" ({error.strerror}): set {HOME_VARIABLE} to a folder that you can write to."
        ) from error


def check_private(folder: Path, account: Account) -> None:
    """Check that `folder` is a real folder which no account but `account` and its nameless group may enter.

    Raises:
        EmbeddedServerError: it is not.

    """
    status = folder.lstat()
    if not folder.is_dir() or folder.is_symlink():
        problem = "is not a folder of its own"
    elif status.st_uid != account.uid:
        problem = f"belongs to {name_of(status.st_uid)}, not to the server's account ({name_of(account.uid)})"
    elif status.st_mode & (0o067 if account.separate and status.st_gid == account.gid else 0o077):
        problem = f"can be entered by other accounts (its mode is {status.st_mode & 0o777:o}, expected 700)"
    else:
        return
    raise EmbeddedServerError(
        f"{folder} {problem}, and the embedded Postgres server keeps its files to itself:"
        f" set {HOME_VARIABLE} to another folder, or correct this one."
    )


def _check_home(home: Path, account: Account) -> None:
    """Check that root does not work in a folder which somebody else could exchange under its hands."""
    _check_reachable(home, account)
    if account.separate and home.exists() and home.stat().st_uid not in (0, account.uid):
        raise EmbeddedServerError(
            f"{home} belongs to {name_of(home.stat().st_uid)}, and as root pgmagic needs a folder of its own:"
            f" set {HOME_VARIABLE} to a folder that does not exist yet."
        )


def _check_reachable(folder: Path, account: Account) -> None:
    """Check that the server's account, and the one that sets it up, can get to `folder`."""
    if not account.separate:
        return
    blocked = first_unreachable(folder, account) or first_unreachable(folder, lending_account(account))
    if blocked is not None:
        raise EmbeddedServerError(
            f"As root, pgmagic runs Postgres under another account, which cannot reach {folder} through"
            f" {blocked} (mode {blocked.stat().st_mode & 0o777:o}): set {HOME_VARIABLE} to a new folder"
            " elsewhere, for example /var/lib/pgmagic."
        )


def _make_parents(home: Path, account: Account) -> None:
    """Make the missing folders above `home`: passable for root's server, private for anyone else."""
    for folder in reversed(home.parents):
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            # Only just made, and so ours; mkdir's own mode depends on the umask.
            folder.chmod(0o755 if account.separate else 0o700)


def _make_private(folder: Path, account: Account) -> None:
    """Make `folder` for `account` alone; with its owner and mode from its first moment on.

    It is made under another name first: another process never sees it half made. Renaming replaces an empty
    folder only, so whoever comes second keeps what the first one put there.
    """
    made = Path(tempfile.mkdtemp(prefix=".pgmagic-", dir=folder.parent))
    try:
        hand_over(made, account, account.private_mode)
        made.rename(folder)
    except (OSError, EmbeddedServerError) as error:
        made.rmdir()
        if isinstance(error, EmbeddedServerError) or not folder.is_dir():
            raise
