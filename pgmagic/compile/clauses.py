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
    return tuple(_clauses(condition, "AND"))


def _clauses(condition: str, outer: Connector, *, nested: bool = False) -> Iterator[Clause]:
    condition = _bare(condition)
    for connector in ("OR", "AND"):
        parts = _split(condition, connector)
        if len(parts) == 1:
            continue
        for number, part in enumerate(parts):
            word = f"{connector.lower()} " if number and (connector == "OR" or nested) else ""
            if nested and connector == outer:
                word = ""
            inner = [Clause(_bare(part), part)] if nested else list(_clauses(part, connector, nested=True))
            yield Clause(word + inner[0].text, inner[0].sql)
            yield from inner[1:]
        return
    yield Clause(condition, condition)


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
