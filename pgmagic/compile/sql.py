"""SQL out of typed fragments: identifiers and literals are quoted by psycopg, never by formatting text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, LiteralString

from psycopg import sql
from psycopg.errors import Error

Fragment = sql.Composable


class DollarQuoted(sql.Composable):
    """A text as a dollar-quoted literal, under a tag that the text does not contain.

    Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-DOLLAR-QUOTING
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def as_bytes(self, context: Any = None) -> bytes:
        """Return the literal in UTF-8."""
        tag = "$body$"
        number = 0
        # Where the text with its closing tag holds that tag earlier, the literal would end there.
        while (self.text + tag).index(tag) < len(self.text):
            number += 1
            tag = f"$body{number}$"
        return f"{tag}{self.text}{tag}".encode()


def identifier(*names: str | None) -> Fragment:
    """Return a quoted identifier, qualified by the names before the last; missing qualifiers are left out."""
    return sql.Identifier(*(name for name in names if name))


def literal(value: object) -> Fragment:
    """Return a quoted literal."""
    return sql.Literal(value)


def quoted(value: object) -> Fragment:
    """Return a quoted literal of a value that somebody else chose.

    Raises:
        ValueError: Postgres has no such value, such as a text with a NUL in it.
    """
    try:
        return verbatim(render(literal(value)))
    except Error as error:
        raise ValueError(str(error)) from error


def verbatim(text: str) -> Fragment:
    """Return SQL that its author wrote, or that Django rendered, as it stands."""
    return sql.SQL(text)


def join(separator: LiteralString, fragments: Iterable[Fragment | LiteralString]) -> Fragment:
    """Return fragments with a separator between them."""
    return sql.SQL(separator).join([sql.SQL(part) if isinstance(part, str) else part for part in fragments])


def compose(*parts: Fragment | LiteralString) -> Fragment:
    """Return one fragment: texts of ours and fragments, one behind the other."""
    return sql.Composed([sql.SQL(part) if isinstance(part, str) else part for part in parts])


def render(fragment: Fragment) -> str:
    """Return a fragment as text, without a connection."""
    return fragment.as_string(None)


def merge(template: str, params: Iterable[Any]) -> str:
    """Return a statement that Django rendered with its placeholders replaced by quoted literals.

    Raises:
        ValueError: Postgres has no such value as one of the parameters.
    """
    return template % tuple(render(quoted(param)) for param in params)


__all__ = [
    "DollarQuoted",
    "Fragment",
    "compose",
    "identifier",
    "join",
    "literal",
    "merge",
    "quoted",
    "render",
    "verbatim",
]
