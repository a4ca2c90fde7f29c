"""`create_partitions`: the months of partitioned event tables, made before they begin."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from django.apps import apps
from django.db import connections, models, router, transaction

from pgmagic.compile.partitions import (
    MONTHS_AHEAD,
    covered_sql,
    default_sql,
    following,
    is_partitioned_sql,
    lock_sql,
    month_name,
    month_statements,
    months_from,
    partition_of,
)
from pgmagic.compile.sql import render, verbatim
from pgmagic.errors import HistoryError
from pgmagic.history.pruning import event_models_of, past_protection

EventModel = type[Any]


def create_partitions(
    model: type[models.Model],
    *,
    months: int = MONTHS_AHEAD,
    since: datetime | date | None = None,
    using: str | None = None,
) -> list[str]:
    """Make the partitions of the present month and the `months` behind it, and return the names of the new tables.

    model: a tracked model, or one of its event models, tracked with `partition_by="month"`. since: the month to begin
    with instead; those in the past are for events that the default partition has taken in. Months are those of UTC.
    What lies in the default partition moves to its month. A new table has its first months, and `migrate` makes the
    next ones; where neither happens for months, call it from time to time: nothing is lost if you forget.

    Each month is a transaction of its own, unless there is one already. It takes a SHARE ROW EXCLUSIVE lock on the
    event table, for which whoever records an event waits; where no month is missing, nothing is locked.

    Raises:
        HistoryError: the model is not tracked, or its event table is not partitioned.
    """
    event_models = [found for found in event_models_of(model) if partition_of(found)]
    if not event_models or months < 0:
        raise HistoryError(
            f"No event table of {model._meta.object_name} is partitioned, or months={months} is negative: track it "
            f'with partition_by="month".'
        )
    made = []
    for event_model in event_models:
        alias = using or router.db_for_write(event_model)
        if not _is_partitioned(event_model, alias):
            raise HistoryError(
                f"The table {event_model._meta.db_table} is not partitioned: run the cell that declares it, or, in a "
                f"project, makemigrations and migrate."
            )
        made += _create_missing(event_model, _months(since, months), alias)
    return made


def create_partitions_ahead(alias: str) -> list[str]:
    """Make the next months of every event table of a database that is in partitions; return the names of the new ones.

    Tables that are not there, or not in partitions yet, are left alone.
    """
    return [
        name
        for model in apps.get_models()
        if hasattr(model, "pgh_tracked_model")
        and partition_of(model) is not None
        and router.allow_migrate_model(alias, model)
        and _is_partitioned(model, alias)
        for name in _create_missing(model, months_from(datetime.now(UTC)), alias)
    ]


def _months(since: datetime | date | None, months: int) -> list[datetime]:
    """Return the beginnings of months from one on to so many behind the present one."""
    last = months_from(datetime.now(UTC), months)[-1]
    month = _month(since or datetime.now(UTC))
    found = []
    while month <= last:
        found.append(month)
        month = following(month)
    return found


def _month(moment: datetime | date) -> datetime:
    if isinstance(moment, datetime) and moment.tzinfo is not None:
        moment = moment.astimezone(UTC)
    return datetime(moment.year, moment.month, 1, tzinfo=UTC)


def _is_partitioned(event_model: EventModel, alias: str) -> bool:
    with connections[alias].cursor() as cursor:
        cursor.execute(render(is_partitioned_sql(event_model)))
        return bool(cursor.fetchone() == (True,))


def _create_missing(event_model: EventModel, months: list[datetime], alias: str) -> list[str]:
    with connections[alias].cursor() as cursor:
        missing = _missing(cursor, event_model, months)
    return [month_name(event_model, month) for month in missing if _create(event_model, month, alias)]


def _missing(cursor: Any, event_model: EventModel, months: list[datetime]) -> list[datetime]:
    cursor.execute(render(covered_sql(event_model, months)))
    covered = {place for (place,) in cursor.fetchall()}
    return [month for place, month in enumerate(months, start=1) if place not in covered]


def _create(event_model: EventModel, month: datetime, alias: str) -> bool:
    """Make the partition of a month; return whether it was not there."""
    with (
        transaction.atomic(using=alias),
        past_protection(event_model, alias),
        connections[alias].cursor() as cursor,
    ):
        cursor.execute(render(lock_sql(event_model)))
        if not _missing(cursor, event_model, [month]):
            return False
        cursor.execute(render(default_sql(event_model)))
        default = cursor.fetchone()
        for statement in month_statements(event_model, month, default and verbatim(default[0])):
            cursor.execute(render(statement))
    return True
