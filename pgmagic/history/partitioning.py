"""`create_partitions`: the months of partitioned event tables, created before they begin."""

from __future__ import annotations

from datetime import UTC, date, datetime

from django.apps import apps
from django.db import connections, router, transaction
from django.db.backends.utils import CursorWrapper

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
from pgmagic.declare.model_types import EventModel, Model
from pgmagic.errors import HistoryError
from pgmagic.history.pruning import past_protection
from pgmagic.history.targets import event_models_of, is_event_model


def create_partitions(
    model: Model, *, months: int = MONTHS_AHEAD, since: datetime | date | None = None, using: str | None = None
) -> list[str]:
    """Create the missing partitions of this month and the next months, and return the names of the new tables.

    A new event table has its first months, and `migrate` creates the next months; if neither happens for months, call
    this function from time to time. If you forget it, nothing is lost: events go to the default partition, and move to
    their month when its partition is created.

    Each month is a transaction of its own, unless there is a transaction already. It takes a SHARE ROW EXCLUSIVE lock
    on the event table, for which transactions that record events wait; if no month is missing, nothing is locked.

    Args:
        model: A tracked model, or one of its event models, tracked with `partition_by="month"`.
        months: How many months after this month.
        since: The first month, instead of this month; past months are for events in the default partition. Months are
            months in UTC.
        using: The database; that of the router for writing by default.

    Returns:
        The names of the new tables, in the order of the months; empty if no month was missing.

    Raises:
        HistoryError: The model is not tracked, or its event table is not partitioned, or `months` is negative.

    Example:
        >>> pghistory.create_partitions(Post)
        Traceback (most recent call last):
        ...
        pgmagic.errors.HistoryError: No event table of Post is partitioned, ...
    """
    event_models = [found for found in dict.fromkeys(event_models_of(model).values()) if partition_of(found)]
    if not event_models or months < 0:
        raise HistoryError(
            f"No event table of {model._meta.object_name} is partitioned, or months={months} is negative: track it "
            f'with partition_by="month".'
        )
    first = since or datetime.now(UTC)
    if isinstance(first, datetime) and first.tzinfo is not None:
        first = first.astimezone(UTC)
    month = datetime(first.year, first.month, 1, tzinfo=UTC)
    last = months_from(datetime.now(UTC), months)[-1]
    wanted = []
    while month <= last:
        wanted.append(month)
        month = following(month)
    made = []
    for event_model in event_models:
        alias = using or router.db_for_write(event_model)
        if not _is_partitioned(event_model, alias):
            raise HistoryError(
                f"The table {event_model._meta.db_table} is not partitioned: run the cell that declares it, or, in a "
                f"project, makemigrations and migrate."
            )
        made += _create_missing(event_model, wanted, alias)
    return made


def create_partitions_ahead(alias: str) -> list[str]:
    """Create the next months of each partitioned event table of a database; return the names of the new tables.

    Tables that do not exist, or are not partitioned yet, are left alone.
    """
    return [
        name
        for model in apps.get_models()
        if is_event_model(model)
        and partition_of(model) is not None
        and router.allow_migrate_model(alias, model)
        and _is_partitioned(model, alias)
        for name in _create_missing(model, months_from(datetime.now(UTC)), alias)
    ]


def _is_partitioned(event_model: EventModel, alias: str) -> bool:
    with connections[alias].cursor() as cursor:
        cursor.execute(render(is_partitioned_sql(event_model)))
        return bool(cursor.fetchone() == (True,))


def _create_missing(event_model: EventModel, months: list[datetime], alias: str) -> list[str]:
    with connections[alias].cursor() as cursor:
        missing = _missing(cursor, event_model, months)
    made = []
    for month in missing:
        with (
            transaction.atomic(using=alias),
            past_protection(event_model, alias),
            connections[alias].cursor() as cursor,
        ):
            cursor.execute(render(lock_sql(event_model)))
            # Somebody else may have created it in the meantime.
            if _missing(cursor, event_model, [month]):
                cursor.execute(render(default_sql(event_model)))
                default = cursor.fetchone()
                for statement in month_statements(event_model, month, default and verbatim(default[0])):
                    cursor.execute(render(statement))
                made.append(month_name(event_model, month))
    return made


def _missing(cursor: CursorWrapper, event_model: EventModel, months: list[datetime]) -> list[datetime]:
    cursor.execute(render(covered_sql(event_model, months)))
    covered = {place for (place,) in cursor.fetchall()}
    return [month for place, month in enumerate(months, start=1) if place not in covered]
