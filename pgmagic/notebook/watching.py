"""What `%%pgoutcome`, `%%pgtrace` and `%%pgwhatif` do: parse the cell, and hand its statements to `watch`."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from dataclasses import replace

from django.db import DEFAULT_DB_ALIAS, connections, models
from IPython.core.interactiveshell import InteractiveShell
from IPython.display import display

from pgmagic.declare import registry
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import CellError
from pgmagic.notebook.cells import execute_each, parse_cell, pending_note
from pgmagic.watch.exchange import Exchange, exchange_by
from pgmagic.watch.outcome_frame import OutcomeFrame
from pgmagic.watch.runs import Steps, outcome_of, trace_of
from pgmagic.watch.trace_frame import TraceFrame
from pgmagic.watch.what_if import what_if
from pgmagic.watch.whatif_frame import WhatIfFrame


def run_cell(shell: InteractiveShell, source: str, *, keep: bool) -> OutcomeFrame:
    """Run a cell in one transaction, and return one row for each of its top-level statements.

    keep: commit at the end, else roll back. A statement that the database refuses does not end the cell; any other
    exception rolls the whole cell back and is raised.

    Raises:
        CellError: if the cell is not Python, or did what no watched cell can do; nothing was kept.
    """
    return outcome_of(_steps(shell, source), connections[DEFAULT_DB_ALIAS], keep=keep)


def trace_cell(shell: InteractiveShell, source: str, using: str = DEFAULT_DB_ALIAS) -> TraceFrame:
    """Run a cell in one transaction, and return one row for each trigger that Postgres considered.

    A statement that the database refuses does not end the cell; any other exception rolls the whole cell back and is
    raised.

    Raises:
        CellError: if the cell is not Python, or did what no watched cell can do; nothing was kept.
    """
    return trace_of(_steps(shell, source), connections[using])


def compare_cell(
    shell: InteractiveShell,
    source: str,
    *,
    ignored: Sequence[str],
    variables: Sequence[str],
    using: str = DEFAULT_DB_ALIAS,
) -> WhatIfFrame:
    """Run a cell as it is, and with triggers ignored or exchanged; return what differs. Nothing is kept.

    ignored: URIs. variables: names of variables that hold a trigger, or URI=NAME. After each run, the names and model
    objects of the notebook are as before; whatever else the cell does in Python, it does twice.

    Raises:
        CellError: if the cell is not Python, or nothing is to be changed.
        UnknownTriggerError: if nothing is registered under a URI.
    """
    if not ignored and not variables:
        raise CellError("Say what is to be different: --ignore URI, or --with NAME of a variable that holds a trigger.")
    if ignored:
        ignored = [trigger.get_uri(model) for model, trigger in registry.registered(*ignored)]
    exchanges = [_exchange(shell, variable) for variable in variables]
    steps = _steps(shell, source)

    def run(step: Callable[[], AbstractContextManager[None]]) -> Sequence[str]:
        with _namespace_restored(shell):
            return steps.run(step)

    return what_if(replace(steps, run=run), connections[using], ignored=ignored, exchanges=exchanges)


def _steps(shell: InteractiveShell, source: str) -> Steps:
    """Return the top-level statements of a cell as steps."""
    tree, filename = parse_cell(shell, source)
    text = shell.transform_cell(source)

    def run(step: Callable[[], AbstractContextManager[None]]) -> Sequence[str]:
        return pending_note(execute_each(shell, tree.body, filename, step))

    return Steps(tuple(_statement_source(statement, text) for statement in tree.body), run, display)


def _statement_source(statement: ast.stmt, text: str) -> str:
    """Return the statement's own lines, including those of its decorators."""
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    if decorators:
        lines = text.splitlines()[decorators[0].lineno - 1 : statement.end_lineno]
        return "\n".join(lines)
    return ast.get_source_segment(text, statement) or ast.unparse(statement)


def _exchange(shell: InteractiveShell, variable: str) -> Exchange:
    uri, _, name = variable.rpartition("=")
    trigger = shell.user_ns.get(name)
    if not isinstance(trigger, Trigger):
        raise CellError(f"--with takes the name of a variable that holds a trigger, but {name} holds {trigger!r}.")
    return exchange_by(trigger, name, uri or None)


@contextmanager
def _namespace_restored(shell: InteractiveShell) -> Iterator[None]:
    """Give names and model objects of the notebook back what they held before the block."""
    names = dict(shell.user_ns)
    objects = [(value, {**vars(value), "_state": copy(value._state)}) for value in _model_objects(names.values())]
    try:
        yield
    finally:
        for name in set(shell.user_ns) - set(names):
            del shell.user_ns[name]
        shell.user_ns.update(names)
        for value, state in objects:
            vars(value).clear()
            vars(value).update(state)


def _model_objects(values: Iterable[object]) -> Iterator[models.Model]:
    for value in values:
        if isinstance(value, models.Model):
            yield value
        elif isinstance(value, list | tuple) and type(value) in (list, tuple):
            yield from (each for each in value if isinstance(each, models.Model))
