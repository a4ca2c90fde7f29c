"""A declared trigger to the function and the triggers that stand for it in Postgres.

Source: https://www.postgresql.org/docs/current/sql-createtrigger.html
        https://www.postgresql.org/docs/current/sql-createfunction.html
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, LiteralString

from django.db import models

from pgmagic.compile import bodies, ddl
from pgmagic.compile.desired import DesiredFunction, DesiredPgTrigger, DesiredTrigger
from pgmagic.compile.ignoring import IGNORE_ALL, IGNORE_SETTING
from pgmagic.compile.predicate import condition_sql
from pgmagic.compile.sql import DollarQuoted, Fragment, compose, identifier, join, literal, render, verbatim
from pgmagic.declare.conditions import Condition, concrete_field, table_fields
from pgmagic.declare.ready_made import FSM, Protect
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import (
    Deferred,
    Delete,
    Insert,
    InsteadOf,
    Operation,
    Row,
    Statement,
    Truncate,
    UpdateOf,
)
from pgmagic.errors import DeclarationError

Model = type[models.Model]


@dataclass(frozen=True)
class Target:
    """What SQL is compiled for. Without a schema, names resolve by the `search_path` of the installing session."""

    schema: str | None = None


class Body(str):
    """The body of a ready-made trigger, as the compiler wrote it."""

    __slots__ = ()


def compile_trigger(trigger: Trigger, model: Model, target: Target) -> DesiredTrigger:
    """Return the function and the triggers that stand for a declaration.

    Raises:
        DeclarationError: it names what the model does not have, or contradicts what Postgres allows.
    """
    check_table_name(model)
    function = _function(trigger, model, target)
    condition = trigger.get_condition(model)
    return DesiredTrigger(
        uri=trigger.get_uri(model),
        table=model._meta.db_table,
        function=function,
        triggers=tuple(_pg_triggers(trigger, model, target, condition)),
        condition=render(condition_sql(condition, model)) if condition is not None else "",
    )


def check_table_name(model: Model) -> None:
    """Refuse what Django itself cannot quote.

    Raises:
        DeclarationError: the table or a column has a quote, a percent sign or a NUL in its name.
    """
    names = {"db_table": model._meta.db_table}
    names |= {f"db_column of {field.name}": str(field.column) for field in table_fields(model)}
    for what, name in names.items():
        if any(character in name for character in '"%\x00'):
            raise DeclarationError(
                f"The {what} of {model._meta.object_name} is {name!r}: Django cannot quote a name with a quote, "
                f"a percent sign or a NUL in it, so choose another."
            )


def template_kwargs(model: Model) -> dict[str, Any]:
    """Return what the text of a function may name: `meta`, `fields` and `columns`."""
    fields = {field.name: field for field in model._meta.fields}
    return {
        "meta": model._meta,
        "fields": _Names(fields),
        "columns": _Names({name: field.column for name, field in fields.items()}),
    }


class _Names:
    """Attributes by name."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)


def _function(trigger: Trigger, model: Model, target: Target) -> DesiredFunction:
    func = trigger.get_func(model)
    body = trigger.render_func(model)
    # A body written by hand resolves its names as it does now, whatever the session's search_path will be. The
    # bodies of ready-made triggers are qualified where the schema is known, and are spared what a SET costs a call.
    qualified = isinstance(func, Body) and (target.schema is not None or isinstance(trigger, Protect | FSM))
    name = identifier(target.schema, trigger.get_pgid(model))
    text = _with_frame(trigger, model, body)
    create = compose(
        "CREATE OR REPLACE FUNCTION ", name, "() RETURNS trigger LANGUAGE plpgsql",
        verbatim("" if qualified else " SET search_path FROM CURRENT"), " AS ", DollarQuoted(text), ";",
    )  # fmt: skip
    drop = ddl.drop_function(target.schema, trigger.get_pgid(model))
    return DesiredFunction(trigger.get_pgid(model), render(create), drop, text)


def _with_frame(trigger: Trigger, model: Model, body: str) -> str:
    declare = trigger.render_declare(model)
    lines = [declare] if declare else []
    lines.append("BEGIN")
    if _checks_in_body(trigger):
        # WHEN of a deferred trigger is evaluated at the statement, long before COMMIT; INSTEAD OF takes none.
        lines.append(f"IF NOT {render(_not_ignored(trigger, model))} THEN RETURN NULL; END IF;")
    return "\n" + "\n".join([*lines, trigger.format_sql(body), "END;"]) + "\n"


def _checks_in_body(trigger: Trigger) -> bool:
    return trigger.timing == Deferred or trigger.when == InsteadOf


def _not_ignored(trigger: Trigger, model: Model) -> Fragment:
    """Return a condition that is true unless the session ignores the trigger; the usual case costs one look-up."""
    setting = compose("current_setting(", literal(IGNORE_SETTING), ", true)")
    return compose(
        "(coalesce(", setting, ", '') = '' OR ", setting, " <> ", literal(IGNORE_ALL), " AND strpos(", setting, ", ",
        literal(f":{trigger.get_pgid(model)}:"), ") = 0)",
    )  # fmt: skip


def _pg_triggers(
    trigger: Trigger, model: Model, target: Target, condition: Condition | models.Q | None
) -> Iterable[DesiredPgTrigger]:
    for suffix, level, operations in _split(trigger):
        yield _pg_trigger(trigger, model, target, condition, suffix, level, operations)


def _split(trigger: Trigger) -> list[tuple[str, Any, list[Operation]]]:
    """Return (suffix of the name, level, operations) of each trigger that Postgres needs for one declaration.

    TRUNCATE fires for statements only, and transition tables go with one operation each.
    """
    rows = [operation for operation in trigger.operations if operation != Truncate]
    parts: list[tuple[str, Any, list[Operation]]] = []
    if trigger.referencing:
        parts = [
            (f"_{operation.name[0].lower()}" if len(rows) > 1 else "", trigger.level, [operation])
            for operation in rows
        ]
    elif trigger.level == Statement:
        return [("", Statement, list(trigger.operations))]
    elif rows:
        parts = [("", Row, rows)]
    if Truncate in trigger.operations:
        parts.append(("_t" if parts else "", Statement, [Truncate]))
    return parts


def _pg_trigger(
    trigger: Trigger,
    model: Model,
    target: Target,
    condition: Condition | models.Q | None,
    suffix: str,
    level: Any,
    operations: list[Operation],
) -> DesiredPgTrigger:
    name = trigger.get_pgid(model) + suffix
    table = identifier(target.schema, model._meta.db_table)
    clauses: list[Any] = [
        str(trigger.when),
        " ",
        join(" OR ", [_event(operation, model) for operation in operations]),
    ]
    clauses += [" ON ", table]
    if trigger.timing:
        clauses.append(verbatim(f"\n  DEFERRABLE INITIALLY {trigger.timing}"))
    clauses += [_referencing(trigger, operations), verbatim(f"\n  FOR EACH {level}")]
    when = _when(trigger, model, condition, operations)
    if when is not None:
        clauses += ["\n  WHEN (", when, ")"]
    clauses += ["\n  EXECUTE FUNCTION ", identifier(target.schema, trigger.get_pgid(model)), "();"]
    definition = compose(*(verbatim(part) if isinstance(part, str) else part for part in clauses))
    drop = ddl.drop_trigger(target.schema, model._meta.db_table, name)
    return DesiredPgTrigger(
        name=name,
        fires=_fires(trigger, level, operations),
        create=_create(
            name, definition, "CREATE CONSTRAINT TRIGGER " if trigger.timing else "CREATE TRIGGER "
        ),
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
        columns = [identifier(concrete_field(model, name).column) for name in operation.columns]
        return compose("UPDATE OF ", join(", ", columns))
    return verbatim(operation.name)


def _referencing(trigger: Trigger, operations: list[Operation]) -> Fragment:
    if trigger.referencing is None:
        return compose("")
    parts = []
    if trigger.referencing.old and Insert not in operations:
        parts.append(compose(" OLD TABLE AS ", identifier(trigger.referencing.old)))
    if trigger.referencing.new and Delete not in operations:
        parts.append(compose(" NEW TABLE AS ", identifier(trigger.referencing.new)))
    return compose("\n  REFERENCING", *parts) if parts else compose("")


def _when(
    trigger: Trigger, model: Model, condition: Condition | models.Q | None, operations: list[Operation]
) -> Fragment | None:
    if trigger.when == InsteadOf:
        return None
    parts = []
    if condition is not None:
        if Truncate in operations:
            raise DeclarationError(
                f'TRUNCATE shows a trigger no rows, so "{trigger.name}" cannot have a condition: declare the '
                f"protection against truncate as a trigger of its own."
            )
        parts.append(condition_sql(condition, model))
    if isinstance(trigger, FSM) and type(trigger).get_func is FSM.get_func:
        parts.append(bodies.transitions_guard(trigger, model))
    if trigger.ignorable and not _checks_in_body(trigger):
        parts.append(_not_ignored(trigger, model))
    return join("\n    AND ", parts) if parts else None


def _fires(trigger: Trigger, level: Any, operations: list[Operation]) -> str:
    events = " OR ".join(str(operation) for operation in operations)
    timing = f" · {trigger.timing}" if trigger.timing else ""
    return f"{trigger.when} {events} · {level}{timing}"
