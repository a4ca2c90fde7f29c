"""The WHEN clause of a trigger, as Postgres prints it, split into clauses that are true or false by themselves.

Postgres prints a condition with every operand in parentheses, so that an AND or OR outside of them joins whole clauses.

Source: https://www.postgresql.org/docs/current/functions-info.html (pg_get_triggerdef)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pgmagic.compile.sql_tokens import tokens

Connector = Literal["AND", "OR"]


@dataclass(frozen=True)
class Clause:
    """A part of a condition: how it reads, and its SQL on OLD and NEW."""

    text: str
    sql: str


@dataclass(frozen=True)
class Node:
    """A condition: how it reads, its SQL, and what its connector joins; without a connector it is one clause."""

    text: str
    sql: str
    connector: Connector | None = None
    parts: tuple[Node, ...] = ()


def clauses_of(condition: str) -> tuple[Clause, ...]:
    """Return the clauses of a condition, in its order; see `flattened`."""
    return flattened(parse_condition(condition))


def parse_condition(condition: str) -> Node:
    """Return a condition as Postgres prints it, split at each AND and OR.

    What one connector joins, also in parentheses, is joined by one node.
    """
    text = condition.strip()
    while text.startswith("(") and _closes_at_end(text):
        text = text[1:-1].strip()
    connector: Connector = "OR"
    parts = _split(text, connector)
    if len(parts) == 1:
        connector = "AND"
        parts = _split(text, connector)
    if len(parts) == 1:
        return Node(text, condition)
    return joined(connector, [parse_condition(part) for part in parts], text, condition)


def joined(connector: Connector, nodes: Iterable[Node], text: str, sql: str) -> Node:
    """Return nodes joined by a connector; instead of a node that the same connector joins, its parts."""
    parts = [part for node in nodes for part in (node.parts if node.connector == connector else (node,))]
    return parts[0] if len(parts) == 1 else Node(text, sql, connector, tuple(parts))


def flattened(node: Node) -> tuple[Clause, ...]:
    """Return the clauses of a condition, in its order.

    Clauses joined by AND stand by themselves. Of clauses joined by OR, each but the first begins with `or`; clauses
    joined by AND inside of an OR begin with `and`.
    """
    found: list[Clause] = []
    for part in node.parts or (node,):
        word = "or " if found and node.connector == "OR" else ""
        for inner in part.parts or (part,):
            found.append(Clause(f"{word}{inner.text}", inner.sql))
            word = f"{part.connector.lower()} " if part.connector else ""
    return tuple(found)


def _closes_at_end(condition: str) -> bool:
    """Return whether the parenthesis with which a condition begins is closed by its last character."""
    depth = 0
    for token in tokens(condition):
        depth += (token.text == "(") - (token.text == ")")
        if depth == 0:
            return token.end == len(condition)
    return False


def _split(condition: str, connector: Connector) -> list[str]:
    """Return the operands of a connector that stands outside of every parenthesis, and outside of CASE."""
    parts, start, depth = [], 0, 0
    for token in tokens(condition):
        word = token.text
        if word in ("(", "[") or word == "CASE":
            depth += 1
        elif word in (")", "]") or word == "END":
            depth -= 1
        elif depth == 0 and word == connector:
            parts.append(condition[start : token.start].strip())
            start = token.end
    return [*parts, condition[start:].strip()]
