"""Marks in the comments of functions: what was declared, and what Postgres made of it and of its triggers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from psycopg import sql

from pgmagic.compile.desired import Marking
from pgmagic.compile.sql import DollarQuoted, Fragment, compose, literal, render
from pgmagic.db.catalog import STORED_FUNCTION, STORED_TRIGGER


def marks_sql(markings: Sequence[Marking]) -> str:
    """Return the statement that writes marks into the comments of functions; functions and triggers exist already."""
    triggers = [(number, each) for number, marking in enumerate(markings, 1) for each in marking.triggers]
    marks = [
        {"pgmagic": each.uri, "declared": each.declared, "with_model": each.with_model, "stored": ""}
        for each in markings
    ]
    body = sql.SQL(_MARK).format(
        schemas=_elements([marking.schema for marking in markings]),
        functions=_elements([marking.name for marking in markings]),
        marks=_elements([_open(each, 2) for each in marks]),
        owners=_elements([number for number, _ in triggers]),
        table_schemas=_elements([each.schema for _, each in triggers]),
        tables=_elements([each.table for _, each in triggers]),
        names=_elements([each.name for _, each in triggers]),
        entries=_elements([_open({each.name: [each.declared, ""]}, 3)[1:] for _, each in triggers]),
        count=literal(len(markings) + len(triggers)),
        stored_function=sql.SQL(STORED_FUNCTION),
        stored_trigger=sql.SQL(STORED_TRIGGER),
    )
    return render(compose("DO LANGUAGE plpgsql ", DollarQuoted(body.as_string(None)), ";"))


def _elements(values: Sequence[str | int | None]) -> Fragment:
    """Return a set of texts, written as JSON: it is quoted as a whole, while an array is quoted value by value."""
    return compose("jsonb_array_elements_text(", literal(_json.encode(values)), "::jsonb)")


_json = json.JSONEncoder(ensure_ascii=False)


def _open(value: Mapping[str, object], brackets: int) -> str:
    """Return JSON without its last `brackets` characters: they follow the digest, which only the server knows."""
    return _json.encode(value)[:-brackets]


# Names resolve by the session's search_path; definitions are read under an empty one, as in the catalog query. The
# comments are one text: executed one by one, they would take twice the time. OFFSET, so that each digest is made once.
_MARK = """
DECLARE
  path text := current_setting('search_path');
  functions oid[];
  relations oid[];
  comments text;
  found int;
BEGIN
  SELECT array_agg(to_regprocedure(coalesce(quote_ident(m.place) || '.', '') || quote_ident(m.name) || '()')::oid
      ORDER BY m.number)
    INTO functions
    FROM ROWS FROM ({schemas}, {functions}) WITH ORDINALITY AS m(place, name, number);
  SELECT array_agg(to_regclass(coalesce(quote_ident(m.place) || '.', '') || quote_ident(m.name))::oid ORDER BY m.number)
    INTO relations
    FROM ROWS FROM ({table_schemas}, {tables}) WITH ORDINALITY AS m(place, name, number);
  PERFORM set_config('search_path', '', true);
  WITH triggers AS (
      SELECT m.owner::int AS owner, string_agg(m.entry || m.stored || '"]', ', ') AS entries, count(m.stored) AS found
        FROM (SELECT w.owner, w.entry, (
                SELECT {stored_trigger} FROM pg_trigger AS t
                WHERE t.tgrelid = w.relation AND t.tgname = w.name::name AND NOT t.tgisinternal) AS stored
              FROM ROWS FROM (unnest(relations), {owners}, {names}, {entries})
                AS w(relation, owner, name, entry) OFFSET 0) AS m
        GROUP BY m.owner)
  SELECT string_agg('COMMENT ON FUNCTION ' || m.function::regprocedure || ' IS '
           || quote_literal(m.mark || m.stored || '", "triggers": {{' || coalesce(t.entries, '') || '}}}}'), '; '),
         count(m.stored) + coalesce(sum(t.found), 0)
    INTO comments, found
    FROM (SELECT w.*, (SELECT {stored_function} FROM pg_proc AS p WHERE p.oid = w.function) AS stored
          FROM ROWS FROM (unnest(functions), {marks}) WITH ORDINALITY AS w(function, mark, number) OFFSET 0) AS m
      LEFT JOIN triggers AS t ON t.owner = m.number;
  IF found <> {count} THEN
    RAISE no_data_found USING MESSAGE = 'what was just installed is not there any more';
  END IF;
  EXECUTE comments;
  PERFORM set_config('search_path', path, true);
END"""
