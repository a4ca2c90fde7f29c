"""The SQL of captures: an AFTER ROW trigger on a table, which keeps each change of a row that was stored.

The changes are kept in a temporary table, so that a rollback to a savepoint removes them together with the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgmagic.compile.sql import DollarQuoted, compose, identifier, literal, render

MOST_CAPTURED = 10_000
"""How many changes of rows are kept; the others are only counted."""

STEP_SETTING = "pgmagic.captured_step"

_NAME = "\x01pgmagic_captured"

_CAPTURED = f"""
DECLARE
  captured int := coalesce(nullif(pg_catalog.current_setting('pgmagic.captured', true), ''), '0')::int + 1;
BEGIN
  PERFORM pg_catalog.set_config('pgmagic.captured', captured::text, true);
  IF captured <= {MOST_CAPTURED} THEN
    INSERT INTO pg_temp.pgmagic_captured
    VALUES (nullif(pg_catalog.current_setting('{STEP_SETTING}', true), '')::int, TG_RELID,
            pg_catalog.to_jsonb(OLD), pg_catalog.to_jsonb(NEW));
  END IF;
  RETURN NULL;
END;
"""  # noqa: S608 - constants of ours

# In the order in which the changes were made: nothing but inserts ever touches the table.
READ_CAPTURED = """
SELECT t.step, c.relname, t.old::text, t.new::text, (
    SELECT coalesce(jsonb_agg(a.attname ORDER BY a.attnum), '[]')::text FROM pg_index AS i JOIN pg_attribute AS a
    ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey::int2[]) WHERE i.indrelid = t.relation AND i.indisprimary)
FROM pg_temp.pgmagic_captured AS t JOIN pg_class AS c ON c.oid = t.relation ORDER BY t.ctid"""


@dataclass(frozen=True)
class CapturedTable:
    """A table whose rows are watched."""

    schema: str
    name: str


def create_functions() -> str:
    """Return the statements that make the function and the table of captured changes, unless they exist."""
    return render(
        compose(
            "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_captured() RETURNS trigger LANGUAGE plpgsql AS ",
            DollarQuoted(_CAPTURED), "; CREATE TABLE IF NOT EXISTS pg_temp.pgmagic_captured "
            "(step int, relation oid, old jsonb, new jsonb) ON COMMIT DROP; "
            "GRANT INSERT ON pg_temp.pgmagic_captured TO PUBLIC;",
        )
    )  # fmt: skip


def create_capture(table: CapturedTable) -> str:
    """Return the statement that captures the changes of a table's rows; it needs the TRIGGER privilege."""
    return render(
        compose(
            "CREATE OR REPLACE TRIGGER ", identifier(_NAME), " AFTER INSERT OR UPDATE OR DELETE ON ",
            identifier(table.schema, table.name), " FOR EACH ROW EXECUTE FUNCTION pg_temp.pgmagic_captured();",
        )
    )  # fmt: skip


def drop_captures() -> str:
    """Return the statement that removes every capture."""
    return "DROP FUNCTION pg_temp.pgmagic_captured() CASCADE"


def begin_step(step: int) -> str:
    """Return the statement before a step; from now on, changes are kept with its number."""
    return render(compose("SELECT set_config(", literal(STEP_SETTING), ", ", literal(str(step)), ", true)"))
