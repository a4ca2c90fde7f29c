"""The clauses of a live trigger's condition in the words of its declaration, beside the SQL that Postgres shows.

What is evaluated is always the installed SQL. A clause of it gets the words of the part of the declaration that it
stands for: parts and clauses are in the same order, and each names the same columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import md5
from itertools import islice
from typing import cast

from django.db import models

from pgmagic.compile.predicate import condition_sql, renders_itself
from pgmagic.compile.sql import render
from pgmagic.compile.sql_tokens import row_columns_in
from pgmagic.compile.target import Target
from pgmagic.db.declared import compiled
from pgmagic.declare import registry
from pgmagic.declare.conditions import Change, Combined, Condition, Not
from pgmagic.declare.fsm import FSM
from pgmagic.declare.model_types import Model
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import PgMagicError
from pgmagic.plan.installed import Mark
from pgmagic.watch.clauses import Clause, Connector, Node, flattened, joined, parse_condition
from pgmagic.watch.trigger_catalog import LiveTrigger

Declared = Condition | models.Q
Columns = frozenset[tuple[str, str]]

# A condition of more parts, or of more clauses beyond one for each part, keeps its SQL: the ways to share the clauses
# out among the parts would be too many.
_MOST_PARTS, _MOST_SPARE = 200, 4


@dataclass(frozen=True)
class _Part:
    """A part of a declared condition: in words, the columns that it names, and what its connector joins.

    is_sql: a user wrote it in SQL, of which the single clauses say more than the whole text.
    """

    text: str
    columns: Columns
    connector: Connector | None = None
    parts: tuple[_Part, ...] = ()
    is_sql: bool = False


def clauses_in_words(live: LiveTrigger, definition: str, condition: str, target: Target) -> tuple[Clause, ...]:
    """Return the clauses of a live trigger's condition: their SQL as Postgres prints it, and how they read.

    definition: as Postgres prints it under an empty `search_path`. target: for which the declaration is compiled. If
    declaration and live trigger agree, a clause reads as it was declared; otherwise as its SQL. The clauses that
    pgmagic itself added have words of their own.
    """
    node = parse_condition(condition)
    mark = live.mark
    if mark is None:
        return flattened(node)
    declared = registry.find(mark.uri)
    own: list[Clause] = []
    rest: list[Node] = []
    for part in node.parts if node.connector == "AND" else (node,):
        words = _words_for_listed_steps(part, declared[1]) if declared else None
        if words:
            own.append(Clause(words, part.sql))
        else:
            rest.append(part)
    if not rest:
        return tuple(own)
    body = joined("AND", rest, node.text, node.sql)
    if declared and _agree(live, mark, definition, *declared, target):
        model, trigger = declared
        as_declared = trigger.get_condition(model)
        renders_condition = type(trigger).render_condition is not Trigger.render_condition
        if as_declared is not None and not renders_condition:
            body = worded(body, as_declared, model)
    return (*flattened(body), *own)


def judges_in_function(live: LiveTrigger, target: Target) -> bool:
    """Return whether a statement-level trigger is declared with a condition, which only its function can evaluate."""
    declared = live.mark and registry.find(live.mark.uri)
    if not declared:
        return False
    try:
        parts = compiled(*declared, target).triggers
    except PgMagicError:
        return False
    return any(part.name == live.name and bool(part.condition) for part in parts)


def _words_for_listed_steps(node: Node, trigger: Trigger) -> str | None:
    """Return the words for the clause that lists the steps of a state machine; None for every other clause."""
    if not isinstance(trigger, FSM) or not node.text.endswith("IS NOT TRUE"):
        return None
    if "old." not in node.text:
        return f"{trigger.field} is no initial state"
    unmet = ", or its condition does not hold" if any(step.condition for step in trigger.steps) else ""
    return f"the transition of {trigger.field} is not listed{unmet}"


def _agree(live: LiveTrigger, mark: Mark, definition: str, model: Model, trigger: Trigger, target: Target) -> bool:
    """Return whether a live trigger is as it was installed, and as its declaration compiles now."""
    if mark.stored != md5(definition.encode(), usedforsecurity=False).hexdigest():
        return False
    try:
        parts = compiled(model, trigger, target).triggers
    except PgMagicError:
        return False
    return any(part.name == live.name and part.declared == mark.declared for part in parts)


def worded(node: Node, condition: Declared, model: Model) -> Node:
    """Return an installed condition with the words of its declaration, where it is clear which words stand for what."""
    return _worded(_part(condition, model), node)


def _worded(part: _Part, node: Node) -> Node:
    if part.columns != row_columns_in(node.sql) or (part.is_sql and node.parts):
        return node
    if not part.parts:
        return Node(part.text, node.sql)
    if part.connector is None or part.connector != node.connector or len(part.parts) > _MOST_PARTS:
        return node
    # With one way to share the clauses out, it is clear what stands for what; with two, it is not.
    groups = list(islice(_groups(part.parts, node.parts), 2))
    if len(groups) != 1:
        return node
    parts = []
    for inner, nodes in zip(part.parts, groups[0], strict=True):
        sql = f" {node.connector} ".join(f"({each.sql})" for each in nodes)
        together = nodes[0] if len(nodes) == 1 else Node(sql, sql, node.connector, tuple(nodes))
        parts.append(_worded(inner, together))
    return joined(part.connector, parts, part.text, node.sql)


def _groups(parts: Sequence[_Part], nodes: Sequence[Node]) -> Iterator[list[Sequence[Node]]]:
    """Yield the ways to share nodes out among parts, in order, such that each part gets the columns that it names."""
    if not parts or len(nodes) - len(parts) > _MOST_SPARE:
        if not parts and not nodes:
            yield []
        return
    first, rest = parts[0], parts[1:]
    named: Columns = frozenset()
    for size in range(1, len(nodes) - len(rest) + 1):
        named |= row_columns_in(nodes[size - 1].sql)
        if first.columns == named:
            yield from ([nodes[:size], *following] for following in _groups(rest, nodes[size:]))


def _part(condition: Declared, model: Model) -> _Part:
    columns = row_columns_in(render(condition_sql(condition, model)))
    connector, parts = _parts(condition, model)
    flat = [inner for part in parts for inner in (part.parts if part.connector == connector else (part,))]
    if len(flat) == 1:
        return flat[0]
    is_sql = isinstance(condition, Condition) and bool(condition.sql)
    return _Part(words_of(condition), columns, connector if flat else None, tuple(flat), is_sql)


def _parts(condition: Declared, model: Model) -> tuple[Connector | None, list[_Part]]:
    """Return what a condition joins, and how; nothing if it is one clause."""
    match condition:
        case _ if renders_itself(condition):
            return None, []
        case Combined():
            return condition.connector, [_part(each, model) for each in condition.conditions]
        case Change():
            return condition.connector, [
                _Part(
                    f"{field.name} {'changed' if condition.changed else 'did not change'}",
                    row_columns_in(render(condition_sql(type(condition)(field.name), model))),
                )
                for field in condition.compared_fields(model)
            ]
        case models.Q(negated=False, connector="AND" | "OR", children=[_, _, *_]):
            connector: Connector = "AND" if condition.connector == "AND" else "OR"
            return connector, [_part(_as_q(child), model) for child in condition.children]
        case models.Q(negated=False, children=[models.Q() as only]):
            return _parts(only, model)
        case _:
            return None, []


def _as_q(child: object) -> models.Q:
    return child if isinstance(child, models.Q) else models.Q(cast("tuple[str, object]", child))


def words_of(condition: object) -> str:
    """Return a condition as it could be written in Python: a single look-up without `Q`, one in SQL as its SQL."""
    match condition:
        case models.Q(negated=False, children=[(str(name), value)]):
            return f"{name}={value!r}"
        case models.Q(negated=False, children=[models.Q() as only]):
            return words_of(only)
        case Condition() if condition.sql:
            return " ".join(condition.sql.split())
        case _:
            return _operand(condition)


def _operand(condition: object) -> str:
    """Return a condition in the form in which another condition can contain it."""
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
        case models.Q(children=[_, _, *_], connector="OR" | "XOR" as connector):
            return _infix({"OR": " | ", "XOR": " ^ "}[connector], map(_as_q, condition.children))
        case models.Q(children=[models.Q() as only]):
            return _operand(only)
        case models.Q():
            arguments = (
                f"{child[0]}={child[1]!r}" if isinstance(child, tuple) else _operand(child)
                for child in condition.children
            )
            return f"Q({', '.join(arguments)})"
        case _:
            return repr(condition)


def _infix(sign: str, conditions: Iterable[object]) -> str:
    return f"({sign.join(map(_operand, conditions))})"
