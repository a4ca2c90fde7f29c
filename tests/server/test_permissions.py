"""No existing folder's permissions change, and no other account connects."""

from __future__ import annotations

import os
import pwd
import socket
import stat
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

from pgmagic import server
from pgmagic.errors import EmbeddedServerError
from pgmagic.server import account as accounts
from pgmagic.server import sockets

from .support import IS_ROOT, answer, layout_of, modes_above, server_pid

if TYPE_CHECKING:
    from collections.abc import Callable


def run_as(uid: int, gid: int, attempt: Callable[[], str]) -> str:
    """What `attempt` returns in a process of account `uid`; it must not import anything anew."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(gid)
            os.setuid(uid)
            result = attempt()
        except BaseException:  # noqa: BLE001 - told to the parent
            result = traceback.format_exc()
        os.write(writer, result.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        result = file.read()
    os.waitpid(child, 0)
    return result


def try_to_connect(conninfo: dict[str, str]) -> str:
    """`connected`, or which line of defence held."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(conninfo["host"] + "/.s.PGSQL.5432")
        except PermissionError:
            return "folder"
    try:
        psycopg.connect(**conninfo).close()
    except psycopg.OperationalError as error:
        return "server" if "eer authentication failed" in str(error) else str(error)
    return "connected"


def intruders(home: Path) -> dict[str, tuple[int, int]]:
    """Accounts that must not get in, among them the one that `initdb` borrowed."""
    server = accounts.server_account(layout_of(home).folder)
    nobody = pwd.getpwnam("nobody")
    daemon = pwd.getpwnam("daemon")
    lender = accounts.lending_account(server)
    return {
        "an ordinary account": (12345, 12345),
        "nobody": (nobody.pw_uid, nobody.pw_gid),
        "daemon": (daemon.pw_uid, daemon.pw_gid),
        "the account that initdb borrowed": (lender.uid, nobody.pw_gid),
    }


def test_conninfo_connects_us(home: Path) -> None:
    """The counterpart of the tests below: their attempt succeeds for the right account."""
    with server.acquire(home) as lease:
        assert try_to_connect(lease.conninfo) == "connected"


def test_other_accounts_cannot_reach_the_socket(home: Path) -> None:
    with server.acquire(home) as lease:
        if not IS_ROOT:
            # Only root can try as somebody else; the kernel lets nobody through a folder of this mode.
            assert stat.S_IMODE(layout_of(home).folder.stat().st_mode) == 0o700
            assert layout_of(home).folder.stat().st_uid == os.geteuid()
            return
        for name, (uid, gid) in intruders(home).items():
            assert run_as(uid, gid, lambda: try_to_connect(lease.conninfo)) == "folder", name


def test_other_accounts_cannot_read_the_data(home: Path) -> None:
    with server.acquire(home):
        data = layout_of(home).data
        assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert [path for path in data.rglob("*") if path.lstat().st_mode & 0o077] == []
        if IS_ROOT:
            for name, (uid, gid) in intruders(home).items():
                denied = run_as(uid, gid, lambda: str(os.access(data, os.X_OK)))
                assert denied == "False", name


def test_server_itself_turns_other_accounts_away(own_home: Path) -> None:
    """The second line of defence, tried with the first one opened by hand."""
    with server.acquire(own_home) as lease:
        with psycopg.connect(**lease.conninfo) as connection:
            rules = connection.execute(
                "SELECT type, database, user_name, address, auth_method, options FROM pg_hba_file_rules"
            ).fetchall()
        assert rules == [("local", ["all"], ["all"], None, "peer", ["map=pgmagic"])]
        if IS_ROOT:
            for folder in (own_home, layout_of(own_home).folder, Path(lease.conninfo["host"])):
                folder.chmod(0o777)
            Path(lease.conninfo["host"], ".s.PGSQL.5432").chmod(0o777)
            for name, (uid, gid) in intruders(own_home).items():
                if uid != 12345:
                    assert run_as(uid, gid, lambda: try_to_connect(lease.conninfo)) == "server", name
            told = run_as(12345, 12345, lambda: try_to_connect(lease.conninfo))
            assert told != "connected"
            assert "could not look up local user ID 12345" in told or told == "server"


def test_map_names_this_account_only(home: Path) -> None:
    with server.acquire(home) as lease, psycopg.connect(**lease.conninfo) as connection:
        rows = connection.execute("SELECT map_name, sys_name, pg_username FROM pg_ident_file_mappings").fetchall()
    assert rows == [("pgmagic", pwd.getpwuid(os.geteuid()).pw_name, "all")]


def test_access_rules_that_were_loosened_are_restored(home: Path) -> None:
    rules = layout_of(home).data / "pg_hba.conf"
    rules.write_text("local all all trust\n")
    with server.acquire(home) as lease:
        assert answer(lease.conninfo, "SELECT auth_method FROM pg_hba_file_rules") == "peer"


def test_server_does_not_run_as_root_nor_as_anybody_else(home: Path, request: pytest.FixtureRequest) -> None:
    if IS_ROOT:
        request.addfinalizer(partial(os.setgroups, os.getgroups()))
        os.setgroups([0, 4])
    with server.acquire(home):
        process = psutil.Process(server_pid(home))
        uids, gids = set(process.uids()), set(process.gids())
        assert 0 not in uids
        assert uids == {layout_of(home).data.stat().st_uid}
        if IS_ROOT:
            assert gids == {process.uids().real}
            (uid,) = uids
            with pytest.raises(KeyError):
                pwd.getpwuid(uid)
            groups = Path(f"/proc/{process.pid}/status")
            if groups.exists():
                (line,) = [line for line in groups.read_text().splitlines() if line.startswith("Groups:")]
                assert line.split() == ["Groups:"]
        else:
            assert uids == {os.geteuid()}


def test_cold_start_changes_no_existing_folder(base: Path) -> None:
    existing = base / "some" / "folder"
    existing.mkdir(parents=True)
    (base / "some").chmod(0o751 if IS_ROOT else 0o700)
    existing.chmod(0o755 if IS_ROOT else 0o750)
    before = modes_above(existing)
    with server.acquire(existing / "new" / "home") as lease:
        assert answer(lease.conninfo) == 1
        assert modes_above(existing) == before
    assert modes_above(existing) == before


def test_existing_home_keeps_its_permissions(base: Path) -> None:
    home = base / "home"
    home.mkdir(mode=0o755)
    home.chmod(0o755)
    before = modes_above(home)
    with server.acquire(home) as lease:
        assert answer(lease.conninfo) == 1
    assert modes_above(home) == before


def test_new_folders_are_private_with_any_umask(cold_home: Path) -> None:
    previous = os.umask(0)
    try:
        with server.acquire(cold_home) as lease:
            for folder in (cold_home, layout_of(cold_home).folder, Path(lease.conninfo["host"])):
                assert folder.stat().st_mode & 0o067 == 0
            # A copy of the programs, where the server's account cannot reach the installed ones, holds no secrets.
            inside = [p for p in layout_of(cold_home).folder.iterdir() if not p.name.startswith("programs-")]
            assert [p for p in inside if p.stat().st_mode & 0o067] == []
    finally:
        os.umask(previous)


def test_strict_umask_does_not_keep_the_server_out(base: Path) -> None:
    previous = os.umask(0o077)
    try:
        with server.acquire(base / "new" / "home") as lease:
            assert answer(lease.conninfo) == 1
    finally:
        os.umask(previous)


def test_version_folder_open_to_others_is_refused_and_left_as_it_is(own_home: Path) -> None:
    folder = layout_of(own_home).folder
    folder.chmod(0o755)
    before = modes_above(folder)
    with pytest.raises(EmbeddedServerError, match="can be entered by other accounts") as caught:
        server.acquire(own_home)
    assert "\n" not in str(caught.value)
    assert modes_above(folder) == before


def test_version_folder_that_is_a_link_is_refused(own_home: Path, base: Path) -> None:
    folder = layout_of(own_home).folder
    folder.rename(base / "elsewhere")
    folder.symlink_to(base / "elsewhere")
    with pytest.raises(EmbeddedServerError, match="is not a real folder"):
        server.acquire(own_home)


def test_home_that_cannot_be_used_is_refused_in_one_line(base: Path) -> None:
    """Root's server cannot pass a closed folder; an ordinary account cannot write to one."""
    closed = base / "closed"
    closed.mkdir()
    closed.chmod(0o700 if IS_ROOT else 0o500)
    before = modes_above(closed)
    with pytest.raises(EmbeddedServerError, match="set PGMAGIC_HOME to a") as caught:
        server.acquire(closed / "home")
    assert "\n" not in str(caught.value)
    assert str(closed) in str(caught.value)
    assert modes_above(closed) == before
    assert list(closed.iterdir()) == []
    closed.chmod(0o700)


def test_home_inside_roots_home_is_refused_and_keeps_its_mode(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root_home = base / "root"
    root_home.mkdir()
    root_home.chmod(0o700)
    monkeypatch.setenv("HOME", str(root_home))
    monkeypatch.setenv("PGMAGIC_HOME", "~/pgmagic")
    if IS_ROOT:
        with pytest.raises(EmbeddedServerError, match="cannot reach"):
            server.acquire()
        assert list(root_home.iterdir()) == []
    else:
        with server.acquire() as lease:
            assert answer(lease.conninfo) == 1
    assert stat.S_IMODE(root_home.stat().st_mode) == 0o700


def test_root_refuses_a_home_of_another_owner(base: Path) -> None:
    if not IS_ROOT:
        assert accounts.server_account(base) == accounts.Account(os.geteuid(), os.getegid(), separate=False)
        return
    home = base / "theirs"
    home.mkdir()
    home.chmod(0o755)
    os.chown(home, 12345, 12345)
    with pytest.raises(EmbeddedServerError, match="belongs to account number 12345"):
        server.acquire(home)
    assert list(home.iterdir()) == []


def test_symbolic_links_in_the_version_folder_are_not_followed(own_home: Path, base: Path) -> None:
    victim = base / "victim"
    victim.write_text("untouched")
    log = layout_of(own_home).log
    log.unlink()
    log.symlink_to(victim)
    with pytest.raises(EmbeddedServerError, match="symbolic links"):
        server.acquire(own_home)
    assert victim.read_text() == "untouched"


def test_first_unreachable_names_the_topmost_closed_folder(base: Path) -> None:
    (base / "a" / "b").mkdir(parents=True)
    for folder, mode in ((base / "a", 0o710), (base / "a" / "b", 0o700)):
        folder.chmod(mode)
    stranger = accounts.Account(12345, 12345, separate=True)
    assert accounts.first_unreachable(base / "a" / "b" / "missing", stranger) == base / "a"
    member = accounts.Account(12345, (base / "a").stat().st_gid, separate=True)
    assert accounts.first_unreachable(base / "a" / "b", member) == base / "a" / "b"
    own = accounts.Account(os.geteuid(), os.getegid(), separate=False)
    assert accounts.first_unreachable(base / "a" / "b", own) is None


def test_socket_outside_the_home_has_a_private_folder(base: Path) -> None:
    home = base / ("long" * 30) / "home"
    with server.acquire(home) as lease:
        folder = Path(lease.conninfo["host"])
        assert not folder.is_relative_to(base)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert folder.stat().st_uid == layout_of(home).data.stat().st_uid
        assert len(os.fsencode(folder / sockets.SOCKET_NAME)) <= sockets.LONGEST_PATH
        if IS_ROOT:
            for name, (uid, gid) in intruders(home).items():
                assert run_as(uid, gid, lambda: try_to_connect(lease.conninfo)) == "folder", name
