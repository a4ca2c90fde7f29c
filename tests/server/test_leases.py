"""Who starts the server, who stops it, and what killed processes leave behind."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import psycopg
import pytest

from pgmagic import server
from pgmagic.errors import EmbeddedServerError
from pgmagic.server import cluster, locks, processes
from pgmagic.server import lease as lease_module
from pgmagic.server.account import server_account

from .support import Worker, answer, layout_of, leave, said_by, server_pid

StartWorker = Callable[..., Worker]


def wait_until(reached: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(worker: Worker) -> None:
    worker.send_signal(signal.SIGKILL)
    worker.wait()


def test_last_of_two_processes_stops_the_server(home: Path, start_worker: StartWorker) -> None:
    first, second = start_worker(home), start_worker(home)
    assert said_by(first) == said_by(second) != ""
    assert server.status(home).attached == 2
    assert leave(first) == 0
    assert server.status(home).running
    assert server.status(home).attached == 1
    assert leave(second) == 0
    assert not server.status(home).running
    assert not cluster.is_alive(layout_of(home))


def test_two_leases_of_one_process_count_twice(home: Path) -> None:
    first, second = server.acquire(home), server.acquire(home)
    assert server.status(home).attached == 1
    first.release()
    first.release()
    assert answer(second.conninfo) == 1
    second.release()
    assert not server.status(home).running


def test_leases_of_many_threads_share_one_server(home: Path) -> None:
    leases: list[server.Lease] = []
    threads = [threading.Thread(target=lambda: leases.append(server.acquire(home))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({answer(one.conninfo, "SELECT pg_postmaster_start_time()::text") for one in leases}) == 1
    assert server.status(home).attached == 1
    for one in leases:
        assert server.status(home).running
        one.release()
    assert not server.status(home).running


@pytest.mark.slow
def test_cold_starts_at_the_same_time_make_one_server(cold_home: Path, start_worker: StartWorker) -> None:
    workers = [start_worker(cold_home) for _ in range(4)]
    answers = {said_by(worker) for worker in workers}
    assert len(answers) == 1
    assert answers.pop().startswith("ready")
    assert [leave(worker) for worker in workers] == [0, 0, 0, 0]
    assert not server.status(cold_home).running


def test_starts_and_ends_in_quick_turn_never_fail(home: Path, start_worker: StartWorker) -> None:
    workers = [start_worker(home) for _ in range(3)]
    for worker in workers:
        assert said_by(worker).startswith("ready")
        assert leave(worker) == 0
        with server.acquire(home) as lease:
            assert answer(lease.conninfo) == 1
    assert not server.status(home).running


def test_killed_process_gives_its_lease_up(home: Path, start_worker: StartWorker) -> None:
    killed, other = start_worker(home), start_worker(home)
    assert said_by(killed) == said_by(other)
    kill(killed)
    assert server.status(home).attached == 1
    leave(other)
    assert not server.status(home).running


def test_server_of_a_killed_process_is_adopted_and_then_stopped(home: Path, start_worker: StartWorker) -> None:
    worker = start_worker(home)
    assert said_by(worker).startswith("ready")
    pid = server_pid(home)
    kill(worker)
    info = server.status(home)
    assert (info.running, info.attached) == (True, 0)
    with server.acquire(home) as lease:
        assert server_pid(home) == pid
        assert answer(lease.conninfo) == 1
        assert len(list(layout_of(home).leases.iterdir())) == 2
    assert not server.status(home).running
    assert list(layout_of(home).leases.iterdir()) == []


def test_forked_child_that_exits_leaves_the_server_alone(home: Path, start_worker: StartWorker) -> None:
    worker = start_worker(home, "fork-and-exit")
    assert said_by(worker).startswith("ready")
    info = server.status(home)
    assert (info.running, info.attached) == (True, 1)
    assert leave(worker) == 0
    assert not server.status(home).running


def test_forked_child_does_not_hold_its_parents_lease(home: Path, start_worker: StartWorker) -> None:
    worker = start_worker(home, "fork-and-stay")
    assert said_by(worker).startswith("ready")
    children = psutil.Process(worker.pid).children()
    kill(worker)
    assert [child for child in children if child.is_running()] != []
    assert server.status(home).attached == 0
    for child in children:
        child.kill()


def test_killed_server_is_started_again_for_the_same_process(own_home: Path) -> None:
    lease = server.acquire(own_home)
    with psycopg.connect(**lease.conninfo) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS x")
    with psycopg.connect(**lease.conninfo, autocommit=True) as connection:
        connection.execute("CHECKPOINT")
    os.kill(server_pid(own_home), signal.SIGKILL)
    again = server.acquire(own_home)
    assert answer(again.conninfo, "SELECT x FROM kept") == 1
    again.release()
    assert server.status(own_home).running
    lease.release()
    assert not server.status(own_home).running


def test_server_killed_with_all_its_processes_is_started_again(home: Path) -> None:
    with server.acquire(home):
        for process in list(processes.server_processes(layout_of(home))):
            process.kill()
        assert wait_until(lambda: not cluster.is_alive(layout_of(home)))
        with server.acquire(home) as lease:
            assert answer(lease.conninfo) == 1


def test_backend_that_outlives_a_killed_server_does_not_block_the_next(home: Path) -> None:
    with server.acquire(home) as lease:
        busy = psycopg.connect(**lease.conninfo)
        pid = busy.info.backend_pid

        def keep_busy() -> None:
            # Plain computing: this backend does not look whether its server still lives.
            with pytest.raises(psycopg.OperationalError):
                busy.execute("SELECT count(*) FROM generate_series(1, 2000000000)")

        thread = threading.Thread(target=keep_busy)
        thread.start()
        time.sleep(0.2)
        os.kill(server_pid(home), signal.SIGKILL)
        time.sleep(0.2)
        assert lives(pid)
        with server.acquire(home) as again:
            assert answer(again.conninfo) == 1
        thread.join()
        assert not lives(pid)


def test_reused_process_number_in_stale_files_does_not_block_the_start(home: Path) -> None:
    """Postgres itself takes any living process of its account with that number for the server."""
    layout = layout_of(home)
    with server.acquire(home) as lease:
        stale = layout.postmaster_file.read_text()
        stale_socket = Path(lease.conninfo["host"], ".s.PGSQL.5432.lock").read_text()
        pid = str(server_pid(home))
    account = server_account(layout.folder)
    with subprocess.Popen(["/bin/sleep", "10"], user=account.user, group=account.group) as stranger:
        for path, text in (
            (layout.postmaster_file, stale),
            (Path(lease.conninfo["host"], ".s.PGSQL.5432.lock"), stale_socket),
        ):
            path.write_text(text.replace(pid, str(stranger.pid), 1))
            os.chown(path, account.uid, account.gid)
            path.chmod(0o600)
        info = server.status(home)
        assert not info.running
        with server.acquire(home) as lease:
            assert answer(lease.conninfo) == 1
        assert stranger.poll() is None
        stranger.kill()


def test_stop_stops_although_processes_are_attached(home: Path, start_worker: StartWorker) -> None:
    worker = start_worker(home)
    assert said_by(worker).startswith("ready")
    lease = server.acquire(home)
    assert server.stop(home) is True
    info = server.status(home)
    assert (info.running, info.attached) == (False, 2)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(**lease.conninfo)
    assert server.stop(home) is False
    again = server.acquire(home)
    assert answer(again.conninfo) == 1
    assert leave(worker) == 0
    assert answer(again.conninfo) == 1
    again.release()
    lease.release()
    assert not server.status(home).running


def test_stop_of_a_home_that_does_not_exist_makes_nothing(cold_home: Path) -> None:
    assert server.stop(cold_home) is False
    assert not cold_home.exists()


def test_status_starts_and_makes_nothing(cold_home: Path) -> None:
    info = server.status(cold_home)
    assert (info.running, info.initialised, info.attached) == (False, False, 0)
    assert info.version.startswith("18.")
    assert not cold_home.exists()


def test_status_of_a_stopped_server_says_where_its_data_is(home: Path) -> None:
    info = server.status(home)
    assert (info.running, info.initialised) == (False, True)
    assert (info.data_directory / "PG_VERSION").exists()
    assert not cluster.is_alive(layout_of(home))


def test_lease_can_be_released_after_its_home_was_removed(own_home: Path) -> None:
    lease = server.acquire(own_home)
    server.stop(own_home)
    subprocess.run(["/bin/rm", "-rf", str(own_home)], check=True)
    lease.release()
    assert not own_home.exists()


def test_exit_of_an_interpreter_prints_nothing(home: Path, start_worker: StartWorker) -> None:
    worker = start_worker(home)
    assert said_by(worker).startswith("ready")
    _, errors = worker.communicate("\n", timeout=30)
    assert errors == ""


def test_lock_held_for_long_is_told_in_one_line(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "MUTEX_SECONDS", 0.1)
    with (
        locks.mutex(layout_of(home).mutex, 1),
        pytest.raises(EmbeddedServerError, match="Another process has been starting") as caught,
    ):
        server.acquire(home)
    assert "\n" not in str(caught.value)
