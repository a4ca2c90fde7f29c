"""The rules of an `FSM` as SQL: the guards of its WHEN clauses, and the body that rejects a step it does not allow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from django.core.exceptions import ValidationError

from pgmagic.compile.offline import offline_connection
from pgmagic.compile.predicate import column_of, condition_sql, named_rows, reason
from pgmagic.compile.rejecting import Rejection, reject_row
from pgmagic.compile.sql import Fragment, compose, join, literal, quoted
from pgmagic.declare.conditions import Q, concrete_field
from pgmagic.declare.fsm import FSM, Transition
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.errors import DeclarationError


def transitions_guard(trigger: FSM, model: Model) -> Fragment:
    """Return a condition that is true if an update's step is not listed, or if the step's condition does not hold.

    It belongs in the WHEN clause, where it costs no call of the function.
    """
    allowed = Q()
    conditional: list[Fragment] = []
    for old, following in _following(trigger):
        always = [step.new for step in following if step.condition is None]
        if always:
            allowed |= _state_is("old", trigger.field, [old]) & _state_is("new", trigger.field, always)
        for step in following:
            if step.condition is not None:
                pair = _state_is("old", trigger.field, [old]) & _state_is("new", trigger.field, [step.new])
                condition = condition_sql(step.condition, model)
                conditional.append(compose("(", condition_sql(pair, model), " AND ", condition, ")"))
    listed = ([condition_sql(allowed, model)] if allowed else []) + conditional
    return compose("((", join(" OR ", listed), ") IS NOT TRUE)")


def initial_guard(trigger: FSM, model: Model) -> Fragment:
    """Return a condition that is true if a row is inserted in a state that is not an initial state.

    Raises:
        DeclarationError: if the trigger's condition names the old row, which an insert does not have.
    """
    guard = condition_sql(_state_is("new", trigger.field, list(trigger.initial or ())), model)
    outside = compose("(", guard, " IS NOT TRUE)")
    if trigger.condition is None:
        return outside
    if "old" in named_rows(trigger.condition, model):
        raise DeclarationError(
            f'The FSM "{trigger.name}" has initial states, so its condition holds for inserts, too, and cannot name '
            f"the old row: declare a second FSM for the rule on updates."
        )
    return compose(outside, "\n    AND ", condition_sql(trigger.condition, model))


def body(trigger: FSM, model: Model) -> Fragment:
    """Return the PL/pgSQL that rejects a step and names the steps that the state allows.

    Raises:
        DeclarationError: if a state is not a value of the field.
    """
    field = concrete_field(model, str(trigger.field))
    for state in trigger.states():
        try:
            quoted(field.get_db_prep_save(state, offline_connection()))
        except (ValidationError, ValueError, TypeError) as error:
            raise DeclarationError(
                f'The FSM "{trigger.name}" lists a state that is not a value of '
                f"{field.model._meta.object_name}.{field.name}: {reason(error)}"
            ) from error
    column = literal(field.column)
    hint = _next_states(trigger, model)
    message = compose(
        "concat(", literal(f'pgtrigger: Invalid transition of field "{trigger.field}" from "'), ", ",
        _state_text("OLD", field), ", ", literal('" to "'), ", ", _state_text("NEW", field), ", ",
        literal(f'" on table {model._meta.db_table}'), ")",
    )  # fmt: skip
    step = Rejection(trigger, model, message, [field], column, hint)
    if trigger.initial is None:
        return reject_row(step)
    first = compose(
        "concat(", literal('pgtrigger: Invalid initial state "'), ", ", _state_text("NEW", field), ", ",
        literal(f'" of field "{trigger.field}" on table {model._meta.db_table}'), ")",
    )  # fmt: skip
    states = literal(f"A row begins as {_names(list(trigger.initial))}.")
    start = Rejection(trigger, model, first, [field], column, states)
    return compose("IF TG_OP = 'INSERT' THEN\n", reject_row(start), "\nEND IF;\n", reject_row(step))


def _following(trigger: FSM) -> list[tuple[object, list[Transition]]]:
    """Return each state that has a next state, with the steps from it."""
    return [
        (state, following)
        for state in trigger.states()
        if (following := [step for step in trigger.steps if step.old == state])
    ]


def _state_is(row: Literal["old", "new"], field: object, states: Sequence[object]) -> Q:
    known = [state for state in states if state is not None]
    alternatives = Q((f"{row}__{field}__in", known)) if known else Q()
    if len(known) < len(states):
        alternatives |= Q((f"{row}__{field}__isnull", True))
    return alternatives


def _state_text(row: Literal["OLD", "NEW"], field: AnyField) -> Fragment:
    return compose("coalesce(", column_of(row, field), "::text, 'NULL')")


def _next_states(trigger: FSM, model: Model) -> Fragment:
    cases = []
    for old, following in _following(trigger):
        condition = condition_sql(_state_is("old", trigger.field, [old]), model)
        always = _names([step.new for step in following if step.condition is None])
        under = _names([step.new for step in following if step.condition is not None])
        ways = [always] * bool(always) + [f"under a condition to {under}"] * bool(under)
        sentence = f"From {_name(old)} it may go {'to ' if always else ''}{', and '.join(ways)}."
        cases.append(compose(" WHEN ", condition, " THEN ", literal(sentence)))
    return compose("CASE", join("", cases), " ELSE ", literal("No transition leaves this state."), " END")


def _names(states: Sequence[object]) -> str:
    return ", ".join(map(_name, states))


def _name(state: object) -> str:
    return '"NULL"' if state is None else f'"{state}"'
