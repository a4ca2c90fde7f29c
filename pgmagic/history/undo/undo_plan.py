"""The plan that undoes a context, as a DataFrame: `pgmagic.undo_plan(...)`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self, overload
from uuid import UUID

from django.db import models

from pgmagic.db.runtime.context import Context
from pgmagic.history.undo.applying import apply_plan
from pgmagic.history.undo.plan import make_plan
from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    import pandas as pd

    from pgmagic.history.undo.undo_step import Plan


class UndoFrame(ResultFrame):
    """One row for each row that a context touched, in the order in which it would be undone. Nothing is changed yet.

    Columns:
        model (string): the label of the tracked model.
        object (string): the primary key.
        action (string): `delete` a row that the context made, `change back` a row that it changed, `restore` a row that
            it deleted, or `nothing` if the row is already as it was.
        changes (object): `{field: [now, then]}`; `pd.NA` on the side without a row.
        status (string): `planned` or `conflict`; after `apply()` `done` or `skipped`.
        conflict (string): what prevents it; missing if nothing does.
    """

    columns_contract = MappingProxyType(
        {
            "model": "string",
            "object": "string",
            "action": "string",
            "changes": "object",
            "status": "string",
            "conflict": "string",
        }
    )
    columns_roles = MappingProxyType({"action": "verdict", "status": "verdict", "changes": "changes"})

    _metadata = [*ResultFrame._metadata, "plan"]
    plan: Plan | None = None

    @property
    def conflicts(self) -> Self:
        """The rows with a conflict."""
        found: Self = self[self["conflict"].notna()]
        return found

    # The name that everybody looks for; a DataFrame's own `apply` is of no use on such a frame.
    @overload  # type: ignore[override]
    def apply(self, *, skip_conflicts: bool = False) -> UndoFrame: ...

    @overload
    def apply(
        self, func: object, *args: object, skip_conflicts: bool = False, **kwargs: object
    ) -> pd.DataFrame | pd.Series[Any]: ...

    def apply(
        self, func: object = None, *args: object, skip_conflicts: bool = False, **kwargs: object
    ) -> UndoFrame | pd.DataFrame | pd.Series[Any]:
        """Carry out the plan, and return it with what was done.

        The whole plan is carried out, whatever rows of the frame are left, in one transaction that locks the rows, and
        only if the rows in the database are still what they were. It is recorded like any change, in a context with
        `undo_of`, the id of the undone context. With other arguments this is the `apply` of every DataFrame.

        Args:
            func: Not for a plan; the function of `DataFrame.apply`.
            *args: As for `DataFrame.apply`.
            skip_conflicts: Leave rows with a conflict alone, instead of raising an error.
            **kwargs: As for `DataFrame.apply`.

        Returns:
            The same rows as an `UndoFrame`, whose `status` is `done` or `skipped`.

        Raises:
            HistoryError: There are conflicts, or rows changed since the plan was made, or a trigger kept a row from
                being changed. Nothing is done.
            ValueError: The plan was carried out already.

        Example:
            >>> with pghistory.context(user="Ann") as opened:
            ...     _ = Post.objects.update(title="Oops")
            >>> pgmagic.undo_plan(opened).apply()["status"].tolist()
            ['done']
            >>> Post.objects.get().title
            'Hello'
        """
        if func is not None or kwargs:
            call: Callable[..., pd.DataFrame | pd.Series[Any]] = super().apply
            return call(*(() if func is None else (func,)), *args, **kwargs)
        if self.plan is None:
            raise ValueError("This plan was carried out already: make another plan to undo more.")
        done = {step.identity for step in apply_plan(self.plan, skip_conflicts=skip_conflicts)}
        steps = [replace(step, result="done" if step.identity in done else "skipped") for step in self.plan.steps]
        return UndoFrame.from_rows(steps, caption=f"Undo of context {self.plan.context_id}")


def undo_plan(
    context: Context | models.Model | UUID | str, *, using: str | None = None, complete: bool = False
) -> UndoFrame:
    """Return what would undo everything that was done in a context, row by row; nothing is changed until `.apply()`.

    Each row becomes again what it was before the context's first event of it; the order follows the foreign keys. Rows
    whose key was changed go back to their former key, if it is certain which rows they were; deletes must be recorded
    for that, too. Rows that exchanged unique values are deleted and inserted again, and recorded so.

    Args:
        context: The value of a `with pghistory.context(...)` block, a `Context` object, or the id of a context.
        using: The database; that of the router for writing contexts by default.
        complete: Whether every row of these tables has been tracked since it was made. Then a first event that may be
            of an insert or of an update (`Snapshot`) is of the insert; an older baseline (`backfill`) says the same.

    Returns:
        An `UndoFrame`, one row for each touched row, in the order of execution: `model`, `object`, `action` (string),
        `changes` (object: `{field: [now, then]}`), `status` (string), `conflict` (string, missing if there is none).

    Raises:
        HistoryError: The argument is not a context, or the context is still open, or no event was recorded in it.

    Example:
        >>> with pghistory.context(user="Ann") as opened:
        ...     _ = Post.objects.update(title="Oops")
        >>> plan = pgmagic.undo_plan(opened)
        >>> plan[["model", "action", "changes", "status"]].values.tolist()
        [['notebook.Post', 'change back', {'title': ['Oops', 'Hello']}, 'planned']]
    """
    plan = make_plan(context, using, complete=complete)
    notes = []
    if plan.conflicts:
        notes.append(
            f"{len(plan.conflicts):,} of {len(plan.steps):,} rows have a conflict. apply() does nothing while there is "
            f"one; apply(skip_conflicts=True) leaves them alone."
        )
    frame = UndoFrame.from_rows(plan.steps, caption=f"Undo of context {plan.context_id}", notes=notes)
    frame.plan = plan
    return frame
