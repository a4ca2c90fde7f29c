"""What makes a finished event model work: its trackers, its indexes, and the names by which objects reach it."""

from __future__ import annotations

import hashlib

from django.db import models

from pgmagic.declare.event_chain import HashChain
from pgmagic.declare.event_indexes import ContextIndex, TimeIndex
from pgmagic.declare.model_types import AnyField, EventModel, Model
from pgmagic.declare.names import PARTITION_OPTION, shorten
from pgmagic.declare.ready_made import Protect
from pgmagic.declare.trackers import EVENT_MODELS, check_labels, event_models_of
from pgmagic.declare.vocabulary import Delete, Truncate, Update
from pgmagic.errors import DeclarationError

APPEND_ONLY = "append_only"
# The attribute of a tracked model that is its one event model.
ONLY_EVENT_MODEL = "pgh_event_model"
# The names by which the events of an object are reached: the present one, and that of older tutorials.
_REVERSE_NAMES = ("events", "event")
# The longest name of an index that Django allows.
_MAX_INDEX_NAME = 30


def set_up(event_model: EventModel) -> None:
    """Register the triggers of an event model, and let the tracked model know it.

    Raises:
        DeclarationError: if two trackers of the tracked model have one label.
    """
    tracked = event_model.pgh_tracked_model
    check_labels(tracked, event_model._meta.label, event_model.pgh_trackers)
    _add_indexes(event_model)
    _note_partitions(event_model)
    for tracker in event_model.pgh_trackers:
        tracker.pghistory_setup(event_model)
    if event_model.pgh_append_only:
        Protect(name=APPEND_ONLY, operation=Update | Delete).register(event_model)
    if event_model.pgh_append_only == "truncate":
        # A trigger of its own, so that the message about updates and deletes stays as it always was.
        Protect(name=f"{APPEND_ONLY}_truncate", operation=Truncate).register(event_model)
    if getattr(event_model, "pgh_hash_chain", False):
        HashChain().register(event_model)
    setattr(tracked, ONLY_EVENT_MODEL, _OnlyEventModel())
    _name_events(tracked)


def _add_indexes(event_model: EventModel) -> None:
    """Index an event's object, its context and its time, unless their fields have an index of their own.

    The object's index has `pgh_id` in it: the events of an object come out in order, and the event before another is
    a single probe. A project that looks up many contexts at once adds a B-tree by `db_index=True`.
    """
    options = event_model._meta
    fields = {field.name: field for field in options.local_fields}
    context = "pgh_context" if isinstance(fields.get("pgh_context"), models.ForeignKey) else "pgh_context_id"
    wanted = {
        "pgh_obj": models.Index(fields=["pgh_obj", "pgh_id"], name=_index_name(event_model, "obj")),
        context: ContextIndex(fields=[context], name=_index_name(event_model, "context")),
        "pgh_created_at": TimeIndex(fields=["pgh_created_at"], name=_index_name(event_model, "time")),
    }
    indexed = {name for index in options.indexes for name in index.fields[:1]}
    for name, index in wanted.items():
        if name in fields and not getattr(fields[name], "db_index", False) and name not in indexed:
            options.indexes = [*options.indexes, index]
            # Migrations take the indexes of models that declare some.
            options.original_attrs["indexes"] = options.indexes


def _note_partitions(event_model: EventModel) -> None:
    """Note in a model's options how its table is partitioned: migrations, and notebooks, keep options.

    Raises:
        DeclarationError: if a field or a constraint needs an index that a partitioned table cannot have.
    """
    if (partition_by := getattr(event_model, "pgh_partition_by", None)) is None:
        return
    options = event_model._meta
    within = {"pgh_created_at"}
    unique = [field.name for field in options.local_fields if field.unique and not field.primary_key]
    unique += [", ".join(names) for names in options.unique_together if not within & set(names)]
    unique += [
        str(found.name)
        for found in options.constraints
        if isinstance(found, models.UniqueConstraint) and not within & set(found.fields)
    ]
    if unique:
        raise DeclarationError(
            f"{options.object_name} is partitioned by {partition_by}, and Postgres cannot check across partitions "
            f"that '{unique[0]}' is unique: leave out unique=True, or partition_by=."
        )
    setattr(options, PARTITION_OPTION, partition_by)
    options.original_attrs[PARTITION_OPTION] = partition_by


def _index_name(event_model: EventModel, what: str) -> str:
    table = event_model._meta.db_table
    tail = f"_{what}_{hashlib.sha256(table.encode()).hexdigest()[:6]}"
    return "pgh_" + shorten(table, _MAX_INDEX_NAME - len("pgh_") - len(tail)) + tail


class _OnlyEventModel:
    """`Model.pgh_event_model`: the one event model of a tracked model."""

    def __get__(self, instance: object, owner: Model) -> EventModel:
        """Return the event model.

        Raises:
            DeclarationError: if there are several.
        """
        event_models: dict[str, EventModel] = event_models_of(owner) or getattr(owner, EVENT_MODELS)
        found = set(event_models.values())
        if len(found) == 1:
            return found.pop()
        raise DeclarationError(
            f"{owner.__name__} has {len(found)} event models: choose one by its label, as in "
            f"{owner.__name__}.pgh_event_models[{next(iter(event_models))!r}]."
        )


class _EventsAccessor:
    """Another name by which an object reaches its events."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: Model) -> object:
        """Return the manager, or the descriptor, that the other name leads to."""
        return getattr(owner if instance is None else instance, self.name)


def _name_events(tracked: Model) -> None:
    """Let `events` reach the events of an object whatever their reverse name is, where there is one event model."""
    name = _REVERSE_NAMES[0]
    event_models = set(event_models_of(tracked).values())
    if isinstance(vars(tracked).get(name), _EventsAccessor):
        delattr(tracked, name)
    names = {accessor_name(event_model) for event_model in event_models} - {None}
    if len(event_models) == len(names) == 1 and not hasattr(tracked, name):
        setattr(tracked, name, _EventsAccessor(str(names.pop())))


def accessor_name(event_model: EventModel) -> str | None:
    """Return the name by which an object of the tracked model reaches its events, or None without one."""
    fields = {field.name: field for field in event_model._meta.local_fields}
    field = fields.get("pgh_obj")
    return field.remote_field.get_accessor_name() if isinstance(field, models.ForeignKey) else None


class ReverseName(models.ForeignObject):  # type: ignore[type-arg]
    """A second reverse name of the relation `pgh_obj`, for objects and for filters; no column, no migration."""

    def __init__(self, to: Model, related_name: str) -> None:
        super().__init__(
            to, models.DO_NOTHING, from_fields=["pgh_obj"], to_fields=[str(to._meta.pk.name)], related_name=related_name
        )

    def contribute_to_class(self, cls: Model, name: str, private_only: bool = False, **kwargs: object) -> None:
        """Become a private field, which tables and migrations do not have."""
        super().contribute_to_class(cls, name, private_only=True, **kwargs)


def alias_fields(tracked_model: Model, obj_field: AnyField) -> dict[str, AnyField]:
    """Return the relations by which both `event` and `events` reach the events, as older tutorials expect."""
    # Not `get_fields`: in a project this runs before every model is loaded, before reverse relations are known.
    taken = {field.name for field in (*tracked_model._meta.fields, *tracked_model._meta.many_to_many)}
    main = getattr(obj_field.remote_field, "related_name", None)
    return {
        f"pgh_{name}_of": ReverseName(tracked_model, name)
        for name in _REVERSE_NAMES
        if main and name != main and not (name in taken or name in vars(tracked_model))
    }
