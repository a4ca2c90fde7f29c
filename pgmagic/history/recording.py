"""Events that are not caused by a change: recorded by hand, and undone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, models, router, transaction
from django.db.models.fields import Field

from pgmagic.compile.event_values import own_columns
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render
from pgmagic.declare.trackers import tracked_fields
from pgmagic.errors import DeclarationError, HistoryError
from pgmagic.history.undo.undo_sql import missing_fields

EventModel = type[Any]


def create_event(obj: models.Model, *, label: str, using: str = DEFAULT_DB_ALIAS) -> Any:
    """Record an event of an object as it is in memory, under a tracker's label, and return the event.

    The open context is attached, as it is to events that triggers record.

    Raises:
        DeclarationError: the object's model has no tracker of that label, or the object was never saved.
    """
    event_model = getattr(type(obj), "pgh_event_models", {}).get(label)
    name = type(obj)._meta.object_name
    if event_model is None:
        known = ", ".join(getattr(type(obj), "pgh_event_models", {})) or "none"
        raise DeclarationError(
            f'"{label}" is not a registered tracker label for model {name}; its labels are: {known}.'
        )
    if obj.pk is None:
        raise DeclarationError(f"This {name} was never saved, so there is nothing to record: save it first.")
    connection = connections[using]
    values = _values(obj, event_model, label, connection)
    statement = compose(
        "INSERT INTO ", identifier(event_model._meta.db_table), " (",
        join(", ", [identifier(column) for column in values]), ") VALUES (", join(", ", values.values()),
        ") RETURNING ", identifier(event_model._meta.pk.column),
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(render(statement))
        [pgh_id] = cursor.fetchone()
    return models.QuerySet(event_model, using=using).get(pk=pgh_id)


def _values(obj: models.Model, event_model: EventModel, label: str, connection: Any) -> dict[str, Fragment]:
    """Return what goes into each column: values of the object as literals, what only the server knows as SQL."""
    own = own_columns(event_model, None, literal(label))
    mirrored = {event.name: tracked for event, tracked in tracked_fields(event_model)}
    values: dict[str, Fragment] = {}
    for field in event_model._meta.local_concrete_fields:
        if field.name == "pgh_obj":
            values[field.column] = _literal(field, getattr(obj, field.target_field.attname), connection)
        elif field.name in own:
            values[field.column] = own[field.name]
        elif field.name in mirrored:
            values[field.column] = _literal(field, getattr(obj, mirrored[field.name].attname), connection)
        elif not field.primary_key and (field.has_default() or not field.null):
            values[field.column] = _literal(field, field.get_default(), connection)
    return values


def _literal(field: Field[Any, Any], value: Any, connection: Any) -> Fragment:
    return literal(field.get_db_prep_save(value, connection))


def can_revert(event_model: EventModel) -> bool:
    """Return whether the events of an event model hold a whole row of the tracked table."""
    return not missing_fields(event_model)


def revert(event: Any, using: str | None = None) -> models.Model:
    """Make an object's row what it was in an event, and return the object; see `Event.revert`."""
    event_model = type(event)
    tracked = event_model.pgh_tracked_model
    missing = missing_fields(event_model)
    if missing:
        raise HistoryError(
            f"{event_model._meta.object_name} cannot revert {tracked._meta.object_name}, because it doesn't track "
            f"every field: {', '.join(missing)} would be lost."
        )
    alias = using or event._state.db or router.db_for_write(tracked)
    values = {
        source.attname: getattr(event, field.attname)
        for field, source in tracked_fields(event_model)
        if not source.generated
    }
    instance: models.Model = tracked(**values)
    with transaction.atomic(using=alias):
        _check_targets(event, instance, alias)
        # Raw: no field sets itself to another value than the recorded one.
        instance.save_base(raw=True, using=alias)
        instance.refresh_from_db(using=alias)
    return instance


def _check_targets(event: Any, instance: models.Model, alias: str) -> None:
    """Check that what a row's foreign keys refer to exists; their constraints would say so only at COMMIT.

    Raises:
        HistoryError: something does not.
    """
    fields: Iterable[Any] = instance._meta.local_concrete_fields
    for field in fields:
        if not (isinstance(field, models.ForeignKey) and getattr(field, "db_constraint", True)):
            continue
        value = getattr(instance, field.attname)
        target: Any = field.related_model
        if value is None or (
            isinstance(instance, target) and value == getattr(instance, field.target_field.attname)
        ):
            continue
        if not models.QuerySet(target, using=alias).filter(**{field.target_field.attname: value}).exists():
            raise HistoryError(
                f"{type(event)._meta.object_name} {event.pk} cannot be reverted: its {field.name} is the "
                f"{target._meta.object_name} {value!r}, which does not exist any more. Restore that first."
            )
