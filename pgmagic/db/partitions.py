"""`create_partitions`: the months of partitioned event tables, made before they begin."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from django.db import connections, models, router, transaction
from django.utils import timezone

from pgmagic.compile.partitions import (
    exists_sql,
    following,
    is_partitioned_sql,
    lock_sql,
    month_name,
    month_statements,
)
from pgmagic.compile.sql import render
from pgmagic.db.pruning import event_models_of, past_protection
from pgmagic.errors import HistoryError

EventModel = type[Any]


def create_partitions(
    model: type[models.Model],
    *,
    months: int = 3,
    since: datetime | date | None = None,
    using: str | None = None,
) -> list[str]:
    """Make the partitions of the present month and the `months` behind it, and return the names of the new tables.

    model: a tracked model, or one of its event models, tracked with `partition_by="month"`. since: the month to begin
    with instead; those in the past are for events that the default partition has taken in. Months are those of UTC.
    What lies in the default partition moves to its month. Call it from time to time: nothing is lost if you forget.

    Each month is a transaction of its own, unless there is one already. It takes a SHARE ROW EXCLUSIVE lock on the
    event table, for which whoever records an event waits.

    Raises:
        HistoryError: the model is not tracked, or its event table is not partitioned.
    """
    event_models = [found for found in event_models_of(model) if found.pgh_partition_by]
    if not event_models or months < 0:
        raise HistoryError(
            f"No event table of {model._meta.object_name} is partitioned, or months={months} is negative: track it "
            f'with partition_by="month".'
        )
    made = []
    for event_model in event_models:
        alias = using or router.db_for_write(event_model)
        month = _month(since or timezone.now())
        last = _month(timezone.now())
        for _ in range(months):
            last = following(last)
        while month <= last:
            if _create(event_model, month, alias):
                made.append(month_name(event_model, month))
            month = following(month)
    return made


def _month(moment: datetime | date) -> datetime:
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)


def _create(event_model: EventModel, month: datetime, alias: str) -> bool:
    """Make the partition of a month; return whether it was not there."""
    with (
        transaction.atomic(using=alias),
        past_protection(event_model, alias),
        connections[alias].cursor() as cursor,
    ):
        cursor.execute(render(is_partitioned_sql(event_model)))
        if cursor.fetchone() != (True,):
            raise HistoryError(
                f"The table {event_model._meta.db_table} is not partitioned, which is decided when a table is made: a "
                f"cell makes it so; in a project, make it so in a migration."
            )
        cursor.execute(render(lock_sql(event_model)))
        cursor.execute(render(exists_sql(event_model, month)))
        if cursor.fetchone() == (True,):
            return False
        for statement in month_statements(event_model, month):
            cursor.execute(render(statement))
    return True
