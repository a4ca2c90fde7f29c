"""History as DataFrames: `pgmagic.history(...)`, `diff(...)`, `as_of(...)`, `timeline(...)` and `undo_plan(...)`.

This is where `db/`, which reads events, and `frames/`, which knows nothing of a database, meet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from functools import partial
from typing import Any

from django.apps import apps
from django.db import models
from django.utils import timezone

from pgmagic.db.chain import verify_chain
from pgmagic.db.columns import instant
from pgmagic.db.events import read_events
from pgmagic.db.row_states import ObjectStates, label_roles, read_states
from pgmagic.db.undo import Plan, Step, apply_plan, make_plan
from pgmagic.errors import HistoryError
from pgmagic.frames.as_of import AsOfFrame, as_of_frame, with_related
from pgmagic.frames.diff import DiffFrame, diff_frame
from pgmagic.frames.history import HistoryFrame, history_frame
from pgmagic.frames.timeline import TimelineFrame, timeline_frame
from pgmagic.frames.undo import Status, UndoFrame, UndoRow, undo_frame
from pgmagic.frames.verification import BrokenLink, VerificationFrame, verification_frame

Model = type[models.Model]


def history(
    target: Model | models.Model | str,
    *,
    label: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    context: Mapping[str, Any] | None = None,
    limit: int | None = None,
    using: str = "default",
) -> HistoryFrame:
    """Return the events of a model, of one object, or of a model by its name, in the order of `pgh_id`.

    since and until bound `pgh_created_at` (inclusive, exclusive); context keeps the events whose context has these
    values; limit keeps the latest events, and a note says of how many. Events of the current transaction are seen.

    Columns: `pgh_id` (Int64), `pgh_created_at` (datetime64 in UTC), `pgh_label` (string), `pgh_obj_id`,
    `pgh_context_id` (uuid.UUID), `context` (dict), then the tracked fields by name, with faithful dtypes.

    Raises:
        HistoryError: the target is no tracked model, nor an object of one.
    """
    model, object_id = _resolve(target)
    return _history(
        model,
        None if object_id is None else [object_id],
        caption=f"History of {model._meta.object_name}" + ("" if object_id is None else f" {object_id}"),
        label=label, since=since, until=until, context=context, limit=limit, using=using,
    )  # fmt: skip


def diff(
    target: Model | models.Model | str,
    *,
    label: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    context: Mapping[str, Any] | None = None,
    limit: int | None = None,
    using: str = "default",
) -> DiffFrame:
    """Return what each event changed against the one before it of the same object, one row for each changed field.

    Takes what `history` takes. The event before is one of the same label, if a label is given; it need not be among
    the events that since, context and limit choose. Columns: `pgh_created_at` (datetime64 in UTC), `pgh_obj_id`,
    `pgh_label`, `field`, `before`, `after`, `context`. An object's first event has nothing before it, and no row.

    Raises:
        HistoryError: the target is no tracked model, nor an object of one.
    """
    chosen = history(target, label=label, since=since, until=until, context=context, limit=limit, using=using)
    if since is None and not context and limit is None:
        return diff_frame(chosen)
    model, object_id = _resolve(target)
    compared = _history(
        model, _objects(chosen) if object_id is None else [object_id], label=label, until=until, using=using
    )
    found = diff_frame(compared, of=set(chosen["pgh_id"]))
    found.notes += chosen.notes
    return found


def as_of(
    target: Model | models.Model | str,
    when: datetime | date,
    *,
    related: Sequence[str] = (),
    using: str = "default",
) -> AsOfFrame:
    """Return a model's table, or one object's row, as it stood at an instant, out of its events.

    when: what happened at this moment counts; a date is its midnight, a time without a zone is in Django's current one.
    related: foreign keys whose rows, as they stood at the same instant, are put beside, as `author__name`; also
    `author__country`, through one that is there already. Rows that are deleted by now are there if they were then.

    An event's time is the start of its transaction. So the table is exact where no transaction was under way at this
    instant: one that was counts with all it did. Rows whose state no event tells are left out, and a note counts them.

    The index is the primary key; the columns are the tracked fields, as in `history`.

    Raises:
        HistoryError: the target is not tracked, its events do not tell their object, or a related model is not tracked.
    """
    model, object_id = _resolve(target)
    event_model = _event_model(model)
    states = read_states(event_model, when, obj_ids=None if object_id is None else [object_id], using=using)
    name = str(_tracked(model)._meta.object_name)
    frame = as_of_frame(
        states.columns,
        states.kinds,
        states.keys,
        caption=f"{name}{'' if object_id is None else f' {object_id}'} as of {_shown(states.when)}",
        notes=_untold(states, name),
    )
    for path in related:
        frame = _beside(frame, _tracked(model), path, states.when, using)
    return frame


def _tracked(model: Model) -> Model:
    return getattr(model, "pgh_tracked_model", model)


def _shown(moment: datetime) -> str:
    return timezone.localtime(moment).isoformat(
        sep=" ", timespec="seconds" if not moment.microsecond else "auto"
    )


def _untold(states: ObjectStates, name: str) -> list[str]:
    notes = []
    if states.untold:
        notes.append(
            f"{states.untold:,} more were there, in a state that no event tells: their first event is a later change."
        )
    if states.eventless:
        notes.append(
            f"{states.eventless:,} rows of today have no event at all, and are left out: pghistory.backfill({name}) "
            f"records rows as they are."
        )
    return notes


def _beside(frame: AsOfFrame, model: Model, path: str, when: datetime, using: str) -> AsOfFrame:
    """Return a frame with the rows beside it that a foreign key referred to."""
    source: Any = model
    field: Any = None
    for step in path.split("__"):
        field = next((found for found in source._meta.concrete_fields if found.name == step), None)
        if not isinstance(field, models.ForeignKey) or not isinstance(field.related_model, type):
            raise HistoryError(
                f"{source._meta.object_name} has no foreign key {step!r} to put related rows beside."
            )
        source = field.related_model
    if path not in frame.columns:
        raise HistoryError(
            f"{path!r} is not among the columns: it is not tracked, or name the foreign key before it first."
        )
    found = as_of(source, when, using=using)
    key = str(field.target_field.name)
    if list(found.index.names) != [key]:
        found = found.reset_index().set_index(key)
    return with_related(frame, path, found)


def undo_plan(context: Any, *, using: str | None = None) -> UndoFrame:
    """Return what would undo all that was done in a context, row by row; nothing is changed until `.apply()`.

    context: the value of a `with pghistory.context(...)` block, a `Context`, or its id. Each row becomes again what it
    was before the context's first event of it; foreign keys decide on the order. The columns are those of `UndoFrame`:
    `model`, `object`, `action`, `changes`, `status`, `conflict`.

    Raises:
        HistoryError: it is no context, it is still open, or no event was recorded in it.
    """
    return _undo_frame(make_plan(context, using))


def _undo_frame(plan: Plan, done: tuple[Step, ...] | None = None) -> UndoFrame:
    did = None if done is None else {step.identity for step in done}
    rows = [
        UndoRow(
            model=step.model._meta.label,
            object=", ".join(map(str, step.key)),
            action=step.action,
            status=_status(step, did),
            now=step.now,
            then=step.then,
            conflict=step.conflict,
        )
        for step in plan.steps
    ]
    notes = []
    if plan.conflicts and done is None:
        notes.append(
            f"{len(plan.conflicts):,} of {len(plan.steps):,} rows have a conflict. apply() does nothing while there is "
            f"one; apply(skip_conflicts=True) leaves them alone."
        )
    return undo_frame(
        rows,
        applying=None if done is not None else partial(_applied, plan),
        caption=f"Undo of context {plan.context_id}",
        notes=notes,
    )


def _applied(plan: Plan, *, skip_conflicts: bool) -> UndoFrame:
    return _undo_frame(plan, apply_plan(plan, skip_conflicts=skip_conflicts))


def _status(step: Step, did: set[Any] | None) -> Status:
    if did is None:
        return "planned" if step.conflict is None else "conflict"
    return "done" if step.identity in did else "skipped"


def timeline(
    target: Model | models.Model | str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    using: str = "default",
) -> TimelineFrame:
    """Return how long each state of each object was valid, out of the events of a model or of one object.

    since, until: only states that were valid at some time between the two. Columns: `pgh_obj_id`, `valid_from` and
    `valid_to` (datetime64 in UTC; missing where the state began before any event, or still is valid), then the tracked
    fields, as in `history`. `.plot()` draws it.

    Raises:
        HistoryError: the target is no tracked model, nor an object of one.
    """
    model, object_id = _resolve(target)
    event_model = _event_model(model)
    caption = f"Timeline of {_tracked(model)._meta.object_name}" + (
        "" if object_id is None else f" {object_id}"
    )
    frame = timeline_frame(
        _history(model, None if object_id is None else [object_id], using=using),
        **label_roles(event_model),
    )
    if since is not None:
        frame = frame[frame["valid_to"].isna() | (frame["valid_to"] > instant(since))]
    if until is not None:
        frame = frame[frame["valid_from"].isna() | (frame["valid_from"] < instant(until))]
    frame = frame.reset_index(drop=True)
    frame.caption = caption
    return frame


# More objects than these are not worth naming to the server one by one.
_MAX_NAMED_OBJECTS = 1_000


def _objects(events: HistoryFrame) -> list[Any] | None:
    """Return the keys of the events' objects, None if they are many or unknown."""
    keys = events["pgh_obj_id"]
    return None if keys.isna().any() or keys.nunique() > _MAX_NAMED_OBJECTS else keys.unique().tolist()


def _history(
    model: Model, obj_ids: list[Any] | None, *, caption: str | None = None, **filters: Any
) -> HistoryFrame:
    events = read_events(_event_model(model), obj_ids=obj_ids, **filters)
    shown = len(events.columns["pgh_id"])
    notes = [f"The latest {shown:,} of {events.total:,} events."] if shown < events.total else []
    return history_frame(events.columns, events.kinds, sides=events.sides, caption=caption, notes=notes)


def verify(target: Model | str, *, using: str = "default") -> VerificationFrame:
    """Return where the hash chain of a tracked model's events is broken: of each object, the first broken event.

    The model is tracked with `hash_chain=True`. An event that was changed, removed, put in between, or whose place was
    taken breaks its object's chain; what `prune_events` removed does not, nor do fields that are added or renamed.
    Columns: `pgh_obj_id`, `pgh_id` (Int64), `pgh_label`, `pgh_created_at` (datetime64 in UTC), `problem`; the notes say
    how many events were verified.

    What no chain can show: all events of an object gone together, and the newest events of an object gone. The contents
    of a shared context are not covered, only which one it was. A superuser, or whoever owns the tables, can compute all
    hashes anew behind a change, or write an anchor: keep what must hold against them, such as the latest hashes, where
    they cannot write.

    Raises:
        HistoryError: the target is no tracked model, or its events carry no hashes.
    """
    model, _ = _resolve(target)
    event_model: Any = _event_model(model)
    found = verify_chain(event_model, using)
    notes = [f"{found.events - found.unsealed:,} events are sealed."]
    if found.unsealed:
        notes.append(f"{found.unsealed:,} events carry no hash: nothing proves them.")
    notes += [f"The field {former} is called {name} by now." for former, name in found.renamed.items()]
    links = [
        BrokenLink(
            pgh_obj_id=link.pgh_obj_id, pgh_id=link.pgh_id, pgh_label=link.pgh_label,
            pgh_created_at=link.pgh_created_at, problem=link.problem,
        )
        for link in found.breaks
    ]  # fmt: skip
    return verification_frame(
        links, caption=f"Broken chains of {event_model.pgh_tracked_model._meta.object_name}", notes=notes
    )


def _resolve(target: Model | models.Model | str) -> tuple[Model, Any]:
    if isinstance(target, models.Model):
        return type(target), target.pk
    if isinstance(target, type) and issubclass(target, models.Model):
        return target, None
    if isinstance(target, str):
        return _model_named(target), None
    raise HistoryError(f"History is asked of a model, an object or a model's name, but {target!r} was given.")


def _model_named(name: str) -> Model:
    found = [
        model
        for model in apps.get_models()
        if name.lower() in (model._meta.label_lower, str(model._meta.model_name))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        labels = ", ".join(model._meta.label for model in found)
        raise HistoryError(f'There are several models named "{name}": say which of {labels}.')
    raise HistoryError(f'There is no model named "{name}": run the cell that declares it, or name another.')


def _event_model(model: Model) -> Model:
    if hasattr(model, "pgh_tracked_model"):
        return model
    event_model = getattr(model, "pgh_event_model", None)
    if event_model is None:
        raise HistoryError(
            f"{model._meta.object_name} is not tracked: put @pghistory.track() above its class and run the cell again."
        )
    return event_model  # type: ignore[no-any-return]
