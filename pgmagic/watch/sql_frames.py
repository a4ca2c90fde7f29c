"""What raw SQL answered: a result set, or the command tags of statements without one."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from pgmagic.tables.frame import LINE, Kind, ResultFrame, Role, faithful, kept

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence


class SqlFrame(ResultFrame):
    """One row for each row of a result set, in the order of the server.

    Columns: those of the result set, in its order and under its names; two columns may have the same name. The dtype
    follows from the column's type in Postgres: Int64, boolean, Float64, string, datetime64 in UTC for times with a time
    zone and without a zone for others, datetime64[s] for dates, object for decimals, JSON, UUIDs and everything else.
    NULL is missing data.

    Index: `line`, from 0. `notes`: the other statements of the cell, and the server's messages.
    """

    columns_contract = MappingProxyType({})

    def role_of(self, column: Hashable) -> Role:
        """Return the role of every column, whatever it is called: its values are the database's."""
        return "value"


@dataclass(frozen=True)
class ResultColumn:
    """A column of a result set: its name, what its values are, and the values; several may have one name."""

    name: str
    kind: Kind
    values: Sequence[object]


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandRow:
    """What one statement answered; see the columns of `CommandFrame`.

    rows: the number in its command tag. columns: its result set; None if it returned none. length: of the result set.
    """

    command: str
    rows: int | None = None
    columns: tuple[ResultColumn, ...] | None = None
    length: int = 0
    lines: tuple[str, ...] = ()


class CommandFrame(ResultFrame):
    """One row for each statement, where none of them returned rows.

    Columns:
        command (string): the command tag, such as `CREATE TABLE` or `INSERT`.
        rows (Int64): how many rows it wrote; missing where Postgres does not say.

    Index: `line`, from 0. `notes`: the server's messages.
    """

    columns_contract = MappingProxyType({"command": "string", "rows": "Int64"})
    columns_roles = MappingProxyType({"command": "code", "rows": "count"})


def sql_frame(
    columns: Sequence[ResultColumn], length: int, *, caption: str | None = None, notes: Iterable[str] = ()
) -> SqlFrame:
    """Return the columns of a result set of so many rows as a `SqlFrame`."""
    index = pd.RangeIndex(length, name=LINE)
    # By position, since two columns of a result set may have one name.
    arrays = {place: kept(faithful(column.values, column.kind)).set_axis(index) for place, column in enumerate(columns)}
    frame = SqlFrame(arrays, index=index, caption=caption, notes=notes)
    frame.columns = pd.Index([column.name for column in columns], dtype=object)
    return frame


command_frame = CommandFrame.from_rows
"""Return the statements as a `CommandFrame`, in their order."""
