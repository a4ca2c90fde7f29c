"""Why the database refused a statement, or COMMIT."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import psycopg

from pgmagic.declare.names import split_uri
from pgmagic.errors import DeclarationError
from pgmagic.watch.reachable import TriggerCatalog

# A value is shown in a line; what is longer is shortened, and its length is named.
_LONGEST_VALUE = 80
_RAISED = "P0001"
# active_sql_transaction, and what a procedure meets that commits.
_NOT_INSIDE = ("25001", "2D000")
_ONE_TRANSACTION = "The whole cell is one transaction: execute this in an ordinary cell."


@dataclass(frozen=True)
class Rejection:
    """Why the database refused a statement, or COMMIT. row: which row it was about, and what would have changed."""

    reason: str
    table: str | None = None
    trigger: str | None = None
    row: str | None = None


def rejection(error: BaseException, catalog: TriggerCatalog | None, table: str | None = None) -> Rejection:
    """Return what the database said when it refused, and which trigger made it do so.

    table: the table of the statement, where the error names none.
    """
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    if not isinstance(cause, psycopg.Error) or not cause.diag.message_primary:
        return Rejection(str(error).strip().partition("\n")[0], table)
    diag = cause.diag
    hint = diag.message_hint or (_ONE_TRANSACTION if diag.sqlstate in _NOT_INSIDE else None)
    message = (diag.message_primary or "").partition("\n")[0]
    table = diag.table_name or table
    return Rejection(
        reason=f"{message} ({hint})" if hint else message,
        table=table,
        trigger=_deciding_trigger(diag, catalog, table),
        row=_row(diag.message_detail),
    )


def _row(detail: str | None) -> str | None:
    """Return the row that a ready-made trigger names in the detail of its error, None for any other detail."""
    try:
        found = json.loads(detail or "")
        key, old, new = found["key"] or {}, found["old"] or {}, found["new"] or {}
    except (ValueError, TypeError, KeyError):
        return None
    named = [f"{name} {value_in_line(value)}" for name, value in key.items() if value is not None]
    changes = [
        f"{name}: {value_in_line(value)} → {value_in_line(new[name])}"
        for name, value in old.items()
        if name in new
    ]
    told = "row" if not named else f"row {', '.join(named)}"
    return f"{told}: {', '.join(changes)}" if changes else told if named else None


def _deciding_trigger(diag: Any, catalog: TriggerCatalog | None, table: str | None) -> str | None:
    if diag.sqlstate == _RAISED and _is_uri(diag.constraint_name):
        return str(diag.constraint_name)
    trigger = catalog.trigger_of_context(diag.context, table) if catalog else None
    return trigger.uri if trigger else None


def _is_uri(text: str | None) -> bool:
    try:
        split_uri(text or "")
    except DeclarationError:
        return False
    return True


def value_in_line(value: Any) -> str:
    """Return a value as JSON, shortened to what fits into a line."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[:_LONGEST_VALUE]}… ({len(text):,} characters)"
