"""What a `%%pgwhatif` cell does: run twice, under the triggers as they are and under others, and keep nothing."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from copy import copy
from datetime import UTC, datetime
from typing import Any

import pandas as pd
from django.db import DEFAULT_DB_ALIAS, connections, models
from IPython.core.interactiveshell import InteractiveShell

from pgmagic.db.runtime.ignore import ignore
from pgmagic.db.schemas import target_of
from pgmagic.declare import registry
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import CellError
from pgmagic.notebook.cells import execute_each, parse_cell
from pgmagic.notebook.outcome import statement_source
from pgmagic.notebook.trace import elsewhere_note
from pgmagic.watch.capture import CellCapturer
from pgmagic.watch.cell import watched
from pgmagic.watch.differences import NOTHING, Difference, Run, compare_runs
from pgmagic.watch.exchange import exchange, model_of
from pgmagic.watch.whatif_frame import WhatIfFrame, WhatIfRow, whatif_frame

_TWICE = (
    "The cell ran twice, and both runs were rolled back: the database kept nothing. What the cell did beside it, in "
    "files or on the network, it did twice."
)

# A trigger's model, the one whose place it takes, and the trigger.
Exchange = tuple[Any, Trigger | None, Trigger]


def compare_cell(
    shell: InteractiveShell,
    source: str,
    *,
    ignored: Sequence[str],
    variables: Sequence[str],
    using: str = DEFAULT_DB_ALIAS,
) -> WhatIfFrame:
    """Run a cell as it is, and with triggers ignored or exchanged; return what differs. Nothing is kept.

    ignored: URIs. variables: names of variables that hold a trigger, or URI=NAME. Names and model objects of the
    notebook are as before behind each run; whatever else the cell does in Python, it does twice.

    Raises:
        CellError: the cell is no Python, or nothing is to be changed.
        UnknownTriggerError: nothing is registered under a URI.
    """
    if not ignored and not variables:
        raise CellError(
            "Say what is to be different: --ignore URI, or --with NAME of a variable that holds a trigger."
        )
    registry.registered(*ignored)
    exchanges = [_exchange(shell, variable) for variable in variables]
    tree, filename = parse_cell(shell, source)
    text = shell.transform_cell(source)

    def run(prepare: Callable[[Any], None]) -> tuple[Run, list[str]]:
        started = datetime.now(UTC)
        with _namespace_restored(shell), watched(CellCapturer, connections[using], keep=False) as cell:
            prepare(cell)
            execute_each(shell, tree.body, filename, cell.step)
        notes = [note for note in cell.notes if not note.startswith("--rollback")]
        notes += elsewhere_note(cell)
        if any(watched.autocommit.hooks for watched in cell.connections.values()):
            notes.append("What was given to transaction.on_commit did not run.")
        return Run(cell.outcomes, cell.changes, started, datetime.now(UTC)), notes

    as_is, notes = run(lambda _cell: None)
    # What the cell prints, it printed in the first run.
    with ignore(*ignored) if ignored else nullcontext(), redirect_stdout(io.StringIO()):
        try:
            what_if, other_notes = run(lambda cell: _exchange_all(cell, exchanges))
        except Exception as error:
            error.add_note(
                f"pgmagic: as it is, the cell ran through; this happened {_changed(ignored, exchanges)}."
            )
            raise
    sources = [statement_source(statement, text) for statement in tree.body]
    rows = [_row(difference, sources) for difference in compare_runs(as_is, what_if)]
    said = [*_only(notes, other_notes, "As it is"), *_only(other_notes, notes, "Otherwise")]
    outcome = [] if rows else ["Nothing differs."]
    return whatif_frame(
        rows,
        caption=_caption(ignored, exchanges),
        notes=[*outcome, _TWICE, *(note for note in notes if note in other_notes), *said],
    )


def _exchange(shell: InteractiveShell, variable: str) -> Exchange:
    uri, _, name = variable.rpartition("=")
    trigger = shell.user_ns.get(name)
    if not isinstance(trigger, Trigger):
        raise CellError(
            f"--with takes the name of a variable that holds a trigger, but {name} holds {trigger!r}."
        )
    if uri:
        [(model, former)] = registry.registered(uri)
        return model, former, trigger
    model = model_of(trigger, name)
    found = registry.find(trigger.get_uri(model))
    return model, found[1] if found else None, trigger


def _exchange_all(cell: CellCapturer, exchanges: Iterable[Exchange]) -> None:
    with cell.messages.quietly():
        for model, former, trigger in exchanges:
            exchange(cell.raw, model, former, trigger, target_of(cell.connection.alias))


@contextmanager
def _namespace_restored(shell: InteractiveShell) -> Iterator[None]:
    """Give names and model objects of the notebook back what they held before the block."""
    names = dict(shell.user_ns)
    objects = [(value, _state(value)) for value in _model_objects(names.values())]
    try:
        yield
    finally:
        for name in set(shell.user_ns) - set(names):
            del shell.user_ns[name]
        shell.user_ns.update(names)
        for value, state in objects:
            vars(value).clear()
            vars(value).update(state)


def _model_objects(values: Iterable[Any]) -> Iterator[models.Model]:
    for value in values:
        if isinstance(value, models.Model):
            yield value
        elif type(value) in (list, tuple):
            yield from (each for each in value if isinstance(each, models.Model))


def _state(value: models.Model) -> dict[str, Any]:
    state = dict(vars(value))
    state["_state"] = copy(state["_state"])
    return state


def _row(difference: Difference, sources: Sequence[str]) -> WhatIfRow:
    return WhatIfRow(
        step=difference.step,
        statement=sources[difference.step - 1] if difference.step else None,
        table=difference.table,
        row=difference.row,
        field="verdict" if difference.kind == "verdict" else difference.field,
        as_is=pd.NA if difference.as_is is NOTHING else difference.as_is,
        what_if=pd.NA if difference.what_if is NOTHING else difference.what_if,
    )


def _only(notes: Sequence[str], others: Sequence[str], when: str) -> list[str]:
    return [f"{when}: {note}" for note in notes if note not in others]


def _caption(ignored: Sequence[str], exchanges: Sequence[Exchange]) -> str:
    return f"What if {_changed(ignored, exchanges)}"


def _changed(ignored: Sequence[str], exchanges: Sequence[Exchange]) -> str:
    changed = [f"without {uri}" for uri in ignored]
    changed += [f"with another {trigger.get_uri(model)}" for model, _, trigger in exchanges]
    return " and ".join(changed)
