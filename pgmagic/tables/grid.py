"""What is shown of a frame, described as data: rows of cells, each with its text and its look."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, Literal

import numpy as np
import pandas as pd

from pgmagic.tables.frame import LINE, ResultFrame, Role, is_missing
from pgmagic.tables.words import Tone, sign_and_tone

LIMIT = 60
"""How many rows are shown by default."""

MISSING = "\N{EN DASH}"
NULL = "NULL"

Look = Literal["text", "number", "time", "code", "word", "pairs", "before", "after", "null", "missing"]
Precision = Literal["days", "seconds", "microseconds", "nanoseconds"]

# Characters that would draw over their neighbours or reverse them: control characters except line ends and tabs, the
# embedding and isolating marks of bidirectional text, unusual line ends, and halves of surrogate pairs.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
_NUMBERS = (int, float, Decimal, np.number)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one cell shows.

    `text` is the whole content, never cut, and safe to print; `sign` is shown before it and `tone` colours it;
    `pairs` holds the facts of a dict, whose joined form is `text`.
    """

    text: str
    look: Look = "text"
    sign: str = ""
    tone: Tone | None = None
    pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, and the side to which its values are aligned."""

    name: str
    align: Literal["left", "right"]


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row, and the lines shown under it."""

    cells: tuple[Cell, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """What is shown of a frame: `head`, then `hidden` rows that are only counted, then `tail`.

    `lines` are attached lines whose row is no longer known; `notes` are shown under the table.
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
        """How many rows are shown, if not all; None if all are."""
        if self.hidden:
            return f"{self.total - self.hidden:,} of {_rows_of(self.total)}"
        return None if self.total else "no rows"

    @property
    def gap(self) -> str | None:
        """The words in place of the hidden rows, if there are any."""
        return f"⋮ {_rows_of(self.hidden)} not shown ⋮" if self.hidden else None


Formatter = Callable[[Any], Cell]


def _rows_of(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def describe(frame: pd.DataFrame, limit: int = LIMIT) -> Table:
    """Return what is shown of `frame`: at most `limit` of its rows, half of them from its beginning, half from its end.

    Raises:
        ValueError: `limit` is negative.
    """
    if limit < 0:
        raise ValueError(f"A table cannot show {limit} rows; give a limit of 0 or more.")
    total = len(frame)
    first = total if total <= limit else (limit + 1) // 2
    last = 0 if total <= limit else limit // 2
    part = frame.iloc[[*range(first), *range(total - last, total)]]
    columns = _columns(part, with_index=not _only_counts(frame))
    result = frame if isinstance(frame, ResultFrame) else ResultFrame()
    rows = tuple(
        Row(tuple(shown[position] for _, shown in columns), tuple(map(visible, result.lines_of(label))))
        for position, label in enumerate(part.index)
    )
    return Table(
        caption=None if result.caption is None else visible(result.caption),
        columns=tuple(column for column, _ in columns),
        head=rows[:first],
        tail=rows[first:],
        total=total,
        lines=tuple(map(visible, result.loose_lines())),
        notes=tuple(map(visible, result.notes)),
    )


def _only_counts(frame: pd.DataFrame) -> bool:
    """Return whether the index only numbers the rows (of a result: as they were before it was filtered)."""
    index = frame.index
    if isinstance(frame, ResultFrame):
        return index.name == LINE or (index.name is None and pd.api.types.is_integer_dtype(index.dtype))
    return isinstance(index, pd.RangeIndex) and index.name is None and index.equals(pd.RangeIndex(len(index)))


def _columns(part: pd.DataFrame, *, with_index: bool) -> list[tuple[Column, list[Cell]]]:
    """Return the columns of `part`, and before them the levels of its index if `with_index`, with their cells."""
    found = []
    for level in range(part.index.nlevels if with_index else 0):
        labels = part.index.get_level_values(level)
        found.append(_column("" if labels.name is None else labels.name, labels.to_series(), "text"))
    # By position, because two columns of a DataFrame may have the same name.
    for position, name in enumerate(part.columns):
        role = part.role_of(name) if isinstance(part, ResultFrame) else "text"
        found.append(_column(name, part.iloc[:, position], role))
    return found


def _column(name: Hashable, values: pd.Series[Any], role: Role) -> tuple[Column, list[Cell]]:
    heading = " · ".join(plain(part) for part in name if part != "") if isinstance(name, tuple) else plain(name)
    shown = cells(values, role)
    looks = {cell.look for cell in shown} - {"missing", "null"}
    numeric = looks == {"number"} or (not looks and pd.api.types.is_numeric_dtype(values.dtype))
    return Column(heading, "right" if numeric else "left"), shown


def cells(values: pd.Series[Any], role: Role) -> list[Cell]:
    """Return the cells of a column, all in the same format, so that numbers and times line up."""
    listed = list(values.astype(object))
    absent = [is_missing(value) for value in listed] if values.dtype == object else list(values.isna())
    formatter = _formatter(role, [value for value, gone in zip(listed, absent, strict=True) if not gone])
    if role in ("before", "after"):
        return [formatter(value) for value in listed]
    empty = Cell(NULL, "null") if role == "value" else Cell(MISSING, "missing")
    return [empty if gone else formatter(value) for value, gone in zip(listed, absent, strict=True)]


def _formatter(role: Role, present: Sequence[Any]) -> Formatter:
    """Return the function that formats the values of a column; `present` are those that are not missing."""
    if role == "duration":
        return _durations(present)
    if role not in ("text", "value"):
        return _FORMATTERS[role]
    if present and all(isinstance(value, dt.datetime) for value in present):
        precision = _precision(present, least="days")
        return lambda value: Cell(_instant(value, precision), "time")
    if present and all(isinstance(value, _NUMBERS) and not isinstance(value, bool) for value in present):
        return lambda value: Cell(plain(value), "number")
    return lambda value: Cell(plain(value), "code" if isinstance(value, dict | list) else "text")


def plain(value: object) -> str:
    """Return a value as exact text, in Postgres's notation if Postgres has one of its own."""
    match value:
        case str():
            return visible(value)
        case Decimal() if value.is_finite():
            return f"{value:f}"
        case float() if not isfinite(value):
            return "NaN" if isnan(value) else f"{value}inity".replace("inf", "Inf")
        case dt.datetime():
            return _instant(value, _precision([value], least="seconds"))
        case bytes() | bytearray() | memoryview():
            return "\\x" + bytes(value).hex()
        case dict() | list():
            return visible(_json(value))
        case np.ndarray():
            return plain(value.tolist())
        case _:
            return visible(str(value))


def visible(text: str) -> str:
    r"""Return `text` with invisible characters written out, such as `\x1b`; line ends and tabs stay."""

    def written_out(match: re.Match[str]) -> str:
        code = ord(match.group())
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

    return _UNSEEN.sub(written_out, text.replace("\r\n", "\n"))


def _json(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=plain)
    except (TypeError, ValueError):  # keys that JSON does not allow, or a dict inside itself
        return str(value)


def _durations(present: Sequence[float]) -> Formatter:
    """Return a formatter of milliseconds: with two decimals if all are below 100, else with one."""
    decimals = 2 if all(value < 100 for value in present) else 1
    least = 10**-decimals

    def formatter(value: float) -> Cell:
        small = 0 < value < least
        return Cell(f"<{least}" if small else f"{value:,.{decimals}f}", "number")

    return formatter


def _word(value: object) -> Cell:
    word = ("yes" if value else "no") if isinstance(value, bool) else plain(value)
    sign, tone = sign_and_tone(word)
    return Cell(word, "word", sign, tone)


def _facts(value: object, written: Callable[[Any], str], empty: str = "") -> Cell:
    """Return the cell of a dict, each of its values as `written` returns it; any other value is shown as code."""
    if not isinstance(value, dict):
        return Cell(plain(value), "code")
    pairs = tuple((plain(key), written(item)) for key, item in value.items())
    return Cell(", ".join(f"{key}: {item}" for key, item in pairs) or empty, "pairs", pairs=pairs)


def _truth(value: object) -> str:
    match value:
        case True:
            return "✓ true"
        case False:
            return "✗ false"
        case None:
            return "∅ null"
        case _:
            return plain(value)


def _side(value: object, look: Literal["before", "after"], sign: str) -> Cell:
    text = _side_text(value)
    if value is pd.NA:
        return Cell(text, "missing")
    return Cell(text, "null" if text == NULL else look, sign)


def _side_text(value: object) -> str:
    """Return one side of a change as text that distinguishes NULL, a missing value, and any string."""
    if value is pd.NA:
        return MISSING
    if value is None or value is pd.NaT:
        return NULL
    text = plain(value)
    hidden = isinstance(value, str) and (value != value.strip() or text in ("", NULL, MISSING))
    return f"'{text}'" if hidden else text


# The roles whose values are formatted one by one, whatever else is in the column.
_FORMATTERS: Mapping[Role, Formatter] = {
    "code": lambda value: Cell(plain(value), "code"),
    "verdict": _word,
    "count": lambda value: Cell(f"{value:,}", "number"),
    "pairs": lambda value: _facts(value, lambda item: "null" if item is None else _side_text(item)),
    "changes": lambda value: _facts(value, lambda sides: " → ".join(map(_side_text, sides)), "no change"),
    "clauses": lambda value: _facts(value, _truth),
    "before": lambda value: _side(value, "before", "\N{MINUS SIGN}"),
    "after": lambda value: _side(value, "after", "+"),
}


def _precision(values: Sequence[dt.datetime], least: Precision) -> Precision:
    """Return the coarsest precision, but at least `least`, that loses no part of any value."""
    if any(getattr(value, "nanosecond", 0) for value in values):
        return "nanoseconds"
    if any(value.microsecond for value in values):
        return "microseconds"
    days = all(value.tzinfo is None and value.time() == dt.time() for value in values)
    return "days" if days and least == "days" else "seconds"


def _instant(value: dt.datetime, precision: Precision) -> str:
    if precision == "days":
        return value.date().isoformat()
    text = value.replace(tzinfo=None).isoformat(sep=" ", timespec=precision)
    offset = value.utcoffset()
    if offset is None:
        return text
    return f"{text} UTC" if not offset else f"{text} {value:%z}"
