"""Homes with long paths, homes of older versions, and the default home."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pgmagic import server
from pgmagic.errors import EmbeddedServerError

from .support import IS_ROOT, Worker, answer, content_of, layout_of, leave, said_by, server_pid

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def long_home(base: Path, own_home: Path) -> Path:
    """A own_home that is set up and whose path is too long for a socket."""
    parent = base / ("long" * 30)
    parent.mkdir(mode=0o755)
    return own_home.rename(parent / "home")


def test_long_path_works_and_other_processes_find_the_socket(
    long_home: Path, start_worker: Callable[..., Worker]
) -> None:
    with server.acquire(long_home) as lease:
        assert answer(lease.conninfo) == 1
        worker = start_worker(long_home)
        assert said_by(worker).startswith("ready")
        assert server.status(long_home).socket_directory == Path(lease.conninfo["host"])
        assert leave(worker) == 0
    assert not Path(lease.conninfo["host"]).exists()


def test_socket_folder_that_was_cleaned_away_is_made_anew(long_home: Path, start_worker: Callable[..., Worker]) -> None:
    worker = start_worker(long_home)
    assert said_by(worker).startswith("ready")
    first = server.status(long_home).socket_directory
    shutil.rmtree(first)
    with server.acquire(long_home) as lease:
        assert lease.conninfo["host"] != str(first)
        assert answer(lease.conninfo) == 1
    worker.kill()


def test_recorded_socket_folder_that_is_no_longer_private_is_not_used(long_home: Path, base: Path) -> None:
    planted = base / "planted"
    planted.mkdir()
    planted.chmod(0o777)
    (layout_of(long_home).folder / "socket-directory").write_text(str(planted))
    with server.acquire(long_home) as lease:
        assert lease.conninfo["host"] != str(planted)
        assert answer(lease.conninfo) == 1
    assert list(planted.iterdir()) == []


def test_folder_for_temporary_files_with_a_long_path_is_passed_over(
    long_home: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = base / ("far" * 35)
    far.mkdir(mode=0o755)
    monkeypatch.setattr(tempfile, "tempdir", str(far))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(far))
    with server.acquire(long_home) as lease:
        assert answer(lease.conninfo) == 1
    assert list(far.iterdir()) == []


def test_odd_characters_in_a_path_are_only_characters(base: Path, own_home: Path) -> None:
    home = own_home
    for name in ("with space", "quote'\"", "comma,comma", "ünï", "$HOME", "@at", "-c"):
        (base / name).mkdir(mode=0o755)
        home = home.rename(base / name / "home")
        with server.acquire(home) as lease:
            assert answer(lease.conninfo) == 1, name


def test_data_of_an_older_version_is_reported_and_never_changed(base: Path, own_home: Path) -> None:
    older = own_home / "postgres-17"
    shutil.copytree(layout_of(own_home).data, older / "data")
    (older / "data" / "PG_VERSION").write_text("17\n")
    before = content_of(older)
    with server.acquire(own_home) as lease:
        (note,) = lease.notes
        assert str(older) in note
        assert "left as it is" in note
        assert "\n" not in note
    assert server.status(own_home).other_versions == (older,)
    assert content_of(older) == before


def test_home_with_one_version_only_has_nothing_to_report(home: Path) -> None:
    with server.acquire(home) as lease:
        assert lease.notes == ()


def test_data_of_another_version_in_the_wrong_place_is_refused_and_kept(own_home: Path) -> None:
    data = layout_of(own_home).data
    (data / "PG_VERSION").write_text("17\n")
    before = content_of(data)
    with pytest.raises(EmbeddedServerError, match=r"should be a data directory of Postgres 18.*its version is 17"):
        server.acquire(own_home)
    assert content_of(data) == before


def test_default_home_is_the_one_that_the_environment_names(
    base: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGMAGIC_HOME", str(home))
    assert server.default_home() == home
    with server.acquire():
        assert server.status().running
        assert server_pid(home) > 0
        assert server.stop() is True


def test_default_home_without_a_name_is_the_platforms(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    monkeypatch.delenv("PGMAGIC_HOME", raising=False)
    monkeypatch.setenv("HOME", str(base))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    if IS_ROOT:
        assert not server.default_home().is_relative_to(base)
        assert server.default_home().name == "pgmagic"
    elif sys.platform != "darwin":
        assert server.default_home() == base / ".local" / "share" / "pgmagic"
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert server.default_home().is_relative_to(base)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not server.default_home().is_relative_to(base)
