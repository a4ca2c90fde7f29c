"""What a `%%pgsql` cell does: its text goes to the server as it is, and the last result set comes back as a frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.db import DEFAULT_DB_ALIAS, connections

from pgmagic.watch.script import CommandResult, run_script
from pgmagic.watch.sql_frames import CommandFrame, CommandRow, SqlFrame, command_frame, sql_frame


def run_sql(source: str, using: str = DEFAULT_DB_ALIAS) -> SqlFrame | CommandFrame:
    """Execute a cell of SQL, all of it or nothing; return the last result set, or a row for each command.

    Notes of the frame: the other statements, and the server's messages.

    Raises:
        CellError: Postgres refused a statement; the message holds its place in the cell.
    """
    results, messages = run_script(connections[using], source)
    last = max((number for number, result in enumerate(results) if result.columns is not None), default=None)
    if last is None:
        return command_frame(map(_command, results), notes=messages)
    shown = results[last]
    columns = [(column.name, column.kind, column.values) for column in shown.columns or ()]
    others = [result for number, result in enumerate(results) if number != last]
    return sql_frame(columns, shown.rows or 0, notes=[*_others(others), *messages])


def _command(result: CommandResult) -> CommandRow:
    words = result.tag.split()
    # INSERT has an oid before its number of rows, which is 0 ever since oids are gone.
    verb = " ".join(word for word in words if not word.isdecimal())
    counted = any(word.isdecimal() for word in words)
    return CommandRow(command=verb, rows=result.rows if counted else None)


def _others(results: Sequence[CommandResult]) -> Iterator[str]:
    tags = [_sentence(result) for result in results if result.tag]
    if tags:
        yield f"Also executed: {', '.join(tags)}."
    if any(result.columns is not None for result in results):
        yield "Of several result sets, the last is shown."


def _sentence(result: CommandResult) -> str:
    command = _command(result)
    if command.rows is None:
        return command.command
    return f"{command.command} of {command.rows:,} row{'' if command.rows == 1 else 's'}"
