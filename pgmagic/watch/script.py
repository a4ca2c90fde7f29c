"""A text of SQL as a cell holds it: sent unchanged, several statements at once, and split by the server.

The simple query protocol makes one transaction of the text, unless the text itself says BEGIN or COMMIT; a statement
that may not run inside a transaction, such as VACUUM, runs if it is alone. Nothing is expanded: no parameter, no `%`.

Source: https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-MULTI-STATEMENT
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import adapt, errors, generators
from psycopg.pq import ConnStatus, ExecStatus, Format, TransactionStatus

from pgmagic.db.driver import DriverConnection, driver_connection
from pgmagic.db.runtime.session_settings import ServerSession
from pgmagic.errors import CellError, DatabaseUnavailableError, PgMagicError
from pgmagic.tables.frame import Kind
from pgmagic.watch.autocommit import LOST, forget_settings
from pgmagic.watch.messages import Messages
from pgmagic.watch.sql_frames import CommandFrame, CommandRow, ResultColumn, SqlFrame, command_frame, sql_frame

if TYPE_CHECKING:
    from psycopg.abc import Transformer
    from psycopg.pq.abc import PGresult

_KINDS: dict[str, Kind] = {
    "int2": "integer", "int4": "integer", "int8": "integer", "oid": "integer", "bool": "boolean",
    "float4": "float", "float8": "float", "numeric": "decimal", "text": "text", "varchar": "text",
    "bpchar": "text", "name": "text", "char": "text", "timestamp": "timestamp", "timestamptz": "timestamp",
    "date": "date", "json": "json", "jsonb": "json", "uuid": "uuid",
}  # fmt: skip

# In the text of an interval.
_MONTHS = re.compile(rb"mon|year")

# The SQLSTATE of statements that may not share a transaction with others.
_ACTIVE_TRANSACTION = errors.ActiveSqlTransaction.sqlstate
_COPYING = (ExecStatus.COPY_IN, ExecStatus.COPY_OUT, ExecStatus.COPY_BOTH)
_SAVEPOINT = b"SAVEPOINT pgmagic_script"
_RELEASE = b"RELEASE SAVEPOINT pgmagic_script"
_UNDO = b"ROLLBACK TO SAVEPOINT pgmagic_script; RELEASE SAVEPOINT pgmagic_script"


def run_script(connection: BaseDatabaseWrapper, text: str) -> SqlFrame | CommandFrame:
    """Execute a text of SQL; return the last result set, or a row for each statement if none returned a result set.

    All of it is kept or nothing, unless the text itself says COMMIT. Inside a transaction that is already open, it runs
    in a savepoint. The frame's notes: the other statements, and the server's messages.

    Raises:
        CellError: if Postgres refuses a statement, or the text does what a cell cannot do; names the place.
        DatabaseUnavailableError: if the connection is lost.
    """
    commands, messages = _execute_script(connection, text)
    last = max((number for number, command in enumerate(commands) if command.columns is not None), default=None)
    if last is None:
        return command_frame(commands, notes=messages)
    shown = commands[last]
    notes = [*_other_commands([*commands[:last], *commands[last + 1 :]]), *messages]
    return sql_frame(shown.columns or (), shown.length, notes=notes)


def _other_commands(commands: Sequence[CommandRow]) -> Iterator[str]:
    """Yield sentences about the statements of which nothing is shown."""
    tags = [
        command.command
        if command.rows is None
        else f"{command.command} of {command.rows:,} row{'' if command.rows == 1 else 's'}"
        for command in commands
        if command.command
    ]
    if tags:
        yield f"Also executed: {', '.join(tags)}."
    if any(command.columns is not None for command in commands):
        yield "Of several result sets, the last is shown."


def _execute_script(connection: BaseDatabaseWrapper, text: str) -> tuple[list[CommandRow], list[str]]:
    """Return what each statement answered, and the server's messages."""
    if "\0" in text:
        raise CellError("The cell holds a NUL character, which SQL cannot hold.")
    connection = connections[connection.alias]
    connection.ensure_connection()
    raw = driver_connection(connection)
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
    return [_command(result) for result in results], messages.take()


def _execute(raw: DriverConnection, text: str) -> list[PGresult]:
    with raw.lock:
        raw.pgconn.send_query(text.encode(raw.info.encoding))
        try:
            results: list[PGresult] = raw.wait(generators.execute(raw.pgconn))
        except psycopg.OperationalError:
            raise DatabaseUnavailableError(LOST) from None
        if results and results[-1].status in _COPYING:
            _leave_copy(raw, ExecStatus(results[-1].status))
    return results


def _leave_copy(raw: DriverConnection, status: ExecStatus) -> None:
    """End a COPY, and read the rest of the answer."""
    if status == ExecStatus.COPY_IN:
        raw.pgconn.put_copy_end(b"a cell has no data to copy")
    else:
        raw.pgconn.get_cancel().cancel()
        while raw.pgconn.get_copy_data(0)[0] > 0:
            pass
    while raw.pgconn.get_result() is not None:
        pass


def _refusal(raw: DriverConnection, results: Sequence[PGresult], text: str, *, inside: bool) -> PgMagicError | None:
    """Return why the cell failed, None if it did not."""
    if raw.pgconn.status != ConnStatus.OK:
        return DatabaseUnavailableError(LOST)
    last = results[-1] if results else None
    if last is None or all(result.status == ExecStatus.EMPTY_QUERY for result in results):
        return CellError("The cell holds no SQL statement.")
    if last.status in _COPYING:
        return CellError(
            "COPY exchanges data with a client program, which a cell is not: use `with connection.cursor() as cursor: "
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


def _undo(raw: DriverConnection, *, inside: bool) -> None:
    """Leave the transaction as it was before the cell."""
    if raw.closed or raw.pgconn.status != ConnStatus.OK:
        return
    status = raw.info.transaction_status
    if inside and status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        raw.pgconn.exec_(_UNDO)
    elif not inside and status != TransactionStatus.IDLE:
        raw.pgconn.exec_(b"ROLLBACK")


def _explained(raw: DriverConnection, result: PGresult, text: str, number: int) -> str:
    """Return an error as a sentence, with its place in the cell and that line of it."""
    diag = errors.error_from_result(result, encoding=raw.info.encoding).diag
    place, excerpt = "", ""
    if diag.statement_position:
        before = text[: int(diag.statement_position) - 1]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        source = text.split("\n")[line - 1].rstrip("\r")
        place = f"line {line}, column {column}; "
        # Tabs stay, so that the caret stands under its character whatever their width.
        indent = "".join(character if character == "\t" else " " for character in source[: column - 1])
        excerpt = f"\n    {source}\n    {indent}^"
    elif number > 1:
        place = f"statement {number}; "
    elif diag.context:
        place = f"{diag.context.splitlines()[0]}; "
    sentence = f"Postgres says: {diag.message_primary} ({place}SQLSTATE {diag.sqlstate})"
    more = [f"{word}: {said}" for word, said in (("Detail", diag.message_detail), ("Hint", diag.message_hint)) if said]
    if diag.sqlstate == _ACTIVE_TRANSACTION:
        more.append("Hint: A cell of several statements is one transaction; give this one a cell of its own.")
    return "\n".join([sentence + excerpt, *more])


def _command(result: PGresult) -> CommandRow:
    words = (result.command_status or b"").decode().split()
    # INSERT has an oid before its number of rows, which is 0 ever since oids are gone.
    verb = " ".join(word for word in words if not word.isdecimal())
    is_counted = any(word.isdecimal() for word in words)
    if result.status != ExecStatus.TUPLES_OK:
        return CommandRow(command=verb, rows=result.command_tuples if is_counted else None)
    # psycopg's own adapters: Django's return a JSON document as text.
    transformer = adapt.Transformer()
    transformer.set_pgresult(result)
    length = result.ntuples
    columns = tuple(_column(result, number, transformer) for number in range(result.nfields))
    return CommandRow(command=verb, rows=length if is_counted else None, columns=columns, length=length)


def _column(result: PGresult, number: int, transformer: Transformer) -> ResultColumn:
    oid = result.ftype(number)
    info = psycopg.adapters.types.get(oid)
    texts = [result.get_value(row, number) for row in range(result.ntuples)]
    name = (result.fname(number) or b"").decode()
    values = _python_values(texts, transformer, oid, Format(result.fformat(number)))
    if values is None:
        return ResultColumn(name, "text", [None if text is None else bytes(text).decode() for text in texts])
    # The type of an array is found under the name of its elements, and has another oid.
    kind = _KINDS.get(info.name, "other") if info is not None and info.oid == oid else "other"
    if kind == "other" and all(isinstance(value, str | None) for value in values):
        kind = "text"
    return ResultColumn(name, kind, values)


def _python_values(
    texts: Sequence[bytes | None], transformer: Transformer, oid: int, form: Format
) -> list[object] | None:
    """Return values as Python holds them, times in UTC; None if Python has no value for one, such as infinity."""
    info = psycopg.adapters.types.get(oid)
    if info is not None and info.name == "interval" and any(map(_MONTHS.search, filter(None, texts))):
        # A `timedelta` has no months or years.
        return None
    load = transformer.get_loader(oid, form).load
    try:
        values = [None if text is None else load(text) for text in texts]
    except (psycopg.DataError, NotImplementedError):
        return None
    return [value.astimezone(UTC) if isinstance(value, datetime) and value.tzinfo else value for value in values]
