"""Finding the first broken link of each object's hash chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, permutations
from typing import Any, Literal

from django.db import connections, transaction

from pgmagic.compile.pinned import PINNED
from pgmagic.compile.sql import Fragment, compose, join, literal, render
from pgmagic.declare.event_chain import CHAIN_FIELDS, HASH
from pgmagic.errors import HistoryError
from pgmagic.history.chain_sql import ANCHOR_TABLE, breaks_sql, layouts_sql, matches_sql

EventModel = type[Any]
Problem = Literal["changed", "cut", "replaced", "unsealed", "dropped"]

# How many ways to assign renamed fields are tried.
_MOST_TRIES = 2_000


@dataclass(frozen=True)
class Break:
    """The first event of an object whose seal is broken."""

    pgh_obj_id: Any
    pgh_id: int
    pgh_label: str
    pgh_created_at: datetime
    problem: Problem


@dataclass(frozen=True)
class Verified:
    """What was found of a chain.

    unsealed: how many events carry no hash. renamed: the name that a field has by now, by its name in former hashes.
    """

    breaks: list[Break]
    events: int
    unsealed: int
    renamed: dict[str, str]


def verify_chain(event_model: EventModel, using: str) -> Verified:
    """Return the first broken link of each object, and how many events there are.

    In one transaction, of which nothing stays; it locks nothing.

    Raises:
        HistoryError: the events are no hash chain.
    """
    name = event_model._meta.object_name
    if not getattr(event_model, "pgh_hash_chain", False):
        raise HistoryError(
            f"The events in {name} carry no hashes, so there is nothing to verify: track the model with "
            f"hash_chain=True."
        )
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        _fetch(cursor, compose("SELECT ", join(", ", [_set(*entry) for entry in PINNED.items()])))
        layouts = [(names, events) for names, events in _fetch(cursor, layouts_sql(event_model))]
        found = [(names, _columns_now(cursor, event_model, names, events)) for names, events in layouts]
        [(is_anchored,)] = _fetch(
            cursor, compose("SELECT to_regclass(", literal(ANCHOR_TABLE), ") IS NOT NULL")
        )
        rows = _fetch(cursor, breaks_sql(event_model, found, anchored=is_anchored))
        table = event_model.objects.using(using)
        events, unsealed = table.count(), table.filter(**{f"{HASH}__isnull": True}).count()
        # The settings are taken back, also where the transaction is the user's.
        transaction.set_rollback(True, using=using)
    now = {str(field.column): field.name for field in event_model._meta.local_concrete_fields}
    renamed = {
        name: now[column]
        for _, columns in found
        for name, column in (columns or {}).items()
        if now[column] != name
    }
    return Verified([_break(row) for row in rows], events, unsealed, renamed)


def _set(name: str, value: str) -> Fragment:
    return compose("set_config(", literal(name), ", ", literal(value), ", true)")


def _fetch(cursor: Any, statement: Fragment) -> list[tuple[Any, ...]]:
    cursor.execute(render(statement))
    return list(cursor.fetchall())


def _break(row: Sequence[Any]) -> Break:
    *key, pgh_id, label, created_at, problem = row
    return Break(key[0] if len(key) == 1 else tuple(key), pgh_id, label, created_at.astimezone(UTC), problem)


def _columns_now(
    cursor: Any, event_model: EventModel, names: Sequence[str], events: Sequence[int]
) -> Mapping[str, str] | None:
    """Return the columns in which the fields of a hash are by now; None if some of them are no more.

    A hash that fits proves which field was renamed to which.
    """
    for columns in islice(_assignments(event_model, names), _MOST_TRIES):
        [(fits,)] = _fetch(cursor, matches_sql(event_model, columns, events))
        if fits:
            return columns
    present = {field.name: str(field.column) for field in event_model._meta.local_concrete_fields}
    return {name: present[name] for name in names} if set(names) <= set(present) else None


def _assignments(event_model: EventModel, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the ways in which fields by their former names may be among those of today."""
    present = {
        field.name: str(field.column)
        for field in event_model._meta.local_concrete_fields
        if field.name not in CHAIN_FIELDS
    }
    missing = [name for name in names if name not in present]
    kept = {name: present[name] for name in names if name in present}
    others = [name for name in present if name not in names]
    for chosen in permutations(others, len(missing)):
        yield kept | {name: present[now] for name, now in zip(missing, chosen, strict=True)}
