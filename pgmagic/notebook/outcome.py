"""What a `%%pgoutcome` cell does: run its statements one by one in one transaction, and tell what became of each."""

from __future__ import annotations

import ast

from django.db import connection
from IPython.core.interactiveshell import InteractiveShell

from pgmagic.notebook.cells import execute_each, parse_cell, pending_note
from pgmagic.watch import StepOutcome, observed
from pgmagic.watch.outcome_frame import OutcomeFrame, OutcomeRow, outcome_frame


def run_cell(shell: InteractiveShell, source: str, *, keep: bool) -> OutcomeFrame:
    """Run a cell in one transaction, and return one row for each of its top-level statements.

    keep: commit at the end, else roll back. A statement that the database refuses leaves the others alone; any other
    exception rolls the whole cell back and is raised.

    Raises:
        CellError: the cell is no Python, or did what no watched cell can do; nothing was kept.
    """
    tree, filename = parse_cell(shell, source)
    text = shell.transform_cell(source)
    with observed(connection, keep=keep) as cell:
        pending = execute_each(shell, tree.body, filename, cell.step)
    rows = [
        _row(number, statement_source(statement, text), outcome)
        for number, (statement, outcome) in enumerate(zip(tree.body, cell.outcomes, strict=True), 1)
    ]
    return outcome_frame(rows, notes=[*pending_note(pending), *cell.notes])


def statement_source(statement: ast.stmt, text: str) -> str:
    """Return the statement's own lines, a decorator's too."""
    decorators = getattr(statement, "decorator_list", [])
    if decorators:
        lines = text.splitlines()[decorators[0].lineno - 1 : statement.end_lineno]
        return "\n".join(lines)
    return ast.get_source_segment(text, statement) or ast.unparse(statement)


def _row(number: int, source: str, outcome: StepOutcome) -> OutcomeRow:
    return OutcomeRow(
        step=number,
        statement=source,
        verdict=outcome.verdict,
        rows=outcome.rows,
        table=outcome.table,
        trigger=outcome.trigger,
        reason=outcome.reason,
        elapsed_ms=outcome.elapsed_ms,
        lines=outcome.lines,
    )
