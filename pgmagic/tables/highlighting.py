"""SQL highlighted, for notebooks and terminals."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Literal

from pygments.lexers.sql import PostgresLexer  # type: ignore[import-untyped, unused-ignore]
from pygments.token import Token  # type: ignore[import-untyped, unused-ignore]

from pgmagic.tables.grid import visible
from pgmagic.tables.html import element, escaped, in_style

Part = Literal["keyword", "type", "string", "number", "comment", "other"]

# The kinds of pygments' tokens that are shown differently; other kinds are shown like their nearest ancestor.
_PARTS: dict[Any, Part] = {
    Token: "other",
    Token.Keyword: "keyword",
    Token.Keyword.Type: "type",
    Token.Name.Builtin: "type",
    Token.Literal.String: "string",
    Token.Literal.String.Name: "other",  # a quoted identifier
    Token.Literal.Number: "number",
    Token.Comment: "comment",
}

# Colours of the terminal's own palette, which the user can read.
_COLOURS: dict[Part, str] = {"keyword": "34", "type": "35", "string": "32", "number": "33", "comment": "2"}


class SqlText(str):
    """SQL that a notebook shows highlighted."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return sql_html(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(sql_text(self))


def sql_html(sql: str) -> str:
    """Return SQL as highlighted HTML with its style; no character is lost."""
    spans = [
        escaped(written) if part == "other" else element("span", escaped(written), class_=f"pgm-sql-{part}")
        for part, written in parts(sql)
    ]
    return in_style(element("pre", *spans, class_="pgm-sql"))


def sql_text(sql: str) -> str:
    """Return SQL highlighted for a terminal in ANSI's sixteen colours; with the colours removed it is `sql` again."""
    found = []
    for part, written in parts(sql):
        if part == "other" or not written.strip():
            found.append(written)
        else:
            # Line by line, because pagers forget a colour at the end of a line.
            lines = written.split("\n")
            found.append("\n".join(f"\x1b[{_COLOURS[part]}m{line}\x1b[0m" if line else line for line in lines))
    return "".join(found)


def parts(sql: str) -> Iterator[tuple[Part, str]]:
    """Yield SQL in pieces, each with its kind; PL/pgSQL between dollar quotes is highlighted, too."""

    def part_of(token: tuple[Any, str]) -> Part:
        kind, written = token
        if written == ".":  # the lexer reads the point of OLD.version as a number
            return "other"
        while kind not in _PARTS:
            kind = kind.parent
        return _PARTS[kind]

    tokens = PostgresLexer(stripnl=False, ensurenl=False).get_tokens(visible(sql))
    for part, group in groupby(tokens, key=part_of):
        yield part, "".join(written for _, written in group)
