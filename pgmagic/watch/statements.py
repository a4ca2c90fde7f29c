"""What has to be known of a statement before it is executed, and what Postgres answered.

Before: does it begin or end a transaction, and can it write? Afterwards Postgres's own command tag says what it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from psycopg import sql
from psycopg.pq import ExecStatus

from pgmagic.compile.sql_tokens import code_of, unquoted, without_leading_comments
from pgmagic.db.driver import DriverConnection, DriverCursor
from pgmagic.db.driver_private import all_results

if TYPE_CHECKING:
    from psycopg.abc import Query
    from psycopg.pq.abc import PGresult

# Longer statements take much longer than the look at their text, and are not remembered.
LONGEST_REMEMBERED = 10_000

Kind = Literal["read", "write", "command", "rejected"]

_ENDING = re.compile(r"\b(?:commit|rollback|abort|end|begin|start|prepare)\b", re.IGNORECASE)
_ENDS_TRANSACTION = re.compile(
    r"(?:commit|abort|end|begin|start\s+transaction|prepare\s+transaction"
    r"|rollback(?!\s+(?:(?:work|transaction)\s+)?to\b))\b",
    re.IGNORECASE,
)
_SAVEPOINT = re.compile(
    r"\s*(savepoint|release(?:\s+savepoint)?|rollback\s+(?:(?:work|transaction)\s+)?to(?:\s+savepoint)?)\s+(.+?)\s*;?\s*$",
    re.IGNORECASE,
)
_READING = re.compile(r"\s*(?:select|show|values|table|explain|fetch|declare|close|set|reset|with)\b", re.IGNORECASE)
_WRITING = re.compile(
    r"\b(?:insert|delete|merge|(?<!no\skey\s)(?<!for\s)update)\b|\bexplain\b.*\banalyze\b", re.IGNORECASE | re.DOTALL
)
_TARGET = re.compile(
    r"""\s*(?:insert\s+into|update(?:\s+only)?|delete\s+from(?:\s+only)?|merge\s+into(?:\s+only)?
             |truncate(?:\s+table)?(?:\s+only)?|copy|lock(?:\s+table)?(?:\s+only)?
             |refresh\s+materialized\s+view(?:\s+concurrently)?
             |(?:create(?:\s+(?:(?:global|local)\s+)?temp(?:orary)?|\s+unlogged)?|alter|drop)\s+
              (?:(?:foreign\s+)?table|(?:materialized\s+)?view)(?:\s+if\s+(?:not\s+)?exists)?(?:\s+only)?)\s+
        (?:(?:"(?:[^"]|"")+"|\w+)\.)?("(?:[^"]|"")+"|\w+)""",
    re.IGNORECASE | re.VERBOSE,
)
_ROWS = re.compile(r"\s*(?:insert|update|delete)\s", re.IGNORECASE)
_VALUES = re.compile(r"\s*insert\s[^;]*?\)\s*values\b", re.IGNORECASE)
_FIRST_WORD = re.compile(r"\s*(\w+)")
_CATCHES = re.compile(r"\bexception\s+when\b", re.IGNORECASE)
_ROW_VERBS = ("INSERT", "UPDATE", "DELETE", "MERGE")
_DDL = ("CREATE", "ALTER", "DROP", "DO", "CALL", "DISCARD", "IMPORT")


@dataclass(slots=True)
class Executed:
    """One SQL statement that was executed: what Postgres answered, or the error.

    rows: as in the command tag, None if it has no number. table: the relation that the statement writes to.
    relation: the oid of the table that the first column of a result comes from. undone: what it wrote was rolled
    back. verb: the first word of the statement's tag, or of its text where there is no tag.
    """

    kind: Kind
    rows: int | None
    table: str | None
    elapsed_ms: float
    relation: int | None = None
    error: BaseException | None = None
    undone: bool = False
    is_ddl: bool = False
    verb: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known from the text of a statement; see the functions of the same names.

    empties: it holds a TRUNCATE. catches: it holds code that can go on after an error.
    """

    savepoint: tuple[Literal["set", "release", "undo"], str] | None
    ends_transaction: bool
    target: str | None
    verb: str
    is_single: bool
    empties: bool
    catches: bool


def facts_of(text: str) -> Facts:
    """Return what is known from the text of a statement; it is remembered for the statements of a loop."""
    return _remembered_facts(text) if len(text) <= LONGEST_REMEMBERED else _facts_of(text)


def _facts_of(text: str) -> Facts:
    return Facts(
        savepoint_command(text),
        ends_transaction(text),
        target_of(text),
        verb_of(text),
        is_single(text),
        "truncate" in text.lower(),
        _CATCHES.search(text) is not None,
    )


_remembered_facts = lru_cache(maxsize=1000)(_facts_of)


def text_of(statement: Query, raw: DriverConnection) -> str:
    """Return a statement as text, in whatever form psycopg accepts it."""
    if isinstance(statement, sql.Composable):
        return statement.as_string(raw)
    return statement.decode(errors="replace") if isinstance(statement, bytes) else str(statement)


def ends_transaction(text: str) -> bool:
    """Return whether a text holds a command that begins or ends a transaction, also as one of several commands."""
    if not _ENDING.search(text):
        return False
    code = code_of(text)
    if re.search(r"\bbegin\s+atomic\b", code, re.IGNORECASE):
        # The body of an SQL function: its END is not a command.
        return False
    return any(_ENDS_TRANSACTION.match(command.strip()) for command in code.split(";"))


def savepoint_command(text: str) -> tuple[Literal["set", "release", "undo"], str] | None:
    """Return what a statement does with a savepoint, and with which; None for every other statement."""
    found = _SAVEPOINT.match(text)
    if found is None:
        return None
    word = found[1].lower()
    what: Literal["set", "release", "undo"] = (
        "set" if word == "savepoint" else "release" if word.startswith("release") else "undo"
    )
    return what, found[2].strip('"')


def may_write(text: str) -> bool:
    """Return False for a statement that only reads, unless a function that it calls writes."""
    return not _READING.match(text) or _WRITING.search(code_of(text)) is not None


def names_one_row(text: str, key: str | None) -> bool:
    """Return whether a statement looks like one that writes few rows: VALUES, or a condition on the primary key.

    If this guess is wrong, the statement takes longer; nothing else changes.
    """
    if _VALUES.match(text):
        return True
    return key is not None and re.search(rf'"?{re.escape(key)}"?\s+(?:=|IN)\s', text) is not None


def verb_of(text: str) -> str:
    """Return the first word of a statement, in capitals."""
    found = _FIRST_WORD.match(without_leading_comments(text))
    return found[1].upper() if found else ""


def is_single(text: str) -> bool:
    """Return whether a text is one INSERT, UPDATE or DELETE, with no other command after it."""
    return _ROWS.match(text) is not None and ";" not in text


def target_of(text: str) -> str | None:
    """Return the relation that a statement names as the one to write to, without its schema."""
    found = _TARGET.match(without_leading_comments(text))
    return unquoted(found[1]) if found else None


def answers(cursor: DriverCursor, many: bool) -> list[tuple[Kind, int | None, str, int | None]]:
    """Return kind, rows, verb and origin of each result that a psycopg cursor holds; nothing for an empty statement.

    A text of several commands has several results. psycopg shows only the current result, and after `nextset()` the
    user could no longer read the first.
    """
    result = cursor.pgresult
    if result is None:
        # After executemany: a count, and no tag.
        return [("write", cursor.rowcount if cursor.rowcount >= 0 else None, "", None)]
    if many:
        return [_answer(result, cursor.rowcount)]
    results = all_results(cursor)
    if len(results) > 1:
        return [_answer(each, each.command_tuples) for each in results]
    return [] if result.status == ExecStatus.EMPTY_QUERY else [_answer(result, result.command_tuples)]


def _answer(result: PGresult, rows: int | None) -> tuple[Kind, int | None, str, int | None]:
    verb = _verb_of_tag(result.command_status)
    count = rows if rows is not None and rows >= 0 else None
    if verb in _ROW_VERBS:
        return "write", count, verb, None
    if result.status in (ExecStatus.TUPLES_OK, ExecStatus.SINGLE_TUPLE) or (not verb and result.nfields):
        origin = next((oid for column in range(result.nfields) if (oid := result.ftable(column))), None)
        return "read", count, verb, origin
    # Without a result, a SELECT has made a table (CREATE TABLE AS, SELECT INTO).
    return ("write", count, "CREATE", None) if verb == "SELECT" else ("command", None, verb, None)


@lru_cache(maxsize=1000)
def _verb_of_tag(tag: bytes | None) -> str:
    return (tag or b"").decode().partition(" ")[0]


def is_ddl(verb: str) -> bool:
    """Return whether a command of this tag may have changed the catalog."""
    return verb in _DDL
