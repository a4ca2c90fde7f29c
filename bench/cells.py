"""How long cells of a notebook take: a trace of 3,000 firings, and 1,000 saves that a state machine judges.

    python bench/cells.py [REPETITIONS]

The database is the one that PGMAGIC_DATABASE_URL names, or the embedded Postgres; the work is done in a schema
`bench_cells`, which is left empty.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import sys
import time
from typing import Any

os.environ["JPY_SESSION_NAME"] = "bench_cells.ipynb"

from IPython.core.interactiveshell import InteractiveShell

_TRACED = """%%pgsql
DROP TABLE IF EXISTS t;
CREATE TABLE t (id int PRIMARY KEY, n int, title text, at timestamptz DEFAULT now());
CREATE OR REPLACE FUNCTION add() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.n := NEW.n + 1; RETURN NEW; END$$;
CREATE TRIGGER a BEFORE UPDATE ON t FOR EACH ROW WHEN (OLD.n >= 0 AND NEW.id > 0) EXECUTE FUNCTION add();
CREATE TRIGGER b BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION add();
CREATE TRIGGER c AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION add();
INSERT INTO t SELECT n, 0, repeat('x', 50) FROM generate_series(1, 1000) AS n;
"""
_DECLARE = """%%pgtrigger
class Step(models.Model):
    status = models.CharField(max_length=12, default="a")

    class Meta:
        triggers = [pgtrigger.FSM(name="cycle", field="status", transitions=[("a", "b"), ("b", "a")])]
"""
_REPLAY = """
from django.db import InternalError
step = Step.objects.create()
for turn in range(500):
    Step.objects.filter(pk=step.pk).update(status="b")
    try:
        Step.objects.filter(pk=step.pk).update(status="c")
    except InternalError:
        Step.objects.filter(pk=step.pk).update(status="a")
"""
CASES = {
    "trace of 3,000 firings (must be < 2 s)": "%%pgtrace\nconnection.cursor().execute('UPDATE t SET n = 1')",
    "1,500 judged updates, 500 of them rejected (must be < 10 s)": _REPLAY,
}


def main(repetitions: int) -> None:
    """Print the median of each case."""
    shell: Any = InteractiveShell.instance()

    def run(cell: str) -> float:
        begin = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            shell.run_cell(cell).raise_error()
        return time.perf_counter() - begin

    shell.run_line_magic("load_ext", "pgmagic")
    for cell in ("from django.db import connection", "%pgreset", _DECLARE, _TRACED):
        run(cell)
    for title, cell in CASES.items():
        print(f"{title:<62} {statistics.median(run(cell) for _ in range(repetitions)):8.3f} s")
    run("%pgreset")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
