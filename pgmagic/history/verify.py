"""Whether the trail is intact: `pgmagic.verify(...)` finds the first broken link of each object's hash chain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice, permutations
from types import MappingProxyType

from django.db import connections, models, transaction
from django.db.backends.utils import CursorWrapper
from psycopg.rows import TupleRow

from pgmagic.compile.pinned import PINNED
from pgmagic.compile.sql import Fragment, compose, join, literal, render
from pgmagic.declare.event_chain import CHAIN_FIELDS, HASH
from pgmagic.declare.model_types import EventModel, Model
from pgmagic.errors import HistoryError
from pgmagic.history.chain_sql import ANCHOR_TABLE, breaks_sql, layouts_sql, matches_sql
from pgmagic.history.targets import event_model_of, resolve
from pgmagic.tables.frame import ResultFrame

# How many assignments of renamed fields are tried.
_MOST_TRIES = 2_000

_PROBLEMS = {
    "changed": "the event is not as it was recorded",
    "replaced": "the event before it is gone, or is not as it was recorded",
    "cut": "the events before it are gone, and were not pruned",
    "unsealed": "the event has no hash, though one before it has",
    "dropped": "the hash covers fields that no longer exist, so nothing can be said",
}


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """An object whose chain is broken, at its first broken event; `problem` is in words."""

    pgh_obj_id: object
    pgh_id: int
    pgh_label: str
    pgh_created_at: datetime
    problem: str
    lines: Sequence[str] = ()


@dataclass(frozen=True)
class Verified:
    """What was found in the chains of a table.

    unsealed: how many events have no hash. renamed: the name that a field has now, by its name in former hashes.
    """

    breaks: list[BrokenLink]
    events: int
    unsealed: int
    renamed: dict[str, str]


class VerificationFrame(ResultFrame):
    """One row for each object whose chain is broken, with its first broken event; empty if all chains are intact.

    Columns:
        pgh_obj_id (object): the primary key of the object; a tuple for a composite key.
        pgh_id (Int64): the first broken event.
        pgh_label (string): the label of the event.
        pgh_created_at (datetime64[us, UTC]): the time at which the event says that it was recorded.
        problem (string): what is wrong with the event, in words.
    """

    columns_contract = MappingProxyType(
        {
            "pgh_obj_id": "object",
            "pgh_id": "Int64",
            "pgh_label": "string",
            "pgh_created_at": "datetime64[us, UTC]",
            "problem": "string",
        }
    )


def verify(target: Model | str, *, using: str = "default") -> VerificationFrame:
    """Return where the hash chains of a tracked model's events are broken: for each object, the first broken event.

    The model is tracked with `hash_chain=True`. An event that was changed, removed, inserted or replaced breaks the
    chain of its object; events that `prune_events` removed do not, nor do fields that are added or renamed.

    No chain shows that all events of an object are gone, or that its newest events are gone. Of a shared context, the
    chain covers the id, not the contents. A superuser or the owner of the tables can compute all hashes again after a
    change, or write an anchor: keep the latest hashes where they cannot write.

    All events are read, in one transaction whose settings are taken back; no lock is taken but that of a SELECT.

    Args:
        target: A tracked model or one of its event models, or the name of a model.
        using: The database.

    Returns:
        A `VerificationFrame`, one row for each object with a broken chain, in the order of the primary keys:
        `pgh_obj_id` (object), `pgh_id` (Int64), `pgh_label` (string), `pgh_created_at` (datetime64[us, UTC]), `problem`
        (string). It is empty if all chains are intact. The notes say how many events were verified.

    Raises:
        HistoryError: The target is not a tracked model, or its events carry no hashes.

    Example:
        >>> pgmagic.verify(Post)
        Traceback (most recent call last):
        ...
        pgmagic.errors.HistoryError: The events in PostEvent carry no hashes, ...
    """
    model, _ = resolve(target)
    event_model = event_model_of(model)
    found = verify_chain(event_model, using)
    notes = [f"{found.events - found.unsealed:,} events are sealed."]
    if found.unsealed:
        notes.append(f"{found.unsealed:,} events carry no hash: nothing proves them.")
    notes += [f"The field {former} is called {name} by now." for former, name in found.renamed.items()]
    name = event_model.pgh_tracked_model._meta.object_name
    links = "Broken links" if found.breaks else "No broken links"
    return VerificationFrame.from_rows(found.breaks, caption=f"{links} in the history of {name}", notes=notes)


def verify_chain(event_model: EventModel, using: str) -> Verified:
    """Return the first broken link of each object, and how many events there are.

    Raises:
        HistoryError: the events are not a hash chain.
    """
    if not getattr(event_model, "pgh_hash_chain", False):
        raise HistoryError(
            f"The events in {event_model._meta.object_name} carry no hashes, so there is nothing to verify: track the "
            f"model with hash_chain=True."
        )
    with transaction.atomic(using=using), connections[using].cursor() as cursor:
        settings = [
            compose("set_config(", literal(name), ", ", literal(value), ", true)") for name, value in PINNED.items()
        ]
        _fetch(cursor, compose("SELECT ", join(", ", settings)))
        layouts = [
            (names, _columns_now(cursor, event_model, names, events))
            for names, events in _fetch(cursor, layouts_sql(event_model))
        ]
        [(is_anchored,)] = _fetch(cursor, compose("SELECT to_regclass(", literal(ANCHOR_TABLE), ") IS NOT NULL"))
        rows = _fetch(cursor, breaks_sql(event_model, layouts, anchored=is_anchored))
        table: models.QuerySet[models.Model] = models.QuerySet(event_model, using=using)
        events, unsealed = table.count(), table.filter(**{f"{HASH}__isnull": True}).count()
        # The settings are taken back, also if the transaction is the user's.
        transaction.set_rollback(True, using=using)
    now = {field.column: field.name for field in event_model._meta.local_concrete_fields}
    renamed = {
        name: now[column] for _, columns in layouts for name, column in (columns or {}).items() if now[column] != name
    }
    breaks = []
    for *key, pgh_id, label, created_at, problem in rows:
        obj_id = key[0] if len(key) == 1 else tuple(key)
        breaks.append(BrokenLink(obj_id, pgh_id, label, created_at.astimezone(UTC), _PROBLEMS[problem]))
    return Verified(breaks, events, unsealed, renamed)


def _fetch(cursor: CursorWrapper, statement: Fragment) -> list[TupleRow]:
    cursor.execute(render(statement))
    return list(cursor.fetchall())


def _columns_now(
    cursor: CursorWrapper, event_model: EventModel, names: Sequence[str], events: Sequence[int]
) -> Mapping[str, str] | None:
    """Return the columns that the fields of a hash have now; None if some of the fields no longer exist.

    A hash that fits proves which field was renamed to which.
    """
    for columns in islice(_assignments(event_model, names), _MOST_TRIES):
        [(fits,)] = _fetch(cursor, matches_sql(event_model, columns, events))
        if fits:
            return columns
    present = {field.name: str(field.column) for field in event_model._meta.local_concrete_fields}
    return {name: present[name] for name in names} if set(names) <= set(present) else None


def _assignments(event_model: EventModel, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the ways to assign the fields of a hash to the present fields; those with their old name keep it."""
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
