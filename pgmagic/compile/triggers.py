"""A declared trigger compiled to its function and its triggers in Postgres.

Source: https://www.postgresql.org/docs/current/sql-createtrigger.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

from django.db import models

from pgmagic.compile import ddl, state_machines
from pgmagic.compile.calling import call_of, calls_another
from pgmagic.compile.desired import DesiredPgTrigger, DesiredTrigger
from pgmagic.compile.functions import function_of, is_judged_in_body
from pgmagic.compile.predicate import condition_sql, named_rows
from pgmagic.compile.sql import Fragment, compose, identifier, join, render, verbatim
from pgmagic.compile.table_names import check_table_name, check_trigger_name
from pgmagic.compile.target import Target
from pgmagic.declare.conditions import Condition, concrete_fields
from pgmagic.declare.event_trigger import EventTrigger
from pgmagic.declare.fsm import FSM
from pgmagic.declare.model_types import Model
from pgmagic.declare.ready_made import Protect
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import (
    Before,
    Delete,
    Insert,
    InsteadOf,
    Level,
    Operation,
    Statement,
    Truncate,
    UpdateOf,
    When,
)
from pgmagic.errors import DeclarationError


def compile_trigger(trigger: Trigger, model: Model, target: Target) -> DesiredTrigger:
    """Return the function and the triggers of a declaration in Postgres.

    Raises:
        DeclarationError: if the declaration names what the model does not have, or asks for what Postgres forbids.
    """
    check_table_name(model)
    check_trigger_name(trigger, model)
    function = function_of(trigger, model, target)
    condition = trigger.get_condition(model)
    declared = condition_sql(condition, model) if condition is not None else None
    by_row = None
    if isinstance(trigger, EventTrigger) and trigger.level == Statement:
        # Records the events on a table with partitions or inheritance: see `DesiredTrigger`.
        by_row = compile_trigger(trigger.for_each_row(), model, target)
    return DesiredTrigger(
        uri=trigger.get_uri(model),
        table=model._meta.db_table,
        function=function,
        triggers=tuple(_pg_trigger(trigger, model, target, part, declared) for part in _parts(trigger)),
        condition=render(declared) if declared is not None else "",
        schema=target.schema,
        by_row=by_row,
        calls_another=calls_another(trigger, model),
    )


@dataclass(frozen=True)
class _Part:
    """One trigger as Postgres counts them."""

    suffix: str
    when: When
    level: Level
    operations: tuple[Operation, ...]


def _parts(trigger: Trigger) -> list[_Part]:
    """Return the triggers that Postgres needs for one declaration.

    TRUNCATE fires for statements only, transition tables need a trigger for each operation, and INSERT cannot have a
    WHEN clause on the row before.
    """
    when = trigger.when
    if when is None:
        raise DeclarationError(f'The trigger "{trigger.name}" has no "when".')
    apart = trigger.referencing is not None or (isinstance(trigger, FSM) and trigger.initial is not None)
    if trigger.level == Statement and not apart:
        return [_Part("", when, Statement, trigger.operations)]
    rows = _operations_on_rows(trigger, apart)
    parts = [_Part(suffix, when, trigger.level, operations) for suffix, operations in rows]
    records_truncate = isinstance(trigger, EventTrigger) and trigger.records_truncate
    if Truncate in trigger.operations or records_truncate:
        # A protection, and a history, read the rows that TRUNCATE is about to remove.
        when = Before if isinstance(trigger, Protect | EventTrigger) else when
        parts.append(_Part("_t" if parts else "", when, Statement, (Truncate,)))
    return parts


def _operations_on_rows(trigger: Trigger, apart: bool) -> list[tuple[str, tuple[Operation, ...]]]:
    """Return suffix and operations of each trigger on rows. apart: each operation needs a trigger of its own."""
    rows = tuple(operation for operation in trigger.operations if operation != Truncate)
    if apart and len(rows) > 1:
        return [(f"_{operation.name[0].lower()}", (operation,)) for operation in rows]
    return [("", rows)] if rows else []


def _pg_trigger(
    trigger: Trigger, model: Model, target: Target, part: _Part, declared: Fragment | None
) -> DesiredPgTrigger:
    """Return one trigger; declared: the condition of the declaration."""
    name = trigger.get_pgid(model) + part.suffix
    events = join(" OR ", [_event(operation, model) for operation in part.operations])
    timing = f"\n  DEFERRABLE INITIALLY {trigger.timing}" if trigger.timing else ""
    conditions = list(_conditions(trigger, model, part, declared))
    when = compose("\n  WHEN (", join("\n    AND ", conditions), ")") if conditions else ""
    definition = compose(
        verbatim(f"{part.when} "), events, " ON ", identifier(target.schema, model._meta.db_table), verbatim(timing),
        _referencing(trigger, part), verbatim(f"\n  FOR EACH {part.level}"), when,
        "\n  EXECUTE FUNCTION ", call_of(trigger, model, target.schema), ";",
    )  # fmt: skip
    condition = declared
    if isinstance(trigger, FSM) and part.operations == (Insert,):
        condition = state_machines.initial_guard(trigger, model)
    names = " OR ".join(str(operation) for operation in part.operations)
    drop = ddl.drop_trigger(target.schema, model._meta.db_table, name)
    return DesiredPgTrigger(
        name=name,
        fires=f"{part.when} {names} · {part.level}{f' · {trigger.timing}' if trigger.timing else ''}",
        condition=render(condition) if condition is not None else "",
        create=_create(name, definition, "CREATE CONSTRAINT TRIGGER " if trigger.timing else "CREATE TRIGGER "),
        # CREATE OR REPLACE, which takes a weaker lock than a drop, knows no constraint triggers.
        replace=f"{drop}\n{_create(name, definition, 'CREATE CONSTRAINT TRIGGER ')}"
        if trigger.timing
        else _create(name, definition, "CREATE OR REPLACE TRIGGER "),
        drop=drop,
    )


def _create(name: str, definition: Fragment, words: LiteralString) -> str:
    return render(compose(words, identifier(name), "\n  ", definition))


def _event(operation: Operation, model: Model) -> Fragment:
    if isinstance(operation, UpdateOf):
        # Several names may stand for one column, which Postgres takes once.
        fields = dict.fromkeys(concrete_fields(model, operation.columns))
        columns = [identifier(field.column) for field in fields]
        return compose("UPDATE OF ", join(", ", columns))
    return verbatim(operation.name)


def _referencing(trigger: Trigger, part: _Part) -> Fragment:
    if trigger.referencing is None or Truncate in part.operations:
        return compose("")
    tables = []
    if trigger.referencing.old and Insert not in part.operations:
        tables.append(compose(" OLD TABLE AS ", identifier(trigger.referencing.old)))
    if trigger.referencing.new and Delete not in part.operations:
        tables.append(compose(" NEW TABLE AS ", identifier(trigger.referencing.new)))
    return compose("\n  REFERENCING", *tables) if tables else compose("")


def _conditions(trigger: Trigger, model: Model, part: _Part, declared: Fragment | None) -> Iterator[Fragment]:
    """Yield the conditions of the WHEN clause, which a trigger INSTEAD OF does not have."""
    if trigger.when == InsteadOf:
        return
    machine = trigger if isinstance(trigger, FSM) and type(trigger).get_func is FSM.get_func else None
    if machine and part.operations == (Insert,):
        yield state_machines.initial_guard(machine, model)
        return
    if type(trigger).render_condition is not Trigger.render_condition:
        own = re.sub(r"^\s*WHEN\b", "", trigger.render_condition(model), flags=re.IGNORECASE)
        if own.strip():
            yield compose("(", verbatim(own), "\n)")
        return
    condition = trigger.get_condition(model)
    if condition is not None and declared is not None and not is_judged_in_body(trigger, part.operations):
        _check_condition(trigger, model, part, condition)
        yield declared
    if machine:
        yield state_machines.transitions_guard(machine, model)


def _check_condition(trigger: Trigger, model: Model, part: _Part, condition: Condition | models.Q) -> None:
    """Refuse a condition on rows that the WHEN clause does not have.

    Raises:
        DeclarationError: if the trigger fires for statements, or an operation does not have a row that is named.
    """
    if Truncate in part.operations:
        raise DeclarationError(
            f'TRUNCATE shows a trigger no rows, so "{trigger.name}" cannot have a condition: declare the rule for '
            f"TRUNCATE as a trigger of its own."
        )
    named = named_rows(condition, model)
    if part.level == Statement and named:
        raise DeclarationError(
            f'A trigger for each statement sees no single row, so "{trigger.name}" cannot have a condition on rows: '
            f"use level=pgtrigger.Row, or a pgtrigger.Composer with {{cond_new_values}} in its func."
        )
    for operation, words, missing, present in ((Insert, "An insert", "old", "new"), (Delete, "A delete", "new", "old")):
        if missing in named and operation in part.operations:
            raise DeclarationError(
                f'{words} has no {missing} row, so the condition of "{trigger.name}" cannot name it: use {present}__… '
                f"alone, or declare the rule for {operation} as a trigger of its own."
            )
