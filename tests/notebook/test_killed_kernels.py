"""A kernel that is killed in the middle of a watched cell: none of its instruments is left."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.notebook.test_hostile_cells import SETUP, Kernel, kernel  # noqa: F401 - a fixture

INSTRUMENTS = "SELECT count(*) FROM pg_trigger WHERE strpos(tgname, chr(1)) > 0"
FUNCTIONS = """SELECT count(*) FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE n.nspname LIKE 'pg_temp%' AND p.proname LIKE 'pgmagic%'"""


@pytest.fixture
def other(connection: Any) -> Iterator[Any]:
    parameters = connection.get_connection_params() | {"cursor_factory": None, "context": None}
    with psycopg.connect(**parameters, autocommit=True) as second:
        second.execute("SET lock_timeout = '5s'")
        yield second


def number(other: Any, query: str) -> int:
    [found] = other.execute(query).fetchone()
    return int(found)


def wait_until(condition: Any, seconds: float = 20) -> None:
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds
        time.sleep(0.05)


# In Python, where the server waits for the next command; and in a statement, where it does not look at its client.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("magic", "busy"),
    [("pgoutcome", "time.sleep(60)"), ("pgtrace", "execute('SELECT pg_sleep(60)')")],
    ids=["in Python", "in a statement"],
)
def test_killed_kernel_leaves_nothing(magic: str, busy: str, kernel: Kernel, other: Any) -> None:  # noqa: F811
    _, pid = kernel.run("None", "execute('SELECT pg_backend_pid()')[0][0]")
    _, schema = kernel.run("None", "execute('SELECT current_schema()')[0][0]")
    _, process = kernel.run("import os", "os.getpid()")
    kernel.client.execute(
        f"%%{magic}\nbase.title = 'changed'; base.save()\nPost.objects.create(title=' x ')\n"
        f"execute(\"SELECT set_config('application_name', 'in the middle', false)\")\n{busy}"
    )
    state = f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid} AND application_name = 'in the middle'"
    wait_until(lambda: number(other, state) == 1)
    time.sleep(0.5)
    # In the middle of it, another session sees none of what is there.
    assert number(other, INSTRUMENTS) == number(other, FUNCTIONS) == 0
    os.kill(process, signal.SIGKILL)
    started = time.monotonic()
    wait_until(lambda: number(other, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == 0)
    assert time.monotonic() - started < 10
    assert number(other, INSTRUMENTS) == number(other, FUNCTIONS) == 0
    assert other.execute(f'SELECT title FROM "{schema}".notebook_post').fetchall() == [("base",)]
    other.execute(f"UPDATE \"{schema}\".notebook_post SET title = 'theirs'")
    # A new kernel goes on where the killed one was before its cell.
    kernel.manager.restart_kernel(now=True)
    kernel.client.wait_for_ready(timeout=60)
    for cell in SETUP[:2]:
        reply, _ = kernel.run(cell)
        assert reply["status"] == "ok", reply
    _, left = kernel.run("None", "list(Post.objects.values_list('title', flat=True))")
    assert left == ["theirs"]
    # The names that the fixture uses to take everything back.
    kernel.run(
        "from django.db import connection\n" + SETUP[2][SETUP[2].index("def execute") : SETUP[2].index("def probe")]
    )
