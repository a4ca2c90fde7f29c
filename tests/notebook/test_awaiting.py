"""Top-level `await` in cells of magics: one connection, one transaction, no task left behind."""

from __future__ import annotations

import asyncio
import re
import signal
import threading
import time
from typing import Any

import pytest

DECLARE = """%%pgtrigger
import asyncio
from django.db import connection, transaction
class Post(models.Model):
    title = models.CharField(max_length=200, unique=True)
    class Meta:
        triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]
first = await Post.objects.none().afirst()
"""


@pytest.fixture
def cells(shell: Any) -> Any:
    shell.run(DECLARE)
    return shell


@pytest.fixture(params=["alone", "in a kernel"])
def run(request: pytest.FixtureRequest, cells: Any) -> Any:
    """Run a cell, also as a kernel does: inside of a task of a running loop, which is as before after it."""
    if request.param == "alone":
        return cells.run

    def inside(cell: str) -> Any:
        async def kernel() -> Any:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            try:
                return cells.run(cell)
            finally:
                assert (asyncio.get_running_loop(), asyncio.current_task()) == (loop, task)
                await asyncio.sleep(0)

        return asyncio.run(kernel())

    return inside


def titles(cells: Any) -> list[str]:
    return list(cells.run("sorted(Post.objects.values_list('title', flat=True))"))


def test_asyncio_has_the_private_functions_that_awaiting_needs() -> None:
    needed = ("_get_running_loop", "_set_running_loop", "_enter_task", "_leave_task")
    missing = [name for name in needed if not callable(getattr(asyncio, name, None))]
    assert not missing, f"asyncio has no {', '.join(missing)} any more: mend pgmagic/notebook/awaiting.py"


def test_steps_await_on_the_cells_own_connection(cells: Any, run: Any) -> None:
    frame = run(
        "%%pgoutcome -o out\n"
        "a = await Post.objects.acreate(title='a')\n"
        "b = Post.objects.create(title='b')\n"
        "seen = [post.title async for post in Post.objects.order_by('title')]\n"
        "await a.adelete()\n"
        "async with asyncio.timeout(5):\n    n = await Post.objects.acount()\n"
    )
    assert frame["verdict"].tolist() == ["applied", "applied", "read", "rejected", "read"]
    assert frame["trigger"][3] == "notebook.Post:keep"
    assert cells["seen"] == ["a", "b"]
    assert cells["n"] == 2
    assert titles(cells) == ["a", "b"]


def test_rollback_takes_back_what_was_awaited(cells: Any, run: Any) -> None:
    run("%%pgoutcome --rollback\nawait Post.objects.acreate(title='a')\nPost.objects.create(title='b')")
    assert titles(cells) == []


def test_gather_and_tasks_of_an_earlier_step(cells: Any, run: Any) -> None:
    frame = run(
        "%%pgoutcome\n"
        "task = asyncio.create_task(Post.objects.acreate(title='task'))\n"
        "x = 1\n"
        "await task\n"
        "made = await asyncio.gather(*(Post.objects.acreate(title=str(n)) for n in range(3)))\n"
    )
    assert frame["verdict"].fillna("-").tolist() == ["-", "-", "applied", "applied"]
    assert frame["rows"].fillna(0).tolist() == [0, 0, 1, 3]
    assert titles(cells) == ["0", "1", "2", "task"]


def test_pending_task_is_cancelled_before_the_commit(cells: Any, run: Any) -> None:
    frame = run(
        "%%pgoutcome\n"
        "async def later():\n"
        "    try:\n        await asyncio.sleep(60)\n"
        "    finally:\n        ended.append(connection.connection.info.transaction_status.name)\n"
        "    await Post.objects.acreate(title='never')\n"
        "ended = []\n"
        "task = asyncio.create_task(later())\n"
        "await asyncio.sleep(0)"
    )
    assert frame.notes == [
        "1 task was still pending at the end of the cell, and cancelled: later. `await` tasks that are to finish."
    ]
    assert cells["ended"] == ["INTRANS"]
    assert cells["task"].cancelled()
    assert titles(cells) == []


def test_error_rolls_back_and_shows_the_cell(cells: Any, capsys: pytest.CaptureFixture[str]) -> None:
    error = cells.error("%%pgoutcome\nawait Post.objects.acreate(title='a')\nasync def f():\n    1 / 0\nawait f()")
    assert isinstance(error, ZeroDivisionError)
    shown = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "await f()" in shown
    assert "awaiting.py" not in shown
    assert "asyncio/" not in shown
    assert titles(cells) == []


def test_context_variables_are_those_of_the_cell(cells: Any, run: Any) -> None:
    """What a block ignores is known where it is awaited, and what a cell sets is set after it."""
    cells.run("from contextvars import ContextVar\nnumber = ContextVar('number', default=0)\nnumber.set(1)")
    run(
        "%%pgoutcome\npost = await Post.objects.acreate(title='a')\n"
        "with pgtrigger.ignore('notebook.Post:keep'):\n    await post.adelete()\n"
        "async def add():\n    number.set(number.get() + 1)\n"
        "await add()\n"
        "await asyncio.create_task(add())\n"
    )
    assert titles(cells) == []
    if run == cells.run:
        # The task's own context is its own, as everywhere.
        assert cells.run("number.get()") == 2


def test_other_bridges_stay_on_the_connection(cells: Any) -> None:
    """`asyncio.run` and `async_to_sync` of a cell that does not await."""
    frame = cells.run(
        "%%pgoutcome --rollback\nfrom asgiref.sync import async_to_sync\n"
        "asyncio.run(Post.objects.acreate(title='a'))\n"
        "async def b():\n    await Post.objects.acreate(title='b')\n"
        "async_to_sync(b)()\n"
        "Post.objects.count()"
    )
    assert frame["verdict"].fillna("-").tolist() == ["-", "applied", "-", "applied", "read"]
    assert titles(cells) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "waiting",
    ["await asyncio.sleep(60)", "connection.cursor().execute('SELECT pg_sleep(60)')", "await gathered()"],
)
def test_interrupt_ends_what_is_awaited(cells: Any, waiting: str) -> None:
    cells.run(
        "from asgiref.sync import sync_to_async\n"
        "async def gathered():\n"
        "    sleep = sync_to_async(lambda: connection.cursor().execute('SELECT pg_sleep(60)'))\n"
        "    await asyncio.gather(sleep(), asyncio.sleep(60))"
    )
    main = threading.main_thread().ident
    threading.Timer(0.5, signal.pthread_kill, [main, signal.SIGINT]).start()
    started = time.monotonic()
    error = cells.error(f"%%pgoutcome\nawait Post.objects.acreate(title='a')\n{waiting}")
    assert isinstance(error, KeyboardInterrupt)
    assert time.monotonic() - started < 10
    assert titles(cells) == []
    assert cells.run("%%pgoutcome\nawait Post.objects.acreate(title='b')")["verdict"].tolist() == ["applied"]


@pytest.mark.filterwarnings("ignore:To exit")
def test_exit_rolls_back(cells: Any) -> None:
    cells.shell.run_cell("%%pgoutcome\nawait Post.objects.acreate(title='a')\nraise SystemExit")
    assert titles(cells) == []
    assert cells.run("%%pgoutcome\nawait Post.objects.acount()")["verdict"].tolist() == ["read"]


def test_declaration_awaits(cells: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert cells["first"] is None
    cells.run("%%pgtrigger\nasyncio.create_task(asyncio.sleep(60))\nawait asyncio.sleep(0)")
    assert "1 task was still pending at the end of the cell, and cancelled: sleep." in capsys.readouterr().err
