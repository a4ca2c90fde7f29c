"""`backfill`: a baseline event for every row that existed before tracking began."""

from __future__ import annotations

from django.db import connections, models, router, transaction
from django.db.backends.utils import CursorWrapper

from pgmagic.compile.event_values import CONTEXT_FIELDS, check_optional, object_fields, own_columns
from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render
from pgmagic.declare.model_types import EventModel, Model
from pgmagic.declare.trackers import tracked_fields
from pgmagic.errors import HistoryError
from pgmagic.history.event_labels import old_labels
from pgmagic.history.events_sql import is_event_of
from pgmagic.history.targets import event_model_of, event_models_of

BACKFILL_LABEL = "backfill"


def backfill(model: Model, *, label: str = BACKFILL_LABEL, using: str | None = None) -> int:
    """Record every row of a tracked model as it is, by one statement, and return the number of events.

    So the first change of a row that existed before tracking can be shown and undone, and `as_of` knows the row. The
    open context is attached.

    Everything happens in one transaction. Its lock on the tracked table (SHARE ROW EXCLUSIVE) waits for transactions
    that write the table and blocks new ones, so that no change can come between a row and its event; reading goes on.

    Args:
        model: A tracked model, or one of its event models.
        label: The label of the events. With the label of a tracker, such as `insert`, only the rows that have no event
            with this label are recorded.
        using: The database; that of the router for writing by default.

    Returns:
        The number of events that were recorded; 0 if the table has no rows.

    Raises:
        HistoryError: The model was backfilled under this label before, or is not tracked, or the events of the label
            hold rows as they were before a change. Nothing is written.
        DeclarationError: A field of the event model needs a value that nobody knows.

    Example:
        >>> pghistory.backfill(Post)
        1
        >>> list(pgmagic.history(post)["pgh_label"])
        ['insert', 'backfill']
    """
    event_model = event_models_of(model).get(label) or event_model_of(model)
    tracked = event_model.pgh_tracked_model
    name = tracked._meta.object_name
    if not isinstance(label, str) or not label or "\x00" in label:
        raise HistoryError(f"The backfill of {name} needs a label, a text that is not empty, but {label!r} was given.")
    if label in old_labels(event_model):
        raise HistoryError(
            f'{name} cannot be backfilled under "{label}": these events hold rows as they were before a change, and a '
            f"baseline holds rows as they are."
        )
    if not object_fields(event_model):
        raise HistoryError(
            f"{name} cannot be backfilled: {event_model._meta.object_name} does not say which object an event belongs "
            f"to, so the baselines could not be told apart."
        )
    alias = using or router.db_for_write(tracked)
    is_tracked_by = any(str(tracker.label) == label for tracker in event_model.pgh_trackers)
    with transaction.atomic(using=alias), connections[alias].cursor() as cursor:
        # First of all: a transaction that sees a single snapshot takes it after the lock.
        cursor.execute(
            render(compose("LOCK TABLE ", identifier(tracked._meta.db_table), " IN SHARE ROW EXCLUSIVE MODE"))
        )
        if not is_tracked_by:
            has_label = compose("pgh_label = ", literal(label))
            _check_none(cursor, compose(identifier(event_model._meta.db_table)), has_label, event_model, label)
        cursor.execute(render(baseline_sql(event_model, label, lacking=is_tracked_by)))
        written = int(cursor.rowcount)
        if not written and is_tracked_by:
            # Either there are no rows, or each has its event.
            rows = compose(identifier(tracked._meta.db_table), " AS live")
            has_event = compose("EXISTS (", _events_of(event_model, label), ")")
            _check_none(cursor, rows, has_event, event_model, label)
    return written


def _check_none(
    cursor: CursorWrapper, table: Fragment, condition: Fragment, event_model: EventModel, label: str
) -> None:
    """Check that no row of a table meets a condition, since that would be from an earlier backfill."""
    cursor.execute(render(compose("SELECT count(*) FROM ", table, " WHERE ", condition)))
    [known] = cursor.fetchone() or (0,)
    if known:
        name = event_model.pgh_tracked_model._meta.object_name
        what = "event" if known == 1 else "events"
        raise HistoryError(
            f'{name} was backfilled before: {event_model._meta.object_name} has {known:,} {what} "{label}" already. '
            f"Nothing was written; choose another label= for a second baseline."
        )


def baseline_sql(event_model: EventModel, label: str, *, lacking: bool) -> Fragment:
    """Return the statement that records every row of the tracked table under a label.

    lacking: only rows without an event of this label.

    Raises:
        DeclarationError: a field needs a value that nobody knows.
    """
    own = own_columns(event_model, None, literal(label))
    mirrored = {event.name: source.column for event, source in tracked_fields(event_model)}
    values: dict[str, Fragment] = {}
    for field in event_model._meta.local_concrete_fields:
        column = str(field.column)
        if field.name == "pgh_obj" and isinstance(field, models.ForeignKey):
            values[column] = identifier("live", field.target_field.column)
        elif field.name in CONTEXT_FIELDS and field.name in own:
            # Once for the statement, not for each row.
            values[column] = compose("(SELECT ", own[field.name], ")")
        elif field.name in own:
            values[column] = own[field.name]
        elif field.name in mirrored:
            values[column] = identifier("live", mirrored[field.name])
        else:
            check_optional(field, event_model)
    return compose(
        "INSERT INTO ", identifier(event_model._meta.db_table), " (", join(", ", map(identifier, values)), ")\nSELECT ",
        join(", ", values.values()), "\nFROM ", identifier(event_model.pgh_tracked_model._meta.db_table), " AS live",
        *([compose("\nWHERE NOT EXISTS (", _events_of(event_model, label), ")")] if lacking else []),
    )  # fmt: skip


def _events_of(event_model: EventModel, label: str) -> Fragment:
    """Return a query of the events of a row, aliased `live`, under a label."""
    return compose(
        "SELECT FROM ", identifier(event_model._meta.db_table), " AS event WHERE ",
        is_event_of(event_model, "event", "live"), " AND event.pgh_label = ", literal(label),
    )  # fmt: skip
