"""Where the embedded server's files lie, and who may enter those folders.

    <home>/                      PGMAGIC_HOME, or the platform's folder for a user's data
        postgres-18/             one folder per major version; only we and the server's account enter it
            data/                the data directory
            socket/              the server's socket, if the path is short enough
            socket-directory     otherwise: the name of the folder that was made for it
            server.log
            start-stop.lock      held while a process starts or stops the server
            server.lock          held by the server's own processes, as long as one of them is alive
            leases/              one locked file for each process that uses the server
            programs-18.6-…/     a copy of the programs, if the server's account cannot reach the original

pgmagic never changes the permissions of a folder that it did not create.
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
    """The paths of one server, given its home folder and major version."""

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
        """The lock file of the process that starts or stops the server."""
        return self.folder / "start-stop.lock"

    @property
    def server_lock(self) -> Path:
        """The lock file that the server's processes inherit."""
        return self.folder / "server.lock"

    @property
    def leases(self) -> Path:
        """The folder of the leases."""
        return self.folder / "leases"

    @property
    def postmaster_file(self) -> Path:
        """The file in which a running server writes its process number, socket folder and status."""
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
    """Return the folder of the server's files: PGMAGIC_HOME, or else the platform's folder for a user's data.

    For root it is outside root's home folder, which the server's account could not enter.
    """
    named = os.environ.get(HOME_VARIABLE)
    if named:
        return Path(named).expanduser().resolve()
    if sys.platform != "win32" and os.geteuid() == 0:
        root_home = "/Library/Application Support/pgmagic" if sys.platform == "darwin" else "/var/lib/pgmagic"
        return Path(root_home)
    return platformdirs.user_data_path("pgmagic", appauthor=False).resolve()


def prepare(layout: Layout, account: Account) -> None:
    """Make the missing folders; check that the existing ones belong to us alone.

    Raises:
        EmbeddedServerError: a folder cannot be made, cannot be reached by the server's account, or can be entered by
            another account.
    """
    home = layout.home
    try:
        _check_reachable(home, account)
        # Root must not work in a folder that its owner could replace at any time.
        if account.separate and home.exists() and home.stat().st_uid not in (0, account.uid):
            raise EmbeddedServerError(
                f"{home} belongs to {name_of(home.stat().st_uid)}, and as root pgmagic needs a folder of its own:"
                f" set {HOME_VARIABLE} to a folder that does not exist yet."
            )
        for parent in reversed(home.parents):
            if not parent.exists():
                parent.mkdir(exist_ok=True)
                # chmod, because the mode of mkdir depends on the umask; the folder is new, and so ours.
                parent.chmod(0o755 if account.separate else 0o700)
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
    """Check that `folder` is a real folder which only `account` and its nameless group may enter.

    Raises:
        EmbeddedServerError: it is not.
    """
    status = folder.lstat()
    if not folder.is_dir() or folder.is_symlink():
        problem = "is not a real folder"
    elif status.st_uid != account.uid:
        problem = f"belongs to {name_of(status.st_uid)}, not to the server's account ({name_of(account.uid)})"
    elif status.st_mode & (0o067 if account.separate and status.st_gid == account.gid else 0o077):
        problem = f"can be entered by other accounts (its mode is {status.st_mode & 0o777:o}, expected 700)"
    else:
        return
    raise EmbeddedServerError(
        f"{folder} {problem}, and the files of the embedded Postgres server must be private:"
        f" set {HOME_VARIABLE} to another folder, or correct this one."
    )


def _check_reachable(folder: Path, account: Account) -> None:
    """Check that the server's account, and the account that runs `initdb`, can reach `folder`."""
    if not account.separate:
        return
    blocked = first_unreachable(folder, account) or first_unreachable(folder, lending_account(account))
    if blocked is not None:
        raise EmbeddedServerError(
            f"As root, pgmagic runs Postgres under another account, which cannot reach {folder} through"
            f" {blocked} (mode {blocked.stat().st_mode & 0o777:o}): set {HOME_VARIABLE} to a new folder"
            " elsewhere, for example /var/lib/pgmagic."
        )


def _make_private(folder: Path, account: Account) -> None:
    """Make `folder` for `account` alone; it has its owner and mode from the beginning.

    It is made under another name and renamed, so that no other process sees it incomplete. A rename replaces only an
    empty folder, so that a second process keeps what the first one wrote.
    """
    made = Path(tempfile.mkdtemp(prefix=".pgmagic-", dir=folder.parent))
    try:
        hand_over(made, account, account.private_mode)
        made.rename(folder)
    except (OSError, EmbeddedServerError) as error:
        made.rmdir()
        if isinstance(error, EmbeddedServerError) or not folder.is_dir():
            raise
