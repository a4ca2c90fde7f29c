"""Trackers: which changes of a model become events, and the triggers that record them.

A tracker's label is the name of its events. `row` says which side of a change an event holds: `Old` the row as it was
before, `New` as it is after.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Final

from django.db import models

from pgmagic.declare.conditions import AnyChange, Condition, table_fields, within
from pgmagic.declare.event_fields import UNSET, Unset, setting
from pgmagic.declare.event_trigger import EventTrigger, New, Old, Side, check_level, recording_level
from pgmagic.declare.model_types import AnyField, EventModel, Model
from pgmagic.declare.signatures import arguments_checked
from pgmagic.declare.vocabulary import Delete, Insert, Level, Operation, Update, UpdateOf
from pgmagic.errors import DeclarationError, DuplicateNameError

# The attribute of a tracked model that holds its event models by label.
EVENT_MODELS: Final = "pgh_event_models"


class Tracker:
    """What a model is tracked by. A subclass may set `label` and override `setup`.

    Args:
        label: the name of the events; unless given, the class's own.

    Raises:
        DeclarationError: if there is no label, or an argument does not exist.

    Example:
        >>> pghistory.Tracker("note")
        <Tracker: note>
    """

    label: str | None = None

    @arguments_checked
    def __init__(self, label: str | None = None) -> None:
        self.label = label or self.label
        if not isinstance(self.label, str) or not self.label or "\x00" in self.label:
            raise DeclarationError(
                f'{type(self).__name__} needs a label, as its first argument or as a "label" attribute: a text that is '
                f"not empty and has no NUL in it; got {self.label!r}."
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.label}>"

    @property
    def side(self) -> Side:
        """The side of a change that its events hold; for events that no trigger records, the row as it is."""
        return New

    def setup(self, event_model: EventModel) -> None:
        """Prepare what the tracker needs, for one event model; called once the model is complete."""

    def pghistory_setup(self, event_model: EventModel) -> None:
        """Make the event model known to the tracked model under this label, then set up."""
        tracked = event_model.pgh_tracked_model
        setattr(tracked, EVENT_MODELS, {**event_models_of(tracked), str(self.label): event_model})
        self.setup(event_model)


class ManualEvent(Tracker):
    """Events that only `create_event` records.

    Example:
        >>> @pghistory.track(pghistory.ManualEvent("read"))
        ... class Note(models.Model):
        ...     text = models.TextField()
        >>> note = Note.objects.create(text="a")
        >>> pghistory.create_event(note, label="read").pgh_label
        'read'
    """


class RowEvent(Tracker):
    """Records an event for each changed row. Each argument may also be a class attribute.

    Args:
        label: the name of the events.
        condition: only changes for which it is true are recorded. Without a condition, an update is recorded only if
            a tracked field really changed; None records every update. `AnyChange()` and its like without fields speak
            of the tracked ones.
        operation: which changes, as in `pghistory.Insert | pghistory.Update`.
        row: `Old` or `New`: the row before or after the change.
        trigger_name: derived from label and operation, unless given.
        level: see `track`.

    Raises:
        DeclarationError: if the arguments contradict each other, or one does not exist.

    Example:
        >>> @pghistory.track(pghistory.RowEvent(
        ...     "published", operation=pghistory.Update, row=pghistory.New, condition=pghistory.Q(new__public=True)))
        ... class Note(models.Model):
        ...     public = models.BooleanField(default=False)
        >>> note = Note.objects.create()
        >>> Note.objects.update(public=True)
        1
        >>> [event.pgh_label for event in note.events.all()]
        ['published']
    """

    operation: Operation | None = None
    row: Side | None = None
    condition: Condition | models.Q | Unset | None = UNSET
    trigger_name: str | None = None
    level: Level | None = None

    @arguments_checked
    def __init__(
        self,
        label: str | None = None,
        *,
        condition: Condition | models.Q | Unset | None = UNSET,
        operation: Operation | None = None,
        row: Side | None = None,
        trigger_name: str | None = None,
        level: Level | None = None,
    ) -> None:
        super().__init__(label)
        self.condition = condition if condition is not UNSET else self.condition
        self.operation = operation or self.operation
        self.row = row or self.row
        self.trigger_name = trigger_name or self.trigger_name
        self.level = level or self.level
        if not isinstance(self.operation, Operation):
            raise DeclarationError(
                f"{self!r} needs an operation, as in operation=pghistory.Update; got {self.operation!r}."
            )
        if self.row not in (Old, New):
            raise DeclarationError(
                f"{self!r} needs row=pghistory.Old (as it was) or row=pghistory.New (as it is); got {self.row!r}."
            )
        missing = Insert if self.row == Old else Delete
        if missing in self.operation:
            raise DeclarationError(f'{self!r}: there is no "{self.row}" row on {str(missing).lower()} events.')
        check_level(self.level, repr(self))

    @property
    def side(self) -> Side:
        """The side of a change that its events hold."""
        return self.row or New

    def setup(self, event_model: EventModel) -> None:
        """Register the trigger that records the events."""
        check_level(self._level(event_model), repr(self))
        self.add_event_trigger(event_model)

    def _level(self, event_model: EventModel) -> Level | None:
        """Return the level that was asked for, closest to the tracker first."""
        return self.level or event_model.pgh_level or setting("PGHISTORY_LEVEL")

    def add_event_trigger(self, event_model: EventModel) -> None:
        """Register the trigger on the tracked model."""
        operation, condition = self.operation or Insert, self.condition
        if isinstance(condition, Unset):
            condition = real_change(event_model) if is_update(operation) else None
        elif isinstance(condition, Condition):
            condition = within(condition, _tracked_names(event_model))
        trigger = EventTrigger(
            event_model=event_model,
            label=str(self.label),
            row=self.side,
            name=self.trigger_name or trigger_name(str(self.label), operation),
            operation=operation,
            condition=condition,
            level=recording_level(self._level(event_model), operation, condition),
        )
        trigger.register(event_model.pgh_tracked_model)


class InsertEvent(RowEvent):
    """Records each new row.

    Example:
        >>> [event.pgh_label for event in post.events.all()]
        ['insert']
    """

    label = "insert"
    operation = Insert
    row = New


class UpdateEvent(RowEvent):
    """Records each row that an update really changed, as it is after; `row=Old` as it was before.

    Example:
        >>> post.title = "Other"
        >>> post.save()
        >>> post.save()  # changes nothing
        >>> [(event.pgh_label, event.title) for event in post.events.order_by("pgh_id")]
        [('insert', 'Hello'), ('update', 'Other')]
    """

    label = "update"
    operation = Update
    row = New


class DeleteEvent(RowEvent):
    """Records each deleted row as it was.

    Example:
        >>> @pghistory.track(pghistory.DeleteEvent())
        ... class Note(models.Model):
        ...     text = models.TextField()
        >>> _ = Note.objects.create(text="a").delete()
        >>> [event.text for event in Note.pgh_event_model.objects.all()]
        ['a']
    """

    label = "delete"
    operation = Delete
    row = Old


# The names that older tutorials use. Unlike `UpdateEvent`, those for updates record every update, also one that
# changes nothing, unless they are given a condition.


class AfterInsert(RowEvent):
    """Records each new row.

    Example:
        >>> pghistory.AfterInsert("made").operation
        pgtrigger.Insert
    """

    operation = Insert
    row = New
    condition = None


class AfterUpdate(RowEvent):
    """Records each updated row as it is after the update.

    Example:
        >>> pghistory.AfterUpdate("changed").row
        'NEW'
    """

    operation = Update
    row = New
    condition = None


class AfterInsertOrUpdate(RowEvent):
    """Records each new row, and each updated row as it is after the update.

    Example:
        >>> pghistory.AfterInsertOrUpdate("kept").operation
        pgtrigger.Insert | pgtrigger.Update
    """

    operation = Insert | Update
    row = New
    condition = None


class BeforeUpdate(RowEvent):
    """Records each updated row as it was before the update.

    Example:
        >>> pghistory.BeforeUpdate("was").row
        'OLD'
    """

    operation = Update
    row = Old
    condition = None


class BeforeDelete(RowEvent):
    """Records each deleted row as it was.

    Example:
        >>> pghistory.BeforeDelete("gone").operation
        pgtrigger.Delete
    """

    operation = Delete
    row = Old
    condition = None


class BeforeUpdateOrDelete(RowEvent):
    """Records each updated or deleted row as it was.

    Example:
        >>> pghistory.BeforeUpdateOrDelete("was").operation
        pgtrigger.Update | pgtrigger.Delete
    """

    operation = Update | Delete
    row = Old
    condition = None


class Snapshot(RowEvent):
    """Records each new row, and each row that an update really changed, as it is after.

    So the latest event of an object is what its row is now.

    Example:
        >>> @pghistory.track(pghistory.Snapshot())
        ... class Note(models.Model):
        ...     text = models.TextField()
        >>> note = Note.objects.create(text="a")
        >>> note.text = "b"
        >>> note.save()
        >>> [event.text for event in note.events.order_by("pgh_id")]
        ['a', 'b']
    """

    label = "snapshot"
    operation = Insert | Update
    row = New

    def add_event_trigger(self, event_model: EventModel) -> None:
        """Register two triggers: only that of the update can compare with the row before."""
        if not isinstance(self.condition, Unset):
            super().add_event_trigger(event_model)
            return
        # Each has a name of its own, also where the user chose the name.
        for operation, condition in ((Insert, None), (Update, real_change(event_model))):
            part = RowEvent(
                self.label,
                operation=operation,
                row=New,
                condition=condition,
                trigger_name=f"{self.trigger_name}_{str(operation).lower()}" if self.trigger_name else None,
                level=self.level,
            )
            part.add_event_trigger(event_model)


OLDER: Final[tuple[type[Tracker], ...]] = (
    Snapshot, AfterInsert, AfterUpdate, AfterInsertOrUpdate, BeforeUpdate, BeforeDelete, BeforeUpdateOrDelete,
)  # fmt: skip


def event_models_of(tracked: Model) -> dict[str, EventModel]:
    """Return the event models of a tracked model itself, not of its parents, by label."""
    return dict(vars(tracked).get(EVENT_MODELS, {}))


def is_update(operation: Operation | None) -> bool:
    """Return whether an operation is an update and nothing else."""
    return operation == Update or isinstance(operation, UpdateOf)


def real_change(event_model: EventModel) -> Condition:
    """Return a condition that is true where a tracked field changed; where no field is tracked, where any field did."""
    return AnyChange(*_tracked_names(event_model))


def _tracked_names(event_model: EventModel) -> list[str]:
    """Return the names of the tracked fields."""
    return [tracked.name for _, tracked in tracked_fields(event_model)]


def tracked_fields(event_model: EventModel) -> Iterator[tuple[AnyField, AnyField]]:
    """Yield each field of an event model that mirrors one of the tracked table's, and that field, in table order."""
    own = {field.name: field for field in event_model._meta.concrete_fields}
    for tracked in table_fields(event_model.pgh_tracked_model):
        if tracked.name in own:
            yield own[tracked.name], tracked


def check_labels(tracked: Model, event_label: str, trackers: Iterable[Tracker]) -> None:
    """Check that no two trackers of a tracked model have the same label.

    event_label: of the event model, as in `app.Name`.

    Raises:
        DuplicateNameError: if two of them have.
        DeclarationError: if something is not a tracker.
    """
    taken: dict[str, str | None] = {
        label: other._meta.object_name
        for label, other in event_models_of(tracked).items()
        if other._meta.label != event_label
    }
    for tracker in trackers:
        if not isinstance(tracker, Tracker):
            raise DeclarationError(
                f"{tracked._meta.object_name} is tracked by trackers such as pghistory.InsertEvent(), but {tracker!r} "
                f"was given."
            )
        label = str(tracker.label)
        if label in taken:
            raise DuplicateNameError(
                f'{tracked._meta.object_name} has two trackers with the label "{label}" (events in {taken[label]}): '
                f"give one of them another label, as its first argument."
            )
        taken[label] = event_label.rpartition(".")[2]


def trigger_name(label: str, operation: Operation) -> str:
    """Return the name of the trigger that records an operation under a label: `label_insert`, `label_insert_or_update`.

    Two labels, or two operations under one label, never share a name.
    """
    words = [str(Update) if isinstance(single, UpdateOf) else str(single) for single in operation]
    name = f"{label}_{'_or_'.join(words).lower()}"
    if re.search(r"_or(-[0-9a-f]{8})?\Z", label):
        # "a_insert_or" on update would have the name of "a" on insert or update.
        digest = hashlib.sha256(label.encode()).hexdigest()[:8]
        return f"{label}-{digest}_{'_or_'.join(words).lower()}"
    return name
