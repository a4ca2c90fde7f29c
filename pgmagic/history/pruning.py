"""`prune_events`: a history does not have to grow without end."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db import connections, models, router, transaction
from django.utils import timezone

from pgmagic.compile.sql import render
from pgmagic.db.runtime.ignore import ignore
from pgmagic.declare.event_setup import APPEND_ONLY
from pgmagic.errors import HistoryError
from pgmagic.history.chain_sql import create_anchors_sql
from pgmagic.history.columns import instant
from pgmagic.history.event_source import object_columns
from pgmagic.history.pruning_sql import Retention, prune_sql

EventModel = type[Any]


@dataclass(frozen=True)
class Pruned:
    """What `prune_events` removed: how many events, of which event models, in how many batches."""

    events: int
    by_event_model: dict[str, int]
    batches: int


def prune_events(
    model: type[models.Model],
    *,
    older_than: timedelta | datetime | date | None = None,
    keep_last: int | None = None,
    with_last: bool = False,
    batch_size: int = 10_000,
    using: str | None = None,
) -> Pruned:
    """Remove old events of a tracked model, or of one event model, and return how many they were.

    older_than: an age, or the instant (a date: its midnight) before which events go; of a transaction, the instant is
    its start. keep_last: so many of the latest events of each object stay, whatever their age. At least one of them is
    needed; an event goes if both say so. The last event of a row that exists stays, since it says what the row is and
    since when, unless `with_last` is true; events of deleted rows go entirely.

    Each batch is a transaction of its own, so that neither locks nor work are held for long, and an interrupt keeps
    what is done; inside an `atomic` block it is all one. Append-only events go, too: this is the official way. Where
    events are a hash chain, the hash of the last one that goes is kept for each object, in the table `pgmagic_anchor`,
    for `pgmagic.verify`. It needs the right to delete events, and takes no lock that a writer would wait for.

    Raises:
        HistoryError: neither age nor number was given, one of them makes no sense, the model is not tracked, or the
            events do not tell their object, by which alone the last ones can be known. Nothing is removed.
    """
    event_models = event_models_of(model)
    retention = _retention(model, older_than, keep_last, with_last)
    if batch_size < 1:
        raise HistoryError(f"Events are removed in batches of at least one, but batch_size={batch_size}.")
    for event_model in event_models:
        if (retention.keep_last or not with_last) and not object_columns(event_model, "event"):
            raise HistoryError(
                f"{event_model._meta.object_name} does not tell which object an event is of, so its last ones are not "
                f"known: prune it by older_than= alone, with with_last=True."
            )
    removed = {}
    batches = 0
    for event_model in event_models:
        alias = using or router.db_for_write(event_model)
        counts = _prune(event_model, retention, batch_size, alias)
        removed[str(event_model._meta.label)] = sum(counts)
        batches += len(counts)
    return Pruned(sum(removed.values()), removed, batches)


def event_models_of(model: Any) -> list[EventModel]:
    """Return the event models of a tracked model, or the event model that was given.

    Raises:
        HistoryError: it is neither.
    """
    if hasattr(model, "pgh_tracked_model"):
        return [model]
    found = getattr(model, "pgh_event_models", None)
    if not found:
        name = getattr(getattr(model, "_meta", None), "object_name", repr(model))
        raise HistoryError(f"{name} is not tracked, so it has no events.")
    return list(dict.fromkeys(found.values()))


def _retention(
    model: Any, older_than: timedelta | datetime | date | None, keep_last: int | None, with_last: bool
) -> Retention:
    name = model._meta.object_name
    if older_than is None and keep_last is None:
        raise HistoryError(
            f"Which events of {name} are to go? Give older_than=timedelta(days=365), keep_last=10, or both."
        )
    if keep_last is not None and (
        isinstance(keep_last, bool) or not isinstance(keep_last, int) or keep_last < 1
    ):
        raise HistoryError(
            f"keep_last= is a number of events from 1 on, but {keep_last!r} was given for {name}."
        )
    if isinstance(older_than, timedelta):
        if older_than < timedelta(0):
            raise HistoryError(f"older_than= of {name} is an age, which is not negative: got {older_than}.")
        before: datetime | None = timezone.now() - older_than
    else:
        before = None if older_than is None else instant(older_than)
    return Retention(before, keep_last or 0, with_last)


def _prune(event_model: EventModel, retention: Retention, size: int, alias: str) -> list[int]:
    """Remove batch by batch; return how many events each one removed."""
    if getattr(event_model, "pgh_hash_chain", False):
        with connections[alias].cursor() as cursor:
            cursor.execute(render(create_anchors_sql()))
    counts = []
    behind = -(2**63)
    while True:
        with (
            transaction.atomic(using=alias),
            past_protection(event_model, alias),
            connections[alias].cursor() as cursor,
        ):
            cursor.execute(render(prune_sql(event_model, retention, behind, size)))
            count, last = cursor.fetchone()
        if count:
            counts.append(count)
        if count < size:
            return counts
        behind = last


def past_protection(event_model: EventModel, alias: str) -> AbstractContextManager[object]:
    """Return a block in which append-only events can be removed from their table."""
    if not event_model.pgh_append_only:
        return nullcontext()
    return ignore(f"{event_model._meta.label}:{APPEND_ONLY}", databases=[alias])
