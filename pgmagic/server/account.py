"""The account that the server runs as, and what that account can reach.

Postgres refuses to run as root. Started by root, the server therefore runs under an account number that
nobody has: an account that exists, such as `nobody` or `postgres`, is shared with other programs, and
whatever runs as the owner of a data directory can read it and let itself in.

`initdb` alone insists on an account with a name. It borrows one, with the nameless account's group, inside a
folder that only this group can enter; the kernel lets other processes of the borrowed account neither in nor
near (tracing a process takes its group, too). The result is then handed over to the nameless account.

Source: https://www.postgresql.org/docs/18/postgres-user.html
"""

from __future__ import annotations

import os
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgmagic.errors import EmbeddedServerError

if sys.platform != "win32":
    import grp
    import pwd

if TYPE_CHECKING:
    from pathlib import Path

# Numbers that neither systemd, Debian nor macOS hands out.
# Source: https://systemd.io/UIDS-GIDS/
NAMELESS_NUMBERS = range(60706, 61184)
# Accounts that `initdb` may borrow; any account but root would do.
LENDERS = ("nobody", "daemon", "bin")


@dataclass(frozen=True)
class Account:
    """A user and group number; `separate` where it is not this process's own."""

    uid: int
    gid: int
    separate: bool

    @property
    def user(self) -> int | None:
        """The argument `user` of `subprocess.Popen`."""
        return self.uid if self.separate else None

    @property
    def group(self) -> int | None:
        """The argument `group` of `subprocess.Popen`."""
        return self.gid if self.separate else None

    @property
    def extra_groups(self) -> list[int] | None:
        """The argument `extra_groups` of `subprocess.Popen`: root's own groups do not follow."""
        return [] if self.separate else None

    @property
    def private_mode(self) -> int:
        """The mode of a private folder on the way to the data directory.

        The nameless group, which nobody is in, is what lets the account that sets up the data directory pass.
        """
        return 0o710 if self.separate else 0o700


def server_account(*folders: Path) -> Account:
    """Return the account for a server whose files are in `folders`: for root a nameless one, else our own.

    Raises:
        EmbeddedServerError: the nameless account of these folders has meanwhile been given to somebody.

    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), separate=False)
    for folder in folders:
        if folder.exists() and folder.stat().st_uid in NAMELESS_NUMBERS:
            number = folder.stat().st_uid
            if _has_name(number):
                raise EmbeddedServerError(
                    f"{folder} belongs to account number {number}, which was nobody's and now has a name:"
                    " set PGMAGIC_HOME to a new folder, or remove that account."
                )
            return Account(number, number, separate=True)
    number = next(number for number in NAMELESS_NUMBERS if not _has_name(number))
    return Account(number, number, separate=True)


def lending_account(account: Account) -> Account:
    """Return the account that runs `initdb` for `account`: one with a name, in the group of `account`."""
    if not account.separate:
        return account
    for name in LENDERS:
        try:
            return Account(pwd.getpwnam(name).pw_uid, account.gid, separate=True)
        except KeyError:
            continue
    raise EmbeddedServerError(
        "As root, setting up the embedded Postgres server needs an account such as `nobody`, and there is"
        " none: create it, or set PGMAGIC_DATABASE_URL to the URL of a Postgres server."
    )


def own_name() -> str:
    """Return the name of this process's account, which the server asks the system for at every connection.

    Raises:
        EmbeddedServerError: the account has no name, as in a container started with a bare user number.

    """
    number = os.geteuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        raise EmbeddedServerError(
            f"The account that pgmagic runs as, number {number}, has no name on this machine, and Postgres"
            " needs one: add it to /etc/passwd, or set PGMAGIC_DATABASE_URL to the URL of a Postgres server."
        ) from None


def name_of(number: int) -> str:
    """Return the name of account `number` for a message, or the number itself."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"account number {number}"


def hand_over(path: Path, account: Account, mode: int) -> None:
    """Give `path`, which this process has just made, to `account` and set its mode.

    Raises:
        EmbeddedServerError: this process is root without the powers of root, as in some containers.

    """
    if account.separate:
        try:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        except OSError as error:
            raise powerless(account, error) from error
    path.chmod(mode)


def powerless(account: Account, error: OSError) -> EmbeddedServerError:
    """Return the error for a root that may not act for other accounts."""
    return EmbeddedServerError(
        "As root, pgmagic runs Postgres under another account, and this system does not let it use number"
        f" {account.uid} ({error.strerror}): run it as an ordinary user, or set PGMAGIC_DATABASE_URL to the"
        " URL of a Postgres server."
    )


def first_unreachable(path: Path, account: Account) -> Path | None:
    """Return the first part of `path`, from the top, that `account` cannot pass or read, or None.

    Parts that do not exist yet are left out. Judged by owner, group and mode; access lists are not read.
    """
    if not account.separate:
        return None
    for part in [*reversed(path.parents), path]:
        if not part.exists():
            return None
        if not _permits(part.stat(), account):
            return part
    return None


def _permits(status: os.stat_result, account: Account) -> bool:
    """Return whether `account` may search the folder, or read the file, of `status`."""
    shift = 6 if status.st_uid == account.uid else 3 if status.st_gid == account.gid else 0
    wanted = 0o1 if stat.S_ISDIR(status.st_mode) else 0o4
    return bool((status.st_mode >> shift) & wanted)


def _has_name(number: int) -> bool:
    """Return whether `number` is the number of a user or a group of this machine."""
    for look_up in (pwd.getpwuid, grp.getgrgid):
        try:
            look_up(number)
        except KeyError:
            continue
        return True
    return False
