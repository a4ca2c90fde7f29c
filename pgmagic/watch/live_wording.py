"""The clauses of a live trigger's condition in words: those of its declaration, where it is as declared."""

from __future__ import annotations

from hashlib import md5
from typing import Any

from pgmagic.compile.target import Target
from pgmagic.db.declared import compiled
from pgmagic.declare import registry
from pgmagic.declare.fsm import FSM
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import PgMagicError
from pgmagic.plan.installed import Mark
from pgmagic.watch.clauses import Clause, Node, flattened, joined, parse_condition
from pgmagic.watch.reachable import LiveTrigger
from pgmagic.watch.wording import worded


def clauses_in_words(
    live: LiveTrigger, definition: str, condition: str, target: Target
) -> tuple[Clause, ...]:
    """Return the clauses of a live trigger's condition: their SQL as Postgres prints it, and how they read.

    target: what the database holds is compiled for. definition: as Postgres prints it under an empty `search_path`.
    Where declaration and live trigger agree, a clause reads as it was declared; otherwise as its SQL. What pgmagic
    itself added reads in words of its own.
    """
    node = parse_condition(condition)
    mark = live.mark
    if mark is None:
        return flattened(node)
    declared = registry.find(mark.uri)
    own, rest = _apart(node, declared[1] if declared else None)
    if not rest:
        return tuple(own)
    body = joined("AND", rest, node.text, node.sql)
    if declared and _agree(live, mark, definition, *declared, target):
        body = _as_declared(body, *declared)
    return (*flattened(body), *own)


def judges_in_function(live: LiveTrigger, target: Target) -> bool:
    """Return whether a trigger for statements is declared with a condition, which only its function can ask."""
    declared = live.mark and registry.find(live.mark.uri)
    if not declared:
        return False
    try:
        parts = compiled(*declared, target).triggers
    except PgMagicError:
        return False
    return any(part.name == live.name and bool(part.condition) for part in parts)


def _as_declared(body: Node, model: Any, trigger: Trigger) -> Node:
    condition = trigger.get_condition(model)
    rendered_itself = type(trigger).render_condition is not Trigger.render_condition
    return body if condition is None or rendered_itself else worded(body, condition, model)


def _apart(node: Node, trigger: Trigger | None) -> tuple[list[Clause], list[Node]]:
    """Return the parts of a condition that pgmagic added, in words, and the others."""
    parts = [
        (part, _own_words(part, trigger)) for part in (node.parts if node.connector == "AND" else (node,))
    ]
    own = [Clause(words, part.sql) for part, words in parts if words]
    return own, [part for part, words in parts if not words]


def _own_words(node: Node, trigger: Trigger | None) -> str | None:
    if not isinstance(trigger, FSM) or not node.text.endswith("IS NOT TRUE"):
        return None
    if "old." not in node.text:
        return f"{trigger.field} is no initial state"
    unmet = ", or its condition does not hold" if any(step.condition for step in trigger.steps) else ""
    return f"the transition of {trigger.field} is not listed{unmet}"


def _agree(
    live: LiveTrigger, mark: Mark, definition: str, model: Any, trigger: Trigger, target: Target
) -> bool:
    """Return whether a live trigger is what a declaration compiles to, and what was installed of it."""
    if mark.stored != md5(definition.encode(), usedforsecurity=False).hexdigest():
        return False
    try:
        parts = compiled(model, trigger, target).triggers
    except PgMagicError:
        return False
    return any(part.name == live.name and part.declared == mark.declared for part in parts)
