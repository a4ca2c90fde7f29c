"""What the text of a statement shows before it is executed."""

from __future__ import annotations

from typing import Any

import pytest

from pgmagic.watch.statements import ends_transaction, may_write, savepoint_command, target_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("COMMIT", True),
        ("rollback", True),
        ("ROLLBACK TO SAVEPOINT a", False),
        ("rollback work to a", False),
        ("START TRANSACTION", True),
        ("PREPARE TRANSACTION 'a'", True),
        ("PREPARE plan AS SELECT 1", False),
        ("SELECT CASE WHEN true THEN 1 END", False),
        ("SELECT 'a; COMMIT'", False),
        ("SELECT E'it\\'s; COMMIT'", False),
        ("SELECT $x$ ; COMMIT; $x$", False),
        ("SELECT 1 -- ; COMMIT", False),
        ('SELECT "; COMMIT"', False),
        ("SELECT 1; COMMIT", True),
        ("DO $$BEGIN PERFORM 1; END$$", False),
        ("CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; END", False),
    ],
)
def test_ends_transaction(text: str, expected: bool) -> None:
    assert ends_transaction(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM a", False),
        ("SELECT * FROM a FOR UPDATE", False),
        ("SELECT * FROM a FOR NO KEY UPDATE", False),
        ("SELECT 'delete'", False),
        ("WITH a AS (DELETE FROM b RETURNING 1) SELECT * FROM a", True),
        ("EXPLAIN DELETE FROM a", True),
        ("INSERT INTO a VALUES (1)", True),
        ("DO $$BEGIN END$$", True),
        ("CALL a()", True),
    ],
)
def test_may_write(text: str, expected: bool) -> None:
    assert may_write(text) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('SAVEPOINT "s1_x2"', ("set", "s1_x2")),
        ('RELEASE SAVEPOINT "s1"', ("release", "s1")),
        ('ROLLBACK TO SAVEPOINT "s1"', ("undo", "s1")),
        ("rollback work to a;", ("undo", "a")),
        ("SELECT 1", None),
        ("ROLLBACK", None),
    ],
)
def test_savepoint_command(text: str, expected: Any) -> None:
    assert savepoint_command(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('INSERT INTO "a b" VALUES (1)', "a b"),
        ("update only S.T set x = 1", "t"),
        ('DELETE FROM "s"."t" WHERE 1', "t"),
        ('UPDATE "o""k" SET a = 1', 'o"k'),
        ("SELECT 1", None),
    ],
)
def test_target_of(text: str, expected: str | None) -> None:
    assert target_of(text) == expected
