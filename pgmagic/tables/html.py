"""Frames as HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pandas as pd

from pgmagic.tables.formatting import Cell
from pgmagic.tables.grid import LIMIT, Column, Row, Table, describe
from pgmagic.tables.markup import BREAK, Markup, element, joined, style, text
from pgmagic.tables.style import CSS

LONGEST = 240
"""Values with more characters are folded."""

MOST_LINES = 12
"""Values with more lines are folded."""

_START = 90
# A text of more characters may be wrapped, and an unbroken run of more may be wrapped anywhere.
_SHORT, _SOLID = 24, 36

# Where URIs, paths and calls are best broken: after a sign that opens what follows, or before an attribute.
_BREAKS = re.compile(r"(?<=[:/(,])(?=[^\s/])|(?<=[\w)])(?=\.[A-Za-z_])")

_SEVERITY = re.compile(r"([A-Z]+):(?=\s)")


def html(frame: pd.DataFrame, limit: int = LIMIT) -> str:
    """Return `frame` as HTML with its style: at most `limit` of its rows, and how many there are.

    A result frame comes with its caption, its notes and the lines attached to its rows; any other DataFrame comes
    with its index. A long value is folded under its beginning, and complete in there.
    """
    return markup(describe(frame, limit))


def markup(table: Table) -> Markup:
    """Return a described table as HTML with its style."""
    scroll = element(
        "div",
        _table(table),
        class_="pgm-scroll",
        role="region",
        tabindex="0",
        aria_label=table.caption or "Table",
    )
    return element("div", style(CSS), *_caption(table), scroll, *_foot(table), class_="pgm")


def _caption(table: Table) -> Iterator[Markup]:
    if table.caption:
        yield element("div", element("b", text(table.caption)), class_="pgm-caption")


def _foot(table: Table) -> Iterator[Markup]:
    said = [*([table.size] if table.size else []), *table.notes]
    if said or table.lines:
        sentences = [element("p", text(sentence), dir="auto") for sentence in said]
        lines = [element("p", *_line(line), dir="auto") for line in table.lines]
        yield element("div", *sentences, *lines, class_="pgm-foot")


def _table(table: Table) -> Markup:
    heading = element("tr", *(_heading(column) for column in table.columns))
    width = str(len(table.columns))
    rows = [part for row in table.head for part in _row(row, table.columns)]
    if table.gap:
        rows.append(element("tr", element("td", text(table.gap), colspan=width), class_="pgm-gap"))
    rows += [part for row in table.tail for part in _row(row, table.columns)]
    return element("table", element("thead", heading), element("tbody", *rows), class_="pgm-table")


def _heading(column: Column) -> Markup:
    return element(
        "th", text(column.name), scope="col", class_="pgm-right" if column.align == "right" else None
    )


def _row(row: Row, columns: tuple[Column, ...]) -> Iterator[Markup]:
    yield element("tr", *(_cell(cell, column) for cell, column in zip(row.cells, columns, strict=True)))
    for line in row.lines:
        yield element(
            "tr", element("td", *_line(line), colspan=str(len(columns)), dir="auto"), class_="pgm-under"
        )


def _line(line: str) -> Iterator[Markup]:
    """Yield an attached line; the severity that the server gave it stands out."""
    yield text("↳ ")
    severity = _SEVERITY.match(line)
    if severity:
        yield element("span", text(severity.group()), class_="pgm-severity")
    yield text(line[severity.end() if severity else 0 :])


def _cell(cell: Cell, column: Column) -> Markup:
    # Text of a right-to-left script starts on its own side, and never turns its neighbours round.
    direction = None if column.align == "right" else "auto"
    return element("td", _folded(cell), class_=" ".join(_traits(cell, column)) or None, dir=direction)


def _traits(cell: Cell, column: Column) -> Iterator[str]:
    if column.align == "right":
        yield "pgm-right"
    elif cell.look == "time":
        yield "pgm-time"
    elif _may_wrap(cell.text):
        yield "pgm-long"
        if cell.look in ("code", "pairs"):
            yield "pgm-roomy"
        if _longest_run(cell.text) > _SOLID:
            yield "pgm-solid"


def _may_wrap(content: str) -> bool:
    """Return whether a text is so long, or so laid out, that its lines need a say in how wide they are."""
    if "\n" in content:
        return max(map(len, content.split("\n"))) > _SOLID
    if "  " in content or "\t" in content:
        return True
    return len(content) > _SOLID or _SHORT < len(content) > _longest_run(content)


def _longest_run(content: str) -> int:
    """Return the length of the longest part that holds no good place for a break."""
    return max(map(len, _BREAKS.sub(" ", content).split()), default=0)


def _folded(cell: Cell) -> Markup:
    if len(cell.text) <= LONGEST and cell.text.count("\n") < MOST_LINES:
        return _content(cell)
    start = cell.text.strip().partition("\n")[0][:_START]
    sizes = f"{len(cell.text):,} characters"
    summary = element(
        "summary",
        element("span", _content(Cell(f"{start}… ", cell.look, cell.sign, cell.tone)), class_="pgm-start"),
        element("span", text(sizes), class_="pgm-more"),
    )
    return element("details", summary, _content(cell))


def _content(cell: Cell) -> Markup:
    shown = _breakable(cell.text)
    match cell.look:
        case "code" if "\n" in cell.text:
            return element("pre", element("code", shown))  # keeps its lines where the style is stripped, too
        case "code":
            return element("code", shown)
        case "word":
            return element("span", *_sign(cell), shown, class_=f"pgm-word pgm-{cell.tone}")
        case "before":
            return element("del", *_sign(cell), shown)
        case "after":
            return element("ins", *_sign(cell), shown)
        case "null":
            return element("span", *_sign(cell), shown, class_="pgm-null")
        case "missing":
            return element("span", shown, class_="pgm-missing")
        case "pairs" if cell.pairs:
            return joined([_pair(key, value) for key, value in cell.pairs], text(" "))
        case "time":
            return text(cell.text)
        case _:
            return shown


def _breakable(content: str) -> Markup:
    if len(content) <= _SHORT:
        return text(content)
    return joined(map(text, _BREAKS.split(content)), BREAK)


def _sign(cell: Cell) -> Iterator[Markup]:
    if cell.sign:
        yield element("span", text(cell.sign), class_="pgm-sign")
        yield text(" ")


def _pair(key: str, value: str) -> Markup:
    return element(
        "span",
        element("span", text(f"{key}:"), class_="pgm-key"),
        text(" "),
        element("bdi", _breakable(value)),
        class_="pgm-pair",
    )
