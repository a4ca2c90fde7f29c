"""Probes: triggers between a table's BEFORE ROW triggers, which tell what each of those did to a row.

    asked           what the statement asked for: fires before every other trigger, and keeps the row
    the trigger a
    seen 1          compares the row: a difference is what `a` changed
    the trigger b
    seen 2          what `b` changed; behind it, the row is stored as it is

A row that reached `asked` and not the last `seen` was swallowed by the trigger behind the last probe that it passed.
Everything lives in `pg_temp` and in settings of the transaction, so that a rollback to a savepoint takes observations
back together with the rows, and `drop_probes` removes every trace. A probe never draws from a sequence: the user's
`lastval()` would change.

Source: https://www.postgresql.org/docs/current/trigger-definition.html ("fired in alphabetical order by trigger name")
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from pgmagic.compile.sql import DollarQuoted, Fragment, compose, identifier, join, literal, render, verbatim
from pgmagic.declare.names import MAX_NAME_BYTES

Event = Literal["INSERT", "UPDATE", "DELETE"]
EVENTS: tuple[Event, ...] = ("INSERT", "UPDATE", "DELETE")

# No character of a name sorts before this one, since Postgres stores no NUL.
_LOWEST = "\x01"
ASKED_NAME = f"{_LOWEST}pgmagic_asked"
_NESTED_NAME = f"{_LOWEST}pgmagic_nested"

# How many rewritten rows of a step are kept with their values; the others are only counted.
SAMPLED_ROWS = 1000
# How many of them a step's reading returns for each trigger.
SHOWN_ROWS = 3
# Triggers that fire triggers that fire triggers: swallowed rows are looked for down to this depth.
_DEEPEST = 32


@dataclass(frozen=True)
class BeforeRow:
    """A BEFORE ROW trigger that can fire: its name in Postgres, and the operations on which it does."""

    name: str
    events: frozenset[Event]


@dataclass(frozen=True)
class Slot:
    """A `seen` probe: its name, its operations, and the triggers between the probe before it and itself.

    There is one trigger, unless the names left no room for a probe between two of them.
    """

    name: str
    events: frozenset[Event]
    triggers: tuple[BeforeRow, ...]


@dataclass(frozen=True)
class ProbedTable:
    """A table and its BEFORE ROW triggers, in any order."""

    schema: str
    name: str
    triggers: tuple[BeforeRow, ...]

    @cached_property
    def events(self) -> frozenset[Event]:
        """The operations on which at least one of the triggers fires."""
        return frozenset().union(*(trigger.events for trigger in self.triggers))

    @cached_property
    def slots(self) -> tuple[Slot, ...]:
        """The `seen` probes in firing order; none where the names leave no room for the first or the last probe."""
        triggers = sorted(self.triggers, key=lambda trigger: trigger.name.encode())
        if not triggers or triggers[0].name.encode() <= ASKED_NAME.encode():
            return ()
        slots: list[Slot] = []
        waiting: list[BeforeRow] = []
        for trigger, following in zip(triggers, [*triggers[1:], None], strict=True):
            waiting.append(trigger)
            name = name_between(trigger.name, following.name if following else None)
            if name is not None:
                events = frozenset().union(*(candidate.events for candidate in waiting))
                slots.append(Slot(name, events if following else self.events, tuple(waiting)))
                waiting = []
        return () if waiting else tuple(slots)

    def suspects(self, event: Event, passed: int) -> tuple[str, ...]:
        """Return the names of the triggers, one if there was room, that come behind the probe that a row passed.

        passed: the number of the last probe that saw the row, 0 for `asked`.
        """
        # A table with one slot keeps no number: what was read belongs to another table.
        behind = self.slots[passed:] if len(self.slots) > 1 else self.slots
        slot = next((slot for slot in behind if event in slot.events), None)
        return self.deciders(event, self.slots.index(slot) + 1) if slot else ()

    def deciders(self, event: Event, number: int) -> tuple[str, ...]:
        """Return the names of the triggers, one if there was room, whose work the `seen` probe of a number sees."""
        return tuple(trigger.name for trigger in self.slots[number - 1].triggers if event in trigger.events)


def name_between(name: str, following: str | None) -> str | None:
    """Return a name of at most 63 bytes that sorts behind `name` and before `following`, None where there is none.

    None as `following` stands for the end. Postgres compares names byte by byte, and UTF-8 keeps the order of
    code points.
    """
    candidates = [name + _LOWEST]
    candidates += [f"{name[:at]}{_next_character(name[at])}" for at in range(len(name) - 1, -1, -1)]
    for candidate in candidates:
        fits = len(candidate.encode()) <= MAX_NAME_BYTES
        if fits and (following is None or candidate.encode() < following.encode()):
            return candidate
    return None


def _next_character(character: str) -> str:
    code = ord(character) + 1
    # Surrogates are no characters; behind the very last one there is nothing, and its own name sorts nowhere.
    return chr(0xE000 if 0xD800 <= code <= 0xDFFF else min(code, 0x10FFFF))


def create_probes(table: ProbedTable) -> str:
    """Return the statements that put probes on a table; repeating them changes nothing.

    They take a SHARE ROW EXCLUSIVE lock, need the TRIGGER privilege, and the functions of `create_functions`.
    """
    staged = len(table.slots) > 1
    on = identifier(table.schema, table.name)
    statements = [
        _create(ASKED_NAME, "BEFORE", table.events, on, "pgmagic_asked", literal("staged" if staged else ""))
    ]
    for number, slot in enumerate(table.slots, 1):
        last = "last" if slot is table.slots[-1] else ""
        arguments = compose(literal(str(number)), ", ", literal(last))
        statements.append(_create(slot.name, "BEFORE", slot.events, on, "pgmagic_seen", arguments))
    if "DELETE" in table.events:
        statements.append(
            compose(
                "CREATE OR REPLACE TRIGGER ", identifier(_NESTED_NAME), " AFTER UPDATE ON ", on,
                " FOR EACH ROW WHEN (pg_catalog.pg_trigger_depth() > 0) EXECUTE FUNCTION pg_temp.pgmagic_nested();",
            )
        )  # fmt: skip
    return render(join("\n", statements))


def _create(
    name: str,
    when: Literal["BEFORE"],
    events: frozenset[Event],
    on: Fragment,
    function: Literal["pgmagic_asked", "pgmagic_seen"],
    arguments: Fragment,
) -> Fragment:
    operations = " OR ".join(event for event in EVENTS if event in events)
    return compose(
        "CREATE OR REPLACE TRIGGER ", identifier(name), " ", when, " ", verbatim(operations), " ON ", on,
        " FOR EACH ROW EXECUTE FUNCTION pg_temp.", function, "(", arguments, ");",
    )  # fmt: skip


def create_functions() -> str:
    """Return the statements that make the functions of all probes and the table of observations, unless they exist.

    The functions and the table are the session's own, in `pg_temp`; nobody else sees them.
    """
    statements = [
        compose(verbatim(head), " LANGUAGE plpgsql AS ", DollarQuoted(body), ";")
        for head, body in _FUNCTIONS.items()
    ]
    # Rows written under the rights of another role, by a SECURITY DEFINER function, are observed, too.
    table = verbatim(
        "CREATE TABLE IF NOT EXISTS pg_temp.pgmagic_observed "
        "(relation oid, event text, kind text, passed int, depth int, pairs jsonb) ON COMMIT DROP; "
        "GRANT INSERT ON pg_temp.pgmagic_observed TO PUBLIC;"
    )
    return render(join("\n", [*statements, table]))


def drop_probes() -> str:
    """Return the statement that removes all probes and their functions.

    It takes an ACCESS EXCLUSIVE lock on each probed table. Dropping the functions takes the triggers along without
    asking who owns the tables: a role may create a trigger where it has the TRIGGER privilege, but only an owner may
    say DROP TRIGGER.
    """
    return (
        "DROP FUNCTION pg_temp.pgmagic_asked(), pg_temp.pgmagic_seen(), pg_temp.pgmagic_nested(), "
        "pg_temp.pgmagic_changed(oid, text, int, int, text, text), pg_temp.pgmagic_swallowed(text), "
        "pg_temp.pgmagic_finish() CASCADE"
    )


def read_observations() -> Sequence[str]:
    """Return the statements that end a step, whose second returns what was observed since the last reading.

    Its columns: relation (oid), event, kind (`changed`, `swallowed`, `converted`), passed, depth, how many rows, and
    a JSON array of at most `SHOWN_ROWS` objects, column to [asked, stored].
    """
    return ("SELECT pg_temp.pgmagic_finish()", _OBSERVATIONS, "DELETE FROM pg_temp.pgmagic_observed")


_OBSERVATIONS = f"""
SELECT relation::bigint, event, kind, passed, depth, count(*),
       to_jsonb((array_agg(pairs) FILTER (WHERE pairs <> '{{}}'))[1:{SHOWN_ROWS}])::text
FROM pg_temp.pgmagic_observed GROUP BY 1, 2, 3, 4, 5 ORDER BY depth, relation, passed"""  # noqa: S608 - constants of ours


# The settings, one for each depth of triggers that fire triggers: `pgmagic.probe_1` is the row under way, as
# "relation event row", empty between two rows; `pgmagic.passed_1` the number of the last probe that it passed;
# `pgmagic.update_1` what a trigger did to the row that was to be deleted. Rows are compared as text: every type has a
# text, not every one an equality.
_ASKED = """
DECLARE
  depth text := pg_catalog.pg_trigger_depth();
BEGIN
  IF pg_catalog.current_setting('pgmagic.probe_' || depth, true) <> '' THEN
    PERFORM pg_temp.pgmagic_swallowed(depth);
  END IF;
  IF TG_ARGV[0] = 'staged' THEN
    PERFORM pg_catalog.set_config('pgmagic.passed_' || depth, '0', true);
  END IF;
  IF TG_OP = 'DELETE' THEN
    PERFORM pg_catalog.set_config('pgmagic.update_' || depth, '', true),
            pg_catalog.set_config('pgmagic.probe_' || depth,
                                  pg_catalog.concat_ws(' ', TG_RELID, TG_OP, OLD::text), true);
    RETURN OLD;
  END IF;
  PERFORM pg_catalog.set_config('pgmagic.probe_' || depth,
                                pg_catalog.concat_ws(' ', TG_RELID, TG_OP, NEW::text), true);
  RETURN NEW;
END;
"""

_SEEN = """
DECLARE
  depth text := pg_catalog.pg_trigger_depth();
  before text;
  now text;
BEGIN
  IF TG_OP <> 'DELETE' THEN
    before := pg_catalog.current_setting('pgmagic.probe_' || depth, true);
    now := pg_catalog.concat_ws(' ', TG_RELID, TG_OP, NEW::text);
    IF before <> now THEN
      PERFORM pg_temp.pgmagic_changed(TG_RELID, TG_OP, TG_ARGV[0]::int, depth::int, before, NEW::text);
      PERFORM pg_catalog.set_config('pgmagic.probe_' || depth, now, true);
    END IF;
  END IF;
  IF TG_ARGV[1] = 'last' THEN
    PERFORM pg_catalog.set_config('pgmagic.probe_' || depth, '', true);
  ELSE
    PERFORM pg_catalog.set_config('pgmagic.passed_' || depth, TG_ARGV[0], true);
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END;
"""

# A row that an UPDATE inside a trigger changes while its own DELETE is under way one level above.
_NESTED = """
DECLARE
  outer_depth text := pg_catalog.pg_trigger_depth() - 1;
BEGIN
  IF pg_catalog.current_setting('pgmagic.probe_' || outer_depth, true)
     = pg_catalog.concat_ws(' ', TG_RELID, 'DELETE', OLD::text) THEN
    PERFORM pg_catalog.set_config('pgmagic.update_' || outer_depth, (
      SELECT coalesce(pg_catalog.jsonb_object_agg(key, pg_catalog.jsonb_build_array(a.value, b.value)), '{}')::text
      FROM pg_catalog.jsonb_each(pg_catalog.to_jsonb(OLD)) AS a
      JOIN pg_catalog.jsonb_each(pg_catalog.to_jsonb(NEW)) AS b USING (key)
      WHERE a.value <> b.value), true);
  END IF;
  RETURN NULL;
END;
"""

# What cannot be compared - a type whose text cannot be read back, say - is counted; the user's statement goes on.
_CHANGED = f"""
DECLARE
  prefix text := pg_catalog.concat_ws(' ', relation, event, '');
  sampled int := coalesce(nullif(pg_catalog.current_setting('pgmagic.sampled', true), ''), '0');
  pairs jsonb;
BEGIN
  IF NOT pg_catalog.starts_with(before, prefix) THEN RETURN; END IF;
  IF sampled < {SAMPLED_ROWS} THEN
    BEGIN
      EXECUTE pg_catalog.format(
        'SELECT pg_catalog.jsonb_object_agg(key, pg_catalog.jsonb_build_array(a.value, b.value))
         FROM pg_catalog.jsonb_each(pg_catalog.to_jsonb($1::%1$s)) AS a
         JOIN pg_catalog.jsonb_each(pg_catalog.to_jsonb($2::%1$s)) AS b USING (key)
         WHERE a.value <> b.value', relation::regclass)
        INTO pairs USING pg_catalog.substr(before, pg_catalog.length(prefix) + 1), now;
      IF pairs IS NULL THEN RETURN; END IF;
    EXCEPTION WHEN OTHERS THEN
      pairs := '{{}}';
    END;
    PERFORM pg_catalog.set_config('pgmagic.sampled', (sampled + 1)::text, true);
  END IF;
  INSERT INTO pg_temp.pgmagic_observed VALUES (relation, event, 'changed', number, depth, pairs);
END;
"""  # noqa: S608 - constants of ours

_SWALLOWED = """
DECLARE
  row_under_way text := pg_catalog.current_setting('pgmagic.probe_' || depth);
  conversion text := nullif(pg_catalog.current_setting('pgmagic.update_' || depth, true), '');
  passed text := nullif(pg_catalog.current_setting('pgmagic.passed_' || depth, true), '');
  event text := pg_catalog.split_part(row_under_way, ' ', 2);
BEGIN
  IF event <> 'DELETE' THEN conversion := NULL; END IF;
  INSERT INTO pg_temp.pgmagic_observed VALUES (
    pg_catalog.split_part(row_under_way, ' ', 1)::oid, event,
    CASE WHEN conversion IS NULL THEN 'swallowed' ELSE 'converted' END,
    coalesce(passed, '0')::int, depth::int, conversion::jsonb);
  PERFORM pg_catalog.set_config('pgmagic.probe_' || depth, '', true);
END;
"""

_FINISH = f"""
BEGIN
  FOR depth IN 1..{_DEEPEST} LOOP
    IF pg_catalog.current_setting('pgmagic.probe_' || depth, true) <> '' THEN
      PERFORM pg_temp.pgmagic_swallowed(depth::text);
    END IF;
  END LOOP;
  PERFORM pg_catalog.set_config('pgmagic.sampled', '', true);
END;
"""

_FUNCTIONS = {
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_asked() RETURNS trigger": _ASKED,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_seen() RETURNS trigger": _SEEN,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_nested() RETURNS trigger": _NESTED,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_changed("
    "relation oid, event text, number int, depth int, before text, now text) RETURNS void": _CHANGED,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_swallowed(depth text) RETURNS void": _SWALLOWED,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_finish() RETURNS void": _FINISH,
}
