"""Carrying out the plan that undoes a context."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import psycopg.errors
from django.db import IntegrityError, connections, transaction
from django.db.backends.utils import CursorWrapper

from pgmagic.compile.sql import render
from pgmagic.db.runtime.context import context
from pgmagic.declare.model_types import EventModel
from pgmagic.errors import HistoryError
from pgmagic.history.undo.plan import make_plan
from pgmagic.history.undo.undo_sql import cascading_sql, change_sql, delete_sql, lock_sql, restore_sql
from pgmagic.history.undo.undo_step import Action, Plan, Step

_STATEMENTS = {"delete": delete_sql, "change back": change_sql, "restore": restore_sql}


def apply_plan(plan: Plan, *, skip_conflicts: bool = False) -> tuple[Step, ...]:
    """Carry out a plan in one transaction, in its order, and return the steps that were done.

    The rows are locked, and the plan is made again: it is carried out only if it is still the same. The changes are
    recorded like any change, in a context whose `undo_of` is the id of the undone context; if a context is open,
    `undo_of` is added to it. skip_conflicts: leave the rows with a conflict alone.

    Raises:
        HistoryError: there are conflicts, or the rows are no longer what they were when the plan was made, or a trigger
            kept a row from being changed; nothing is done.
    """
    if plan.conflicts and not skip_conflicts:
        first, number = plan.conflicts[0], len(plan.conflicts)
        raise HistoryError(
            f"Nothing was undone, because of {number:,} conflict{'' if number == 1 else 's'}: {_named(first)}: "
            f"{first.conflict}. apply(skip_conflicts=True) leaves such rows alone, and undoes the rest."
        )
    with transaction.atomic(using=plan.using), connections[plan.using].cursor() as cursor:
        by_model: dict[EventModel, list[int]] = {}
        for step in plan.steps:
            by_model.setdefault(step.event_model, []).append(step.event)
        # Always in the same order, so that two plans cannot wait for each other.
        for event_model in sorted(by_model, key=lambda model: model._meta.label):
            cursor.execute(render(lock_sql(event_model, by_model[event_model])))
        again = make_plan(plan.context_id, plan.using, complete=plan.complete)
        if not plan.is_same(again):
            raise HistoryError("Nothing was undone: rows changed since this plan was made. Make it again, and look.")
        with context(undo_of=str(plan.context_id)):
            for (event_model, action), found in groupby(plan.to_do, lambda step: (step.event_model, step.action)):
                if action == "change back":
                    _change_back(cursor, event_model, list(found), plan.using)
                else:
                    _carry_out(cursor, event_model, action, list(found))
    return plan.to_do


def _change_back(cursor: CursorWrapper, event_model: EventModel, steps: list[Step], using: str) -> None:
    """Change rows back, also if a row holds a unique value that another row is to get.

    Postgres checks unique values row by row. So the rows are changed one after the other; rows that wait for each other
    in a circle are deleted and inserted again.

    Raises:
        HistoryError: Postgres would delete or change rows that refer to these rows.
    """
    if _is_changed(cursor, event_model, steps, using):
        return
    waiting = steps
    while waiting:
        still = [step for step in waiting if not _is_changed(cursor, event_model, [step], using)]
        if len(still) == len(waiting):
            break
        waiting = still
    if not waiting:
        return
    cursor.execute(render(cascading_sql(event_model)))
    cascading = [name for (name,) in cursor.fetchall()]
    if cascading:
        raise HistoryError(
            f"Nothing was undone: {', '.join(map(_named, waiting[:2]))} hold unique values of each other, and would "
            f"have to be deleted and inserted again, with which rows of {cascading[0]} would be lost."
        )
    _carry_out(cursor, event_model, "delete", waiting)
    _carry_out(cursor, event_model, "restore", waiting)


def _is_changed(cursor: CursorWrapper, event_model: EventModel, steps: list[Step], using: str) -> bool:
    """Change rows back; return whether no unique value prevented it."""
    try:
        with transaction.atomic(using=using):
            _carry_out(cursor, event_model, "change back", steps)
    except IntegrityError as error:
        if not isinstance(error.__cause__, psycopg.errors.UniqueViolation | psycopg.errors.ExclusionViolation):
            raise
        return False
    return True


def _carry_out(cursor: CursorWrapper, event_model: EventModel, action: Action, steps: Sequence[Step]) -> None:
    cursor.execute(render(_STATEMENTS[action](event_model, [step.event for step in steps])))
    if cursor.rowcount != len(steps):
        raise HistoryError(
            f"Nothing was undone: a trigger or a policy kept {len(steps) - cursor.rowcount} of {len(steps)} rows of "
            f"{steps[0].tracked_model._meta.object_name} from this: {action}."
        )


def _named(step: Step) -> str:
    return f"{step.tracked_model._meta.object_name} {step.object}"
