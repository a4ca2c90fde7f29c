"""A text of SQL as a cell holds it: sent as it is, several statements at once, and split by the server.

The simple query protocol makes of such a text one transaction, unless it says BEGIN or COMMIT itself; a statement that
may not run inside a transaction, such as VACUUM, runs where it is alone. Nothing is expanded: no parameter, no `%`.

Source: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Literal

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import errors, generators
from psycopg.adapt import Transformer
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

from pgmagic.db.runtime.session_settings import ServerSession
from pgmagic.errors import CellError, DatabaseUnavailableError, PgMagicError
from pgmagic.watch.autocommit import forget_settings
from pgmagic.watch.messages import Messages

Kind = Literal["integer", "boolean", "timestamp", "date", "text", "decimal", "float", "json", "uuid", "other"]

_KINDS: dict[str, Kind] = {
    "int2": "integer", "int4": "integer", "int8": "integer", "oid": "integer", "bool": "boolean",
    "float4": "float", "float8": "float", "numeric": "decimal", "text": "text", "varchar": "text",
    "bpchar": "text", "name": "text", "char": "text", "timestamp": "timestamp", "timestamptz": "timestamp",
    "date": "date", "json": "json", "jsonb": "json", "uuid": "uuid",
}  # fmt: skip

# What may not share a transaction with other statements is refused under this SQLSTATE.
_ACTIVE_TRANSACTION = errors.ActiveSqlTransaction.sqlstate
_COPYING = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)
_SAVEPOINT = b"SAVEPOINT pgmagic_script"
_RELEASE = b"RELEASE SAVEPOINT pgmagic_script"
_UNDO = b"ROLLBACK TO SAVEPOINT pgmagic_script; RELEASE SAVEPOINT pgmagic_script"


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result set: its name, what its values are, and these; several may have one name."""

    name: str
    kind: Kind
    values: Sequence[Any]


@dataclass(frozen=True)
class CommandResult:
    """What one statement answered: its command tag, how many rows it says, and its columns if it returned rows."""

    tag: str
    rows: int | None
    columns: tuple[ResultColumn, ...] | None = None


def run_script(connection: BaseDatabaseWrapper, text: str) -> tuple[list[CommandResult], list[str]]:
    """Execute a text of SQL; return the result of each statement, and the server's messages.

    All of it is kept, or nothing, unless the text itself says COMMIT. Inside a transaction that is open already, it
    stands in a savepoint.

    Raises:
        CellError: Postgres refused a statement, or the text does what a cell cannot do: one line, and where it was.
        DatabaseUnavailableError: the connection was lost.
    """
    if "\0" in text:
        raise CellError("The cell holds a NUL character, which SQL cannot hold.")
    connection = connections[connection.alias]
    connection.ensure_connection()
    raw: Any = connection.connection
    for wrapper in connection.execute_wrappers:
        if isinstance(wrapper, ServerSession):
            wrapper.send()
    messages = Messages()
    raw.add_notice_handler(messages)
    inside = raw.info.transaction_status != TransactionStatus.IDLE
    try:
        if inside:
            raw.pgconn.exec_(_SAVEPOINT)
        results = _execute(raw, text)
        refusal = _refusal(raw, results, text, inside=inside)
    except BaseException:
        _undo(raw, inside=inside)
        raise
    else:
        if refusal is not None:
            _undo(raw, inside=inside)
            raise refusal
        if inside:
            raw.pgconn.exec_(_RELEASE)
    finally:
        raw.remove_notice_handler(messages)
        forget_settings(connection)
    return [_result(result) for result in results], messages.take()


def _execute(raw: Any, text: str) -> list[Any]:
    with raw.lock:
        raw.pgconn.send_query(text.encode(raw.info.encoding))
        try:
            results: list[Any] = raw.wait(generators.execute(raw.pgconn))
        except psycopg.OperationalError:
            raise DatabaseUnavailableError(_LOST) from None
        if results and results[-1].status in _COPYING:
            _leave_copy(raw, results[-1].status)
    return results


_LOST = "The database connection was lost while the cell ran: nothing of it was kept."


def _leave_copy(raw: Any, status: ExecStatus) -> None:
    """End a COPY, and take what is left of the answer."""
    if status == ExecStatus.COPY_IN:
        raw.pgconn.put_copy_end(b"a cell has no data to copy")
    else:
        raw.pgconn.get_cancel().cancel()
        while raw.pgconn.get_copy_data(0)[0] > 0:
            pass
    while raw.pgconn.get_result() is not None:
        pass


def _refusal(raw: Any, results: Sequence[Any], text: str, *, inside: bool) -> PgMagicError | None:
    """Return why the cell failed, None if it did not."""
    if raw.pgconn.status != ConnStatus.OK:
        return DatabaseUnavailableError(_LOST)
    last = results[-1] if results else None
    if last is None or all(result.status == ExecStatus.EMPTY_QUERY for result in results):
        return CellError("The cell holds no SQL statement.")
    if last.status in _COPYING:
        return CellError(
            "COPY reads from, or writes to, a client that a cell is not: use `with connection.cursor() as cursor: "
            "cursor.copy(...)`, or COPY with a file on the server."
        )
    if last.status == ExecStatus.FATAL_ERROR:
        return CellError(_explained(raw, last, text, len(results)))
    status = raw.info.transaction_status
    if not inside and status != TransactionStatus.IDLE:
        return CellError(
            "The cell left a transaction open, and what it did since its BEGIN was rolled back: end it with COMMIT in "
            "the same cell, or leave out BEGIN, since a cell is one transaction anyway."
        )
    if inside and status != TransactionStatus.INTRANS:
        return CellError("The cell ended the transaction that was open before it.")
    return None


def _undo(raw: Any, *, inside: bool) -> None:
    """Leave the transaction as it was before the cell."""
    if raw.closed or raw.pgconn.status != ConnStatus.OK:
        return
    status = raw.info.transaction_status
    if inside and status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        raw.pgconn.exec_(_UNDO)
    elif not inside and status != TransactionStatus.IDLE:
        raw.pgconn.exec_(b"ROLLBACK")


def _explained(raw: Any, result: Any, text: str, number: int) -> str:
    """Return an error as a sentence, with its place in the cell and that line of it."""
    diag = errors.error_from_result(result, encoding=raw.info.encoding).diag
    place, excerpt = "", ""
    if diag.statement_position:
        line, column, source = _place(text, int(diag.statement_position))
        place = f"line {line}, column {column}; "
        # Tabs stay, so that the caret stands under its character whatever their width.
        indent = "".join(character if character == "\t" else " " for character in source[: column - 1])
        excerpt = f"\n    {source}\n    {indent}^"
    elif number > 1:
        place = f"statement {number}; "
    elif diag.context:
        place = f"{diag.context.splitlines()[0]}; "
    sentence = f"Postgres says: {diag.message_primary} ({place}SQLSTATE {diag.sqlstate})"
    more = [
        f"{word}: {said}"
        for word, said in (("Detail", diag.message_detail), ("Hint", diag.message_hint))
        if said
    ]
    if diag.sqlstate == _ACTIVE_TRANSACTION:
        more.append("Hint: A cell of several statements is one transaction; give this one a cell of its own.")
    return "\n".join([sentence + excerpt, *more])


def _place(text: str, position: int) -> tuple[int, int, str]:
    """Return line and column, both from 1, of the character at a position, from 1, and its line."""
    before = text[: position - 1]
    line = before.count("\n") + 1
    column = position - 1 - (before.rfind("\n") + 1) + 1
    return line, column, text.split("\n")[line - 1].rstrip("\r")


def _result(result: Any) -> CommandResult:
    tag = (result.command_status or b"").decode()
    rows = result.command_tuples
    if result.status != ExecStatus.TUPLES_OK:
        return CommandResult(tag, rows)
    # psycopg's own adapters: Django's take a JSON document for text.
    transformer = Transformer()
    transformer.set_pgresult(result)
    columns = tuple(_column(result, number, transformer) for number in range(result.nfields))
    return CommandResult(tag, result.ntuples, columns)


def _column(result: Any, number: int, transformer: Any) -> ResultColumn:
    oid = result.ftype(number)
    info = psycopg.adapters.types.get(oid)
    kind = _KINDS.get(info.name, "other") if info is not None and info.oid == oid else "other"
    load = transformer.get_loader(oid, result.fformat(number)).load
    texts = [result.get_value(row, number) for row in range(result.ntuples)]
    name = (result.fname(number) or b"").decode()
    try:
        values = [None if text is None else load(text) for text in texts]
    except (psycopg.DataError, NotImplementedError):
        # What Python has no value for - infinity as a date, a year before Christ - stays what Postgres wrote.
        values = None
    if values is None or (info is not None and info.name == "interval" and any(map(_has_months, texts))):
        return ResultColumn(name, "text", [None if text is None else bytes(text).decode() for text in texts])
    if kind == "timestamp":
        values = [
            value if value is None or value.tzinfo is None else value.astimezone(UTC) for value in values
        ]
    if kind == "other" and all(value is None or isinstance(value, str) for value in values):
        kind = "text"
    return ResultColumn(name, kind, values)


def _has_months(interval: bytes | None) -> bool:
    """Return whether an interval counts months or years, whose days a `timedelta` would have to make up."""
    return interval is not None and (b"mon" in interval or b"year" in interval)
