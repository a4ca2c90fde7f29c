"""The plan that undoes a context, as a DataFrame: `pgmagic.undo_plan(...)`."""

from __future__ import annotations

from functools import partial
from typing import Any

from pgmagic.history.undo import Plan, Step, apply_plan, make_plan
from pgmagic.history.undo.undo_frame import Status, UndoFrame, UndoRow, undo_frame


def undo_plan(context: Any, *, using: str | None = None, complete: bool = False) -> UndoFrame:
    """Return what would undo all that was done in a context, row by row; nothing is changed until `.apply()`.

    context: the value of a `with pghistory.context(...)` block, a `Context`, or its id. Each row becomes again what it
    was before the context's first event of it; foreign keys decide on the order. The columns are those of `UndoFrame`:
    `model`, `object`, `action`, `changes`, `status`, `conflict`. complete: whether every row of these tables has been
    tracked since it was made. Then a first event that may be of an insert or of an update (`Snapshot`) is of the
    insert; a baseline that is older says the same. Rows that were given another key go back to their former one, if it
    is certain which they were, for which deletes must be recorded, too. Rows that exchanged unique values are deleted
    and inserted again, and recorded so.

    Raises:
        HistoryError: it is no context, it is still open, or no event was recorded in it.
    """
    return _undo_frame(make_plan(context, using, complete=complete))


def _undo_frame(plan: Plan, done: tuple[Step, ...] | None = None) -> UndoFrame:
    did = None if done is None else {step.identity for step in done}
    rows = [
        UndoRow(
            model=step.model._meta.label,
            object=", ".join(map(str, step.key)),
            action=step.action,
            status=_status(step, did),
            now=step.now,
            then=step.then,
            conflict=step.conflict,
        )
        for step in plan.steps
    ]
    notes = []
    if plan.conflicts and done is None:
        notes.append(
            f"{len(plan.conflicts):,} of {len(plan.steps):,} rows have a conflict. apply() does nothing while there is "
            f"one; apply(skip_conflicts=True) leaves them alone."
        )
    return undo_frame(
        rows,
        applying=None if done is not None else partial(_applied, plan),
        caption=f"Undo of context {plan.context_id}",
        notes=notes,
    )


def _applied(plan: Plan, *, skip_conflicts: bool) -> UndoFrame:
    return _undo_frame(plan, apply_plan(plan, skip_conflicts=skip_conflicts))


def _status(step: Step, did: set[Any] | None) -> Status:
    if did is None:
        return "planned" if step.conflict is None else "conflict"
    return "done" if step.identity in did else "skipped"
