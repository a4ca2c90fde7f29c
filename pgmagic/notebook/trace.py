"""What a `%%pgtrace` cell does: run its statements one by one, and tell of each trigger why it did or did not fire."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import DEFAULT_DB_ALIAS, connections
from IPython.core.interactiveshell import InteractiveShell

from pgmagic.notebook.cells import execute_each, parse_cell, pending_note
from pgmagic.watch import CellObserver, CellTracer, Considered, watched
from pgmagic.watch.trace_frame import TraceFrame, TraceRow, trace_frame


def trace_cell(shell: InteractiveShell, source: str, using: str = DEFAULT_DB_ALIAS) -> TraceFrame:
    """Run a cell in one transaction, and return one row for each trigger that Postgres considered.

    A statement that the database refuses leaves the others alone; any other exception rolls the whole cell back and
    is raised.

    Raises:
        CellError: the cell is no Python, or did what no watched cell can do; nothing was kept.
    """
    tree, filename = parse_cell(shell, source)
    with watched(CellTracer, connections[using], keep=True) as cell:
        pending = execute_each(shell, tree.body, filename, cell.step)
    notes = [*_refusals(cell), *pending_note(pending), *elsewhere_note(cell), *cell.notes]
    return trace_frame(_rows(cell.timeline.considered), notes=notes)


def elsewhere_note(cell: CellObserver) -> Iterable[str]:
    """Yield a sentence on the other databases that a cell used, whose triggers and rows are not looked at."""
    if cell.others.watched:
        aliases = ", ".join(sorted(cell.others.watched))
        yield f"What the cell did in {aliases} is not in this table: --database chooses which one is looked at."


def _refusals(cell: CellTracer) -> Iterable[str]:
    """Yield what the statements came to, where it was not what they asked, and what the server said beside triggers."""
    for step, outcome in enumerate(cell.outcomes, 1):
        if outcome.verdict == "rejected":
            by = f" by {outcome.trigger}" if outcome.trigger else ""
            yield f"Step {step} was rejected{by}: {outcome.reason}"
        yield from (f"Step {step}: {line}" for line in outcome.messages)


def _rows(considered: Iterable[Considered]) -> Iterable[TraceRow]:
    for seq, entry in enumerate(considered, 1):
        yield TraceRow(
            step=entry.step,
            seq=seq,
            depth=entry.depth,
            table=entry.table,
            trigger=entry.live.uri,
            fires=entry.fires,
            row=entry.row,
            fired=entry.fired,
            condition=entry.clauses or None,
            before=entry.before or None,
            after=entry.after or None,
            elapsed_ms=entry.elapsed_ms,
            notice="\n".join(entry.notices) or None,
        )
