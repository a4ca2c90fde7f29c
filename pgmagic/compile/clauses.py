"""The WHEN clause of a trigger, as Postgres prints it, taken apart into clauses that are true or false by themselves.

Postgres prints a condition with every operand in parentheses, so that an AND or OR outside of them joins whole clauses.

Source: https://www.postgresql.org/docs/current/functions-info.html (pg_get_triggerdef)
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

_WHEN = re.compile(r" WHEN \((.*)\) EXECUTE (?:FUNCTION|PROCEDURE) ", re.DOTALL)
# What is looked at as a whole: quoted text and names, words, and single characters.
_TOKEN = re.compile(
    r"""[eE]'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*' | "(?:""|[^"])*" | \w+ | .""", re.DOTALL | re.VERBOSE
)

Connector = Literal["AND", "OR"]


@dataclass(frozen=True)
class Clause:
    """A part of a condition: how it reads, and its SQL on OLD and NEW."""

    text: str
    sql: str


def condition_of(definition: str) -> str | None:
    """Return the condition in a trigger's definition, None where it has none."""
    found = _WHEN.search(definition)
    return found[1] if found else None


def clauses_of(condition: str) -> tuple[Clause, ...]:
    """Return the clauses of a condition, in its order.

    Those that AND joins stand by themselves. Where OR joins some, each but the first of them begins with `or`; clauses
    that AND joins inside of an OR begin with `and`.
    """
    return tuple(_clauses(condition))


def _clauses(condition: str) -> Iterator[Clause]:
    condition = _bare(condition)
    parts = _split(condition, "OR")
    connector: Connector = "OR"
    if len(parts) == 1:
        parts, connector = _split(condition, "AND"), "AND"
    if len(parts) == 1:
        yield Clause(condition, condition)
        return
    for number, part in enumerate(parts):
        inner = list(_inner(part, connector))
        word = "or " if number and connector == "OR" else ""
        yield Clause(word + inner[0].text, inner[0].sql)
        yield from inner[1:]


def _inner(condition: str, outer: Connector) -> Iterator[Clause]:
    """Yield the clauses of an operand, where these are joined by the other connector than the operand itself."""
    condition = _bare(condition)
    connector: Connector = "AND" if outer == "OR" else "OR"
    parts = _split(condition, connector)
    for number, part in enumerate(parts):
        bare = _bare(part)
        yield Clause(f"{connector.lower()} {bare}" if number else bare, part)


def _bare(condition: str) -> str:
    """Return a condition without the parentheses around all of it."""
    condition = condition.strip()
    while condition.startswith("(") and _closes_at_end(condition):
        condition = condition[1:-1].strip()
    return condition


def _closes_at_end(condition: str) -> bool:
    depth = 0
    for token in _TOKEN.finditer(condition):
        depth += (token.group() == "(") - (token.group() == ")")
        if depth == 0:
            return token.end() == len(condition)
    return False


def _split(condition: str, connector: Connector) -> list[str]:
    """Return the operands of a connector that stands outside of every parenthesis, and outside of CASE."""
    parts, start, depth = [], 0, 0
    for token in _TOKEN.finditer(condition):
        word = token.group()
        if word in ("(", "[") or word == "CASE":
            depth += 1
        elif word in (")", "]") or word == "END":
            depth -= 1
        elif depth == 0 and word == connector:
            parts.append(condition[start : token.start()].strip())
            start = token.end()
    return [*parts, condition[start:].strip()]
