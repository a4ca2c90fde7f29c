"""Probes: triggers between a table's BEFORE ROW triggers, which observe what each of those did to a row.

    asked           what the statement asked for: fires before every other trigger, and keeps the row
    the trigger a
    seen 1          compares the row: a difference is what `a` changed
    the trigger b
    seen 2          compares the row: what `b` changed; after it, the row is stored

A row that reached `asked` but not the last `seen` was swallowed by the trigger after the last probe that it passed.
Everything is in `pg_temp` and in settings of the transaction, so that a rollback to a savepoint removes observations
together with the rows, and `drop_probes` removes everything. A probe never uses a sequence, since that would change the
user's `lastval()`.

Of a step's rows beyond the first `FULL_ROWS`, only one in `SAMPLED_EVERY` is looked at; all are counted. If a statement
may write many rows, a WHEN clause counts them, which costs a third of a call of a function. For a statement that writes
one row, the function is cheaper, since Postgres parses the clause anew for each statement.

Source: https://www.postgresql.org/docs/current/trigger-definition.html ("fired in alphabetical order by trigger name")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render, verbatim
from pgmagic.declare.names import MAX_NAME_BYTES
from pgmagic.watch.probe_functions import FULL_ROWS, SAMPLED_EVERY

Event = Literal["INSERT", "UPDATE", "DELETE"]
EVENTS: tuple[Event, ...] = ("INSERT", "UPDATE", "DELETE")

# No character of a name sorts before this one, since Postgres stores no NUL.
_LOWEST = "\x01"
ASKED_NAME = f"{_LOWEST}pgmagic_asked"
_NESTED_NAME = f"{_LOWEST}pgmagic_nested"


@dataclass(frozen=True)
class BeforeRow:
    """A BEFORE ROW trigger that can fire: its name in Postgres, and the operations on which it does."""

    name: str
    events: frozenset[Event]


@dataclass(frozen=True)
class Slot:
    """The `seen` probes between two triggers: one for each operation, and the triggers whose work they see.

    There is one such trigger, unless the names left no room for a probe between two of them.
    """

    names: tuple[tuple[Event, str], ...]
    triggers: tuple[BeforeRow, ...]

    @property
    def events(self) -> frozenset[Event]:
        """The operations on which one of its probes fires."""
        return frozenset(event for event, _ in self.names)


@dataclass(frozen=True)
class ProbedTable:
    """A table and its BEFORE ROW triggers, in any order."""

    schema: str
    name: str
    triggers: tuple[BeforeRow, ...]
    oid: int = 0

    @cached_property
    def events(self) -> frozenset[Event]:
        """The operations on which at least one of the triggers fires."""
        return frozenset().union(*(trigger.events for trigger in self.triggers))

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The `seen` probes in firing order; none where the names leave no room for the first or the last probe."""
        triggers = sorted(self.triggers, key=lambda trigger: trigger.name.encode())
        if not triggers or triggers[0].name.encode() <= ASKED_NAME.encode() + b"_u":
            return ()
        slots: list[Slot] = []
        waiting: list[BeforeRow] = []
        for trigger, following in zip(triggers, [*triggers[1:], None], strict=True):
            waiting.append(trigger)
            events = frozenset().union(*(candidate.events for candidate in waiting))
            names = names_between(
                trigger.name,
                following.name if following else None,
                [event for event in EVENTS if event in (events if following else self.events)],
            )
            if names:
                slots.append(Slot(names, tuple(waiting)))
                waiting = []
        return () if waiting else tuple(slots)

    def stages(self, event: Event) -> tuple[int, ...]:
        """Return the numbers of the probes that a row of an operation passes, 0 for `asked`, in firing order."""
        if event not in self.events:
            return ()
        return (0, *(number for number, slot in enumerate(self.slots, 1) if event in slot.events))

    def counter(self, event: Event, number: int) -> str:
        """Return the name of the setting in which a probe counts the rows of statements that pass it."""
        return f"pgmagic.n{self.oid}{event[0].lower()}{number}"

    def counters(self) -> list[str]:
        """Return the names of all its counters."""
        return [self.counter(event, number) for event in EVENTS for number in self.stages(event)]

    def suspects(self, event: Event, passed: int) -> tuple[str, ...]:
        """Return the names of the triggers, one if there was room, that come after the probe that a row passed.

        passed: the number of the last probe that saw the row, 0 for `asked`.
        """
        # For a table with one slot no number is kept: the number that was read belongs to another table.
        later = self.slots[passed:] if len(self.slots) > 1 else self.slots
        slot = next((slot for slot in later if event in slot.events), None)
        return self.deciders(event, self.slots.index(slot) + 1) if slot else ()

    def deciders(self, event: Event, number: int) -> tuple[str, ...]:
        """Return the names of the triggers, one if there was room, whose work the `seen` probe of a number sees."""
        return tuple(trigger.name for trigger in self.slots[number - 1].triggers if event in trigger.events)


def name_between(name: str, following: str | None) -> str | None:
    """Return a name of at most 63 bytes that sorts after `name` and before `following`, None if there is none.

    None as `following` stands for the end. Postgres compares names byte by byte, and UTF-8 keeps the order of
    code points.
    """
    candidates = [name + _LOWEST]
    for at in range(len(name) - 1, -1, -1):
        code = ord(name[at]) + 1
        # Surrogates are not characters. After the last character comes no other: the candidate does not sort after it.
        candidates.append(name[:at] + chr(0xE000 if 0xD800 <= code <= 0xDFFF else min(code, 0x10FFFF)))
    for candidate in candidates:
        fits = len(candidate.encode()) <= MAX_NAME_BYTES
        if fits and (following is None or candidate.encode() < following.encode()):
            return candidate
    return None


def names_between(name: str, following: str | None, events: Sequence[Event]) -> tuple[tuple[Event, str], ...]:
    """Return a name for each operation, all of which sort after `name` and before `following`; none without room."""
    names: list[tuple[Event, str]] = []
    for event in events:
        found = name_between(names[-1][1] if names else name, following)
        if found is None:
            return ()
        names.append((event, found))
    return tuple(names)


def create_probes(table: ProbedTable, *, many_rows: bool) -> str:
    """Return the statements that put probes on a table; repeating them changes nothing, or the way they count.

    many_rows: count in a WHEN clause, which costs less for each row and more for each statement; else in the functions.
    They take a SHARE ROW EXCLUSIVE lock, need the TRIGGER privilege, and the functions of `create_functions`.
    """
    on = identifier(table.schema, table.name)
    how = "" if many_rows else "counts"
    statements = []
    for event in EVENTS:
        if event in table.events:
            counter = table.counter(event, 0)
            arguments = [counter, "staged" if len(table.slots) > 1 else "", how]
            when = _asked_condition(counter) if many_rows else None
            statements.append(_create(f"{ASKED_NAME}_{event[0].lower()}", event, on, when, "pgmagic_asked", arguments))
    for number, slot in enumerate(table.slots, 1):
        last = "last" if slot is table.slots[-1] else ""
        for event, name in slot.names:
            counter = table.counter(event, number)
            counted = compose(_NESTED_ROW, " OR ", _counted(counter), " < 0 OR ", _ROW_UNDER_WAY)
            when = counted if many_rows else None
            statements.append(_create(name, event, on, when, "pgmagic_seen", [str(number), last, counter, how]))
    if "DELETE" in table.events:
        statements.append(
            compose(
                "CREATE OR REPLACE TRIGGER ", identifier(_NESTED_NAME), " AFTER UPDATE ON ", on,
                " FOR EACH ROW WHEN (pg_catalog.pg_trigger_depth() > 0 AND pg_catalog.current_setting("
                "'pgmagic.probe_' || pg_catalog.pg_trigger_depth(), true) <> '')"
                " EXECUTE FUNCTION pg_temp.pgmagic_nested();",
            )
        )  # fmt: skip
    return render(join("\n", statements))


def _create(
    name: str,
    event: Event,
    on: Fragment,
    when: Fragment | None,
    function: Literal["pgmagic_asked", "pgmagic_seen"],
    arguments: Sequence[str],
) -> Fragment:
    return compose(
        "CREATE OR REPLACE TRIGGER ", identifier(name), " BEFORE ", verbatim(event), " ON ", on,
        " FOR EACH ROW", compose(" WHEN (", when, ")") if when is not None else compose(""),
        " EXECUTE FUNCTION pg_temp.", function,
        "(", join(", ", [literal(argument) for argument in arguments]), ");",
    )  # fmt: skip


# In a WHEN clause, the depth is that of the statement: 0 for the cell's own. A function call finds it one deeper.
_NESTED_ROW = "pg_catalog.pg_trigger_depth() > 0"
_ROW_UNDER_WAY = "pg_catalog.current_setting('pgmagic.probe_1', true) <> ''"


def _count(counter: str) -> Fragment:
    """Return an expression: the counter, as it is."""
    return compose("coalesce(nullif(pg_catalog.current_setting(", literal(counter), ", true), ''), '0')::int8")


def _counted(counter: str) -> Fragment:
    """Return an expression: the counter, one higher from now on."""
    return compose("pg_catalog.set_config(", literal(counter), ", (", _count(counter), " + 1)::text, true)::int8")


def _asked_condition(counter: str) -> Fragment:
    # If a row is still under way, it was swallowed: the function has to note that.
    return compose(
        _NESTED_ROW, " OR ", _counted(counter), verbatim(f" <= {FULL_ROWS} OR "),
        _count(counter), verbatim(f" % {SAMPLED_EVERY} = 0 OR "), _ROW_UNDER_WAY,
    )  # fmt: skip
