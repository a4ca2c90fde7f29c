"""Events that no change causes: recorded by hand with `create_event`, and put back with `Event.revert`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import DEFAULT_DB_ALIAS, connections, models, router, transaction

from pgmagic.compile.event_values import own_columns
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render
from pgmagic.declare.conditions import table_fields
from pgmagic.declare.model_types import AnyField, EventModel
from pgmagic.declare.trackers import tracked_fields
from pgmagic.errors import DeclarationError, HistoryError

if TYPE_CHECKING:
    from pgmagic.declare.model_types import EventRow


def create_event(obj: models.Model, *, label: str, using: str = DEFAULT_DB_ALIAS) -> models.Model:
    """Record an event of an object as it is in memory, under a tracker's label, and return the event.

    The open context is attached, as it is to events that triggers record. One INSERT is sent, in the current
    transaction if there is one.

    Args:
        obj: A saved object of a tracked model.
        label: The label of a tracker of the model, such as that of a `ManualEvent`.
        using: The database.

    Returns:
        The event, an object of the event model of this label.

    Raises:
        DeclarationError: The object's model has no tracker with this label, or the object was never saved.

    Example:
        >>> pghistory.create_event(post, label="insert").pgh_label
        'insert'
        >>> pghistory.create_event(post, label="seen")
        Traceback (most recent call last):
        ...
        pgmagic.errors.DeclarationError: "seen" is not a registered tracker label for model Post; ...
    """
    event_models: dict[str, EventModel] = getattr(type(obj), "pgh_event_models", {})
    event_model = event_models.get(label)
    name = type(obj)._meta.object_name
    if event_model is None:
        known = ", ".join(event_models) or "none"
        raise DeclarationError(
            f'"{label}" is not a registered tracker label for model {name}; its labels are: {known}.'
        )
    if obj.pk is None:
        raise DeclarationError(f"This {name} was never saved, so there is nothing to record: save it first.")
    values = _values(obj, event_model, label, using)
    key = event_model._meta.pk
    statement = compose(
        "INSERT INTO ", identifier(event_model._meta.db_table), " (",
        join(", ", [identifier(column) for column in values]), ") VALUES (", join(", ", values.values()),
        ") RETURNING ", identifier(key.column),
    )  # fmt: skip
    with connections[using].cursor() as cursor:
        cursor.execute(render(statement))
        [(pgh_id,)] = cursor.fetchall()
    return models.QuerySet(event_model, using=using).get(pk=pgh_id)


def _values(obj: models.Model, event_model: EventModel, label: str, using: str) -> dict[str, Fragment]:
    """Return the value of each column: the object's values as literals, what only the server knows as SQL."""
    own = own_columns(event_model, None, literal(label))
    mirrored = {event.name: tracked for event, tracked in tracked_fields(event_model)}

    def written(field: AnyField, value: object) -> Fragment:
        return literal(field.get_db_prep_save(value, connections[using]))

    values: dict[str, Fragment] = {}
    for field in event_model._meta.local_concrete_fields:
        column = str(field.column)
        if field.name == "pgh_obj" and isinstance(field, models.ForeignKey):
            values[column] = written(field, getattr(obj, field.target_field.attname))
        elif field.name in own:
            values[column] = own[field.name]
        elif field.name in mirrored:
            values[column] = written(field, getattr(obj, mirrored[field.name].attname))
        elif not field.primary_key and (field.has_default() or not field.null):
            values[column] = written(field, field.get_default())
    return values


def missing_fields(event_model: EventModel) -> list[str]:
    """Return the names of the tracked table's fields that its events do not have."""
    mirrored = {source.name for _, source in tracked_fields(event_model)}
    return [
        found.name
        for found in table_fields(event_model.pgh_tracked_model)
        if not found.generated and found.name not in mirrored
    ]


def can_revert(event_model: EventModel) -> bool:
    """Return whether the events of an event model hold whole rows of the tracked table."""
    return not missing_fields(event_model)


def revert(event: EventRow, using: str | None = None) -> models.Model:
    """Make an object's row what it was in an event, and return the object; see `Event.revert`."""
    event_model = type(event)
    tracked = event_model.pgh_tracked_model
    missing = missing_fields(event_model)
    if missing:
        raise HistoryError(
            f"{event_model._meta.object_name} cannot revert {tracked._meta.object_name}, because it does not track "
            f"every field: {', '.join(missing)} would be lost."
        )
    alias = using or event._state.db or router.db_for_write(tracked)
    values = {
        source.attname: getattr(event, field.attname)
        for field, source in tracked_fields(event_model)
        if not source.generated
    }
    instance = tracked(**values)
    with transaction.atomic(using=alias):
        _check_targets(event, instance, alias)
        # Raw: no field replaces the recorded value.
        instance.save_base(raw=True, using=alias)
        instance.refresh_from_db(using=alias)
    return instance


def _check_targets(event: models.Model, instance: models.Model, alias: str) -> None:
    """Check that the targets of a row's foreign keys exist; their constraints would fail only at COMMIT.

    Raises:
        HistoryError: a target does not exist.
    """
    for field in instance._meta.local_concrete_fields:
        if not (isinstance(field, models.ForeignKey) and getattr(field, "db_constraint", True)):
            continue
        target, name = field.remote_field.model, field.target_field.attname
        value = getattr(instance, field.attname)
        if value is None or (isinstance(instance, target) and value == getattr(instance, name)):
            continue
        if not models.QuerySet(target, using=alias).filter(**{name: value}).exists():
            raise HistoryError(
                f"{type(event)._meta.object_name} {event.pk} cannot be reverted: its {field.name} is the "
                f"{target._meta.object_name} {value!r}, which does not exist any more. Restore that first."
            )
