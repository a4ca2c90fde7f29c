"""What raw SQL answered: a result set, or the command tags of statements without one."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pandas as pd

from pgmagic.tables.faithful import Kind, faithful, kept
from pgmagic.tables.frame import LINE, ResultFrame, Role

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence


class SqlFrame(ResultFrame):
    """One row for each row of a result set, in the order of the server.

    Columns: those of the result set, in its order, under its names - two may have the same -, each with the dtype that
    `faithful` gives its kind.
    """

    columns_contract = MappingProxyType({})

    def role_of(self, column: Hashable) -> Role:
        """Return the role of every column, whatever it is called: its values are the database's."""
        return "value"


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandRow:
    """A statement's command tag and number of rows."""

    command: str
    rows: int | None = None
    lines: Sequence[str] = ()


class CommandFrame(ResultFrame):
    """One row for each statement, where none of them returned rows.

    Columns:
        command (string): the command tag, such as `CREATE TABLE` or `INSERT`.
        rows (Int64): how many rows it wrote; missing where Postgres does not say.
    """

    columns_contract = MappingProxyType({"command": "string", "rows": "Int64"})
    columns_roles = MappingProxyType({"command": "code", "rows": "count"})


def sql_frame(
    columns: Sequence[tuple[str, Kind, Sequence[Any]]],
    length: int,
    *,
    caption: str | None = None,
    notes: Iterable[str] = (),
) -> SqlFrame:
    """Return a result set - name, kind and values of each column, and how many rows - as a `SqlFrame`."""
    index = pd.RangeIndex(length, name=LINE)
    # By position, since two columns of a result set may have one name.
    arrays = {
        place: kept(faithful(values, kind)).set_axis(index) for place, (_, kind, values) in enumerate(columns)
    }
    frame = SqlFrame(arrays, index=index, caption=caption, notes=notes)
    frame.columns = pd.Index([name for name, _, _ in columns], dtype=object)
    return frame


def command_frame(
    rows: Iterable[CommandRow], *, caption: str | None = None, notes: Iterable[str] = ()
) -> CommandFrame:
    """Return the statements as a `CommandFrame`, in their order."""
    return CommandFrame.from_rows(rows, caption=caption, notes=notes)
