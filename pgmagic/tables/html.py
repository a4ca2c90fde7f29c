"""Frames as HTML that cannot be unsafe: text becomes markup only by being escaped, in `escaped`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from html import escape
from typing import NewType

import pandas as pd

from pgmagic.tables.grid import LIMIT, Cell, Column, Row, Table, describe
from pgmagic.tables.style import CSS

Markup = NewType("Markup", str)
"""Text that is HTML already. mypy rejects plain text where markup is expected."""

LONGEST = 240
"""Values with more characters are folded."""

MOST_LINES = 12
"""Values with more lines are folded."""

_START = 90
# A text with more characters than _SHORT may be wrapped; an unbroken run longer than _SOLID may be wrapped anywhere.
_SHORT, _SOLID = 24, 36

# A place where a line may be broken; it is not part of the text, and is not copied with it.
_BREAK = Markup("<wbr>")

# Where URIs, paths and calls are best broken: after a sign that opens what follows, or before an attribute.
_BREAKS = re.compile(r"(?<=[:/(,])(?=[^\s/])|(?<=[\w)])(?=\.[A-Za-z_])")

_SEVERITY = re.compile(r"([A-Z]+):(?=\s)")


def escaped(content: str) -> Markup:
    """Return any text as markup."""
    return Markup(escape(content, quote=True))


def element(tag: str, *content: Markup, **attributes: str | None) -> Markup:
    """Return an element with its content and attributes; an attribute of None is left out.

    Python's keywords end in an underscore (`class_`); other underscores become hyphens (`aria_label`).
    """
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(value, quote=True)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{tag}{written}>{joined(content)}</{tag}>")


def joined(parts: Iterable[Markup], between: Markup = Markup("")) -> Markup:
    """Return the parts one after the other."""
    return Markup(between.join(parts))


def in_style(*content: Markup) -> Markup:
    """Return `content` inside the element that carries pgmagic's style sheet (which is ours and holds no `<`)."""
    return element("div", Markup(f"<style>{CSS}</style>"), *content, class_="pgm")


def html(frame: pd.DataFrame, limit: int = LIMIT) -> str:
    """Return `frame` as HTML with its style: at most `limit` of its rows, and how many there are.

    A result frame is shown with its caption, its notes and the lines attached to its rows; any other DataFrame with
    its index. A long value is folded under its beginning, and opens to its full text.
    """
    table = describe(frame, limit)
    parts = []
    if table.caption:
        parts.append(element("div", element("b", escaped(table.caption)), class_="pgm-caption"))
    parts.append(
        element(
            "div", _table(table), class_="pgm-scroll", role="region", tabindex="0", aria_label=table.caption or "Table"
        )
    )
    foot = [escaped(sentence) for sentence in (table.size, *table.notes) if sentence is not None]
    foot += [_line(line) for line in table.lines]
    if foot:
        parts.append(element("div", *(element("p", line, dir="auto") for line in foot), class_="pgm-foot"))
    return in_style(*parts)


def _table(table: Table) -> Markup:
    headings = [
        element("th", escaped(column.name), scope="col", class_="pgm-right" if column.align == "right" else None)
        for column in table.columns
    ]
    rows = [part for row in table.head for part in _row(row, table.columns)]
    if table.gap:
        gap = element("td", escaped(table.gap), colspan=str(len(table.columns)))
        rows.append(element("tr", gap, class_="pgm-gap"))
    rows += [part for row in table.tail for part in _row(row, table.columns)]
    heading = element("thead", element("tr", *headings))
    return element("table", heading, element("tbody", *rows), class_="pgm-table")


def _row(row: Row, columns: tuple[Column, ...]) -> Iterator[Markup]:
    shown = []
    for cell, column in zip(row.cells, columns, strict=True):
        # Text of a right-to-left script starts on its own side, and never reverses its neighbours.
        direction = None if column.align == "right" else "auto"
        classes = " ".join(_traits(cell, column)) or None
        shown.append(element("td", _folded(cell), class_=classes, dir=direction))
    yield element("tr", *shown)
    for line in row.lines:
        content = element("td", _line(line), colspan=str(len(columns)), dir="auto")
        yield element("tr", content, class_="pgm-under")


def _line(line: str) -> Markup:
    """Return an attached line, with the severity that the server gave it set apart."""
    severity = _SEVERITY.match(line)
    if severity is None:
        return escaped(f"↳ {line}")
    marked = element("span", escaped(severity.group()), class_="pgm-severity")
    return joined([escaped("↳ "), marked, escaped(line[severity.end() :])])


def _traits(cell: Cell, column: Column) -> Iterator[str]:
    """Yield the classes of a cell that decide how it is aligned and wrapped."""
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
    """Return whether a text is so long, or laid out in such a way, that its width must be controlled."""
    if "\n" in content:
        return max(map(len, content.split("\n"))) > _SOLID
    if "  " in content or "\t" in content:
        return True
    return len(content) > _SOLID or _SHORT < len(content) > _longest_run(content)


def _longest_run(content: str) -> int:
    """Return the length of the longest part without a good place for a line break."""
    return max(map(len, _BREAKS.sub(" ", content).split()), default=0)


def _folded(cell: Cell) -> Markup:
    """Return the content of a cell; a long one is folded under its beginning."""
    if len(cell.text) <= LONGEST and cell.text.count("\n") < MOST_LINES:
        return _content(cell)
    start = cell.text.strip().partition("\n")[0][:_START]
    summary = element(
        "summary",
        element("span", _content(Cell(f"{start}… ", cell.look, cell.sign, cell.tone)), class_="pgm-start"),
        element("span", escaped(f"{len(cell.text):,} characters"), class_="pgm-more"),
    )
    return element("details", summary, _content(cell))


def _content(cell: Cell) -> Markup:
    shown = _breakable(cell.text)
    match cell.look:
        case "code" if "\n" in cell.text:
            return element("pre", element("code", shown))  # keeps its lines even without the style
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
            return joined([_pair(key, value) for key, value in cell.pairs], escaped(" "))
        case "time":
            return escaped(cell.text)
        case _:
            return shown


def _breakable(content: str) -> Markup:
    if len(content) <= _SHORT:
        return escaped(content)
    return joined(map(escaped, _BREAKS.split(content)), _BREAK)


def _sign(cell: Cell) -> Iterator[Markup]:
    if cell.sign:
        yield element("span", escaped(cell.sign), class_="pgm-sign")
        yield escaped(" ")


def _pair(key: str, value: str) -> Markup:
    name = element("span", escaped(f"{key}:"), class_="pgm-key")
    return element("span", name, escaped(" "), element("bdi", _breakable(value)), class_="pgm-pair")
