"""The functions of probes, and the table of what they observe: the session's own, in `pg_temp`.

Source: https://www.postgresql.org/docs/current/plpgsql-trigger.html
"""

from __future__ import annotations

from collections.abc import Sequence

from pgmagic.compile.sql import DollarQuoted, compose, join, literal, render, verbatim

# Of a step's rows, so many are all looked at, and of the others one in so many; rows written by triggers always are.
FULL_ROWS = 10_000
SAMPLED_EVERY = 64
# How many rewritten rows of a step are kept with their values, for each trigger.
SHOWN_ROWS = 3
# Triggers that fire triggers that fire triggers: swallowed rows are looked for down to this depth.
_DEEPEST = 32


def looked_at(rows: int) -> int:
    """Return how many of a step's rows were looked at."""
    return min(rows, FULL_ROWS) + max(0, rows // SAMPLED_EVERY - FULL_ROWS // SAMPLED_EVERY)


def create_functions() -> str:
    """Return the statements that make the functions of all probes and the table of observations, unless they exist.

    The functions and the table are the session's own, in `pg_temp`; nobody else sees them.
    """
    statements = [
        compose(verbatim(head), " LANGUAGE plpgsql AS ", DollarQuoted(body), ";") for head, body in _FUNCTIONS.items()
    ]
    # Rows written under the rights of another role, by a SECURITY DEFINER function, are observed, too.
    table = verbatim(
        "CREATE TABLE IF NOT EXISTS pg_temp.pgmagic_observed "
        "(relation oid, event text, kind text, passed int, depth int, asked text, stored text) ON COMMIT DROP; "
        "GRANT INSERT ON pg_temp.pgmagic_observed TO PUBLIC;"
    )
    return render(join("\n", [*statements, table]))


def drop_probes() -> str:
    """Return the statement that removes all probes and their functions.

    It takes an ACCESS EXCLUSIVE lock on each probed table. Dropping the functions also drops the triggers, whoever owns
    the tables: a role with the TRIGGER privilege may create a trigger, but only the owner may use DROP TRIGGER.
    """
    return (
        "DROP FUNCTION pg_temp.pgmagic_asked(), pg_temp.pgmagic_seen(), pg_temp.pgmagic_nested(), "
        "pg_temp.pgmagic_swallowed(int), pg_temp.pgmagic_pairs(oid, text, text), pg_temp.pgmagic_finish(), "
        "pg_temp.pgmagic_counts(text[]) CASCADE"
    )


def read_observations(counters: Sequence[str]) -> str:
    """Return the statements that end a step; the second result is what was observed since the last reading.

    Its columns: relation (oid), event, kind (`changed`, `swallowed`, `converted`), passed, depth, how many rows, and
    a JSON array of at most `SHOWN_ROWS` objects, column to [asked, stored]. The third result is one array: the
    counters, in the order in which they were given; they begin anew.
    """
    names = compose("ARRAY[", join(", ", [literal(counter) for counter in counters]), "]::text[]")
    return render(
        join(
            "; ",
            [
                compose("SELECT pg_temp.pgmagic_finish()"),
                verbatim(_OBSERVATIONS),
                compose("SELECT pg_temp.pgmagic_counts(", names, ")"),
            ],
        )
    )


_OBSERVATIONS = """
SELECT relation::bigint, event, kind, passed, depth,
       ('0' || current_setting(
         concat_ws('_', 'pgmagic.o', relation::bigint, event, kind, passed, depth), true))::bigint,
       to_jsonb(array_agg(pg_temp.pgmagic_pairs(relation, asked, stored)) FILTER (WHERE asked IS NOT NULL))::text
FROM pg_temp.pgmagic_observed GROUP BY 1, 2, 3, 4, 5 ORDER BY depth, relation, passed"""


# The settings, one for each depth of triggers that fire triggers: `pgmagic.probe_1` is the row under way, as
# "relation event row", empty between two rows; `pgmagic.passed_1` the number of the last probe that it passed;
# `pgmagic.update_1` what a trigger made of the row that was to be deleted. `pgmagic.o_…` counts what was observed, of
# which the first rows are kept. Rows are compared as text: every type has a text, not every one an equality.
# An assignment takes a fifth of the time of a PERFORM.
_ASKED = f"""
DECLARE
  depth int := pg_catalog.pg_trigger_depth();
  name text := 'pgmagic.probe_' || depth;
  counted bigint;
  done text;
BEGIN
  IF pg_catalog.current_setting(name, true) <> '' THEN
    PERFORM pg_temp.pgmagic_swallowed(depth);
  END IF;
  IF depth = 1 THEN
    counted := '0' || pg_catalog.current_setting(TG_ARGV[0], true);
    IF TG_ARGV[2] = 'counts' THEN
      counted := coalesce(counted, 0) + 1;
      done := pg_catalog.set_config(TG_ARGV[0], counted::text, true);
    END IF;
    IF counted > {FULL_ROWS} AND counted % {SAMPLED_EVERY} <> 0 THEN
      IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
      RETURN NEW;
    END IF;
  END IF;
  IF TG_ARGV[1] = 'staged' THEN
    done := pg_catalog.set_config('pgmagic.passed_' || depth, '0', true);
  END IF;
  IF TG_OP = 'DELETE' THEN
    done := pg_catalog.set_config('pgmagic.update_' || depth, '', true);
    done := pg_catalog.set_config(name, pg_catalog.concat_ws(' ', TG_RELID, TG_OP, OLD::text), true);
    RETURN OLD;
  END IF;
  done := pg_catalog.set_config(name, pg_catalog.concat_ws(' ', TG_RELID, TG_OP, NEW::text), true);
  RETURN NEW;
END;
"""

_SEEN = f"""
DECLARE
  depth int := pg_catalog.pg_trigger_depth();
  name text := 'pgmagic.probe_' || depth;
  before text := pg_catalog.current_setting(name, true);
  now text;
  counter text;
  counted int;
  done text;
BEGIN
  IF TG_ARGV[3] = 'counts' AND depth = 1 THEN
    counted := '0' || pg_catalog.current_setting(TG_ARGV[2], true);
    done := pg_catalog.set_config(TG_ARGV[2], (coalesce(counted, 0) + 1)::text, true);
  END IF;
  IF before = '' THEN
    IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
    RETURN NEW;
  END IF;
  IF TG_OP <> 'DELETE' THEN
    now := pg_catalog.concat_ws(' ', TG_RELID, TG_OP, NEW::text);
    IF before <> now AND pg_catalog.starts_with(before, pg_catalog.concat_ws(' ', TG_RELID, TG_OP, '')) THEN
      counter := pg_catalog.concat_ws('_', 'pgmagic.o', TG_RELID, TG_OP, 'changed', TG_ARGV[0], depth);
      counted := '0' || pg_catalog.current_setting(counter, true);
      counted := coalesce(counted, 0) + 1;
      done := pg_catalog.set_config(counter, counted::text, true);
      IF counted <= {SHOWN_ROWS} THEN
        INSERT INTO pg_temp.pgmagic_observed
        VALUES (TG_RELID, TG_OP, 'changed', TG_ARGV[0]::int, depth, before, NEW::text);
      END IF;
      done := pg_catalog.set_config(name, now, true);
    END IF;
  END IF;
  IF TG_ARGV[1] = 'last' THEN
    done := pg_catalog.set_config(name, '', true);
  ELSE
    done := pg_catalog.set_config('pgmagic.passed_' || depth, TG_ARGV[0], true);
  END IF;
  IF TG_OP = 'DELETE' THEN RETURN OLD; END IF;
  RETURN NEW;
END;
"""  # noqa: S608 - constants of ours

# A row that an UPDATE inside a trigger changes while its own DELETE is under way one level above.
_NESTED = """
DECLARE
  outer_depth text := pg_catalog.pg_trigger_depth() - 1;
  done text;
BEGIN
  IF pg_catalog.current_setting('pgmagic.probe_' || outer_depth, true)
     = pg_catalog.concat_ws(' ', TG_RELID, 'DELETE', OLD::text) THEN
    done := pg_catalog.set_config('pgmagic.update_' || outer_depth, NEW::text, true);
  END IF;
  RETURN NULL;
END;
"""

_SWALLOWED = f"""
DECLARE
  row_under_way text := pg_catalog.current_setting('pgmagic.probe_' || depth);
  updated text := nullif(pg_catalog.current_setting('pgmagic.update_' || depth, true), '');
  passed int := coalesce(nullif(pg_catalog.current_setting('pgmagic.passed_' || depth, true), ''), '0');
  relation oid := pg_catalog.split_part(row_under_way, ' ', 1);
  event text := pg_catalog.split_part(row_under_way, ' ', 2);
  kind text := CASE WHEN updated IS NULL OR event <> 'DELETE' THEN 'swallowed' ELSE 'converted' END;
  counter text := pg_catalog.concat_ws('_', 'pgmagic.o', relation, event, kind, passed, depth);
  counted int := '0' || pg_catalog.current_setting(counter, true);
  done text;
BEGIN
  counted := coalesce(counted, 0) + 1;
  done := pg_catalog.set_config(counter, counted::text, true);
  IF counted <= {SHOWN_ROWS} THEN
    INSERT INTO pg_temp.pgmagic_observed
    VALUES (relation, event, kind, passed, depth, CASE kind WHEN 'converted' THEN row_under_way END, updated);
  END IF;
  done := pg_catalog.set_config('pgmagic.probe_' || depth, '', true);
END;
"""  # noqa: S608 - constants of ours

# Rows that cannot be compared have no pairs, for example if a type cannot read its own text, or the table is gone.
_PAIRS = """
DECLARE
  pairs jsonb;
BEGIN
  EXECUTE pg_catalog.format(
    'SELECT pg_catalog.jsonb_object_agg(key, pg_catalog.jsonb_build_array(a.value, b.value))
     FROM pg_catalog.jsonb_each(pg_catalog.to_jsonb($1::%1$s)) AS a
     JOIN pg_catalog.jsonb_each(pg_catalog.to_jsonb($2::%1$s)) AS b USING (key)
     WHERE a.value::text <> b.value::text', relation::regclass)
    INTO pairs USING pg_catalog.regexp_replace(asked, '^[0-9]+ [A-Z]+ ', ''), stored;
  RETURN coalesce(pairs, '{}');
EXCEPTION WHEN OTHERS THEN
  RETURN '{}';
END;
"""

_FINISH = f"""
BEGIN
  FOR depth IN 1..{_DEEPEST} LOOP
    IF pg_catalog.current_setting('pgmagic.probe_' || depth, true) <> '' THEN
      PERFORM pg_temp.pgmagic_swallowed(depth);
    END IF;
  END LOOP;
END;
"""

_COUNTS = """
DECLARE
  counts bigint[] := ARRAY(
    SELECT coalesce(nullif(pg_catalog.current_setting(name, true), ''), '0')::bigint
    FROM pg_catalog.unnest(names) WITH ORDINALITY AS counter (name, place) ORDER BY place);
BEGIN
  PERFORM pg_catalog.set_config(name, '', true) FROM (
    SELECT pg_catalog.unnest(names)
    UNION SELECT pg_catalog.concat_ws('_', 'pgmagic.o', relation, event, kind, passed, depth)
    FROM pg_temp.pgmagic_observed) AS counter (name);
  DELETE FROM pg_temp.pgmagic_observed;
  RETURN counts;
END;
"""

_FUNCTIONS = {
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_asked() RETURNS trigger": _ASKED,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_seen() RETURNS trigger": _SEEN,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_nested() RETURNS trigger": _NESTED,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_swallowed(depth int) RETURNS void": _SWALLOWED,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_pairs(relation oid, asked text, stored text) RETURNS jsonb": _PAIRS,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_finish() RETURNS void": _FINISH,
    "CREATE OR REPLACE FUNCTION pg_temp.pgmagic_counts(names text[]) RETURNS bigint[]": _COUNTS,
}
