"""The text of SQL as tokens: what is code, and what is a quoted text, a quoted name or a comment.

Text that Postgres would refuse has tokens, too: a quote that is never closed goes to the end of the text.

Source: https://www.postgresql.org/docs/current/sql-syntax-lexical.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["space", "comment", "string", "name", "word", "number", "operator", "other"]

# Postgres takes every character outside of ASCII for a letter.
_LETTER = r"A-Za-z_\x80-\U0010ffff"
# The lookbehind comes after the first characters: so the search quickly skips characters that begin no quote.
_QUOTED = re.compile(
    rf"""
      (?P<string> [eE]'(?<![{_LETTER}0-9$].')[^'\\]*(?:(?:''|\\.)[^'\\]*)*(?:'|\\?\Z)
                | '[^']*(?:''[^']*)*(?:'|\Z)
                | \$(?<![{_LETTER}0-9$].)(?P<tag>(?:[{_LETTER}][{_LETTER}0-9]*)?)\$ .*? (?:\$(?P=tag)\$|\Z))
    | (?P<name> "[^"]*(?:""[^"]*)*(?:"|\Z))
    | (?P<comment> --[^\n]* | /\*)
    """,
    re.DOTALL | re.VERBOSE,
)
_BLOCK_COMMENT_EDGE = re.compile(r"/\*|\*/")
_CODE = re.compile(
    rf"""
      (?P<space> \s+)
    | (?P<word> [{_LETTER}][{_LETTER}0-9$]*)
    | (?P<number> 0[xX][0-9a-fA-F_]+ | 0[oO][0-7_]+ | 0[bB][01_]+
                | (?:[0-9][0-9_]*(?:\.(?!\.)[0-9_]*)?|(?<!\.)\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)
    | (?P<operator> [-+*/<>=~!@\#%^&|`?]+)
    | (?P<other> .)
    """,
    re.DOTALL | re.VERBOSE,
)
_WHEN = re.compile(r" WHEN \((.*)\) EXECUTE (?:FUNCTION|PROCEDURE) ", re.DOTALL)
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of SQL text. start: where it begins in the text.

    kind: `name` is a quoted identifier, `word` an unquoted identifier or a keyword; `other` is a single character, such
    as a parenthesis, a point or a semicolon.
    """

    kind: Kind
    text: str
    start: int

    @property
    def end(self) -> int:
        """Where the token ends in the text."""
        return self.start + len(self.text)

    @property
    def value(self) -> str:
        """The identifier as Postgres knows it, the text between the quotes, or the token's own text."""
        if self.kind in ("name", "word"):
            return unquoted(self.text)
        if self.kind != "string":
            return self.text
        if self.text.startswith("$"):
            length = self.text.index("$", 1) + 1
            return self.text[length:-length]
        content = self.text[self.text.index("'") + 1 : -1]
        if self.text.startswith("'"):
            return content.replace("''", "'")
        return re.sub(r"''|\\(.)", lambda found: _ESCAPES.get(found[1], found[1] or "'"), content, flags=re.DOTALL)


def tokens(sql: str) -> Iterator[Token]:
    """Yield the tokens of SQL text, in order; joined, their texts are the text again."""
    for kind, start, end in _stretches(sql):
        if kind != "code":
            yield Token(kind, sql[start:end], start)
            continue
        for found in _CODE.finditer(sql, start, end):
            code_kind: Kind = found.lastgroup  # type: ignore[assignment]
            yield Token(code_kind, found[0], found.start())


def code_of(sql: str) -> str:
    """Return SQL text with a blank in place of each quoted text, quoted name and comment."""
    if "/*" not in sql:
        # Three times as fast, and a statement can be long.
        return _QUOTED.sub(" ", sql)
    return "".join(sql[start:end] if kind == "code" else " " for kind, start, end in _stretches(sql))


def without_leading_comments(sql: str) -> str:
    """Return SQL text without the comments and blanks at its beginning."""
    for token in tokens(sql):
        if token.kind not in ("space", "comment"):
            return sql[token.start :]
    return ""


def unquoted(identifier: str) -> str:
    """Return the name that an identifier means: without its quotes, or in lower case if it has none."""
    return identifier[1:-1].replace('""', '"') if identifier.startswith('"') else identifier.lower()


def rows_in(sql: str) -> frozenset[str]:
    """Return which of the rows `old` and `new` SQL text names; in `OLD.new`, the second word is a column."""
    code = [token for token in tokens(sql) if token.kind not in ("space", "comment")]
    named = [
        token.value
        for before, token in zip([None, *code], code, strict=False)
        if token.kind in ("word", "name") and (before is None or before.text != ".")
    ]
    return frozenset(named) & {"old", "new"}


def row_columns_in(sql: str) -> frozenset[tuple[str, str]]:
    """Return the columns of OLD and NEW that SQL text names, as pairs such as `("old", "title")`."""
    code = [token for token in tokens(sql) if token.kind not in ("space", "comment")]
    pairs = {
        (row.value, column.value)
        for row, point, column in zip(code, code[1:], code[2:], strict=False)
        if point.text == "." and {row.kind, column.kind} <= {"word", "name"}
    }
    return frozenset(pair for pair in pairs if pair[0] in ("old", "new"))


def trigger_condition_in(definition: str) -> str | None:
    """Return the condition in a trigger's definition as `pg_get_triggerdef` prints it; None if it has none."""
    found = _WHEN.search(definition)
    return found[1] if found else None


def _stretches(sql: str) -> Iterator[tuple[Kind | Literal["code"], int, int]]:
    """Yield kind, start and end of each quoted text, quoted name and comment, and of the code between them."""
    position = 0
    while found := _QUOTED.search(sql, position):
        if found.start() > position:
            yield "code", position, found.start()
        end = _end_of_block_comment(sql, found.start()) if found[0] == "/*" else found.end()
        kind: Kind = found.lastgroup  # type: ignore[assignment]
        yield kind, found.start(), end
        position = end
    if position < len(sql):
        yield "code", position, len(sql)


def _end_of_block_comment(sql: str, start: int) -> int:
    """Return where a comment ends that begins with `/*`; comments may stand inside of it."""
    depth = 0
    for edge in _BLOCK_COMMENT_EDGE.finditer(sql, start):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)
