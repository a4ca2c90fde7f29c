"""From a value to the cell that shows it: what it reads as, and how it is meant."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite, isnan
from typing import Any, Literal

import numpy as np
import pandas as pd

from pgmagic.tables.faithful import is_missing
from pgmagic.tables.frame import Role
from pgmagic.tables.words import Tone, sign_and_tone

Look = Literal["text", "number", "time", "code", "word", "pairs", "before", "after", "null", "missing"]

MISSING = "\N{EN DASH}"
NULL = "NULL"

# What would draw over, or turn round, its neighbours: control characters but for line ends and tabs, the embedding
# and isolating marks of bidirectional text, odd line ends, and halves of surrogate pairs.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


@dataclass(frozen=True, slots=True)
class Cell:
    """What one cell shows.

    `text` is the whole content, never cut, and safe to print; `sign` stands before it, `tone` colours it; `pairs`
    are the facts of a dict, of which `text` is the sum.
    """

    text: str
    look: Look = "text"
    sign: str = ""
    tone: Tone | None = None
    pairs: tuple[tuple[str, str], ...] = ()


Formatter = Callable[[Any], Cell]
Precision = Literal["days", "seconds", "microseconds", "nanoseconds"]


def visible(text: str) -> str:
    r"""Return `text` with what cannot be seen written out, as in `\x1b`; line ends and tabs stay."""
    return _UNSEEN.sub(_written_out, text.replace("\r\n", "\n"))


def cells(values: pd.Series[Any], role: Role) -> list[Cell]:
    """Return the cells of a column, formatted alike, so that its numbers and times line up."""
    listed = list(values.astype(object))
    absent = [is_missing(value) for value in listed] if values.dtype == object else list(values.isna())
    present = [value for value, gone in zip(listed, absent, strict=True) if not gone]
    formatter = _formatter(role, present)
    if role in ("before", "after"):
        return [formatter(value) for value in listed]
    empty = Cell(NULL, "null") if role == "value" else Cell(MISSING, "missing")
    return [empty if gone else formatter(value) for value, gone in zip(listed, absent, strict=True)]


def plain(value: Any) -> str:
    """Return a value as text: exact, and for what Postgres has a notation of its own for, in that notation."""
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


def _json(value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, default=plain)
    except (TypeError, ValueError):  # keys that JSON does not know, or a dict inside itself
        return str(value)


def _written_out(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _formatter(role: Role, present: Sequence[Any]) -> Formatter:
    """Return what formats the values of a column, given those of them that are there."""
    match role:
        case "duration":
            return _durations(present)
        case "text" | "value":
            return _by_value(present)
        case _:
            return _FORMATTERS[role]


def _by_value(present: Sequence[Any]) -> Formatter:
    if present and all(isinstance(value, dt.datetime) for value in present):
        precision = _precision(present, least="days")
        return lambda value: Cell(_instant(value, precision), "time")
    if present and all(map(_is_number, present)):
        return lambda value: Cell(plain(value), "number")
    return lambda value: Cell(plain(value), "code" if isinstance(value, dict | list) else "text")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | Decimal | np.number) and not isinstance(value, bool)


def _word(value: Any) -> Cell:
    word = {True: "yes", False: "no"}[value] if isinstance(value, bool) else plain(value)
    sign, tone = sign_and_tone(word)
    return Cell(word, "word", sign, tone)


def _durations(present: Sequence[float]) -> Formatter:
    """Return a formatter of milliseconds with as many decimals as the column's longest deserves."""
    decimals = 2 if all(value < 100 for value in present) else 1
    least = 10**-decimals

    def formatter(value: float) -> Cell:
        small = 0 < value < least
        return Cell(f"<{least}" if small else f"{value:,.{decimals}f}", "number")

    return formatter


def _pairs(value: Any) -> Cell:
    if not isinstance(value, dict):
        return Cell(plain(value), "code")
    pairs = tuple((plain(key), "null" if item is None else _side_text(item)) for key, item in value.items())
    return Cell(", ".join(f"{key}: {item}" for key, item in pairs), "pairs", pairs=pairs)


def _changes(value: Any) -> Cell:
    if not isinstance(value, dict):
        return Cell(plain(value), "code")
    pairs = tuple(
        (plain(field), " → ".join(_side_text(side) for side in sides)) for field, sides in value.items()
    )
    return Cell(", ".join(f"{field}: {sides}" for field, sides in pairs) or "no change", "pairs", pairs=pairs)


def _clauses(value: Any) -> Cell:
    if not isinstance(value, dict):
        return Cell(plain(value), "code")
    pairs = tuple((plain(clause), _truth(truth)) for clause, truth in value.items())
    return Cell(", ".join(f"{clause}: {truth}" for clause, truth in pairs), "pairs", pairs=pairs)


def _truth(value: Any) -> str:
    match value:
        case True:
            return "✓ true"
        case False:
            return "✗ false"
        case None:
            return "∅ null"
        case _:
            return plain(value)


def _side(value: Any, look: Literal["before", "after"], sign: str) -> Cell:
    text = _side_text(value)
    if value is pd.NA:
        return Cell(text, "missing")
    return Cell(text, "null" if text == NULL else look, sign)


def _side_text(value: Any) -> str:
    """Return one side of a change, such that NULL, nothing at all and any text are told apart."""
    if value is pd.NA:
        return MISSING
    if value is None or value is pd.NaT:
        return NULL
    text = plain(value)
    hidden = isinstance(value, str) and (value != value.strip() or text in ("", NULL, MISSING))
    return f"'{text}'" if hidden else text


# Of the roles whose values are formatted each by itself.
_FORMATTERS: Mapping[Role, Formatter] = {
    "code": lambda value: Cell(plain(value), "code"),
    "verdict": _word,
    "count": lambda value: Cell(f"{value:,}", "number"),
    "pairs": _pairs,
    "changes": _changes,
    "clauses": _clauses,
    "before": lambda value: _side(value, "before", "\N{MINUS SIGN}"),
    "after": lambda value: _side(value, "after", "+"),
}


def _precision(values: Sequence[dt.datetime], least: Precision) -> Precision:
    """Return the coarsest precision, from `least` on, that loses nothing of any of the values."""
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
