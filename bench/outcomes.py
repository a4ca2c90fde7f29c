"""What `%%pgoutcome` costs: a cell under it against the same cell in autocommit, in turn, in one process.

    python bench/outcomes.py [PAIRS]

The database is the one that PGMAGIC_DATABASE_URL names, or the embedded Postgres; the work is done in a schema
`bench_outcomes`, which is left empty.
"""

from __future__ import annotations

import contextlib
import io
import os
import statistics
import sys
import time
from typing import Any

os.environ["JPY_SESSION_NAME"] = "bench_outcomes.ipynb"

from IPython.core.interactiveshell import InteractiveShell

_DECLARE = """%%pgtrigger
class Plain(models.Model):
    title = models.CharField(max_length=200)
    n = models.IntegerField(default=0)
    status = models.CharField(max_length=20, default="draft")
    created = models.DateTimeField(auto_now_add=True)

class Versioned(models.Model):
    title = models.CharField(max_length=200)
    n = models.IntegerField(default=0)
    status = models.CharField(max_length=20, default="draft")
    created = models.DateTimeField(auto_now_add=True)
    class Meta:
        triggers = [
            pgtrigger.Trigger(
                name="bump", when=pgtrigger.Before, operation=pgtrigger.Update,
                func="NEW.n = OLD.n + 1; RETURN NEW;",
            )
        ]
"""
_SAVES = "for row in rows:\n    row.title = 'x'\n    row.save()\n"
_UPDATE = "{model}.objects.update(title='b')\n"


class Kernel:
    """A shell with pgmagic and the two models."""

    def __init__(self) -> None:
        self.shell: Any = InteractiveShell.instance()
        self.shell.run_line_magic("load_ext", "pgmagic")
        with contextlib.redirect_stdout(io.StringIO()):
            self.run("%pgreset")
            self.run(_DECLARE)
        self.run("from django.db import connection")

    def run(self, cell: str) -> float:
        """Return the seconds that a cell takes; what it displays is left out."""
        with contextlib.redirect_stdout(io.StringIO()):
            started = time.perf_counter()
            self.shell.run_cell(cell).raise_error()
            return time.perf_counter() - started

    def compare(self, what: str, cell: str, pairs: int, before: str = "None") -> None:
        """Print the medians of a cell with and without `%%pgoutcome`, and the median of the pairs' ratios."""
        bare, watched = [], []
        for pair in range(pairs + 1):
            sides = [(bare, cell), (watched, f"%%pgoutcome -o frame\n{cell}")]
            for times, text in sides if pair % 2 else reversed(sides):
                self.run(before)
                times.append(self.run(text))
        # The first pair warms up.
        ratios = [with_it / without for without, with_it in zip(bare[1:], watched[1:], strict=True)]
        print(
            f"{what:44} {statistics.median(bare[1:]):8.3f} s {statistics.median(watched[1:]):8.3f} s"
            f"   x {statistics.median(ratios):.2f}",
            flush=True,
        )


def main(pairs: int) -> None:
    """Print a line for each case."""
    kernel = Kernel()
    print(f"{'medians of ' + str(pairs) + ' pairs, in turn':44} {'autocommit':>10} {'%%pgoutcome':>10}")
    for model, name in (("Plain", "no trigger"), ("Versioned", "a BEFORE UPDATE trigger")):
        kernel.run(f"rows = {model}.objects.bulk_create([{model}(title=str(n)) for n in range(1000)])")
        kernel.compare(f"1,000 saves, {name}", _SAVES, pairs)
    for model, name in (("Plain", "no trigger"), ("Versioned", "a BEFORE UPDATE trigger")):
        table = f"notebook_{model.lower()}"
        kernel.run(
            f'connection.cursor().execute("INSERT INTO {table} (title, n, status, created) '
            f"SELECT 'title ' || n, n, 'draft', now() FROM generate_series(1, 199000) AS n\")"
        )
        vacuum = f"connection.cursor().execute('VACUUM FULL ANALYZE {table}')"
        kernel.compare(f"200,000 rows in one update, {name}", _UPDATE.format(model=model), pairs, vacuum)
    kernel.run("%pgreset")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
