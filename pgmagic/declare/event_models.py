"""Event models: the models, made from tracked ones, whose tables hold events.

An event model mirrors the tracked fields and adds its own, all of which begin with `pgh_`: `pgh_id` (the order of
the events of one object), `pgh_created_at`, `pgh_label`, `pgh_obj` (the object), `pgh_context`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.signals import class_prepared

from pgmagic.declare import doors, event_setup, registry
from pgmagic.declare.conditions import concrete_fields, table_fields
from pgmagic.declare.event_chain import CHAIN_FIELDS, chain_fields
from pgmagic.declare.event_fields import (
    DEFAULT,
    UNSET,
    ContextForeignKey,
    ContextJSONField,
    ContextUUIDField,
    Kwargs,
    ObjForeignKey,
    Unset,
    imported,
    mirror,
    setting,
)
from pgmagic.declare.event_trigger import check_level
from pgmagic.declare.model_types import AnyField, AppendOnly, EventModel, Model, is_event_model
from pgmagic.declare.trackers import OLDER, InsertEvent, Tracker, UpdateEvent, check_labels
from pgmagic.declare.vocabulary import Level
from pgmagic.errors import DeclarationError, UnknownFieldError

M = TypeVar("M", bound=models.Model)
T = TypeVar("T")

ObjField = ObjForeignKey | None | Unset
ContextField = ContextForeignKey | ContextJSONField | None | Unset
ContextIdField = ContextUUIDField | None | Unset

CONTEXT_MODEL = "pghistory.Context"
_OWN_FIELDS = (
    "pgh_id", "pgh_created_at", "pgh_label", "pgh_obj", "pgh_obj_id", "pgh_context", "pgh_context_id",
)  # fmt: skip


def track(
    *trackers: Tracker,
    fields: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    obj_field: ObjField = UNSET,
    context_field: ContextField = UNSET,
    context_id_field: ContextIdField = UNSET,
    append_only: AppendOnly | Unset = UNSET,
    model_name: str | None = None,
    app_label: str | None = None,
    base_model: Model | None = None,
    attrs: Mapping[str, object] | None = None,
    meta: Mapping[str, object] | None = None,
    level: Level | None = None,
    hash_chain: bool = False,
    partition_by: Literal["month"] | None = None,
) -> Callable[[type[M]], type[M]]:
    """Return a class decorator that tracks a model; the arguments are those of `create_event_model`.

    `@pghistory.track` without parentheses means `@pghistory.track()`. The decorator returns the model itself. The event
    model also becomes an attribute of the tracked model's module, under its own name, unless the module has something
    else of that name.

    Raises:
        DeclarationError: when applied, as `create_event_model` does.

    Example:
        >>> @pghistory.track(pghistory.UpdateEvent(), fields=["text"])
        ... class Note(models.Model):
        ...     text = models.TextField()
        ...     stars = models.IntegerField(default=0)
        >>> note = Note.objects.create(text="a")
        >>> Note.objects.update(stars=5), Note.objects.update(text="b")
        (1, 1)
        >>> [event.text for event in note.events.all()]
        ['b']
    """
    # Without parentheses, the only argument is the class that is decorated.
    given: Sequence[object] = trackers
    bare = len(given) == 1 and isinstance(given[0], type) and not issubclass(given[0], Tracker)
    chosen = () if bare else trackers

    def decorate(model: type[M]) -> type[M]:
        create_event_model(
            model, *chosen, fields=fields, exclude=exclude, obj_field=obj_field, context_field=context_field,
            context_id_field=context_id_field, append_only=append_only, model_name=model_name, app_label=app_label,
            base_model=base_model, attrs=attrs, meta=meta, abstract=False, level=level, hash_chain=hash_chain,
            partition_by=partition_by,
        )  # fmt: skip
        return model

    return decorate(cast("Any", given[0])) if bare else decorate


def create_event_model(
    tracked_model: Model,
    *trackers: Tracker,
    fields: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    obj_field: ObjField = UNSET,
    context_field: ContextField = UNSET,
    context_id_field: ContextIdField = UNSET,
    append_only: AppendOnly | Unset = UNSET,
    model_name: str | None = None,
    app_label: str | None = None,
    base_model: Model | None = None,
    attrs: Mapping[str, object] | None = None,
    meta: Mapping[str, object] | None = None,
    abstract: bool = True,
    level: Level | None = None,
    hash_chain: bool = False,
    partition_by: Literal["month"] | None = None,
) -> EventModel:
    """Return an event model of `tracked_model`; an abstract one, to be subclassed, unless `abstract` is false.

    Args:
        tracked_model: the model whose changes are recorded.
        trackers: what becomes an event; inserts and real updates, unless given.
        fields: the names of the fields that are mirrored; all, unless given.
        exclude: the names of the fields that are not mirrored.
        obj_field: how `pgh_obj` is made; None leaves it out.
        context_field: how `pgh_context` is made; None leaves it out.
        context_id_field: how `pgh_context_id` is made, which goes with a `ContextJSONField`; None leaves it out.
        append_only: whether UPDATE and DELETE of events are refused; "truncate" for TRUNCATE, too. Then Django's
            `flush` fails, and with it every `TransactionTestCase`.
        model_name: `PostEvent` for all fields of `Post`, `PostTitleEvent` for its field `title`, unless given. The name
            of a `base_model` takes the place of `Event`.
        app_label: the tracked model's, unless given.
        base_model: the abstract model that the event model inherits from.
        attrs: more attributes of the model.
        meta: more attributes of its `Meta`.
        abstract: whether to make an abstract model.
        level: `Statement` (one INSERT for all rows of a statement), unless `Row` is given here, to a tracker, or as
            `PGHISTORY_LEVEL`. It is always `Row` where Postgres needs it: partitioned and inherited tables, `UpdateOf`;
            and, unless `Statement` is given, where a condition is in SQL. A migration finds that out when it runs.
        hash_chain: whether each event has a hash over itself and the event before of the same object; `pgmagic.verify`
            says what it proves.
        partition_by: "month" for a table that is partitioned by `pgh_created_at`, which is then part of its primary
            key. The present month and the next three are made with it, later ones by `migrate` and
            `create_partitions`. A table that exists is moved into partitions, or out of them, when the cell or
            `migrate` runs.

    Returns:
        The event model, a class.

    Raises:
        DeclarationError: if the arguments contradict each other, two trackers have one label, or a field cannot be
            mirrored; the message names the model and the field.

    Example:
        >>> kept = pghistory.create_event_model(Post, pghistory.ManualEvent("read"), fields=["title"])
        >>> kept.__name__, kept._meta.abstract, [field.name for field in kept._meta.fields][-1]
        ('PostTitleEvent', True, 'title')
    """
    registry.check_class(tracked_model, "A model can be tracked")
    _check_partitioning(tracked_model, partition_by)
    names = _names_of(tracked_model, fields, "fields")
    tracked = _tracked_fields(
        tracked_model,
        None if fields is None else names,
        _names_of(tracked_model, exclude, "exclude"),
        has_chain=hash_chain,
    )
    label = app_label or _own_app_label(tracked_model, abstract)
    base = _base(base_model)
    name = model_name or _name_for(tracked_model, names, base)
    chosen = tuple(trackers or setting("PGHISTORY_DEFAULT_TRACKERS") or (InsertEvent(), UpdateEvent()))
    check_labels(tracked_model, f"{label}.{name}", chosen)
    check_level(level or setting("PGHISTORY_LEVEL"), f"The tracking of {tracked_model._meta.object_name}")
    written: Kwargs = dict(attrs or {})
    reverse = "_".join([*names, f"{_snake_case(base.__name__)}s"])
    body = {
        **_own_fields(tracked_model, obj_field, context_field, context_id_field, reverse, chosen),
        **(chain_fields() if hash_chain else {}),
        **_mirrors(tracked, written),
        **written,
        "__module__": _module(tracked_model, app_label),
        "pgh_tracked_model": tracked_model,
        "pgh_trackers": chosen,
        "pgh_append_only": _checked_append_only(tracked_model, append_only),
        "pgh_level": level,
        "pgh_hash_chain": hash_chain,
        "pgh_partition_by": partition_by,
        "Meta": type("Meta", (), {"abstract": abstract, "app_label": label, **(meta or {})}),
    }  # fmt: skip
    event_model = cast("EventModel", type(name, (base,), body))
    if not abstract:
        _publish(event_model)
    return event_model


def _check_partitioning(tracked_model: Model, partition_by: object) -> None:
    if partition_by not in (None, "month"):
        raise DeclarationError(
            f'The events of {tracked_model._meta.object_name} are partitioned by "month" or not at all, but '
            f"partition_by={partition_by!r} was given."
        )


def _checked_append_only(tracked_model: Model, given: AppendOnly | Unset) -> AppendOnly:
    """Return whether, and how, events are protected.

    Raises:
        DeclarationError: if it is a text other than "truncate".
    """
    chosen: object = _chosen(given, "PGHISTORY_APPEND_ONLY", False)
    if isinstance(chosen, str) and chosen != "truncate":
        raise DeclarationError(
            f"The events of {tracked_model._meta.object_name} are given append_only={chosen!r}, which is neither a "
            f'boolean nor "truncate": use True to refuse UPDATE and DELETE, or "truncate" to refuse TRUNCATE, too.'
        )
    return "truncate" if chosen == "truncate" else bool(chosen)


def _mirrors(tracked: Iterable[AnyField], written: Kwargs) -> Kwargs:
    """Return the mirrors of tracked fields by name, without fields that are written by hand."""
    return {field.name: mirror(field) for field in tracked if field.name not in written}


def _name_for(tracked_model: Model, names: Iterable[str], base: Model) -> str:
    """Return the name of an event model: `PostEvent`, `PostTitleEvent` for the field `title`, `PostLog` of a base Log.

    Tables and migrations that django-pghistory made have these names.
    """
    words = [word for name in [*names, base.__name__.lower()] for word in name.split("_")]
    return f"{tracked_model._meta.object_name}{''.join(word[:1].upper() + word[1:] for word in words)}"


def _snake_case(name: str) -> str:
    """Return the name of a class in lower case, with an underscore before each word."""
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)).lower()


def _base(base_model: Model | None) -> Model:
    """Return the abstract model from which an event model inherits.

    Raises:
        DeclarationError: if it is not an abstract model.
    """
    base: object = base_model or imported(setting("PGHISTORY_BASE_MODEL")) or doors.event_base()()
    if not (isinstance(base, type) and issubclass(base, models.Model) and base._meta.abstract):
        raise DeclarationError(f"The base of an event model is an abstract model, but {base!r} was given.")
    return base


def _names_of(model: Model, names: Sequence[str] | None, argument: str) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names or ()):
        raise UnknownFieldError(
            f"The {argument}= of {model._meta.object_name}'s events is a list of field names, but {names!r} was given."
        )
    return list(names or ())


def _tracked_fields(
    model: Model, names: Sequence[str] | None, excluded_names: Sequence[str], *, has_chain: bool
) -> list[AnyField]:
    """Return the fields that events mirror, in the order of the table.

    Raises:
        UnknownFieldError: if a name does not belong to a field with a column in the model's own table.
        DeclarationError: if a field has a name that the event's own fields need.
    """
    taken = (*_OWN_FIELDS, *CHAIN_FIELDS) if has_chain else _OWN_FIELDS
    named = table_fields(model) if names is None else concrete_fields(model, names)
    excluded = concrete_fields(model, excluded_names)
    tracked = [field for field in table_fields(model) if field in named and field not in excluded]
    for field in tracked:
        if field.name in taken:
            raise DeclarationError(
                f"The field '{field.name}' of {field.model._meta.object_name} has the name of a field that every event "
                f"has: rename it, or leave it out by exclude=['{field.name}']."
            )
    return tracked


def _own_app_label(model: Model, abstract: bool) -> str:
    """Return the tracked model's app label.

    Raises:
        DeclarationError: if the app is an installed package's, into which no migration of ours may be written.
    """
    label = model._meta.app_label
    config = apps.app_configs.get(label)
    if config is not None and not abstract and {"site-packages", "dist-packages"} & set(Path(config.path).parts):
        raise DeclarationError(
            f'{model._meta.object_name} belongs to the installed package "{config.name}", which cannot be given an '
            f"event model: say in which app of yours its events live, as in track(app_label='my_app')."
        )
    return label


def _module(tracked_model: Model, app_label: str | None) -> str:
    """Return the module that an event model lives in: the tracked model's, or that of the app that was named."""
    config = apps.app_configs.get(app_label) if app_label else None
    module = getattr(config, "models_module", None)
    if module is None or app_label == tracked_model._meta.app_label:
        return tracked_model.__module__
    return str(module.__name__)


def _chosen(given: T | Unset, setting_name: str, default: T) -> T:
    chosen: T = setting(setting_name, default) if isinstance(given, Unset) else given
    return chosen


def _own_fields(
    tracked_model: Model,
    obj_field: ObjField,
    context_field: ContextField,
    context_id_field: ContextIdField,
    related_name: str,
    trackers: Sequence[Tracker],
) -> dict[str, AnyField]:
    """Return the fields that an event has of its own, but for those that its base has."""
    fields: dict[str, AnyField] = {}
    obj: ObjForeignKey | None = _chosen(obj_field, "PGHISTORY_OBJ_FIELD", ObjForeignKey())
    if obj is not None:
        unnamed = obj_field is UNSET and obj._given.get("related_name") is DEFAULT
        fields["pgh_obj"] = _obj_field(tracked_model, obj.kwargs, related_name if unnamed else None)
        if any(isinstance(tracker, OLDER) for tracker in trackers):
            fields |= event_setup.alias_fields(tracked_model, fields["pgh_obj"])
    context: ContextForeignKey | ContextJSONField | None = _chosen(
        context_field, "PGHISTORY_CONTEXT_FIELD", ContextForeignKey()
    )
    if isinstance(context, ContextForeignKey):
        # Without an index of its own, unless somebody asks for one: see `event_setup`.
        fields["pgh_context"] = models.ForeignKey(CONTEXT_MODEL, **{"db_index": False, **context.kwargs})
    elif context is not None:
        fields["pgh_context"] = models.JSONField(encoder=DjangoJSONEncoder, **context.kwargs)
        context_id: ContextUUIDField | None = _chosen(
            context_id_field, "PGHISTORY_CONTEXT_ID_FIELD", ContextUUIDField()
        )
        if context_id is not None:
            fields["pgh_context_id"] = models.UUIDField(**context_id.kwargs)
    return fields


def _obj_field(tracked_model: Model, kwargs: Kwargs, related_name: str | None) -> AnyField:
    """Return the foreign key to an event's object. related_name: that by which events are reached, unless in kwargs.

    Raises:
        DeclarationError: if the object has a composite key, or a field of that name.
    """
    options = tracked_model._meta
    if len(getattr(options, "pk_fields", [None])) > 1:
        raise DeclarationError(
            f"{options.object_name} has a composite primary key, which no foreign key can hold: track it with "
            f"obj_field=None."
        )
    if related_name is not None:
        kwargs = {**kwargs, "related_name": related_name}
        if any(field.name == related_name for field in (*options.local_fields, *options.local_many_to_many)):
            raise DeclarationError(
                f"{options.object_name} has a field '{related_name}', the name by which its events would be reached: "
                f"choose another, as in track(obj_field=pghistory.ObjForeignKey(related_name='history'))."
            )
    return models.ForeignKey(tracked_model, **{"db_index": False, **kwargs})


def _publish(event_model: EventModel) -> None:
    """Make an event model an attribute of its module, unless that has something else of the name."""
    module = sys.modules.get(event_model.__module__)
    if module is None:
        return
    known = getattr(module, event_model.__name__, None)
    if known is None or (is_event_model(known) and known._meta.label == event_model._meta.label):
        setattr(module, event_model.__name__, event_model)


def _set_up_when_prepared(sender: Model, **_kwargs: object) -> None:
    """Set an event model up, whether it was made here or subclassed from an abstract one."""
    options = sender._meta
    if is_event_model(sender) and not (options.abstract or options.proxy or options.swapped):
        sender.pghistory_setup()


class_prepared.connect(_set_up_when_prepared, dispatch_uid="pgmagic.event_models")
