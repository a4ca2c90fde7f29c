"""A trigger's condition in the words of its declaration, beside the SQL that Postgres made of them.

What is evaluated is always the SQL that is installed. A clause of it gets the words of the part of the declaration
that it stands for: parts and clauses are in the same order, and each names the same columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import models

from pgmagic.compile.predicate import condition_sql, renders_itself
from pgmagic.compile.sql import render
from pgmagic.compile.sql_tokens import row_columns_in
from pgmagic.declare.conditions import Change, Combined, Condition, Not
from pgmagic.watch.clauses import Connector, Node, joined

Model = type[models.Model]
Declared = Condition | models.Q
Columns = frozenset[tuple[str, str]]

# Of more parts than these, or of more clauses beyond one for each, the ways to share them out are not looked at.
_MOST_PARTS, _MOST_SPARE = 200, 4


@dataclass(frozen=True)
class _Said:
    """A part of a declared condition: in words, the columns that it names, and what its connector joins.

    is_sql: somebody wrote it in SQL, of which the single clauses say more than all of it.
    """

    text: str
    columns: Columns
    connector: Connector | None = None
    parts: tuple[_Said, ...] = ()
    is_sql: bool = False


def worded(node: Node, condition: Declared, model: Model) -> Node:
    """Return an installed condition with the words of its declaration, as far as it is plain what stands for what."""
    return _worded(_said(condition, model), node)


def _worded(said: _Said, node: Node) -> Node:
    if said.columns != row_columns_in(node.sql) or (said.is_sql and node.parts):
        return node
    if not said.parts:
        return Node(said.text, node.sql)
    if said.connector is None or said.connector != node.connector or len(said.parts) > _MOST_PARTS:
        return node
    # One way to share them out leaves no doubt, two do.
    groups = list(islice(_groups(said.parts, node.parts), 2))
    if len(groups) != 1:
        return node
    parts = [
        _worded(part, group[0] if len(group) == 1 else _together(node.connector, group))
        for part, group in zip(said.parts, groups[0], strict=True)
    ]
    return joined(said.connector, parts, said.text, node.sql)


def _together(connector: Connector | None, nodes: Sequence[Node]) -> Node:
    sql = f" {connector} ".join(f"({node.sql})" for node in nodes)
    return Node(sql, sql, connector, tuple(nodes))


def _groups(said: Sequence[_Said], nodes: Sequence[Node]) -> Iterator[list[Sequence[Node]]]:
    """Yield the ways to share nodes out among as many parts, in order, such that each gets its own columns."""
    if not said or len(nodes) - len(said) > _MOST_SPARE:
        if not said and not nodes:
            yield []
        return
    first, rest = said[0], said[1:]
    named: Columns = frozenset()
    for size in range(1, len(nodes) - len(rest) + 1):
        named |= row_columns_in(nodes[size - 1].sql)
        if first.columns == named:
            yield from ([nodes[:size], *following] for following in _groups(rest, nodes[size:]))


def _said(condition: Declared, model: Model) -> _Said:
    columns = row_columns_in(render(condition_sql(condition, model)))
    connector, parts = _parts(condition, model)
    flat = [inner for part in parts for inner in (part.parts if part.connector == connector else (part,))]
    if len(flat) == 1:
        return flat[0]
    is_sql = isinstance(condition, Condition) and bool(condition.sql)
    return _Said(words_of(condition), columns, connector if flat else None, tuple(flat), is_sql)


def _parts(condition: Declared, model: Model) -> tuple[Connector | None, list[_Said]]:
    """Return what a condition joins, and how; nothing where it is one clause."""
    match condition:
        case _ if renders_itself(condition):
            return None, []
        case Combined():
            return condition.connector, [_said(part, model) for part in condition.conditions]
        case Change():
            return condition.connector, list(_changes(condition, model))
        case models.Q(negated=False, connector="AND" | "OR", children=[_, _, *_]):
            connector: Connector = "AND" if condition.connector == "AND" else "OR"
            return connector, [_said(_as_q(child), model) for child in condition.children]
        case models.Q(negated=False, children=[models.Q() as only]):
            return _parts(only, model)
        case _:
            return None, []


def _as_q(child: Any) -> models.Q:
    return child if isinstance(child, models.Q) else models.Q(child)


def _changes(condition: Change, model: Model) -> Iterator[_Said]:
    for field in condition.compared_fields(model):
        single = type(condition)(field.name)
        words = f"{field.name} {'changed' if condition.changed else 'did not change'}"
        yield _Said(words, row_columns_in(render(condition_sql(single, model))))


def words_of(condition: Any) -> str:
    """Return a condition as it could be written in Python: a single look-up by itself, one in SQL as its SQL."""
    match condition:
        case models.Q(negated=False, children=[(str(name), value)]):
            return f"{name}={value!r}"
        case models.Q(negated=False, children=[models.Q() as only]):
            return words_of(only)
        case Condition() if condition.sql:
            return " ".join(condition.sql.split())
        case _:
            return _operand(condition)


def _operand(condition: Any) -> str:
    """Return a condition such that it can stand in another one."""
    match condition:
        case Combined():
            return _infix(" & " if condition.connector == "AND" else " | ", condition.conditions)
        case Not():
            return f"~{_operand(condition.condition)}"
        case Change():
            named = [*map(repr, condition.fields)]
            named += [f"exclude={condition.exclude!r}"] if condition.exclude else []
            return f"{type(condition).__name__}({', '.join(named)})"
        case models.Q(negated=True):
            return f"~{_operand(models.Q(*condition.children, _connector=condition.connector))}"
        case models.Q(children=[_, _, *_], connector="OR" | "XOR"):
            sign = " | " if condition.connector == "OR" else " ^ "
            return _infix(sign, map(_as_q, condition.children))
        case models.Q(children=[models.Q() as only]):
            return _operand(only)
        case models.Q():
            return f"Q({', '.join(map(_argument, condition.children))})"
        case _:
            return repr(condition)


def _infix(sign: str, conditions: Iterable[Any]) -> str:
    return f"({sign.join(map(_operand, conditions))})"


def _argument(child: Any) -> str:
    match child:
        case (str(name), value):
            return f"{name}={value!r}"
        case _:
            return _operand(child)
