"""Carrying out the plan that undoes a context."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import psycopg.errors
from django.db import IntegrityError, connections, transaction

from pgmagic.compile.sql import render
from pgmagic.db.runtime.context import context
from pgmagic.errors import HistoryError
from pgmagic.history.undo.plan import Plan, Step, make_plan
from pgmagic.history.undo.undo_sql import cascading_sql, change_sql, delete_sql, lock_sql, restore_sql

_STATEMENTS = {"delete": delete_sql, "change back": change_sql, "restore": restore_sql}


def apply_plan(plan: Plan, *, skip_conflicts: bool = False) -> tuple[Step, ...]:
    """Carry out a plan in one transaction, in its order, and return the steps that were done.

    The rows are locked, and the plan is made once more: it is carried out only if it is still the same. What it does is
    recorded like any change, in a context whose `undo_of` is the id of the undone one; where a context is open, that
    is added to it. skip_conflicts: leave the rows alone that something stands against.

    Raises:
        HistoryError: there are conflicts, or the rows are no longer what they were when the plan was made, or a trigger
            kept a row from being changed; nothing is done.
    """
    if plan.conflicts and not skip_conflicts:
        first = plan.conflicts[0]
        raise HistoryError(
            f"Nothing was undone, because of {_counted(len(plan.conflicts), 'conflict')}: {_named(first)}: "
            f"{first.conflict}. apply(skip_conflicts=True) leaves such rows alone, and undoes the rest."
        )
    with transaction.atomic(using=plan.using), connections[plan.using].cursor() as cursor:
        _lock(cursor, plan)
        again = make_plan(plan.context_id, plan.using, complete=plan.complete)
        if [step.identity for step in again.steps] != [step.identity for step in plan.steps]:
            raise HistoryError(
                "Nothing was undone: rows changed since this plan was made. Make it again, and look."
            )
        steps = tuple(step for step in plan.steps if step.conflict is None and step.action != "nothing")
        with context(undo_of=str(plan.context_id)):
            for (event_model, action), found in groupby(steps, lambda step: (step.event_model, step.action)):
                if action == "change back":
                    _change_back(cursor, event_model, list(found), plan.using)
                else:
                    _carry_out(cursor, event_model, action, list(found))
    return steps


def _lock(cursor: Any, plan: Plan) -> None:
    by_model: dict[Any, list[int]] = {}
    for step in plan.steps:
        by_model.setdefault(step.event_model, []).append(step.event)
    # In one order always, so that two of them cannot wait for each other.
    for event_model in sorted(by_model, key=lambda model: model._meta.label):
        cursor.execute(render(lock_sql(event_model, by_model[event_model])))


def _change_back(cursor: Any, event_model: Any, steps: list[Step], using: str) -> None:
    """Change rows back, also those that hold what is unique and what another one is to get.

    Postgres checks this row by row. So they are changed one behind the other; those that wait for each other in a
    circle go, and come back.
    """
    if _is_changed(cursor, event_model, steps, using):
        return
    waiting = steps
    while waiting:
        still = [step for step in waiting if not _is_changed(cursor, event_model, [step], using)]
        if len(still) == len(waiting):
            break
        waiting = still
    if waiting:
        _replace(cursor, event_model, waiting)


def _is_changed(cursor: Any, event_model: Any, steps: list[Step], using: str) -> bool:
    """Change rows back; return whether no unique value was in the way."""
    try:
        with transaction.atomic(using=using):
            _carry_out(cursor, event_model, "change back", steps)
    except IntegrityError as error:
        if not isinstance(
            error.__cause__, psycopg.errors.UniqueViolation | psycopg.errors.ExclusionViolation
        ):
            raise
        return False
    return True


def _replace(cursor: Any, event_model: Any, steps: list[Step]) -> None:
    """Delete rows, and insert them as they were.

    Raises:
        HistoryError: Postgres would delete, or change, what refers to them.
    """
    cursor.execute(render(cascading_sql(event_model)))
    cascading = [name for (name,) in cursor.fetchall()]
    if cascading:
        raise HistoryError(
            f"Nothing was undone: {', '.join(map(_named, steps[:2]))} hold unique values of each other, and would have "
            f"to go and come back, with which rows of {cascading[0]} would be lost."
        )
    for action in ("delete", "restore"):
        _carry_out(cursor, event_model, action, steps)


def _carry_out(cursor: Any, event_model: Any, action: str, steps: list[Step]) -> None:
    cursor.execute(render(_STATEMENTS[action](event_model, [step.event for step in steps])))
    if cursor.rowcount != len(steps):
        raise HistoryError(
            f"Nothing was undone: a trigger or a policy kept {len(steps) - cursor.rowcount} of {len(steps)} rows of "
            f"{steps[0].model._meta.object_name} from this: {action}."
        )


def _named(step: Step) -> str:
    return f"{step.model._meta.object_name} {', '.join(map(str, step.key))}"


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
