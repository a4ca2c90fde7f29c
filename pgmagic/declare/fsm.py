"""`FSM`: a field whose value changes only from one listed state to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from django.db import models

from pgmagic.declare.conditions import AnyChange, Condition, concrete_field
from pgmagic.declare.model_types import Model
from pgmagic.declare.signatures import arguments_checked
from pgmagic.declare.trigger import ReadyMade
from pgmagic.declare.vocabulary import Before, Insert, Update
from pgmagic.errors import DeclarationError


class Transition(NamedTuple):
    """One step from a state to another, allowed where its condition holds (None: always)."""

    old: object
    new: object
    condition: Condition | models.Q | None = None


class FSM(ReadyMade):
    """Allows only the listed transitions of a field.

    Args:
        name: unique among the triggers of a model.
        condition: the rows that the rule is for; all, unless given.
        field: the name of the field.
        transitions: pairs (from, to) of the field's own values, or triples with a condition under which the step is
            allowed. None is a state, too.
        separator: has no effect. It is kept for upstream's signature; nothing is joined to text here, so that no value
            can clash with it.
        initial: the states in which a row may be inserted; any, unless given.

    Raises:
        DeclarationError: if there is no field or no transition, a transition is neither a pair nor a triple, or an
            argument does not exist.

    Example:
        >>> flow = pgtrigger.FSM(name="flow", field="likes", transitions=[(0, 1), (1, 2)], initial=[0])
        >>> flow.states()
        [0, 1, 2]
        >>> with flow.install(Post):
        ...     Post.objects.update(likes=2)
        Traceback (most recent call last):
        ...
        pgmagic.errors.TriggerError: ...
    """

    when = Before
    operation = Update
    field: str | None = None
    transitions: Sequence[tuple[object, ...]] | None = None
    separator: str = ":"
    initial: Sequence[object] | None = None

    @arguments_checked
    def __init__(
        self,
        *,
        name: str | None = None,
        condition: Condition | models.Q | None = None,
        field: str | None = None,
        transitions: Sequence[tuple[object, ...]] | None = None,
        separator: str | None = None,
        initial: Sequence[object] | None = None,
    ) -> None:
        self.field = field or self.field
        self.transitions = transitions or self.transitions
        self.separator = separator or self.separator
        self.initial = initial if initial is not None else self.initial
        if not self.field:
            raise DeclarationError('Must provide "field" for FSM.')
        if not self.transitions:
            raise DeclarationError('Must provide "transitions" for FSM: a list of (from, to) pairs.')
        if isinstance(self.initial, str) or not (self.initial is None or list(self.initial)):
            raise DeclarationError(
                f"An FSM's initial= is a list of at least one state, but {self.initial!r} was given."
            )
        self.steps = [_transition(given) for given in self.transitions]
        operation = None if self.initial is None else Insert | Update
        super().__init__(name=name, condition=condition, operation=operation)

    def get_condition(self, model: Model) -> Condition | models.Q:
        """Return a condition that is true where the field changed, and the declared condition holds."""
        changed = AnyChange(concrete_field(model, str(self.field)).name)
        return changed & self.condition if self.condition is not None else changed

    def states(self) -> list[object]:
        """Return every state that is named, in the order in which they first appear."""
        named = [state for step in self.steps for state in (step.old, step.new)]
        states: list[object] = []
        for state in (*(self.initial or ()), *named):
            # A state may be a list, as in an array field, so that no dict can hold it.
            if state not in states:
                states.append(state)
        return states


def _transition(given: object) -> Transition:
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) not in (2, 3):
        raise DeclarationError(
            f"An FSM's transition is a pair (from, to), or a triple (from, to, condition), but {given!r} was given."
        )
    transition = Transition(*given)
    if not isinstance(transition.condition, Condition | models.Q | None):
        raise DeclarationError(
            f"The condition of an FSM's transition is a Q or a Condition, but {transition.condition!r} was given."
        )
    return transition
