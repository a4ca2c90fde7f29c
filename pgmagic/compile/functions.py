"""The function that a declared trigger calls.

Source: https://www.postgresql.org/docs/current/sql-createfunction.html
"""

from __future__ import annotations

import re

from pgmagic.compile import bodies, ddl
from pgmagic.compile.desired import DesiredFunction
from pgmagic.compile.ignored_names import ignored
from pgmagic.compile.operators import is_qualified, values_are_qualified
from pgmagic.compile.pinned import PINNED
from pgmagic.compile.rejecting import reject_unpaired
from pgmagic.compile.sql import DollarQuoted, compose, identifier, literal, render, verbatim
from pgmagic.compile.sql_tokens import row_columns_in, tokens
from pgmagic.compile.target import Target
from pgmagic.compile.transition_tables import IS_PARTITIONED, POSITION, PREFER_COLUMNS, transition_kwargs
from pgmagic.declare.composer import Composer
from pgmagic.declare.event_chain import HashChain
from pgmagic.declare.event_trigger import EventTrigger
from pgmagic.declare.fsm import FSM
from pgmagic.declare.model_types import Model
from pgmagic.declare.ready_made import Protect
from pgmagic.declare.templates import Func, table_kwargs
from pgmagic.declare.trigger import ReadyMade, Trigger
from pgmagic.declare.vocabulary import Before, Delete, Operation, Statement, Truncate
from pgmagic.errors import DeclarationError

# What a body contains that is written for several tables, or that handles an error of its own.
_FOR_SEVERAL_TABLES = re.compile(r"\bTG_(?:TABLE_NAME|RELNAME|RELID|ARGV)\b|\bundefined_column\b", re.IGNORECASE)
# What only a template fills in.
_PLACEHOLDER = re.compile(r"\{(?:(?:meta|fields|columns)(?:\.\w+)+|cond_(?:old|new)_values)\}")


class Body(str):
    """The body of a ready-made trigger, written by the compiler."""

    __slots__ = ()


def function_of(trigger: Trigger, model: Model, target: Target) -> DesiredFunction:
    """Return the function of a declared trigger."""
    body = _body(trigger, model, target)
    name = identifier(target.schema, trigger.get_pgid(model))
    text = _with_frame(trigger, model, body)
    # The settings under which a seal reads values, whatever the settings of the session are.
    settings = PINNED.items() if isinstance(trigger, HashChain) else ()
    pinned = [compose(" SET ", identifier(setting), " TO ", literal(value)) for setting, value in settings]
    create = compose(
        "CREATE OR REPLACE FUNCTION ", name, "() RETURNS trigger LANGUAGE plpgsql",
        verbatim(" SET search_path FROM CURRENT" if _resolves_names(trigger, model, target, body) else ""),
        *pinned, " AS ", DollarQuoted(text), ";",
    )  # fmt: skip
    drop = ddl.drop_function(target.schema, trigger.get_pgid(model))
    return DesiredFunction(
        trigger.get_pgid(model),
        render(create),
        drop,
        text,
        needs_check=_holds_foreign_sql(trigger, model, body),
        named_columns=_named_columns(trigger, body),
    )


def _named_columns(trigger: Trigger, body: str) -> frozenset[str]:
    """Return the columns of OLD and NEW without which a user's body fails.

    A body that asks for which table it was called may name a column only where the table has it; and a trigger for each
    statement may call its transition tables `old` and `new`.
    """
    if isinstance(body, Body) or trigger.level == Statement or _FOR_SEVERAL_TABLES.search(body):
        return frozenset()
    return frozenset(column for _row, column in row_columns_in(body))


def ready_made_body(trigger: Trigger, model: Model, target: Target) -> Body:
    """Return the body of a ready-made trigger."""
    return Body(render(bodies.body(trigger, model, target.schema)))


def _body(trigger: Trigger, model: Model, target: Target) -> str:
    """Return the PL/pgSQL between BEGIN and END; only what a user's class overrides is asked of the declaration."""
    kind = type(trigger)
    if kind.render_func is not Trigger.render_func:
        return trigger.render_func(model)
    if kind.get_func is ReadyMade.get_func:
        return ready_made_body(trigger, model, target)
    func = trigger.get_func(model)
    if not isinstance(func, Func):
        _check_placeholders(trigger, func)
        return func
    if isinstance(trigger, Composer) and kind.get_func_template_kwargs is Composer.get_func_template_kwargs:
        return func.render(**table_kwargs(model), **transition_kwargs(trigger, model))
    return func.render(**trigger.get_func_template_kwargs(model))


def _check_placeholders(trigger: Trigger, text: str) -> None:
    """Refuse a placeholder of templates in a plain text.

    Raises:
        DeclarationError: if there is one outside of comments.
    """
    written = "".join(token.text for token in tokens(text) if token.kind != "comment")
    found = _PLACEHOLDER.search(written)
    if found is not None:
        raise DeclarationError(
            f'The func of "{trigger.name}" has the placeholder {found[0]}, but nothing is filled in a plain text: '
            f'write func=pgtrigger.Func("...").'
        )


def _holds_foreign_sql(trigger: Trigger, model: Model, body: str) -> bool:
    """Return whether a function may hold SQL that pgmagic did not write, in a condition or a value."""
    if not isinstance(body, Body) or trigger.render_declare(model):
        return True
    is_judged = is_judged_in_body(trigger, trigger.operations) and trigger.get_condition(model) is not None
    return is_judged or not isinstance(trigger, Protect | FSM | EventTrigger)


def _resolves_names(trigger: Trigger, model: Model, target: Target, body: str) -> bool:
    """Return whether the function has to keep today's `search_path`, whatever a session's path will be.

    Qualified tables are not enough: if `pg_catalog` is last in the path, Postgres finds somebody else's functions and
    operators first. A SET costs time in each call, so the functions of events do without it if their body names nothing
    without a schema: the schema is known, and the user's own SQL is only in WHEN, which Postgres resolves at creation.
    """
    if target.schema is None or not isinstance(trigger, EventTrigger):
        return True
    if not (isinstance(body, Body) and values_are_qualified(trigger)):
        return True
    return trigger.asks_tables and not is_qualified(trigger, model)


def _with_frame(trigger: Trigger, model: Model, body: str) -> str:
    declare = trigger.render_declare(model)
    # If rows are read from tables called old and new, the names mean the tables, not PL/pgSQL's own rows.
    asks_tables = is_judged_in_body(trigger, trigger.operations) or (
        isinstance(trigger, EventTrigger) and trigger.asks_tables
    )
    lines = [PREFER_COLUMNS] if asks_tables else []
    lines += [declare, "BEGIN"] if declare else ["BEGIN"]
    if trigger.ignorable:
        lines.append(_unless_ignored(trigger, model))
    if POSITION in body and not isinstance(body, Body):
        # Only in partitioned tables an UPDATE can move a row.
        unpaired = compose("IF ", IS_PARTITIONED, " THEN\n", reject_unpaired(trigger, model), "END IF;")
        lines.append(render(unpaired))
    return "\n" + "\n".join([*lines, trigger.format_sql(body), "END;"]) + "\n"


def _unless_ignored(trigger: Trigger, model: Model) -> str:
    """Return the line that does nothing more in a session that ignores the trigger.

    A WHEN clause would save the call, but Postgres parses its stored text at each statement: for an update of one row
    that costs as much as the rest of a trigger, and to look up its functions takes half of the time of CREATE TRIGGER.
    And the WHEN clause of a deferred trigger is evaluated at the statement, long before COMMIT.
    """
    condition = render(ignored(trigger.get_pgid(model)))
    if trigger.when != Before or trigger.level == Statement:
        leaving = "RETURN NULL;"
    elif Delete not in trigger.operations:
        leaving = "RETURN NEW;"
    elif trigger.operations == (Delete,):
        leaving = "RETURN OLD;"
    else:
        leaving = "IF TG_OP = 'DELETE' THEN RETURN OLD; END IF; RETURN NEW;"
    return f"IF {condition} THEN {leaving} END IF;"


def is_judged_in_body(trigger: Trigger, operations: tuple[Operation, ...]) -> bool:
    """Return whether the function evaluates the condition on tables called old and new."""
    if isinstance(trigger, Protect):
        return any(bodies.is_judged_in_body(trigger, operation) for operation in operations)
    if isinstance(trigger, EventTrigger):
        return trigger.level == Statement or Truncate in operations
    return isinstance(trigger, Composer) and trigger.referencing is not None
