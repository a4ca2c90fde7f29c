"""Interrupts and failures in the middle leave nothing half made."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import psutil
import pytest

from pgmagic import server
from pgmagic.errors import EmbeddedServerError
from pgmagic.server import cluster, locks, parameters, processes
from pgmagic.server.account import Account

from .support import Worker, answer, layout_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    StartWorker = Callable[..., Worker]


def working_in(folder: Path) -> list[psutil.Process]:
    """Living processes whose current folder is below `folder`."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.cwd().startswith(str(folder)):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def wait_for_initdb(home: Path) -> None:
    """Return in the middle of setting up: when initdb has begun to write."""
    deadline = time.monotonic() + 20
    while not list(layout_of(home).folder.glob("tmp-*/data/base")):
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_interrupted_setup_leaves_no_files(cold_home: Path, start_worker: StartWorker) -> None:
    worker = start_worker(cold_home)
    wait_for_initdb(cold_home)
    worker.send_signal(signal.SIGINT)
    _, errors = worker.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors
    assert not layout_of(cold_home).data.exists()
    assert list(layout_of(cold_home).folder.glob("tmp-*")) == []
    assert list(layout_of(cold_home).leases.iterdir()) == []
    assert working_in(cold_home) == []
    assert not cluster.is_alive(layout_of(cold_home))


def test_interrupt_ends_the_setup_program(base: Path) -> None:
    """A program that nobody ended would go on holding the lock, and writing."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    account = Account(os.geteuid(), os.getegid(), separate=False)
    try:
        with locks.mutex(base / "lock", 1) as held:
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises(KeyboardInterrupt):
                processes.run_to_end(["/bin/sleep", "30"], account, {}, base, inherited=held)
            assert working_in(base) == []
    finally:
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.slow
def test_killed_setup_does_not_block_the_next_one(cold_home: Path, start_worker: StartWorker) -> None:
    worker = start_worker(cold_home)
    wait_for_initdb(cold_home)
    worker.kill()
    worker.wait()
    assert not layout_of(cold_home).data.exists()
    with server.acquire(cold_home) as lease:
        assert answer(lease.conninfo) == 1
        assert list(layout_of(cold_home).folder.glob("tmp-*")) == []


def test_interrupted_start_leaves_no_server_and_no_lease(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(cluster, "_await_ready", interrupt)
        with pytest.raises(KeyboardInterrupt):
            server.acquire(home)
    assert not cluster.is_alive(layout_of(home))
    assert working_in(home) == []
    assert list(layout_of(home).leases.iterdir()) == []
    with server.acquire(home) as lease:
        assert answer(lease.conninfo) == 1


def test_interrupted_second_lease_keeps_the_first_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with server.acquire(home) as lease:
        with monkeypatch.context() as patched:
            patched.setattr(cluster, "ensure_running", interrupt)
            with pytest.raises(KeyboardInterrupt):
                server.acquire(home)
        assert server.status(home).attached == 1
        assert answer(lease.conninfo) == 1
    assert not server.status(home).running


def test_failed_start_reports_the_reason_and_the_log_file(own_home: Path) -> None:
    layout = layout_of(own_home)
    (layout.data / "postgresql.auto.conf").write_text("max_connections = 'many'\n")
    with pytest.raises(EmbeddedServerError, match="did not start") as caught:
        server.acquire(own_home)
    message = str(caught.value)
    assert "\n" not in message
    assert "postgresql.auto.conf" in message
    assert message.endswith(f"its log is {layout.log}.")
    assert server.status(own_home).attached == 0
    (layout.data / "postgresql.auto.conf").write_text("")
    with server.acquire(own_home) as lease:
        assert answer(lease.conninfo) == 1


def test_failed_start_quotes_only_its_own_part_of_the_log(own_home: Path) -> None:
    layout = layout_of(own_home)
    layout.log.write_text("FATAL:  an old complaint\n")
    (layout.data / "global" / "pg_control").rename(layout.data / "pg_control")
    with pytest.raises(EmbeddedServerError, match="pg_control") as caught:
        server.acquire(own_home)
    assert "an old complaint" not in str(caught.value)


def test_failed_setup_reports_the_reason_and_leaves_no_files(cold_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parameters, "initdb_options", lambda _major: ["--encoding", "NONSENSE"])
    with pytest.raises(EmbeddedServerError, match=r"`initdb` reported: .*NONSENSE") as caught:
        server.acquire(cold_home)
    assert "\n" not in str(caught.value)
    assert not layout_of(cold_home).data.exists()
    assert list(layout_of(cold_home).folder.glob("tmp-*")) == []


def test_server_that_a_killed_process_left_starting_is_waited_for(home: Path, start_worker: StartWorker) -> None:
    layout = layout_of(home)
    worker = start_worker(home)
    while processes.postmaster(layout) is None:
        assert worker.poll() is None
        time.sleep(0.001)
    worker.kill()
    worker.wait()
    with server.acquire(home) as lease:
        assert answer(lease.conninfo) == 1
    assert not server.status(home).running


def test_server_that_a_killed_process_left_stopping_is_started_again(home: Path) -> None:
    with server.acquire(home):
        main = processes.postmaster(layout_of(home))
        assert main is not None
        main.send_signal(signal.SIGINT)
        while cluster.status(layout_of(home)) == "ready":
            time.sleep(0.001)
        with server.acquire(home) as lease:
            assert answer(lease.conninfo) == 1


def test_server_that_does_not_stop_is_killed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "STOP_SECONDS", 0.3)
    monkeypatch.setattr(cluster, "KILL_SECONDS", 1.0)
    lease = server.acquire(home)
    stopped = list(processes.server_processes(layout_of(home)))
    for process in stopped:
        process.suspend()
    begin = time.monotonic()
    lease.release()
    assert time.monotonic() - begin < 10
    assert not cluster.is_alive(layout_of(home))
    with server.acquire(home) as lease:
        assert answer(lease.conninfo) == 1


def test_long_log_is_replaced_by_a_new_one(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    layout = layout_of(own_home)
    with layout.log.open("a") as file:
        file.write("x" * 500)
    size = layout.log.stat().st_size
    server.acquire(own_home).release()
    assert layout.log.stat().st_size > size
    monkeypatch.setattr(cluster, "LONGEST_LOG", 100)
    server.acquire(own_home).release()
    assert "x" * 500 not in layout.log.read_text()


@pytest.mark.parametrize(
    ("output", "complaint"),
    [
        ("LOG: a\n2026 UTC [1] FATAL:  no room\nLOG: b\n", "no room"),
        ("initdb: error: bad\nhint: x\n", "bad"),
        ("only this\n", "only this"),
        ("", "nothing"),
    ],
)
def test_last_complaint_is_the_line_with_the_reason(output: str, complaint: str) -> None:
    assert processes.last_complaint(output) == complaint


def test_account_without_a_name_is_reported_in_one_line(cold_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pgmagic.server import account

    def unknown(_number: int) -> None:
        raise KeyError

    monkeypatch.setattr(account.pwd, "getpwuid", unknown)
    with pytest.raises(EmbeddedServerError, match=f"number {os.geteuid()}, has no name") as caught:
        server.acquire(cold_home)
    assert "\n" not in str(caught.value)
