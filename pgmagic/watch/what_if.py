"""Running steps twice, under the triggers as they are and under others, and keeping nothing of either run."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace
from datetime import UTC, datetime

from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.db.runtime.ignore import ignore
from pgmagic.tables.frame import ResultFrame
from pgmagic.watch.capture import CellCapturer
from pgmagic.watch.differences import Run, compare_runs
from pgmagic.watch.exchange import Exchange
from pgmagic.watch.outcome_frame import outcome_frame
from pgmagic.watch.runs import Steps, elsewhere_note, numbered, run_watched
from pgmagic.watch.whatif_frame import WhatIfFrame, whatif_frame

_TWICE = (
    "The cell ran twice, and both runs were rolled back: the database kept nothing. What the cell did beside it, in "
    "files or on the network, it did twice."
)
_NO_HOOKS = "What was given to transaction.on_commit did not run."


def what_if(
    steps: Steps, connection: BaseDatabaseWrapper, *, ignored: Sequence[str], exchanges: Sequence[Exchange]
) -> WhatIfFrame:
    """Run steps as it is, and with triggers ignored or exchanged; return what differs. Nothing is kept.

    ignored: the URIs of triggers. Whatever else the steps do in Python, they do twice.
    """
    changed = " and ".join(
        [*(f"without {uri}" for uri in ignored), *(f"with another {exchange.uri}" for exchange in exchanges)]
    )
    as_is, notes = _run(steps, connection, lambda _cell: None, "As it is")

    def exchange_all(cell: CellCapturer) -> None:
        with cell.messages.quietly():
            for exchange in exchanges:
                exchange.take_place(cell.raw, connection.alias)

    broken: list[ResultFrame] = []
    quiet = replace(steps, show=broken.append)
    try:
        # The first run has already printed what the steps print.
        with ignore(*ignored) if ignored else nullcontext(), redirect_stdout(io.StringIO()):
            otherwise, other_notes = _run(quiet, connection, exchange_all, f"What if {changed}")
    except BaseException as error:
        for frame in broken:
            steps.show(frame)
        if isinstance(error, Exception):
            error.add_note(f"pgmagic: as it is, the cell ran without an error; this happened {changed}.")
        raise
    rows = compare_runs(as_is, otherwise, steps.sources)
    said = [_TWICE, *_notes_of_both(notes, other_notes)]
    return whatif_frame(rows, caption=f"What if {changed}", notes=said if rows else ["Nothing differs.", *said])


def _notes_of_both(notes: Sequence[str], other_notes: Sequence[str]) -> list[str]:
    """Return the notes of both runs: first those that they share, then those of each run alone."""
    return [
        *(note for note in notes if note in other_notes),
        *(f"As it is: {note}" for note in notes if note not in other_notes),
        *(f"Otherwise: {note}" for note in other_notes if note not in notes),
    ]


def _run(
    steps: Steps, connection: BaseDatabaseWrapper, prepare: Callable[[CellCapturer], None], caption: str
) -> tuple[Run, list[str]]:
    """Run steps, and return what they did, and notes. caption: of the frame that is shown if an exception ends them."""

    def outcomes(cell: CellCapturer, _notes: Sequence[str]) -> ResultFrame:
        return outcome_frame(numbered(cell.outcomes, steps), caption=caption, notes=cell.notes)

    started = datetime.now(UTC)
    cell, _ = run_watched(steps, CellCapturer, connection, keep=False, frame=outcomes, prepare=prepare)
    raised = [f"Step {step}: {line}" for step, outcome in enumerate(cell.outcomes, 1) for line in outcome.raised]
    notes = [*raised, *cell.notes_of_trial, *elsewhere_note(cell)]
    if any(each.autocommit.hooks for each in cell.connections.values()):
        notes.append(_NO_HOOKS)
    return Run(cell.outcomes, cell.changes, started, datetime.now(UTC)), notes
