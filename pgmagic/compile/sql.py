"""SQL made of typed fragments: identifiers and literals are quoted by psycopg, never by formatting text.

A fragment is text from the start, since everything here is written without a connection. psycopg's own fragments, which
become text when they are executed, took half of the time of a compilation.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import LiteralString

from psycopg import sql
from psycopg.errors import Error


class Fragment(sql.Composable):
    """A piece of SQL, quoted where necessary; psycopg accepts it as a fragment of its own."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def as_bytes(self, context: object = None) -> bytes:
        """Return the SQL in UTF-8."""
        return self.text.encode()


class DollarQuoted(Fragment):
    """A text as a dollar-quoted literal, under a tag that the text does not contain.

    Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-DOLLAR-QUOTING
    """

    def __init__(self, text: str) -> None:
        tag = "$body$"
        number = 0
        # If the tag is in the text, or at its end together with the closing tag, the literal would end there.
        while (text + tag).index(tag) < len(text):
            number += 1
            tag = f"$body{number}$"
        super().__init__(f"{tag}{text}{tag}")


# The same names and short values occur in every trigger of a model.
_SHORT = 200


@lru_cache(maxsize=4096)
def identifier(*names: str | None) -> Fragment:
    """Return a quoted identifier, qualified by the names before the last; missing qualifiers are left out."""
    return Fragment(sql.Identifier(*(name for name in names if name)).as_string(None))


def literal(value: object) -> Fragment:
    """Return a quoted literal."""
    if type(value) is str and len(value) <= _SHORT:
        return _text_literal(value)
    return Fragment(sql.Literal(value).as_string(None))


@lru_cache(maxsize=4096)
def _text_literal(value: str) -> Fragment:
    return Fragment(sql.Literal(value).as_string(None))


def quoted(value: object) -> Fragment:
    """Return a quoted literal of a value that the user chose.

    Raises:
        ValueError: if Postgres cannot store the value, such as a text with a NUL in it.
    """
    try:
        return literal(value)
    except Error as error:
        raise ValueError(str(error)) from error


def verbatim(text: str) -> Fragment:
    """Return SQL that the user wrote, or that Django rendered, unchanged."""
    return Fragment(text)


def join(separator: LiteralString, fragments: Iterable[Fragment | LiteralString]) -> Fragment:
    """Return fragments with a separator between them."""
    return Fragment(separator.join(_texts(fragments)))


def compose(*parts: Fragment | LiteralString) -> Fragment:
    """Return one fragment: constant texts and fragments, joined in order."""
    return Fragment("".join(_texts(parts)))


def _texts(parts: Iterable[Fragment | str]) -> list[str]:
    return [part if isinstance(part, str) else part.text for part in parts]


def render(fragment: Fragment) -> str:
    """Return a fragment as text."""
    return fragment.text


def merge(template: str, params: Iterable[object]) -> str:
    """Return a statement that Django rendered with its placeholders replaced by quoted literals.

    Raises:
        ValueError: if Postgres cannot store the value of a parameter.
    """
    return template % tuple(render(quoted(param)) for param in params)
