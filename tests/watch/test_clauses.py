"""A condition as Postgres prints it, taken apart."""

from __future__ import annotations

import pytest

from pgmagic.compile.sql_tokens import trigger_condition_in
from pgmagic.watch.clauses import clauses_of


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("old.locked", ["old.locked"]),
        ("(old.a > 1)", ["old.a > 1"]),
        ("((old.a > 1) AND (new.b IS NULL))", ["old.a > 1", "new.b IS NULL"]),
        ("((old.a > 1) OR (new.b IS NULL))", ["old.a > 1", "or new.b IS NULL"]),
        ("(old.a AND ((new.b = 1) OR (new.b = 2)))", ["old.a", "new.b = 1", "or new.b = 2"]),
        ("((old.a AND new.b) OR old.c)", ["old.a", "and new.b", "or old.c"]),
        ("(NOT (old.a AND new.b))", ["NOT (old.a AND new.b)"]),
        ("(old.t = 'x AND y'::text)", ["old.t = 'x AND y'::text"]),
        ("(old.t = 'it''s ) OR ('::text)", ["old.t = 'it''s ) OR ('::text"]),
        ("(old.t = E'\\\\'' AND '::text)", ["old.t = E'\\\\'' AND '::text"]),
        ('(old."a AND b" AND new."x"")(")', ['old."a AND b"', 'new."x"")("']),
        ("CASE WHEN (old.a OR x) THEN y ELSE z END", ["CASE WHEN (old.a OR x) THEN y ELSE z END"]),
        ("CASE WHEN old.a THEN y AND z END", ["CASE WHEN old.a THEN y AND z END"]),
        ("(old.* IS DISTINCT FROM new.*)", ["old.* IS DISTINCT FROM new.*"]),
    ],
)  # fmt: skip
def test_clauses(condition, expected):
    assert [clause.text for clause in clauses_of(condition)] == expected


def test_condition_of_a_definition():
    start = "CREATE TRIGGER t BEFORE UPDATE ON s.t FOR EACH ROW"
    assert trigger_condition_in(f"{start} EXECUTE FUNCTION f()") is None
    definition = f"{start} WHEN ((old.a = ') EXECUTE '::text)) EXECUTE FUNCTION f()"
    assert trigger_condition_in(definition) == "(old.a = ') EXECUTE '::text)"
