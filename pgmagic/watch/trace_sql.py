"""Traces: a trigger right before and one right after each trigger of a table, which report whether and why it fired.

    before 1        the clauses of `a`, evaluated for the row; the row, if `a` may change it; the clock
    the trigger a
    after 1        the clock; the row
    before 2
    the trigger b
    after 2

They report in messages (RAISE INFO, which reaches the client whatever `client_min_messages` is): a message is not
taken back by the rollback of a statement that a trigger refused, and arrives in order with the messages of others.
Functions are in `pg_temp`, settings in the transaction, and `drop_traces` removes everything.

Source: https://www.postgresql.org/docs/current/trigger-definition.html ("fired in alphabetical order by trigger name")
        https://www.postgresql.org/docs/current/plpgsql-errors-and-messages.html
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, LiteralString

from pgmagic.compile.sql import DollarQuoted, Fragment, compose, identifier, join, literal, render, verbatim
from pgmagic.watch.clauses import Clause
from pgmagic.watch.probes import name_between

Operation = Literal["INSERT", "DELETE", "UPDATE", "TRUNCATE"]
When = Literal["BEFORE", "AFTER", "INSTEAD OF"]
Enabled = Literal["O", "A", "R", "D"]

MESSAGE = "pgmagic:trace:"
"""What a message of a trace begins with; JSON follows."""

MOST_TRACED = 10_000
"""How many triggers of a step are traced, fired or skipped; the others are not."""

# A row whose JSON takes more bytes is reported with its long values shortened.
_LARGE_ROW = 4_000
_LONG_VALUE = 400
_FIRST = "\x01pgmagic_trace"


@dataclass(frozen=True)
class TracedTrigger:
    """A trigger that is traced.

    columns: those of UPDATE OF. deferral: whether it waits for COMMIT, for a constraint trigger. clauses: what its
    WHEN is made of; condition: all of it. enabled: `tgenabled`, in which sessions it fires: O (ordinary ones),
    A (all), R (of replicas), D (none). language: that of its function.
    """

    name: str
    when: When
    operations: tuple[Operation, ...]
    per_row: bool
    condition: str | None = None
    clauses: tuple[Clause, ...] = ()
    columns: tuple[str, ...] = ()
    deferral: Literal["IMMEDIATE", "DEFERRED"] | None = None
    enabled: Enabled = "O"
    language: str = "plpgsql"

    @property
    def changes_row(self) -> bool:
        """Whether it can change or swallow the row before it is stored."""
        return self.per_row and self.when != "AFTER"


@dataclass(frozen=True)
class TracedTable:
    """A table or view, the columns of its primary key, and its triggers in any order."""

    schema: str
    name: str
    key: tuple[str, ...]
    triggers: tuple[TracedTrigger, ...]

    @cached_property
    def places(self) -> dict[str, tuple[str, str, str | None]]:
        """The names around each trigger, if there is room: before it, after it, and for the columns it names."""
        found: dict[str, tuple[str, str, str | None]] = {}
        triggers = sorted(self.triggers, key=lambda trigger: trigger.name.encode())
        below: str | None = None
        for trigger, following in zip(triggers, [*triggers[1:], None], strict=True):
            before = _name(below, trigger.name)
            listed = _name(before, trigger.name) if before and trigger.columns else None
            after = name_between(trigger.name, following.name if following else None)
            below = trigger.name
            if before and after and (listed or not trigger.columns):
                found[trigger.name] = (before, after, listed)
                below = after
        return found

    @property
    def untraced(self) -> tuple[str, ...]:
        """The names of the triggers between whose neighbours there is no name left."""
        return tuple(trigger.name for trigger in self.triggers if trigger.name not in self.places)


def _name(below: str | None, above: str) -> str | None:
    if below is None:
        return _FIRST if _FIRST.encode() < above.encode() else None
    return name_between(below, above)


def create_traces(table: TracedTable, numbers: Sequence[int]) -> str:
    """Return the statements that put traces around the triggers of a table.

    numbers: one for each of its triggers, by which messages and functions name it. They take a SHARE ROW EXCLUSIVE
    lock, need the TRIGGER privilege, and the functions of `create_functions`.
    """
    on = identifier(table.schema, table.name)
    statements: list[Fragment] = []
    for trigger, number in zip(table.triggers, numbers, strict=True):
        if trigger.name not in table.places:
            continue
        before, after, listed = table.places[trigger.name]
        function = compose("pg_temp.", identifier(f"pgmagic_trace_{number}"), "()")
        statements.append(
            compose(
                "CREATE FUNCTION ", function, " RETURNS trigger LANGUAGE plpgsql AS ",
                DollarQuoted(render(_before_body(table, trigger, number))), ";",
            )
        )  # fmt: skip
        statements.append(_create(before, trigger, on, function))
        if listed:
            statements.append(_create(listed, trigger, on, _call("pgmagic_listed", number), of_columns=True))
        statements.append(_create(after, trigger, on, _call("pgmagic_traced", number)))
    return render(join("\n", statements))


def _call(function: str, number: int) -> Fragment:
    return compose("pg_temp.", identifier(function), "(", literal(str(number)), ")")


def _create(
    name: str, trigger: TracedTrigger, on: Fragment, function: Fragment, *, of_columns: bool = False
) -> Fragment:
    operations = [verbatim(operation) for operation in trigger.operations]
    if of_columns:
        operations = [compose("UPDATE OF ", join(", ", map(identifier, trigger.columns)))]
    # A disabled trigger is traced at once: an event that waits for COMMIT keeps its table from being altered.
    deferred = trigger.deferral is not None and trigger.enabled != "D"
    deferral = f" DEFERRABLE INITIALLY {trigger.deferral}" if deferred else ""
    # When nothing more is traced, a row costs no call; INSTEAD OF takes no condition.
    gate = "" if not trigger.per_row or trigger.when == "INSTEAD OF" else _GATE
    create = compose(
        verbatim("CREATE CONSTRAINT TRIGGER " if deferred else "CREATE TRIGGER "), identifier(name),
        verbatim(f" {trigger.when} "), join(" OR ", operations), " ON ", on,
        verbatim(f"{deferral} FOR EACH {'ROW' if trigger.per_row else 'STATEMENT'}{gate} EXECUTE FUNCTION "),
        function, ";",
    )  # fmt: skip
    if trigger.enabled in ("O", "D"):
        return create
    # A trigger that fires only in the sessions of replicas is traced in all, where it is listed as skipped.
    return compose(create, "\nALTER TABLE ", on, " ENABLE ALWAYS TRIGGER ", identifier(name), ";")


_GATE = " WHEN (pg_catalog.current_setting('pgmagic.tracing', true) IS DISTINCT FROM 'off')"


# Whether a trigger fires in this session, by its `tgenabled`.
_FIRES_IN: dict[Enabled, LiteralString] = {
    "O": "true",
    "A": "true",
    "R": "pg_catalog.current_setting('session_replication_role') = 'replica'",
    "D": "false",
}


def _before_body(table: TracedTable, trigger: TracedTrigger, number: int) -> Fragment:
    fires = verbatim(_FIRES_IN[trigger.enabled])
    facts = [
        compose("'trigger', ", literal(number)),
        compose("'place', 'before', 'depth', depth, 'operation', TG_OP, 'fired', fired, 'clauses', clauses"),
        compose("'enabled', ", fires),
    ]
    if trigger.per_row:
        keys = [
            compose(literal(column), ", coalesce(pg_catalog.to_jsonb(OLD.", identifier(column), "), ",
                    "pg_catalog.to_jsonb(NEW.", identifier(column), "))")
            for column in table.key
        ]  # fmt: skip
        facts.append(compose("'key', pg_catalog.jsonb_build_object(", join(", ", keys), ")"))
    if trigger.changes_row:
        facts.append(compose("'row', CASE WHEN fired THEN pg_temp.pgmagic_image(pg_catalog.to_jsonb(NEW)) END"))
    evaluation = _evaluation(trigger) if trigger.condition is not None else compose("")
    return compose(
        "\nDECLARE\n  depth int := pg_catalog.pg_trigger_depth();\n  fired boolean := ", fires,
        ";\n  condition boolean;\n  clauses jsonb := '[]';\n",
        "  traced int := coalesce(nullif(pg_catalog.current_setting('pgmagic.traced', true), ''), '0')::int + 1;\n"
        "BEGIN\n"
        "  PERFORM pg_catalog.set_config('pgmagic.traced', traced::text, true),\n"
        "          pg_catalog.set_config('pgmagic.clock_' || depth, '', true);\n"
        "  IF traced > ", literal(MOST_TRACED), " THEN\n"
        "    PERFORM pg_catalog.set_config('pgmagic.tracing', 'off', true);\n",
        "  ELSE\n", evaluation,
        "    RAISE INFO USING MESSAGE = pg_catalog.concat(", literal(MESSAGE), ", pg_catalog.jsonb_build_object(",
        join(", ", facts), "));\n"
        "    IF fired THEN\n"
        "      PERFORM pg_catalog.set_config('pgmagic.clock_' || depth,\n"
        "        pg_catalog.date_part('epoch', pg_catalog.clock_timestamp())::text, true);\n"
        "    END IF;\n"
        "  END IF;\n",
        _RETURN, "END;\n",
    )  # fmt: skip


# Statement level and AFTER triggers: what they return is ignored.
_RETURN = "  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;\n  RETURN NEW;\n"


def _evaluation(trigger: TracedTrigger) -> Fragment:
    """Return the statements that evaluate a condition and each of its clauses.

    A clause may fail that the others would keep from being evaluated; after a failure, each is evaluated by itself.
    """
    values = join(", ", [compose("(", verbatim(clause.sql), ")") for clause in trigger.clauses])
    alone = [
        compose(
            "      BEGIN\n        condition := (", verbatim(clause.sql), ");\n"
            "        clauses := clauses || coalesce(pg_catalog.to_jsonb(condition), 'null');\n"
            "      EXCEPTION WHEN OTHERS THEN\n"
            "        clauses := clauses || pg_catalog.to_jsonb(SQLERRM);\n"
            "      END;\n"
        )
        for clause in trigger.clauses
    ]  # fmt: skip
    return compose(
        "    BEGIN\n      condition := (", verbatim(str(trigger.condition)), ");\n",
        "      clauses := pg_catalog.jsonb_build_array(", values, ");\n"
        "    EXCEPTION WHEN OTHERS THEN\n      clauses := '[]';\n", join("", alone),
        "      BEGIN\n        condition := (", verbatim(str(trigger.condition)), ");\n"
        "      EXCEPTION WHEN OTHERS THEN\n        condition := NULL;\n      END;\n"
        "    END;\n"
        "    fired := fired AND coalesce(condition, false);\n",
    )  # fmt: skip


def create_functions() -> str:
    """Return the statements that make what all traces share, unless it exists; no other session sees it."""
    statements = [
        compose(verbatim(f"CREATE OR REPLACE FUNCTION pg_temp.{head} AS "), DollarQuoted(body), ";")
        for head, body in _FUNCTIONS.items()
    ]
    return render(join("\n", statements))


def drop_traces(numbers: Iterable[int]) -> str:
    """Return the statement that removes all traces and their functions.

    A rollback may have removed some of them already. It takes an ACCESS EXCLUSIVE lock on each table; see
    `probes.drop_probes`.
    """
    own = [compose("pg_temp.", identifier(f"pgmagic_trace_{number}"), "()") for number in numbers]
    shared = [verbatim("pg_temp.pgmagic_traced()"), verbatim("pg_temp.pgmagic_listed()")]
    image = verbatim("pg_temp.pgmagic_image(jsonb)")
    return render(compose("DROP FUNCTION IF EXISTS ", join(", ", [*own, *shared, image]), " CASCADE"))


def begin_step() -> str:
    """Return the statement before a step: its triggers are counted from zero."""
    return "SELECT set_config('pgmagic.traced', '0', true), set_config('pgmagic.tracing', 'on', true)"


def end_step() -> str:
    """Return the query for how many triggers were considered, and for the role that decides which of them fire."""
    return (
        "SELECT nullif(current_setting('pgmagic.traced', true), '')::int, current_setting('session_replication_role')"
    )


_TRACED = f"""
DECLARE
  depth int := pg_catalog.pg_trigger_depth();
  since text := pg_catalog.current_setting('pgmagic.clock_' || depth, true);
  elapsed float8;
BEGIN
  IF since <> '' THEN
    elapsed := pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) - since::float8;
    RAISE INFO USING MESSAGE = pg_catalog.concat('{MESSAGE}', pg_catalog.jsonb_build_object(
      'trigger', TG_ARGV[0]::int, 'place', 'after', 'depth', depth, 'elapsed', elapsed,
      'row', CASE WHEN TG_LEVEL = 'ROW' AND TG_WHEN <> 'AFTER'
                  THEN pg_temp.pgmagic_image(pg_catalog.to_jsonb(NEW)) END));
    PERFORM pg_catalog.set_config('pgmagic.clock_' || depth, '', true);
  END IF;
{_RETURN}END;
"""

# UPDATE OF: only a trigger on the same columns can find out whether the statement names one of them.
_LISTED = f"""
BEGIN
  RAISE INFO USING MESSAGE = pg_catalog.concat('{MESSAGE}', pg_catalog.jsonb_build_object(
    'trigger', TG_ARGV[0]::int, 'place', 'listed', 'depth', pg_catalog.pg_trigger_depth()));
{_RETURN}END;
"""

_IMAGE = f"""
BEGIN
  IF pg_catalog.pg_column_size(image) <= {_LARGE_ROW} THEN RETURN image; END IF;
  RETURN (
    SELECT pg_catalog.jsonb_object_agg(key, CASE WHEN pg_catalog.length(value::text) <= {_LONG_VALUE} THEN value
      ELSE pg_catalog.to_jsonb(pg_catalog.concat(pg_catalog.left(value::text, 80), '… (',
        pg_catalog.length(value::text), ' characters, md5 ', pg_catalog.md5(value::text), ')')) END)
    FROM pg_catalog.jsonb_each(image));
END;
"""  # noqa: S608 - constants of ours

_FUNCTIONS = {
    "pgmagic_image(image jsonb) RETURNS jsonb LANGUAGE plpgsql": _IMAGE,
    "pgmagic_traced() RETURNS trigger LANGUAGE plpgsql": _TRACED,
    "pgmagic_listed() RETURNS trigger LANGUAGE plpgsql": _LISTED,
}
