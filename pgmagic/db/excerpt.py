"""Where in a function's body an error is: the lines around it, numbered as Postgres numbers them, and a caret."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import NamedTuple

from pgmagic.compile.sql_tokens import Token, tokens
from pgmagic.errors import InstallationError

# How many lines are shown before and after the line of the error.
_AROUND = 6
# The columns that every table has.
_SYSTEM_COLUMNS = frozenset(("tableoid", "cmax", "xmax", "cmin", "xmin", "ctid"))


class Excerpt(NamedTuple):
    """Lines of a body. line: the number of the line in question; None if the error is in no line of it."""

    line: int | None
    text: str


def excerpt_of(statement: str, position: int | None) -> Excerpt | None:
    """Return the body in a CREATE FUNCTION, with a caret under a position of the statement, which counts from 1.

    Line 1 is what follows the opening quote. None if the statement has no body.
    """
    body = _body_of(statement)
    if body is None:
        return None
    lines = body.value.split("\n")
    line, column = None, 0
    start = _start_of(body)
    if position is not None and 0 <= position - 1 - start <= len(body.value):
        before = body.value[: position - 1 - start]
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1
    shown: list[str] = []
    for number, text in enumerate(lines, 1):
        if (text.strip() or number == line) and (line is None or abs(number - line) <= _AROUND):
            shown.append(f"{number:>5} | {text}")
        if number == line:
            # Tabs stay, so that the caret stands under its character whatever their width.
            indent = "".join(character if character == "\t" else " " for character in text[:column])
            shown.append(f"      | {indent}^")
    return Excerpt(line, "\n".join(shown))


def without_column(uri: str, statement: str, table: str, missing: str, columns: Sequence[str]) -> InstallationError:
    """Return the error of a body that names a column of OLD or NEW which its table does not have.

    columns: those that the table has, with those of the system.
    """
    text, position = _place_of_column(statement, missing)
    found = excerpt_of(statement, position)
    close = get_close_matches(missing, columns, n=1)
    error = InstallationError(
        f"The body of {uri} names {text}{f' in line {found.line}' if found and found.line else ''}, but {table} has no "
        f"column {missing}{f' (did you mean {close[0]}?)' if close else ''}; its columns are "
        f"{', '.join(name for name in columns if name not in _SYSTEM_COLUMNS)}."
    )
    if found is not None:
        error.add_note(found.text)
    return error


def _place_of_column(statement: str, column: str) -> tuple[str, int | None]:
    """Return how a body names a column, as in `NEW.titel`, and the position of the column in the statement."""
    body = _body_of(statement)
    code = [token for token in tokens(body.value if body else "") if token.kind not in ("space", "comment")]
    for row, point, found in zip(code, code[1:], code[2:], strict=False):
        if body and row.value in ("old", "new") and point.text == "." and found.value == column:
            return f"{row.text}.{found.text}", _start_of(body) + found.start + 1
    return column, None


def _body_of(statement: str) -> Token | None:
    return next((token for token in tokens(statement) if token.kind == "string" and token.text.startswith("$")), None)


def _start_of(body: Token) -> int:
    return body.start + body.text.index("$", 1) + 1
