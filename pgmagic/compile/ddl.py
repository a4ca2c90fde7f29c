"""The statements on triggers and functions that need only their names."""

from __future__ import annotations

from typing import LiteralString

from pgmagic.compile.ignored_names import IGNORE_ALL, IGNORE_SETTING
from pgmagic.compile.sql import compose, identifier, literal, render
from pgmagic.declare.names import postgres_name

# `tgenabled` to the words of ALTER TABLE. Source: https://www.postgresql.org/docs/current/catalog-pg-trigger.html
_ENABLING: dict[str, LiteralString] = {
    "D": " DISABLE TRIGGER ",
    "R": " ENABLE REPLICA TRIGGER ",
    "A": " ENABLE ALWAYS TRIGGER ",
    "O": " ENABLE TRIGGER ",
}

# For the rest of a transaction: updates of pgmagic's own must not fire the user's triggers.
IGNORE_ALL_TRIGGERS = render(
    compose("SET LOCAL ", identifier(*IGNORE_SETTING.split(".")), " = ", literal(IGNORE_ALL), ";")
)
IGNORE_NO_TRIGGER = render(compose("SET LOCAL ", identifier(*IGNORE_SETTING.split(".")), " = '';"))


def drop_trigger(schema: str | None, table: str, name: str) -> str:
    """Return the statement that drops a trigger."""
    return render(compose("DROP TRIGGER ", identifier(name), " ON ", identifier(schema, table), ";"))


def drop_function(schema: str | None, name: str) -> str:
    """Return the statement that drops a trigger's function."""
    return render(compose("DROP FUNCTION ", identifier(schema, name), "();"))


def drop_trigger_if_exists(table: str, name: str) -> str:
    """Return the statement that drops a trigger if the trigger and its table exist."""
    return render(compose("DROP TRIGGER IF EXISTS ", identifier(name), " ON ", identifier(table), ";"))


def drop_function_if_exists(name: str) -> str:
    """Return the statement that drops a trigger's function if it exists."""
    return render(compose("DROP FUNCTION IF EXISTS ", identifier(name), "();"))


def set_enabled(schema: str | None, table: str, name: str, state: str) -> str:
    """Return the statement that gives a trigger a state of `tgenabled`: O, D, R or A."""
    table_name = identifier(schema, table)
    return render(compose("ALTER TABLE ", table_name, _ENABLING[state], identifier(name), ";"))


def keep_enabled(schema: str | None, table: str, name: str, state: str) -> tuple[str, ...]:
    """Return the statement that gives a new trigger the state that it had before; none for the usual state."""
    return () if state == "O" else (set_enabled(schema, table, name, state),)


def comment_on_trigger(schema: str | None, table: str, name: str, comment: str | None) -> str:
    """Return the statement that sets the comment of a trigger, or removes it."""
    on = identifier(schema, table)
    return render(compose("COMMENT ON TRIGGER ", identifier(name), " ON ", on, " IS ", literal(comment), ";"))


def comment_on_function(schema: str | None, name: str, comment: str | None) -> str:
    """Return the statement that sets the comment of a trigger's function, or removes it."""
    return render(compose("COMMENT ON FUNCTION ", identifier(schema, name), "() IS ", literal(comment), ";"))


def rename_trigger(schema: str | None, table: str, name: str, new: str) -> str:
    """Return the statement that renames a trigger."""
    on = identifier(schema, table)
    return render(compose("ALTER TRIGGER ", identifier(name), " ON ", on, " RENAME TO ", identifier(new), ";"))


def rename_function(schema: str | None, name: str, new: str) -> str:
    """Return the statement that renames a trigger's function."""
    return render(compose("ALTER FUNCTION ", identifier(schema, name), "() RENAME TO ", identifier(new), ";"))


def name_under(uri: str, name: str, new_uri: str) -> str | None:
    """Return the name in Postgres of a part of a trigger under a new URI; None if the name is not of the old URI."""
    former, new = (postgres_name(each.partition(":")[2], each) for each in (uri, new_uri))
    return new + name.removeprefix(former) if name.startswith(former) else None
