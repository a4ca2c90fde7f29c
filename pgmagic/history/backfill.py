"""`backfill`: a baseline event for every row that was there before tracking began."""

from __future__ import annotations

from typing import Any

from django.db import connections, models, router, transaction

from pgmagic.compile.event_values import object_fields
from pgmagic.compile.sql import Fragment, compose, identifier, literal, render
from pgmagic.errors import HistoryError
from pgmagic.history.baseline import baseline_sql, events_of
from pgmagic.history.event_source import old_labels

EventModel = type[Any]
BACKFILL_LABEL = "backfill"


def backfill(model: type[models.Model], *, label: str = BACKFILL_LABEL, using: str | None = None) -> int:
    """Record every row of a tracked model as it is, by one statement, and return how many events that made.

    So the first change of a row that was there before tracking can be shown, undone and looked back behind. model: a
    tracked model, or one of its event models. label: what the events are called; that of a tracker, `insert` say,
    records only the rows that have no such event. The open context is attached.

    In one transaction, which writers of the table wait for, and which waits for those under way (SHARE ROW EXCLUSIVE):
    no change can come between a row and its event. Reading goes on.

    Raises:
        HistoryError: it was done before, the model is not tracked, or the label is one of events with rows as they were
            before a change; nothing is written.
    """
    event_model = _event_model(model, label)
    tracked = event_model.pgh_tracked_model
    _check_label(event_model, label)
    alias = using or router.db_for_write(tracked)
    is_tracked_by = any(str(tracker.label) == label for tracker in event_model.pgh_trackers)
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        # First of all: also where the transaction sees one snapshot only, it is taken behind the lock.
        _run(
            cursor,
            compose("LOCK TABLE ", identifier(tracked._meta.db_table), " IN SHARE ROW EXCLUSIVE MODE"),
        )
        if not is_tracked_by:
            _check_first(cursor, event_model, label)
        written = _run(cursor, baseline_sql(event_model, label, lacking=is_tracked_by))
        if not written and is_tracked_by:
            _check_any_lacking(cursor, event_model, label)
    return written


def _run(cursor: Any, statement: Fragment) -> int:
    cursor.execute(render(statement))
    return int(cursor.rowcount)


def _event_model(model: Any, label: str) -> EventModel:
    if hasattr(model, "pgh_tracked_model"):
        return model  # type: ignore[no-any-return]
    event_models = getattr(model, "pgh_event_models", None)
    if not event_models:
        name = getattr(getattr(model, "_meta", None), "object_name", repr(model))
        raise HistoryError(
            f"{name} is not tracked, so there is nothing to backfill: put @pghistory.track() above its class."
        )
    return event_models.get(label) or model.pgh_event_model  # type: ignore[no-any-return]


def _check_label(event_model: EventModel, label: str) -> None:
    name = event_model.pgh_tracked_model._meta.object_name
    if not isinstance(label, str) or not label or "\x00" in label:
        raise HistoryError(
            f"The backfill of {name} needs a label, a text that is not empty, but {label!r} was given."
        )
    if label in old_labels(event_model):
        raise HistoryError(
            f'{name} cannot be backfilled under "{label}": these events hold rows as they were before a change, and a '
            f"baseline holds rows as they are."
        )
    if not object_fields(event_model):
        raise HistoryError(
            f"{name} cannot be backfilled: {event_model._meta.object_name} does not tell which object an event is of, "
            f"so nobody could tell the baselines apart."
        )


def _check_first(cursor: Any, event_model: EventModel, label: str) -> None:
    table = identifier(event_model._meta.db_table)
    cursor.execute(render(compose("SELECT count(*) FROM ", table, " WHERE pgh_label = ", literal(label))))
    [known] = cursor.fetchone()
    if known:
        raise _done_before(event_model, label, known)


def _check_any_lacking(cursor: Any, event_model: EventModel, label: str) -> None:
    """Check that nothing was written because there are no rows, not because all have their event."""
    table = identifier(event_model.pgh_tracked_model._meta.db_table)
    cursor.execute(
        render(
            compose(
                "SELECT count(*) FROM ", table, " AS live WHERE EXISTS (", events_of(event_model, label), ")"
            )
        )
    )
    [known] = cursor.fetchone()
    if known:
        raise _done_before(event_model, label, known)


def _done_before(event_model: EventModel, label: str, known: int) -> HistoryError:
    name = event_model.pgh_tracked_model._meta.object_name
    what = "event" if known == 1 else "events"
    return HistoryError(
        f'{name} was backfilled before: {event_model._meta.object_name} has {known:,} {what} "{label}" already. '
        f"Nothing was written; choose another label=, if a second baseline is wanted."
    )
