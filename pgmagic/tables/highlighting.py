"""SQL, highlighted."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Literal

from pygments.lexers.sql import PostgresLexer  # type: ignore[import-untyped, unused-ignore]
from pygments.token import Token  # type: ignore[import-untyped, unused-ignore]

from pgmagic.tables.formatting import visible
from pgmagic.tables.markup import Markup, element, style, text
from pgmagic.tables.style import CSS

Part = Literal["keyword", "type", "string", "number", "comment", "other"]

# The kinds of pygments' tokens that look different here; a token counts as its nearest ancestor.
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

# Colours of the terminal's own palette, which its user has chosen to be readable.
_COLOURS: dict[Part, str] = {"keyword": "34", "type": "35", "string": "32", "number": "33", "comment": "2"}


class SqlText(str):
    """SQL that a notebook shows highlighted."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return sql_html(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(sql_text(self))


def sql_html(sql: str) -> str:
    """Return SQL as highlighted HTML with its style; every character of it is there."""
    spans = [_span(part, written) for part, written in parts(sql)]
    return element("div", style(CSS), element("pre", *spans, class_="pgm-sql"), class_="pgm")


def sql_text(sql: str) -> str:
    """Return SQL highlighted for a terminal, by ANSI's sixteen colours; without those it is `sql` itself."""
    return "".join(_coloured(part, written) for part, written in parts(sql))


def parts(sql: str) -> Iterator[tuple[Part, str]]:
    """Yield SQL piece by piece, each with what it is; PL/pgSQL between dollar quotes is looked into."""
    tokens = PostgresLexer(stripnl=False, ensurenl=False).get_tokens(visible(sql))
    for part, group in groupby(tokens, key=_part):
        yield part, "".join(written for _, written in group)


def _part(token: tuple[Any, str]) -> Part:
    kind, written = token
    if written == ".":  # the lexer takes the point of OLD.version for a number
        return "other"
    while kind not in _PARTS:
        kind = kind.parent
    return _PARTS[kind]


def _span(part: Part, written: str) -> Markup:
    return text(written) if part == "other" else element("span", text(written), class_=f"pgm-sql-{part}")


def _coloured(part: Part, written: str) -> str:
    if part == "other" or not written.strip():
        return written
    # Line by line, since pagers forget a colour at the end of a line.
    lines = written.split("\n")
    return "\n".join(f"\x1b[{_COLOURS[part]}m{line}\x1b[0m" if line else line for line in lines)
