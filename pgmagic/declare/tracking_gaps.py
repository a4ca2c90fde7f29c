"""What the history of a tracked model leaves out, although readers may expect it there: deletes, many-to-many rows."""

from __future__ import annotations

from collections.abc import Iterator

from django.apps import apps

from pgmagic.declare.model_types import Model, is_event_model
from pgmagic.declare.trackers import ManualEvent, RowEvent, event_models_of
from pgmagic.declare.vocabulary import Delete


def deletes_missing(tracked: Model) -> str | None:
    """Return a sentence if the triggers of a tracked model record changes, but no deletes."""
    event_models = dict.fromkeys(event_models_of(tracked).values())
    trackers = [tracker for event_model in event_models for tracker in event_model.pgh_trackers]
    recording = [tracker for tracker in trackers if not isinstance(tracker, ManualEvent)]
    if not recording or any(not isinstance(each, RowEvent) or Delete in (each.operation or ()) for each in recording):
        return None
    name = tracked._meta.object_name
    return f"Deletes of {name} leave no event: add pghistory.DeleteEvent() to its trackers if they should."


def relations_missing(tracked: Model) -> Iterator[str]:
    """Yield a sentence for each many-to-many field of a tracked model whose rows are not tracked."""
    recorded = {model.pgh_tracked_model._meta.db_table for model in apps.get_models() if is_event_model(model)}
    for field in tracked._meta.local_many_to_many:
        through = field.remote_field.through
        if not isinstance(through, type) or through._meta.db_table in recorded:
            continue
        name = f"{tracked._meta.object_name}.{field.name}"
        how = (
            f"class {tracked._meta.object_name}{field.name.title().replace('_', '')}({name}.through) with proxy = True"
        )
        what = f"declare and track a {how} in its Meta" if through._meta.auto_created else f"track {through.__name__}"
        yield f"Changes of {name} leave no event, since its rows are in another table: {what} if they should."
