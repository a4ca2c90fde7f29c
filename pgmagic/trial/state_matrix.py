"""Every pair of states of a field, tried on a row of its table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Self

from django.db import connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.compile.sql import compose, identifier, literal, render
from pgmagic.db.driver import driver_connection
from pgmagic.db.runtime.ignore import ignore
from pgmagic.declare import registry
from pgmagic.declare.conditions import concrete_field
from pgmagic.declare.fsm import FSM
from pgmagic.declare.model_types import AnyField, EventModel, Model
from pgmagic.declare.trackers import tracked_fields
from pgmagic.declare.vocabulary import Insert
from pgmagic.errors import CellError
from pgmagic.trial.attempts import Refused, attempt, nothing_kept, taken_back
from pgmagic.trial.examples import any_row, row_to_try
from pgmagic.trial.sample_values import column_values, distinct
from pgmagic.watch.trigger_catalog import TriggerCatalog, read_trigger_catalog
from pgmagic.watch.wording import words_of

State = object

MOST_STATES = 40
"""A field with more different values than these hardly has states."""


def state_name(state: State) -> str:
    """Return a state as text, so that NULL differs from every text."""
    if state is None:
        return "NULL"
    text = str(state)
    return f"'{text}'" if text != text.strip() or text in ("", "NULL") else text


@dataclass(frozen=True)
class Tried:
    """What happened when a transition was tried.

    verdict: `unknown` if no row could be brought to the first state. stored: the state that a trigger stored instead.
    trigger: the URI of the trigger that decided, if it is known. reason: what the database said.
    """

    verdict: Literal["allowed", "rejected", "rewritten", "suppressed", "unknown"]
    trigger: str | None = None
    reason: str | None = None
    stored: State = None

    def words(self) -> str:
        """Return the verdict, with who or what brought it about."""
        if self.verdict == "rejected" and self.trigger:
            return f"rejected by {self.trigger}"
        if self.verdict == "rewritten":
            return f"rewritten to {state_name(self.stored)}"
        if self.verdict in ("rejected", "unknown"):
            return f"{self.verdict}: {self.reason}"
        return self.verdict


@dataclass(frozen=True)
class Transitions:
    """The states of a field, and what happened to each pair of them, in the order of the states.

    taken: how often each transition is found in the recorded events; None if the field is not tracked. row: the key of
    the row on which the pairs were tried, None for a row that was made up. conditions: under which an FSM allows a
    transition, in words, by the places of its states. rules: the condition of each FSM that has one, by URI.
    asleep: why an FSM does not fire at all, by URI.
    """

    field: str
    states: tuple[State, ...]
    tried: tuple[tuple[Tried, ...], ...]
    taken: tuple[tuple[int, ...], ...] | None
    row: object
    conditions: dict[tuple[int, int], str]
    rules: dict[str, str]
    asleep: dict[str, str]

    def about(self, row: int, column: int) -> Iterator[str]:
        """Yield under which condition a transition is allowed, and how often it was taken."""
        condition = self.conditions.get((row, column))
        if condition:
            yield f"if {condition}"
        taken = self.taken[row][column] if self.taken else 0
        if taken:
            yield "once" if taken == 1 else f"{taken:,} times"

    def notes(self) -> Iterator[str]:
        """Yield the sentences that hold for all pairs."""
        on = "a row that was made up for it" if self.row is None else f"row {self.row}, or on a row in the state"
        yield f"Tried on {on}; nothing was kept."
        if self.conditions:
            yield (
                "A transition that is allowed under a condition (if …) was tried on a row for which that may not hold."
            )
        for uri, why in self.asleep.items():
            yield f"{uri} is {why}, so it decided nothing."
        for uri, condition in self.rules.items():
            yield f"{uri} is only for rows with {condition}."
        if self.taken is not None:
            total = sum(map(sum, self.taken))
            yield f"Counts come from {total:,} recorded change{'' if total == 1 else 's'}."


@dataclass(frozen=True)
class _Machines:
    """The FSMs of a field, by their URIs."""

    field: AnyField
    by_uri: dict[str, FSM]

    @classmethod
    def of(cls, model: Model, field: AnyField) -> Self:
        """Return the registered FSMs of a model's field."""
        found: dict[str, FSM] = {}
        for owner, trigger in registry.registered():
            if owner is not model or not isinstance(trigger, FSM):
                continue
            if concrete_field(model, str(trigger.field)) == field:
                found[trigger.get_uri(model)] = trigger
        return cls(field, found)

    def states(self) -> list[State]:
        """Return every state that they name."""
        return [state for machine in self.by_uri.values() for state in machine.states()]

    def conditions(self, states: Sequence[State]) -> dict[tuple[int, int], str]:
        """Return the conditions of transitions in words, by the places of their states."""
        found: dict[tuple[int, int], list[str]] = {}
        steps = [step for machine in self.by_uri.values() for step in machine.steps]
        for step in steps:
            if step.condition is not None:
                old, new = (states.index(state) for state in _converted(self.field, [step.old, step.new]))
                found.setdefault((old, new), []).append(words_of(step.condition))
        return {place: " or ".join(words) for place, words in found.items()}

    def rules(self) -> dict[str, str]:
        """Return the conditions of whole FSMs in words, by URI."""
        machines = self.by_uri.items()
        return {uri: words_of(each.condition) for uri, each in machines if each.condition is not None}

    def asleep(self, catalog: TriggerCatalog) -> dict[str, str]:
        """Return why FSMs do not fire at all, by URI."""
        found = {}
        for uri in self.by_uri:
            live = [trigger for trigger in catalog.triggers if trigger.uri == uri]
            if not live:
                found[uri] = "not installed here"
            elif not any(trigger.enabled in "OA" for trigger in live):
                found[uri] = "disabled"
        return found


def try_transitions(model: Model, name: str, using: str = "default") -> Transitions:
    """Try every pair of states of a field, each in a savepoint; nothing is kept.

    The states are the choices of the field, those that an FSM names, and those in the table; NULL is a state if the
    field takes it. A row is brought to the first state while pgmagic's triggers are ignored, then to the second.

    Raises:
        UnknownFieldError: if the model has no such field.
        CellError: if the field has no states, or too many, or there is no row to try them on.
    """
    field = concrete_field(model, name)
    connection = connections[using]
    connection.ensure_connection()
    machines = _Machines.of(model, field)
    with nothing_kept(connection):
        states = _states(model, field, machines, using)
        catalog = read_trigger_catalog(driver_connection(connection))
        own = any_row(model, using)
        row = (row_to_try(model, using) if own is None else own).pk
        trying = _Trying(model, field, connection, catalog)
        tried = tuple(tuple(trying.transition(row, old, new) for new in states) for old in states)
        taken = _taken(model, field, states, using)
    return Transitions(
        field=field.name,
        states=tuple(states),
        tried=tried,
        taken=taken,
        row=None if own is None else own.pk,
        conditions=machines.conditions(states),
        rules=machines.rules(),
        asleep=machines.asleep(catalog),
    )


def _states(model: Model, field: AnyField, machines: _Machines, using: str) -> list[State]:
    named = [*(value for value, _ in field.flatchoices), *machines.states()]
    named += column_values(model, field.attname, using, MOST_STATES + 1)
    states = distinct(_converted(field, [*named, *([None] if field.null else [])]))
    label = f"{model._meta.object_name}.{field.name}"
    if len(states) > MOST_STATES:
        raise CellError(f"{label} has more than {MOST_STATES} different values: it is not a field with states.")
    if not any(state is not None for state in states):
        raise CellError(f"{label} has no states: give it choices, an FSM, or rows, so that there is something to try.")
    return states


def _converted(field: AnyField, values: Iterable[State]) -> list[State]:
    return [value if value is None else field.to_python(value) for value in values]


@dataclass(frozen=True)
class _Trying:
    """Tries transitions of a field of a table."""

    model: Model
    field: AnyField
    connection: BaseDatabaseWrapper
    catalog: TriggerCatalog

    def transition(self, key: object, old: State, new: State) -> Tried:
        """Bring a row to one state, then to another, and roll back both."""
        with taken_back(self.connection):
            every: models.QuerySet[models.Model] = models.QuerySet(self.model, using=self.connection.alias)
            there = every.filter(**{f"{self.field.name}__isnull": True} if old is None else {self.field.name: old})
            own = there.order_by("pk").values_list("pk", flat=True).first()
            obstacle = None if own is not None else self.bring(key, old)
            found = obstacle or self.try_update(key if own is None else own, new)
        # The block ends with an exception, which leaves it.
        return found  # noqa: RET504

    def bring(self, key: object, state: State) -> Tried | None:
        """Bring a row to a state while pgmagic's triggers are ignored; return what prevented it, if anything did."""

        def change() -> None:
            with ignore():
                self._update(key, state)

        made = attempt(self.connection, change, self.catalog, self.model._meta.db_table)
        if isinstance(made, Refused):
            reason = f"no row can be in this state: {made.rejection.reason}"
            return Tried("unknown", made.rejection.trigger, reason)
        change()
        if self._stored(key) != state:
            return Tried("unknown", reason="another trigger keeps rows from this state")
        return None

    def try_update(self, key: object, state: State) -> Tried:
        """Update the state of a row, and roll back."""

        def change() -> tuple[int, State]:
            return self._update(key, state), self._stored(key)

        made = attempt(self.connection, change, self.catalog, self.model._meta.db_table)
        if isinstance(made, Refused):
            return Tried("rejected", made.rejection.trigger, made.rejection.reason)
        rows, stored = made.value
        if not rows:
            return Tried("suppressed", reason="a trigger swallowed the update")
        return Tried("allowed") if stored == state else Tried("rewritten", stored=stored)

    def _rows(self, key: object) -> models.QuerySet[models.Model]:
        return models.QuerySet(self.model, using=self.connection.alias).filter(pk=key)

    def _update(self, key: object, state: State) -> int:
        return self._rows(key).update(**{self.field.name: state})

    def _stored(self, key: object) -> State:
        [stored] = _converted(self.field, self._rows(key).values_list(self.field.attname, flat=True)) or [None]
        return stored


def _taken(model: Model, field: AnyField, states: Sequence[State], using: str) -> tuple[tuple[int, ...], ...] | None:
    """Return how often each transition is found in the events of the first tracker with the field and its object."""
    event_models: dict[str, EventModel] = getattr(model, "pgh_event_models", {})
    for event_model in event_models.values():
        mirrored = [event for event, tracked in tracked_fields(event_model) if tracked.name == field.name]
        objects = [other for other in event_model._meta.local_concrete_fields if other.name == "pgh_obj"]
        if mirrored and objects:
            columns = str(objects[0].column), str(mirrored[0].column)
            return _counted(event_model, *columns, field, states, using)
    return None


def _counted(
    event_model: EventModel, obj: str, column: str, field: AnyField, states: Sequence[State], using: str
) -> tuple[tuple[int, ...], ...]:
    # A key may be used again: its new row did not come from the state of the deleted row.
    trackers = event_model.pgh_trackers
    inserts = [str(each.label) for each in trackers if getattr(each, "operation", None) == Insert]
    state = identifier(column)
    query = compose(
        "SELECT before, after, count(*) FROM (SELECT lag(", state, ") OVER w AS before, ", state, " AS after, "
        "row_number() OVER w AS place, pgh_label FROM ", identifier(event_model._meta.db_table),
        " WINDOW w AS (PARTITION BY ", identifier(obj), " ORDER BY pgh_id)) AS events WHERE place > 1 "
        "AND before IS DISTINCT FROM after AND pgh_label <> ALL (", literal(inserts), "::text[]) GROUP BY 1, 2",
    )  # fmt: skip
    with connections[using].cursor() as cursor:
        cursor.execute(render(query))
        rows = cursor.fetchall()
    found: Counter[tuple[int, int]] = Counter()
    for before, after, number in rows:
        pair = _converted(field, [before, after])
        if all(value in states for value in pair):
            found[states.index(pair[0]), states.index(pair[1])] += number
    places = range(len(states))
    return tuple(tuple(found[old, new] for new in places) for old in places)
