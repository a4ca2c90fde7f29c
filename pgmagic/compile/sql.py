"""SQL out of typed fragments: identifiers and literals are quoted by psycopg, never by formatting text.

A fragment is text from the start, since everything here is written without a connection: psycopg's own, which are put
together when they are executed, took half of the time of a compilation.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, LiteralString

from psycopg import sql
from psycopg.errors import Error


class Fragment(sql.Composable):
    """A piece of SQL that is quoted where it has to be; psycopg takes it as one of its own."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def as_bytes(self, context: Any = None) -> bytes:
        """Return it in UTF-8."""
        return self.text.encode()


class DollarQuoted(Fragment):
    """A text as a dollar-quoted literal, under a tag that the text does not contain.

    Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-DOLLAR-QUOTING
    """

    def __init__(self, text: str) -> None:
        tag = "$body$"
        number = 0
        # Where the text with its closing tag holds that tag earlier, the literal would end there.
        while (text + tag).index(tag) < len(text):
            number += 1
            tag = f"$body{number}$"
        super().__init__(f"{tag}{text}{tag}")


def identifier(*names: str | None) -> Fragment:
    """Return a quoted identifier, qualified by the names before the last; missing qualifiers are left out."""
    return _identifier(*(name for name in names if name))


# The same names and short values come again with every trigger of a model.
_SHORT = 200


@lru_cache(maxsize=4096)
def _identifier(*names: str) -> Fragment:
    return Fragment(sql.Identifier(*names).as_string(None))


def literal(value: object) -> Fragment:
    """Return a quoted literal."""
    if type(value) is str and len(value) <= _SHORT:
        return _text_literal(value)
    return Fragment(sql.Literal(value).as_string(None))


@lru_cache(maxsize=4096)
def _text_literal(value: str) -> Fragment:
    return Fragment(sql.Literal(value).as_string(None))


def quoted(value: object) -> Fragment:
    """Return a quoted literal of a value that somebody else chose.

    Raises:
        ValueError: Postgres has no such value, such as a text with a NUL in it.
    """
    try:
        return literal(value)
    except Error as error:
        raise ValueError(str(error)) from error


def verbatim(text: str) -> Fragment:
    """Return SQL that its author wrote, or that Django rendered, as it stands."""
    return Fragment(text)


def join(separator: LiteralString, fragments: Iterable[Fragment | LiteralString]) -> Fragment:
    """Return fragments with a separator between them."""
    return Fragment(separator.join(_texts(fragments)))


def compose(*parts: Fragment | LiteralString) -> Fragment:
    """Return one fragment: texts of ours and fragments, one behind the other."""
    return Fragment("".join(_texts(parts)))


def _texts(parts: Iterable[Fragment | str]) -> list[str]:
    return [part if isinstance(part, str) else part.text for part in parts]


def render(fragment: Fragment) -> str:
    """Return a fragment as text."""
    return fragment.text


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
