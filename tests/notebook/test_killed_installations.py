"""A kernel that is killed in the middle of an installation: the database is as it was, and the next kernel installs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import TEST_URL
from tests.notebook.test_killed_kernels import number, other, wait_until  # noqa: F401 - a fixture

FIRST = """%%pgtrigger
class Post(models.Model):
    title = models.TextField()
    class Meta:
        triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]
"""
# In the middle of the plan, the column's default takes a minute for each row, while the gate is closed.
EDITED = """%%pgtrigger
class Tag(models.Model):
    name = models.TextField()
    class Meta:
        triggers = [pgtrigger.Protect(name="stay", operation=pgtrigger.Delete)]

class Post(models.Model):
    title = models.TextField()
    n = models.IntegerField(db_default=models.Func(function="gate", output_field=models.IntegerField()))
    class Meta:
        triggers = [
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete | pgtrigger.Truncate),
            pgtrigger.ReadOnly(name="fixed", fields=["title"]),
        ]
"""
GATE = """
CREATE FUNCTION "{schema}".gate() RETURNS int LANGUAGE plpgsql AS $$BEGIN
  IF NOT pg_try_advisory_xact_lock_shared(hashtext('{schema}')) THEN PERFORM pg_sleep(60); END IF;
  RETURN 7;
END$$"""
STATE = """
SELECT json_build_array(
  (SELECT json_agg(relname ORDER BY relname) FROM pg_class WHERE relnamespace = n.oid AND relkind = 'r'),
  (SELECT json_agg(json_build_array(t.tgname, pg_get_triggerdef(t.oid), obj_description(t.tgfoid, 'pg_proc'))
                   ORDER BY t.tgname)
   FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid WHERE c.relnamespace = n.oid AND NOT t.tgisinternal),
  (SELECT json_agg(json_build_array(p.proname, p.prosrc) ORDER BY p.proname) FROM pg_proc AS p
   WHERE p.pronamespace = n.oid),
  (SELECT json_agg(a.attname ORDER BY a.attname) FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
   WHERE c.relname = 'notebook_post' AND c.relnamespace = n.oid AND a.attnum > 0))::text
FROM pg_namespace AS n WHERE n.nspname = %s"""


class Process:
    """A kernel of its own."""

    def __init__(self, schema: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        environment.pop("DJANGO_SETTINGS_MODULE", None)
        if TEST_URL:
            environment["PGMAGIC_DATABASE_URL"] = TEST_URL
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.notebook.installing", schema],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def send(self, cell: str) -> None:
        """Have a cell run, and wait for nothing."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(cell) + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """What became of the cell that was sent first of those without an answer."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("answer: "):
                return line.removeprefix("answer: ").strip()
        raise AssertionError("the process ended")

    def run(self, cell: str) -> None:
        """Have a cell run that must succeed."""
        self.send(cell)
        assert self.answer() == "ok"

    def kill(self) -> None:
        """End it as the system does that has no memory left."""
        self.process.kill()
        self.process.wait(timeout=10)


@pytest.fixture
def start(schema: str, connection: Any) -> Iterator[Any]:
    started: list[Process] = []

    def start() -> Process:
        started.append(Process(schema))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        for stream in (process.process.stdin, process.process.stdout):
            assert stream is not None
            stream.close()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["in a statement", "before COMMIT"])
def test_killed_installation_leaves_all_or_nothing(start: Any, schema: str, other: Any, where: str) -> None:  # noqa: F811
    first, second = start(), start()
    first.run(FIRST)
    first.run("Post.objects.bulk_create([Post(title='a'), Post(title='b')]) and None")
    first.run(f"from django.db import connection as c; c.cursor().execute(\"SET application_name = '{schema}'\")")
    other.execute(GATE.format(schema=schema))
    before = other.execute(STATE, [schema]).fetchone()
    if where == "in a statement":
        other.execute("SELECT pg_advisory_lock(hashtext(%s))", [schema])
    else:
        first.send("hang")
    first.send(EDITED)
    state = "SELECT count(*) FROM pg_stat_activity WHERE application_name = '{}' AND coalesce(wait_event, '') = '{}'"
    wanted = [f"{schema} hangs", "ClientRead"] if where == "before COMMIT" else [schema, "PgSleep"]
    wait_until(lambda: number(other, state.format(*wanted)) == 1)
    # Another kernel waits for its turn meanwhile.
    second.send(EDITED)
    time.sleep(0.5)
    assert other.execute(STATE, [schema]).fetchone() == before
    first.kill()
    # Whoever comes now finds the gate open; the server is still in the middle of the first kernel's statement.
    other.execute("SELECT pg_advisory_unlock_all()")
    assert second.answer() == "ok"
    second.run("assert sorted(Post.objects.values_list('title', 'n')) == [('a', 7), ('b', 7)]")
    tables, triggers, functions, columns = json.loads(other.execute(STATE, [schema]).fetchone()[0])
    assert {"notebook_post", "notebook_tag"} <= {*tables}
    assert [name.split("_")[1] for name, _, _ in triggers] == ["fixed", "keep", "keep", "stay"]
    assert [name.split("_")[1] for name, _ in functions if name != "gate"] == ["fixed", "keep", "stay"]
    assert all(json.loads(comment)["pgmagic"] for _, _, comment in triggers)
    assert columns == ["id", "n", "title"]
