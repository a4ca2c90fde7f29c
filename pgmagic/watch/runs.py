"""Running steps under watch: what each did to the database, or which triggers were considered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.tables.frame import ResultFrame
from pgmagic.watch.outcome_frame import OutcomeFrame, OutcomeRow, outcome_frame
from pgmagic.watch.trace_frame import TraceFrame, trace_frame
from pgmagic.watch.tracer import CellTracer
from pgmagic.watch.watched_cell import CellObserver, watched

C = TypeVar("C", bound=CellObserver)


@dataclass(frozen=True)
class Steps:
    """What is to be watched.

    sources: the text of each step. run: runs the steps in order, each inside a block that its argument makes, and
    returns sentences about the run as a whole. show: shows what was seen of a run that an exception ended.
    """

    sources: tuple[str, ...]
    run: Callable[[Callable[[], AbstractContextManager[None]]], Sequence[str]]
    show: Callable[[ResultFrame], object]


def outcome_of(steps: Steps, connection: BaseDatabaseWrapper, *, keep: bool) -> OutcomeFrame:
    """Run steps in one transaction, and return one row for each of them; see `watched`."""

    def frame(cell: CellObserver, notes: Sequence[str]) -> OutcomeFrame:
        return outcome_frame(numbered(cell.outcomes, steps), notes=[*notes, *cell.notes])

    return frame(*run_watched(steps, CellObserver, connection, keep=keep, frame=frame))


def run_watched(
    steps: Steps,
    observer: Callable[[BaseDatabaseWrapper], C],
    connection: BaseDatabaseWrapper,
    *,
    keep: bool,
    frame: Callable[[C, Sequence[str]], ResultFrame],
    prepare: Callable[[C], object] = lambda _cell: None,
) -> tuple[C, Sequence[str]]:
    """Run steps in one transaction, and return what watched them, and the sentences of the run; see `watched`.

    If an exception ends the run, a frame of the steps before it is shown, if it has rows, and the exception is raised.
    """
    broken: list[C] = []
    try:
        with watched(observer, connection, keep=keep) as cell:
            prepare(cell)
            try:
                notes = steps.run(cell.step)
            except BaseException:
                broken.append(cell)
                raise
    except BaseException as error:
        for cell in broken:
            if cell.break_off(error, kept=keep) and len(seen := frame(cell, ())):
                steps.show(seen)
        raise
    return cell, notes


def numbered(outcomes: Iterable[OutcomeRow], steps: Steps) -> list[OutcomeRow]:
    """Return the outcomes of steps, the first ones or all, with their numbers, from 1, and the texts of the steps."""
    return [
        replace(outcome, step=number, statement=source)
        for number, (source, outcome) in enumerate(zip(steps.sources, outcomes, strict=False), 1)
    ]


def trace_of(steps: Steps, connection: BaseDatabaseWrapper) -> TraceFrame:
    """Run steps in one transaction that is kept, and return one row for each trigger that Postgres considered."""
    return _trace(*run_watched(steps, CellTracer, connection, keep=True, frame=_trace))


def _trace(cell: CellTracer, notes: Sequence[str]) -> TraceFrame:
    said: list[str] = []
    for step, outcome in enumerate(cell.outcomes, 1):
        if outcome.verdict == "rejected" or outcome.raised:
            by = f" by {outcome.trigger}" if outcome.trigger else ""
            said.append(f"Step {step} was {outcome.verdict}{by}: {outcome.reason}")
        # What the server said outside of any trigger.
        said += [f"Step {step}: {line}" for line in (*outcome.messages, *outcome.raised)]
    return trace_frame(cell.timeline.rows, notes=[*said, *notes, *elsewhere_note(cell), *cell.notes])


def elsewhere_note(cell: CellObserver) -> Iterator[str]:
    """Yield a sentence about the other databases that a cell used, whose triggers and rows are not looked at."""
    if cell.others.watched:
        aliases = ", ".join(sorted(cell.others.watched))
        yield f"What the cell did in {aliases} is not in this table: --database chooses which database is looked at."
