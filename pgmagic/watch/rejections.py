"""Why the database refused a statement, or COMMIT."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass

import psycopg
from psycopg.errors import Diagnostic

from pgmagic.declare.names import split_uri
from pgmagic.errors import DeclarationError
from pgmagic.watch.trigger_catalog import TriggerCatalog

# Values are shown in a line. A longer value is shortened, and its length is given.
_LONGEST_VALUE = 80
_RAISED = "P0001"
# active_sql_transaction, and the error of a procedure that commits.
_NOT_INSIDE = ("25001", "2D000")
_ONE_TRANSACTION = "The whole cell is one transaction: execute this in an ordinary cell."


@dataclass(frozen=True)
class Rejection:
    """Why the database refused a statement, or COMMIT. row: which row it was about, and what would have changed."""

    reason: str
    table: str | None = None
    trigger: str | None = None
    row: str | None = None

    def reason_with_row(self) -> str:
        """Return the reason, and the row if it is known."""
        return f"{self.reason}; {self.row}" if self.row else self.reason


def rejection(error: BaseException, catalog: TriggerCatalog | None, table: str | None = None) -> Rejection:
    """Return what the database said when it refused, and which trigger made it do so.

    table: the table of the statement, used if the error names none.
    """
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    diag = cause.diag if isinstance(cause, psycopg.Error) else None
    if diag is None or not (said := diag.message_primary):
        return Rejection(str(error).strip().partition("\n")[0], table)
    hint = diag.message_hint or (_ONE_TRANSACTION if diag.sqlstate in _NOT_INSIDE else None)
    message = said.partition("\n")[0]
    table = diag.table_name or table
    return Rejection(
        reason=f"{message} ({hint})" if hint else message,
        table=table,
        trigger=_deciding_trigger(diag, catalog, table),
        row=_row_in(diag.message_detail or ""),
    )


def _row_in(detail: str) -> str | None:
    """Return the row that a ready-made trigger names in the detail of its error, None for any other detail."""
    try:
        found = json.loads(detail)
        key, old, new = found["key"] or {}, found["old"] or {}, found["new"] or {}
    except (ValueError, TypeError, KeyError):
        return None
    named = ", ".join(f"{name} {value_in_line(value)}" for name, value in key.items() if value is not None)
    changes = ", ".join(
        f"{name}: {value_in_line(value)} → {value_in_line(new[name])}" for name, value in old.items() if name in new
    )
    if changes:
        return f"row {named}: {changes}" if named else f"row: {changes}"
    return f"row {named}" if named else None


def _deciding_trigger(diag: Diagnostic, catalog: TriggerCatalog | None, table: str | None) -> str | None:
    if diag.sqlstate == _RAISED:
        # pgmagic's triggers name themselves as the constraint.
        with suppress(DeclarationError):
            split_uri(diag.constraint_name or "")
            return diag.constraint_name
    trigger = catalog.trigger_of_context(diag.context, table) if catalog else None
    return trigger.uri if trigger else None


def value_in_line(value: object) -> str:
    """Return a value as JSON, shortened to what fits into a line."""
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _LONGEST_VALUE:
        return text
    return f"{text[:_LONGEST_VALUE]}… ({len(text):,} characters)"
