"""Frames as aligned plain text, with the same facts as the HTML."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import pandas as pd
from rich.cells import cell_len, chop_cells

from pgmagic.tables.grid import LIMIT, Cell, Column, Row, describe

_BETWEEN = "  "
_CONTINUED = "↪ "
_NARROWEST = 14


def text(frame: pd.DataFrame, limit: int = LIMIT, width: int | None = None) -> str:
    """Return `frame` as lines of aligned text: at most `limit` of its rows, and how many there are.

    No value is cut. If a table is wider than `width` cells of a terminal, its widest columns are wrapped, and each
    continued line begins with ↪; the table stays wider if columns would become narrower than a few words. None sets no
    limit.
    """
    table = describe(frame, limit)
    widths = _widths(table.columns, [*table.head, *table.tail], width)
    lines = [
        *([table.caption] if table.caption else []),
        _BETWEEN.join(_aligned(column.name, column, w) for column, w in zip(table.columns, widths, strict=True)),
        _BETWEEN.join("─" * w for w in widths),
    ]
    for row in table.head:
        lines += _row(row, table.columns, widths)
    if table.gap:
        lines.append(table.gap)
    for row in table.tail:
        lines += _row(row, table.columns, widths)
    if table.size:
        lines.append(table.size)
    lines += table.notes
    for line in table.lines:
        lines += _attached(line)
    return "\n".join(line.rstrip() for line in lines)


def _row(row: Row, columns: Sequence[Column], widths: Sequence[int]) -> Iterator[str]:
    wrapped = [
        [_aligned(line, column, w) for line in _wrapped(_content(cell), w)]
        for cell, column, w in zip(row.cells, columns, widths, strict=True)
    ]
    blanks = [" " * w for w in widths]
    for parts in zip_longest(*wrapped):
        yield _BETWEEN.join(blank if part is None else part for part, blank in zip(parts, blanks, strict=True))
    for line in row.lines:
        yield from _attached(line)


def _attached(line: str) -> Iterator[str]:
    first, *rest = line.expandtabs(4).split("\n")
    yield f"  ↳ {first}"
    for more in rest:
        yield f"    {more}"


def _content(cell: Cell) -> str:
    return (f"{cell.sign} {cell.text}" if cell.sign else cell.text).expandtabs(4)


def _widths(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> list[int]:
    """Return how many cells of the terminal each column gets."""
    natural = [
        max(map(cell_len, [column.name, *(line for row in rows for line in _content(row.cells[i]).split("\n"))]))
        for i, column in enumerate(columns)
    ]
    if width is None:
        return natural
    least = []
    for i, (column, wide) in enumerate(zip(columns, natural, strict=True)):
        # Numbers and verdicts are not wrapped, and no heading is broken.
        whole = column.align == "right" or all(row.cells[i].look in ("word", "time", "missing") for row in rows)
        least.append(wide if whole else min(wide, max(_NARROWEST, cell_len(column.name))))

    def bounded(bound: int) -> list[int]:
        return [max(low, min(wide, bound)) for low, wide in zip(least, natural, strict=True)]

    room = width - len(_BETWEEN) * (len(columns) - 1)
    bounds = range(max(natural, default=0) + 1)
    return bounded(bisect_right(bounds, room, key=lambda bound: sum(bounded(bound))) - 1)


def _wrapped(content: str, width: int) -> Iterator[str]:
    """Yield the lines of `content` in parts of at most `width` cells, broken after a space or a sign if possible."""
    for line in content.split("\n"):
        rest, mark, room = line, "", width
        while cell_len(rest) > room:
            part = chop_cells(rest[: 4 * room], room)[0]
            ends = [max(map(part.rfind, breaks)) + 1 for breaks in (" ", ",;:/)", "(.-_")]
            end = next((end for end in ends if end > len(part) // 2), len(part))
            yield mark + rest[:end]
            rest, mark, room = rest[end:], _CONTINUED, width - len(_CONTINUED)
        yield mark + rest


def _aligned(content: str, column: Column, width: int) -> str:
    blank = " " * (width - cell_len(content))
    return blank + content if column.align == "right" else content + blank
