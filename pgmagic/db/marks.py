"""Marks in the comments of functions and triggers: what was declared, and what Postgres made of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

from psycopg import sql

from pgmagic.compile.sql import DollarQuoted, compose, literal, render
from pgmagic.db.catalog import STORED_FUNCTION, STORED_TRIGGER
from pgmagic.plan.steps import Marking


def marks_sql(markings: Sequence[Marking]) -> str:
    """Return the statement that leaves marks in the comments of functions and triggers that are there already."""
    body = sql.SQL(_MARK).format(
        schemas=literal([marking.schema for marking in markings]),
        tables=literal([marking.table for marking in markings]),
        names=literal([marking.name for marking in markings]),
        marks=literal([_open_mark(marking) for marking in markings]),
        closing=literal(_CLOSING),
        stored_function=sql.SQL(STORED_FUNCTION),
        stored_trigger=sql.SQL(STORED_TRIGGER),
    )
    return render(compose("DO LANGUAGE plpgsql ", DollarQuoted(render(body)), ";"))


_CLOSING = '"}'
_json = json.JSONEncoder(ensure_ascii=False)


def _open_mark(marking: Marking) -> str:
    """Return a mark as JSON, up to what only the server knows."""
    mark = {
        "pgmagic": marking.uri,
        "declared": marking.declared,
        "with_model": marking.with_model,
        "stored": "",
    }
    return _json.encode(mark).removesuffix(_CLOSING)


# Names resolve by the session's search_path; definitions are read under an empty one, as in the catalog query. The
# comments are one text: executed one by one, they would take twice the time. OFFSET, so that each digest is made once.
_MARK = """
DECLARE
  path text := current_setting('search_path');
  objects oid[];
  comments text;
  found int;
BEGIN
  SELECT array_agg(CASE WHEN m.name IS NULL THEN to_regprocedure(m.place || '()')::oid ELSE to_regclass(m.place)::oid
      END ORDER BY m.number)
    INTO objects
    FROM (SELECT number, CASE WHEN "table" IS NOT NULL THEN name END AS name,
            coalesce(quote_ident("schema") || '.', '') || quote_ident(coalesce("table", name)) AS place
          FROM unnest({schemas}::text[], {tables}::text[], {names}::text[])
            WITH ORDINALITY AS w("schema", "table", name, number)) AS m;
  PERFORM set_config('search_path', '', true);
  SELECT string_agg(m.statement || quote_literal(m.mark || m.stored || {closing}), '; '), count(m.stored)
    INTO comments, found
    FROM (SELECT w.mark,
            CASE WHEN w."table" IS NULL THEN 'COMMENT ON FUNCTION ' || w.object::regprocedure || ' IS '
              ELSE 'COMMENT ON TRIGGER ' || quote_ident(w.name) || ' ON ' || w.object::regclass || ' IS ' END AS statement,
            CASE WHEN w."table" IS NULL THEN (SELECT {stored_function} FROM pg_proc AS p WHERE p.oid = w.object)
              ELSE (SELECT {stored_trigger} FROM pg_trigger AS t
                    WHERE t.tgrelid = w.object AND t.tgname = w.name::name AND NOT t.tgisinternal) END AS stored
          FROM unnest(objects, {tables}::text[], {names}::text[], {marks}::text[]) AS w(object, "table", name, mark)
          OFFSET 0) AS m;
  IF found <> cardinality(objects) THEN
    RAISE no_data_found USING MESSAGE = 'what was just installed is not there any more';
  END IF;
  EXECUTE comments;
  PERFORM set_config('search_path', path, true);
END"""
