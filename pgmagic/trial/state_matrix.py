"""Every pair of states of a field, tried on a row of its table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from django.db import Error as DatabaseFailure
from django.db import connections, models
from django.db.models.fields import Field

from pgmagic.compile.sql import compose, identifier, literal, render
from pgmagic.db.runtime.ignore import ignore
from pgmagic.declare import registry
from pgmagic.declare.conditions import concrete_field
from pgmagic.declare.fsm import FSM
from pgmagic.declare.trackers import tracked_fields
from pgmagic.declare.vocabulary import Insert
from pgmagic.errors import CellError
from pgmagic.trial.attempts import attempt, nothing_kept, taken_back
from pgmagic.trial.examples import any_row, make_row
from pgmagic.watch.trigger_catalog import TriggerCatalog, read_trigger_catalog
from pgmagic.watch.wording import words_of

Model = type[models.Model]
State = Any

MOST_STATES = 40
"""With more states than these, a field is hardly one with states."""


@dataclass(frozen=True)
class Tried:
    """What became of a transition.

    verdict: `unknown` where no row could be brought to the first state. stored: the state that a trigger stored
    instead. trigger: the URI of the one that decided, if it is known. reason: what the database said.
    """

    verdict: Literal["allowed", "rejected", "rewritten", "suppressed", "unknown"]
    trigger: str | None = None
    reason: str | None = None
    stored: State = None


@dataclass(frozen=True)
class Transitions:
    """The states of a field, and what became of each pair, in the order of the states.

    taken: how often each transition was really taken, as the events of a tracker tell; None where nothing is tracked.
    row: the key of the row on which it was tried, None for one that was made up for it. conditions: under which an FSM
    allows a transition, in words, by the places of its states; rules: the conditions of FSMs as wholes, by URI; asleep:
    why an FSM does not fire at all, by URI.
    """

    field: str
    states: tuple[State, ...]
    tried: tuple[tuple[Tried, ...], ...]
    taken: tuple[tuple[int, ...], ...] | None
    row: Any
    conditions: dict[tuple[int, int], str]
    rules: dict[str, str]
    asleep: dict[str, str]


def try_transitions(model: Model, name: str, using: str = "default") -> Transitions:
    """Try every pair of states of a field, each in a savepoint; nothing is kept.

    The states are the choices of the field, those that an FSM names, and those in the table; NULL is one where the
    field takes it. A row is brought to the first state while pgmagic's triggers are ignored, then to the second.

    Raises:
        UnknownFieldError: the model has no such field.
        CellError: the field has no states, or too many, or there is no row to try them on.
    """
    field = concrete_field(model, name)
    connection = connections[using]
    connection.ensure_connection()
    with nothing_kept(connection):
        states = _states(model, field, using)
        catalog = read_trigger_catalog(connection.connection)
        row, is_own = _row(model, using)
        trying = _Trying(model, field, connection, catalog)
        tried = tuple(tuple(trying.transition(row, old, new) for new in states) for old in states)
        taken = _taken(model, field, states, using)
    machines = _machines(model, field)
    return Transitions(
        field.name, tuple(states), tried, taken, row if is_own else None, _conditions(machines, field, states),
        {machine.get_uri(model): words_of(machine.condition) for machine in machines if machine.condition is not None},
        dict(_asleep(machines, model, catalog)),
    )  # fmt: skip


def _asleep(machines: Iterable[FSM], model: Model, catalog: TriggerCatalog) -> Iterator[tuple[str, str]]:
    for uri in (machine.get_uri(model) for machine in machines):
        live = [trigger for trigger in catalog.triggers if trigger.uri == uri]
        if not live:
            yield uri, "not installed here"
        elif not any(trigger.enabled in "OA" for trigger in live):
            yield uri, "disabled"


def _machines(model: Model, field: Field[Any, Any]) -> list[FSM]:
    registered = (trigger for _, trigger in registry.registered())
    return [trigger for trigger in registered if isinstance(trigger, FSM) and _is_of(model, field, trigger)]


def _conditions(
    machines: Iterable[FSM], field: Field[Any, Any], states: list[State]
) -> dict[tuple[int, int], str]:
    found: dict[tuple[int, int], list[str]] = {}
    for step in (step for machine in machines for step in machine.steps if step.condition is not None):
        place = tuple(states.index(state) for state in _converted(field, [step.old, step.new]))
        found.setdefault((place[0], place[1]), []).append(words_of(step.condition))
    return {place: " or ".join(words) for place, words in found.items()}


def _states(model: Model, field: Field[Any, Any], using: str) -> list[State]:
    found: Any = (
        models.QuerySet(model, using=using).order_by().values_list(field.attname, flat=True).distinct()
    )
    named: list[State] = [value for value, _ in field.flatchoices]
    for machine in _machines(model, field):
        named += machine.states()
    states = _unique(_converted(field, [*named, *found[: MOST_STATES + 1], *([None] if field.null else [])]))
    label = f"{model._meta.object_name}.{field.name}"
    if len(states) > MOST_STATES:
        raise CellError(f"{label} has more than {MOST_STATES} different values: it is no field with states.")
    if not any(state is not None for state in states):
        raise CellError(
            f"{label} has no states: give it choices, an FSM, or rows, so that there is something to try."
        )
    return states


def _is_of(model: Model, field: Field[Any, Any], trigger: FSM) -> bool:
    owners = [owner for owner, candidate in registry.registered() if candidate is trigger]
    return model in owners and concrete_field(model, str(trigger.field)) == field


def _converted(field: Field[Any, Any], values: Iterable[Any]) -> list[State]:
    return [value if value is None else field.to_python(value) for value in values]


def _unique(values: Iterable[State]) -> list[State]:
    found: list[State] = []
    for value in values:
        # A state may be a list, as in an array field, so that no dict can hold it.
        if value not in found:
            found.append(value)
    return found


def _row(model: Model, using: str) -> tuple[Any, bool]:
    """Return the key of a row to try things on, and whether it was there before."""
    row = any_row(model, using)
    if row is not None:
        return row.pk, True
    try:
        return make_row(model, using).pk, False
    except (DatabaseFailure, ValueError, TypeError) as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise CellError(
            f"{model._meta.object_name} has no rows, and none could be made up to try transitions on ({reason}): "
            f"create one first."
        ) from None


@dataclass(frozen=True)
class _Trying:
    """The place of the attempts: a field of a table."""

    model: Model
    field: Field[Any, Any]
    connection: Any
    catalog: TriggerCatalog

    def transition(self, key: Any, old: State, new: State) -> Tried:
        """Bring a row to one state, then to another, and take both back."""
        with taken_back(self.connection):
            there: Any = models.QuerySet(self.model, using=self.connection.alias).filter(
                **{f"{self.field.name}__isnull": True} if old is None else {self.field.name: old}
            )
            own = there.order_by("pk").values_list("pk", flat=True).first()
            obstacle = None if own is not None else self._brought(key, old)
            found = obstacle or self._tried(key if own is None else own, new)
        # Behind the block, which ends in what leaves it.
        return found  # noqa: RET504

    def _brought(self, key: Any, state: State) -> Tried | None:
        """Bring a row to a state while triggers of pgmagic's are ignored; return what was in the way, if anything."""

        def change() -> None:
            with ignore():
                self._update(key, state)

        made = attempt(self.connection, change, self.catalog, self.model._meta.db_table)
        if made.refusal is not None:
            return Tried(
                "unknown", made.refusal.trigger, f"no row can be in this state: {made.refusal.reason}"
            )
        change()
        if self._stored(key) != state:
            return Tried("unknown", reason="another trigger keeps rows from this state")
        return None

    def _tried(self, key: Any, state: State) -> Tried:
        def change() -> tuple[int, State]:
            return self._update(key, state), self._stored(key)

        made = attempt(self.connection, change, self.catalog, self.model._meta.db_table)
        if made.refusal is not None:
            return Tried("rejected", made.refusal.trigger, made.refusal.reason)
        rows, stored = made.value
        if not rows:
            return Tried("suppressed", reason="a trigger swallowed the update")
        return Tried("allowed") if stored == state else Tried("rewritten", stored=stored)

    def _update(self, key: Any, state: State) -> int:
        rows: Any = models.QuerySet(self.model, using=self.connection.alias).filter(pk=key)
        return int(rows.update(**{self.field.name: state}))

    def _stored(self, key: Any) -> State:
        rows: Any = models.QuerySet(self.model, using=self.connection.alias).filter(pk=key)
        [stored] = _converted(self.field, rows.values_list(self.field.attname, flat=True)) or [None]
        return stored


def _taken(
    model: Model, field: Field[Any, Any], states: list[State], using: str
) -> tuple[tuple[int, ...], ...] | None:
    """Return how often each transition was taken, as the first tracker with the field and its object tells."""
    for event_model in getattr(model, "pgh_event_models", {}).values():
        mirrored = [event for event, tracked in tracked_fields(event_model) if tracked.name == field.name]
        objects = [other for other in event_model._meta.local_concrete_fields if other.name == "pgh_obj"]
        if mirrored and objects:
            # A key may be used again: its new row did not come from the state of the deleted one.
            inserts = [
                str(each.label)
                for each in event_model.pgh_trackers
                if getattr(each, "operation", None) == Insert
            ]
            columns = str(objects[0].column), str(mirrored[0].column)
            counted = _counted(event_model, *columns, inserts, field, using)
            return tuple(tuple(_count_of(counted, old, new) for new in states) for old in states)
    return None


def _count_of(counted: list[tuple[State, State, int]], old: State, new: State) -> int:
    return sum(number for before, after, number in counted if (before, after) == (old, new))


def _counted(
    event_model: Any, obj: str, column: str, inserts: list[str], field: Field[Any, Any], using: str
) -> list[tuple[State, State, int]]:
    state = identifier(column)
    query = compose(
        "SELECT before, after, count(*) FROM (SELECT lag(", state, ") OVER w AS before, ", state, " AS after, "
        "row_number() OVER w AS place, pgh_label FROM ", identifier(event_model._meta.db_table),
        " WINDOW w AS (PARTITION BY ", identifier(obj), " ORDER BY pgh_id)) AS events WHERE place > 1 "
        "AND before IS DISTINCT FROM after AND pgh_label <> ALL (", literal(inserts), "::text[]) GROUP BY 1, 2",
    )  # fmt: skip
    with connections[using].cursor() as cursor:
        cursor.execute(render(query))
        found = cursor.fetchall()
    return [(*_converted(field, [before, after]), number) for before, after, number in found]
