# ruff: noqa: E501 - a table of cells
"""A notebook of hostile cells in a real kernel: after each of them, everything works and nothing is half-kept."""

from __future__ import annotations

import ast
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parents[2]
TIMEOUT = 240

SETUP = [
    "%load_ext pgmagic",
    """%%pgtrigger
class Post(models.Model):
    title = models.TextField(unique=True)
    class Meta:
        triggers = [
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__title="base")),
            pgtrigger.Trigger(
                name="trim", when=pgtrigger.Before, operation=pgtrigger.Insert | pgtrigger.Update,
                func="NEW.title = trim(NEW.title); RETURN NEW;",
            ),
        ]
class Comment(models.Model):
    post = models.ForeignKey(Post, on_delete=models.DO_NOTHING)
""",
    """
import asyncio, builtins, gc, sys, threading, time, warnings
import psycopg
from django.db import connection, transaction, connections
_print, _connection, _filters = print, connection, list(warnings.filters)
base = Post.objects.create(title="base")

def execute(sql, *params):
    with connection.cursor() as cursor:
        cursor.execute(sql, *params)
        return cursor.fetchall() if cursor.description else None

def probe():
    builtins.print = _print
    warnings.filters[:] = _filters
    globals().update(print=_print, connection=_connection)
    from django.db import connections
    mine = connections["default"]
    state = [mine.get_autocommit(), mine.in_atomic_block, mine.connection.info.transaction_status.name]
    with mine.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE strpos(tgname, chr(1)) > 0")
        state += cursor.fetchone()
        cursor.execute(
            "SELECT count(*) FROM pg_proc WHERE proname LIKE 'pgmagic%' AND pronamespace = pg_my_temp_schema()")
        state += cursor.fetchone()
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()")
        state += cursor.fetchone()
        cursor.execute("SELECT array_agg(left(title, 20) ORDER BY id) FROM notebook_post")
        state += cursor.fetchone()
        cursor.execute("DELETE FROM notebook_comment")
        cursor.execute("DELETE FROM notebook_post WHERE title <> 'base'")
    return state
""",
]
LATER = "%%pgoutcome --rollback -o later\nPost.objects.create(title=' later ')\nbase.delete()"

# name -> (cell, the titles that it leaves beside "base")
CELLS: dict[str, tuple[str, list[str]]] = {
    "syntax error": ("create('x')\nPost.objects.update(", []),
    "return": ("create('x')\nreturn 1", []),
    "error of Python": ("create('x')\n1 / 0", []),
    "SystemExit": ("create('x')\nraise SystemExit", []),
    "sys.exit in atomic": ("with transaction.atomic():\n    create('x')\n    sys.exit(1)", []),
    "own BaseException": ("class Odd(BaseException): pass\ncreate('x')\nraise Odd", []),
    "KeyboardInterrupt raised": ("create('x')\nraise KeyboardInterrupt", []),
    "nested atomic": (
        "with transaction.atomic():\n    create('a')\n    try:\n        with transaction.atomic():\n"
        "            create('b')\n            create('base')\n    except Exception:\n        create('c')",
        ["a", "c"],
    ),
    "durable atomic": ("with transaction.atomic(durable=True):\n    create('a')", ["a"]),
    "generator left open": (
        "def left():\n    with transaction.atomic():\n        create('x')\n        yield\n"
        "kept = left()\nnext(kept)", [],
    ),
    "set_autocommit left off": ("transaction.set_autocommit(False)\ncreate('x')", []),
    "connection.close()": ("create('x')\nconnection.close()", []),
    "connection closed below Django": ("create('x')\nconnection.connection.close()", []),
    "COMMIT": ("create('x')\nexecute('COMMIT')", []),
    "ROLLBACK": ("create('x')\nexecute('ROLLBACK')\ncreate('y')", []),
    "BEGIN": ("create('x')\nexecute('BEGIN')", []),
    "COMMIT, caught": ("create('x')\ntry:\n    execute('COMMIT')\nexcept BaseException:\n    pass\ncreate('y')", []),
    "COMMIT past Django": ("create('x')\nconnection.connection.execute('COMMIT')", []),
    "commit() past Django": ("create('x')\nconnection.connection.commit()", ["x"]),
    "DDL and an error": (
        "execute('ALTER TABLE notebook_post ADD COLUMN more int')\nexecute('CREATE TABLE other (id int)')\n"
        "create('x')\n1 / 0", [],
    ),
    "DDL": (
        "execute('CREATE TABLE other (id int)')\ncreate('a')\nexecute('DROP TABLE other')\n"
        "execute('VACUUM notebook_post')", ["a"],
    ),
    "the magic inside the magic": ("create('x')\nget_ipython().run_cell_magic('pgoutcome', '', 'y = 1')", []),
    "pg_terminate_backend": ("create('x')\nexecute('SELECT pg_terminate_backend(pg_backend_pid())')", []),
    "flood of notices": (
        "create('a')\nexecute(\"DO $$BEGIN FOR i IN 1..100000 LOOP RAISE NOTICE 'line %', i; END LOOP; END$$\")", ["a"],
    ),
    "10 MB of text": (
        "execute('SELECT repeat(%s, 10000000)', ['a'])\n"
        "execute('CREATE TABLE big AS SELECT repeat(%s, 10000000) AS text', ['x'])\n"
        "execute('UPDATE big SET text = %s', ['y' * 10_000_000])\nexecute('DROP TABLE big')", [],
    ),
    "search_path": ("create('a')\nexecute('SET search_path TO pg_catalog')\ncreate('x')", ["a"]),
    "DISCARD ALL": ("create('a')\nexecute('DISCARD ALL')", ["a"]),
    "DISCARD TEMP": ("create('x')\nexecute('DISCARD TEMP')\ncreate('y')", []),
    "RESET ALL": ("create('a')\nexecute('RESET ALL')\nexecute('SET search_path TO pg_catalog')", ["a"]),
    "PREPARE": ("execute('PREPARE plan AS SELECT 1')\nexecute('EXECUTE plan')\nexecute('DEALLOCATE plan')\ncreate('a')", ["a"]),
    "LISTEN and NOTIFY": ("execute('LISTEN loud')\nexecute(\"NOTIFY loud, 'x'\")\ncreate('a')\nexecute('UNLISTEN *')", ["a"]),
    "temporary table": ("execute('CREATE TEMP TABLE passing (id int)')\nexecute('INSERT INTO passing VALUES (1)')\n"
                        "execute('DROP TABLE passing')\ncreate('a')", ["a"]),
    "cursor WITH HOLD": ("execute('DECLARE held CURSOR WITH HOLD FOR SELECT 1')\nexecute('FETCH held')\ncreate('a')\n"
                         "execute('CLOSE held')", ["a"]),
    "advisory lock": ("execute('SELECT pg_advisory_xact_lock(7)')\ncreate('a')", ["a"]),
    "thread that waits for the cell": (
        "create('a')\nfailed = []\ndef work():\n    try:\n        create('thread')\n    except Exception as error:\n"
        "        failed.append(error)\n    finally:\n        connections.close_all()\n"
        "thread = threading.Thread(target=work)\nthread.start()\nthread.join()\nassert failed", ["a"],
    ),
    "del connection": ("create('a')\ndel connection\n", ["a"]),
    "names redefined": ("create('a')\nmodels = pgtrigger = print = None", ["a"]),
    "print replaced": ("create('a')\nbuiltins.print = None", ["a"]),
    "warnings as errors": ("create('a')\nwarnings.simplefilter('error')", ["a"]),
    "deep recursion": ("create('x')\ndef deep(): deep()\ndeep()", []),
    "huge output": ("create('a')\nprint('x' * 5_000_000)", ["a"]),
    "lock that another session holds": (
        "other = psycopg.connect(**connection.get_connection_params() | {'cursor_factory': None, 'context': None})\n"
        "other.execute(f'SELECT * FROM {execute(\"SELECT current_schema()\")[0][0]}.notebook_comment')\n"
        "other.execute(\"SELECT pg_advisory_xact_lock(9)\")\n"
        "execute(\"SET LOCAL lock_timeout = '100ms'\")\nexecute('SELECT pg_advisory_xact_lock(9)')\ncreate('a')\nother.close()",
        ["a"],
    ),
    "statement timeout": ("execute(\"SET LOCAL statement_timeout = '100ms'\")\nexecute('SELECT pg_sleep(5)')\n"
                          "execute('RESET statement_timeout')\ncreate('a')", ["a"]),
    "rejected at COMMIT": ("create('x')\nComment.objects.create(post_id=99)", []),
    "another SQLSTATE": ("execute(\"DO $$BEGIN RAISE EXCEPTION 'odd' USING ERRCODE = 'XX123'; END$$\")\ncreate('a')", ["a"]),
    "bytes that are no text": ("execute(b\"SELECT '\\xff'\")\ncreate('a')", ["a"]),
    "NUL in a text": ("create('a\\0b')\ncreate('a')", ["a"]),
    "input()": ("create('x')\ninput()", []),
    "asyncio.run": ("create('x')\nasyncio.run(asyncio.sleep(0))", []),
    "await, and a task left": ("task = asyncio.create_task(asyncio.sleep(99))\nawait Post.objects.acreate(title='a')", ["a"]),
    "await that fails": ("await Post.objects.acreate(title='x')\nawait asyncio.wait_for(asyncio.sleep(9), 0.01)", []),
    "hook that fails": ("create('a')\ntransaction.on_commit(lambda: 1 / 0)", ["a"]),
    "savepoints by hand": ("with transaction.atomic():\n    execute('SAVEPOINT s')\n    create('x')\n"
                           "    execute('ROLLBACK TO s')\n    create('a')", ["a"]),
    "iterator left open": ("rows = Post.objects.iterator(chunk_size=1)\nnext(rows)\ncreate('a')", ["a"]),
    "COPY left open": ("cursor = connection.connection.cursor()\ncopy = cursor.copy('COPY notebook_comment FROM STDIN')\n"
                       "copy.__enter__()\n1 / 0", []),
}  # fmt: skip
INTERRUPTED = {
    "interrupt in a long statement": "create('x')\nexecute('SELECT pg_sleep(60)')",
    "interrupt in a long update": "create('x')\nexecute('UPDATE notebook_post SET title = title || pg_sleep(60)')",
    "interrupt in a loop": "while True:\n    Post.objects.create(title=str(time.time()))",
    "interrupt in an await": "await Post.objects.acreate(title='x')\nawait asyncio.sleep(60)",
}
PLAIN = {
    "in a function": (
        "def f():\n    return get_ipython().run_cell_magic('pgoutcome', '', \"create('f')\")\nf()",
        ["f"],
    ),
    "under %%time": ("%%time\n%%pgoutcome\ncreate('timed')", ["timed"]),
    "an ordinary error": ("create('a')\nexecute('SELECT 1 / 0')", ["a"]),
}


class Kernel:
    """A kernel of its own process."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=environment, cwd=str(ROOT))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=TIMEOUT)

    def run(self, cell: str, expression: str = "None") -> Any:
        """Return the status of a cell, and the value of an expression after it."""
        reply = self.client.execute_interactive(
            cell, allow_stdin=False, timeout=TIMEOUT, output_hook=lambda _: None,
            user_expressions={"value": expression}, stop_on_error=False,
        )["content"]  # fmt: skip
        found = reply.get("user_expressions", {}).get("value", {})
        return reply, ast.literal_eval(found["data"]["text/plain"]) if found.get("status") == "ok" else found

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture
def kernel(schema: str, connection: Any, database_url: str | None) -> Iterator[Kernel]:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "PGMAGIC_NOTEBOOK": f"{schema}.ipynb", "PYTHONWARNINGS": "",
    }  # fmt: skip
    environment.pop("DJANGO_SETTINGS_MODULE")
    if database_url:
        environment["PGMAGIC_DATABASE_URL"] = database_url
    found = Kernel(environment)
    for cell in [*SETUP, "def create(title):\n    return Post.objects.create(title=title)"]:
        reply, _ = found.run(cell)
        assert reply["status"] == "ok", reply
    yield found
    found.run('%pgreset\nexecute(f\'DROP SCHEMA "{execute("SELECT current_schema()")[0][0]}" CASCADE\')')
    found.stop()


@pytest.mark.slow
def test_every_later_cell_works(kernel: Kernel) -> None:
    assert len(CELLS) + len(INTERRUPTED) + len(PLAIN) > 40
    cells = [(name, f"%%pgoutcome\n{cell}", kept) for name, (cell, kept) in CELLS.items()]
    cells += [(name, cell, kept) for name, (cell, kept) in PLAIN.items()]
    cells += [(name, f"%%pgoutcome\n{cell}", []) for name, cell in INTERRUPTED.items()]
    wrong: list[str] = []
    for name, cell, kept in cells:
        if name in INTERRUPTED:
            threading.Timer(1, kernel.manager.interrupt_kernel).start()
        reply, _ = kernel.run(cell)
        told = f"{reply.get('ename', '')} {reply.get('evalue', '')}"[:300]
        reply, later = kernel.run(LATER, "later['verdict'].tolist()")
        if later != ["rewritten", "rejected"]:
            wrong.append(f"{name}: behind it, a cell gives {later} {reply.get('evalue', '')} ({told})")
        _, state = kernel.run("None", "probe()")
        if state != [True, False, "IDLE", 0, 0, 0, ["base", *kept]]:
            wrong.append(f"{name}: {state} ({told})")
    assert wrong == []
