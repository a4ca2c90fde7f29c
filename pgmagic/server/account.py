"""The account that the server runs as, and the files that this account can reach.

Postgres refuses to run as root. If root starts the server, the server therefore runs under an account number that
nobody has: an existing account, such as `nobody` or `postgres`, is shared with other programs, and every process of
the account that owns a data directory can read it and connect.

Only `initdb` needs an account with a name. It runs under an existing account with the nameless account's group, in a
folder that only this group can enter. Other processes of the existing account can neither enter the folder nor trace
`initdb` (both need the group). The result is then given to the nameless account.

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
# Accounts that may run `initdb`; any account except root is suitable.
LENDERS = ("nobody", "daemon", "bin")


@dataclass(frozen=True)
class Account:
    """A user and group number; `separate` if it is not this process's own."""

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
        """The argument `extra_groups` of `subprocess.Popen`: root's own groups are not passed on."""
        return [] if self.separate else None

    @property
    def private_mode(self) -> int:
        """The mode of a private folder on the way to the data directory.

        The nameless group, of which nobody is a member, lets the account that runs `initdb` pass.
        """
        return 0o710 if self.separate else 0o700


def server_account(*folders: Path) -> Account:
    """Return the account for a server whose files are in `folders`: for root a nameless account, else our own.

    Raises:
        EmbeddedServerError: the account number of these folders has been given a name since.
    """
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid(), separate=False)
    for folder in folders:
        if folder.exists() and folder.stat().st_uid in NAMELESS_NUMBERS:
            number = folder.stat().st_uid
            if _has_name(number):
                raise EmbeddedServerError(
                    f"{folder} belongs to account number {number}, which nobody should have and which now has a"
                    " name: set PGMAGIC_HOME to a new folder, or remove that account."
                )
            return Account(number, number, separate=True)
    number = next(number for number in NAMELESS_NUMBERS if not _has_name(number))
    return Account(number, number, separate=True)


def lending_account(account: Account) -> Account:
    """Return the account that runs `initdb` for `account`: an account with a name, in the group of `account`."""
    if not account.separate:
        return account
    for name in LENDERS:
        try:
            return Account(pwd.getpwnam(name).pw_uid, account.gid, separate=True)
        except KeyError:
            continue
    raise EmbeddedServerError(
        "As root, pgmagic needs an account such as `nobody` to set up the embedded Postgres server, and this"
        " machine has none: create it, or set PGMAGIC_DATABASE_URL to the URL of a Postgres server."
    )


def own_name() -> str:
    """Return the name of this process's account; the server asks the system for it at every connection.

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
    """Give `path`, which this process has just created, to `account`, and set its mode.

    Raises:
        EmbeddedServerError: this process is root without root's privileges, as in some containers.
    """
    if account.separate:
        try:
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
        except OSError as error:
            raise powerless(account, error) from error
    path.chmod(mode)


def powerless(account: Account, error: OSError) -> EmbeddedServerError:
    """Return the error for root without the privilege to act for other accounts."""
    return EmbeddedServerError(
        "As root, pgmagic runs Postgres under another account, and this system does not allow account number"
        f" {account.uid} ({error.strerror}): run pgmagic as an ordinary user, or set PGMAGIC_DATABASE_URL to the"
        " URL of a Postgres server."
    )


def first_unreachable(path: Path, account: Account) -> Path | None:
    """Return the first part of `path`, from the top, that `account` cannot enter (or read, if it is a file), or None.

    Parts that do not exist yet are skipped. Only owner, group and mode are considered, not access lists.
    """
    if not account.separate:
        return None
    for part in [*reversed(path.parents), path]:
        if not part.exists():
            return None
        status = part.stat()
        shift = 6 if status.st_uid == account.uid else 3 if status.st_gid == account.gid else 0
        wanted = 0o1 if stat.S_ISDIR(status.st_mode) else 0o4
        if not (status.st_mode >> shift) & wanted:
            return part
    return None


def _has_name(number: int) -> bool:
    """Return whether `number` is the number of a user or a group of this machine."""
    for look_up in (pwd.getpwuid, grp.getgrgid):
        try:
            look_up(number)
        except KeyError:
            continue
        return True
    return False
