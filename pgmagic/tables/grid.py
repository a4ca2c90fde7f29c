"""The description of a table: everything that is shown of a frame, before it becomes markup or text."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from pgmagic.tables.formatting import Cell, cells, plain, visible
from pgmagic.tables.frame import LINE, ResultFrame, Role

LIMIT = 60
"""How many rows are shown, unless it is said otherwise."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading and the side that its values stand on."""

    name: str
    align: Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row, and the lines that stand under it."""

    cells: tuple[Cell, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """What is shown of a frame: `head`, then `hidden` rows that are only counted, then `tail`.

    `lines` are attached lines whose row is not known any more; `notes` stand under the table.
    """

    caption: str | None
    columns: tuple[Column, ...]
    head: tuple[Row, ...]
    tail: tuple[Row, ...]
    total: int
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def hidden(self) -> int:
        """How many rows between head and tail are not shown."""
        return self.total - len(self.head) - len(self.tail)

    @property
    def size(self) -> str | None:
        """A few words on how much is shown, where it is not everything."""
        if self.hidden:
            return f"{self.total - self.hidden:,} of {_rows_of(self.total)}"
        return None if self.total else "no rows"

    @property
    def gap(self) -> str | None:
        """The words in place of the hidden rows, where there are some."""
        return f"⋮ {_rows_of(self.hidden)} not shown ⋮" if self.hidden else None


def _rows_of(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def describe(frame: pd.DataFrame, limit: int = LIMIT) -> Table:
    """Return what is shown of `frame`, at most `limit` of its rows: the first half of them and the last.

    Raises:
        ValueError: `limit` is negative.
    """
    if limit < 0:
        raise ValueError(f"A table cannot show {limit} rows; give a limit of 0 or more.")
    total = len(frame)
    first = total if total <= limit else (limit + 1) // 2
    last = 0 if total <= limit else limit // 2
    part = frame.iloc[[*range(first), *range(total - last, total)]]
    index = [] if _only_counts(frame) else _index_columns(part)
    columns = [*index, *_value_columns(part)]
    rows = _rows(part, [shown for _, shown in columns])
    words = frame if isinstance(frame, ResultFrame) else ResultFrame()
    return Table(
        caption=None if words.caption is None else visible(words.caption),
        columns=tuple(column for column, _ in columns),
        head=rows[:first],
        tail=rows[first:],
        total=total,
        lines=tuple(map(visible, words.loose_lines())),
        notes=tuple(map(visible, words.notes)),
    )


def _rows(part: pd.DataFrame, columns: list[list[Cell]]) -> tuple[Row, ...]:
    def lines(label: Hashable) -> tuple[str, ...]:
        return tuple(map(visible, part.lines_of(label))) if isinstance(part, ResultFrame) else ()

    return tuple(
        Row(tuple(column[position] for column in columns), lines(label))
        for position, label in enumerate(part.index)
    )


def _value_columns(part: pd.DataFrame) -> list[tuple[Column, list[Cell]]]:
    roles = {name: part.role_of(name) for name in part.columns} if isinstance(part, ResultFrame) else {}
    # By position, since nothing keeps two columns of a DataFrame from having one name.
    return [
        _column(_heading(name), part.iloc[:, position], roles.get(name, "text"))
        for position, name in enumerate(part.columns)
    ]


def _index_columns(part: pd.DataFrame) -> list[tuple[Column, list[Cell]]]:
    levels = [part.index.get_level_values(level) for level in range(part.index.nlevels)]
    return [
        _column("" if level.name is None else _heading(level.name), level.to_series(), "text")
        for level in levels
    ]


def _only_counts(frame: pd.DataFrame) -> bool:
    """Return whether the index says nothing but where a row stands or, in a result, where it stood."""
    index = frame.index
    if isinstance(frame, ResultFrame):
        return index.name == LINE or (index.name is None and pd.api.types.is_integer_dtype(index.dtype))
    return isinstance(index, pd.RangeIndex) and index.name is None and index.equals(pd.RangeIndex(len(index)))


def _column(name: str, values: pd.Series[Any], role: Role) -> tuple[Column, list[Cell]]:
    shown = cells(values, role)
    looks = {cell.look for cell in shown} - {"missing", "null"}
    numeric = looks == {"number"} or (not looks and pd.api.types.is_numeric_dtype(values.dtype))
    return Column(name, "right" if numeric else "left"), shown


def _heading(name: Hashable) -> str:
    return " · ".join(plain(part) for part in name if part != "") if isinstance(name, tuple) else plain(name)
