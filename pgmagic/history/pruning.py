"""`prune_events`: a history does not have to grow without end."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import connections, router, transaction
from django.utils import timezone

from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render
from pgmagic.db.runtime.ignore import ignore
from pgmagic.declare.event_setup import APPEND_ONLY
from pgmagic.declare.model_types import EventModel, Model
from pgmagic.errors import HistoryError
from pgmagic.history.chain_sql import anchor_sql, create_anchors_sql
from pgmagic.history.events_sql import is_event_of, object_columns, same_object
from pgmagic.history.targets import event_models_of, instant


@dataclass(frozen=True)
class Pruned:
    """What `prune_events` removed: the number of events, in all and by the label of the event model, and of batches."""

    events: int
    by_event_model: dict[str, int]
    batches: int


@dataclass(frozen=True)
class Retention:
    """Which events are kept.

    before: only events before this instant may go. keep_last: this many of the latest events of each object stay.
    with_last: the last event of a row that exists may go, too.
    """

    before: datetime | None
    keep_last: int
    with_last: bool

    @classmethod
    def of(
        cls, name: str, older_than: timedelta | datetime | date | None, keep_last: int | None, with_last: bool
    ) -> Retention:
        """Return what the arguments of `prune_events` mean for a model with a name."""
        if older_than is None and keep_last is None:
            raise HistoryError(
                f"Which events of {name} are to go? Give older_than=timedelta(days=365), keep_last=10, or both."
            )
        if keep_last is not None and (isinstance(keep_last, bool) or not isinstance(keep_last, int) or keep_last < 1):
            raise HistoryError(f"keep_last= is a number of events from 1 on, but {keep_last!r} was given for {name}.")
        if isinstance(older_than, timedelta):
            if older_than < timedelta(0):
                raise HistoryError(f"older_than= of {name} is an age, which is not negative: got {older_than}.")
            before: datetime | None = timezone.now() - older_than
        else:
            before = None if older_than is None else instant(older_than)
        return cls(before, keep_last or 0, with_last)


def prune_events(
    model: Model,
    *,
    older_than: timedelta | datetime | date | None = None,
    keep_last: int | None = None,
    with_last: bool = False,
    batch_size: int = 10_000,
    using: str | None = None,
) -> Pruned:
    """Remove old events of a tracked model, or of one event model, and return how many.

    Append-only events are removed, too: this is the official way. If the events are a hash chain, the hash of the last
    removed event of each object is kept in the table `pgmagic_anchor`, for `pgmagic.verify`.

    Each batch is a transaction of its own, so that neither locks nor work last long, and an interrupt keeps what is
    done; inside an `atomic` block everything is one transaction. It needs the right to delete events, locks the rows
    that it removes, and takes no lock that a writer would wait for.

    Args:
        model: A tracked model, whose event models are all pruned, or one event model.
        older_than: An age, or an instant: only events before it are removed. A date is its midnight; the time of an
            event is the start of its transaction.
        keep_last: This many of the latest events of each object stay, whatever their age. `older_than`, `keep_last` or
            both are needed; an event is removed if both allow it.
        with_last: Whether the last event of a row that exists may be removed. It stays by default, since it says what
            the row is and since when. All old events of deleted rows are removed.
        batch_size: How many events one statement removes.
        using: The database; that of the router for writing by default.

    Returns:
        A `Pruned`: `events` (int), `by_event_model` (label of the event model -> int) and `batches` (int).

    Raises:
        HistoryError: Neither `older_than` nor `keep_last` is given, or an argument makes no sense, or the model is not
            tracked, or its events do not say which object they belong to, so that the last events are not known.
            Nothing is removed.

    Example:
        >>> for likes in range(1, 4):
        ...     _ = Post.objects.update(likes=likes)
        >>> pghistory.prune_events(Post, keep_last=2).events
        2
    """
    event_models = list(dict.fromkeys(event_models_of(model).values()))
    retention = Retention.of(str(model._meta.object_name), older_than, keep_last, with_last)
    if batch_size < 1:
        raise HistoryError(f"Events are removed in batches of at least one, but batch_size={batch_size}.")
    for event_model in event_models:
        if (retention.keep_last or not with_last) and not object_columns(event_model, "event"):
            raise HistoryError(
                f"{event_model._meta.object_name} does not say which object an event belongs to, so its last events "
                f"are not known: prune it by older_than= alone, with with_last=True."
            )
    removed = {}
    batches = 0
    for event_model in event_models:
        alias = using or router.db_for_write(event_model)
        counts = _prune(event_model, retention, batch_size, alias)
        removed[event_model._meta.label] = sum(counts)
        batches += len(counts)
    return Pruned(sum(removed.values()), removed, batches)


def _prune(event_model: EventModel, retention: Retention, size: int, alias: str) -> list[int]:
    """Remove batch by batch; return how many events each batch removed."""
    if getattr(event_model, "pgh_hash_chain", False):
        with connections[alias].cursor() as cursor:
            cursor.execute(render(create_anchors_sql()))
    counts = []
    after = -(2**63)
    while True:
        with (
            transaction.atomic(using=alias),
            past_protection(event_model, alias),
            connections[alias].cursor() as cursor,
        ):
            cursor.execute(render(prune_sql(event_model, retention, after, size)))
            [(count, last)] = cursor.fetchall()
        if count:
            counts.append(count)
        if count < size:
            return counts
        after = last


def past_protection(event_model: EventModel, alias: str) -> AbstractContextManager[object]:
    """Return a block in which append-only events can be removed from their table."""
    if not event_model.pgh_append_only:
        return nullcontext()
    return ignore(f"{event_model._meta.label}:{APPEND_ONLY}", databases=[alias])


def prune_sql(event_model: EventModel, retention: Retention, after: int, size: int) -> Fragment:
    """Return the statement that removes a batch of events, in the order of `pgh_id`.

    It returns one row: the number of removed events, and the greatest `pgh_id` among them. after: the greatest `pgh_id`
    of the batch before.
    """
    table = identifier(event_model._meta.db_table)
    is_chain = getattr(event_model, "pgh_hash_chain", False)
    conditions = [compose("event.pgh_id > ", literal(after))]
    if retention.before is not None:
        conditions.append(compose("event.pgh_created_at < ", literal(retention.before)))
    if retention.before is not None and is_chain:
        # Between two removed events an event would lose both neighbours.
        conditions.append(
            compose(
                "NOT EXISTS (SELECT FROM ", table, " AS earlier WHERE ", same_object(event_model, "earlier", "event"),
                " AND earlier.pgh_id < event.pgh_id AND earlier.pgh_created_at >= ", literal(retention.before), ")",
            )
        )  # fmt: skip
    later = (
        compose(
            "SELECT FROM ", table, " AS later WHERE ", same_object(event_model, "later", "event"),
            " AND later.pgh_id > event.pgh_id",
        )
        if object_columns(event_model, "event") else None
    )  # fmt: skip
    if retention.keep_last and later is not None:
        number = literal(retention.keep_last)
        conditions.append(compose("(SELECT count(*) FROM (", later, " LIMIT ", number, ") AS later) = ", number))
    elif not retention.with_last and later is not None:
        conditions.append(
            compose(
                "(EXISTS (", later, ") OR NOT EXISTS (SELECT FROM ",
                identifier(event_model.pgh_tracked_model._meta.db_table), " AS living WHERE ",
                is_event_of(event_model, "event", "living"), "))",
            )
        )  # fmt: skip
    anchored = compose(",\nanchored AS (", anchor_sql(event_model), ")") if is_chain else compose("")
    return compose(
        "WITH doomed AS MATERIALIZED (\n  SELECT event.pgh_id FROM ", table, " AS event\n  WHERE ",
        join("\n    AND ", conditions), "\n  ORDER BY event.pgh_id LIMIT ", literal(size), "),\n",
        "gone AS (DELETE FROM ", table, " AS event USING doomed WHERE event.pgh_id = doomed.pgh_id\n"
        "  RETURNING event.*)", anchored, "\n"
        "SELECT count(*), max(gone.pgh_id) FROM gone",
    )  # fmt: skip
