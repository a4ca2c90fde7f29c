"""Event models: the models, made from tracked ones, whose tables hold events.

An event model mirrors the tracked fields and adds its own, all of which begin with `pgh_`: `pgh_id` (the order of
the events of one object), `pgh_created_at`, `pgh_label`, `pgh_obj` (the object), `pgh_context`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models
from django.db.models.signals import class_prepared

from pgmagic.declare import doors, event_setup
from pgmagic.declare.conditions import concrete_fields, table_fields
from pgmagic.declare.event_chain import CHAIN_FIELDS, chain_fields
from pgmagic.declare.event_fields import (
    DEFAULT,
    UNSET,
    AnyField,
    ContextForeignKey,
    ContextJSONField,
    ContextUUIDField,
    ObjForeignKey,
    Unset,
    imported,
    mirror,
    setting,
)
from pgmagic.declare.event_trigger import check_level
from pgmagic.declare.trackers import OLDER, InsertEvent, Tracker, UpdateEvent, check_labels
from pgmagic.declare.vocabulary import Level
from pgmagic.errors import DeclarationError

Model = type[models.Model]
EventModel = type[Any]
M = TypeVar("M", bound=models.Model)

ObjField = ObjForeignKey | None | Unset
ContextField = ContextForeignKey | ContextJSONField | None | Unset
ContextIdField = ContextUUIDField | None | Unset

CONTEXT_MODEL = "pghistory.Context"
_OWN_FIELDS = (
    "pgh_id",
    "pgh_created_at",
    "pgh_label",
    "pgh_obj",
    "pgh_obj_id",
    "pgh_context",
    "pgh_context_id",
)


@dataclass(frozen=True)
class _Own:
    """What the fields that an event has of its own are made of; None leaves a field out."""

    obj: ObjForeignKey | None
    context: ContextForeignKey | ContextJSONField | None
    context_id: ContextUUIDField | None
    related_name: str
    is_default_obj: bool


def track(
    *trackers: Tracker,
    fields: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    obj_field: ObjField = UNSET,
    context_field: ContextField = UNSET,
    context_id_field: ContextIdField = UNSET,
    append_only: bool | Unset = UNSET,
    model_name: str | None = None,
    app_label: str | None = None,
    base_model: Model | None = None,
    attrs: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
    level: Level | None = None,
    hash_chain: bool = False,
    partition_by: Literal["month"] | None = None,
) -> Callable[[type[M]], type[M]]:
    """Return a class decorator that tracks a model; the arguments are those of `create_event_model`.

    The event model also becomes an attribute of the tracked model's module, under its own name, unless the module
    has something else of that name.
    """

    def decorate(model: type[M]) -> type[M]:
        create_event_model(
            model, *trackers, fields=fields, exclude=exclude, obj_field=obj_field, context_field=context_field,
            context_id_field=context_id_field, append_only=append_only, model_name=model_name, app_label=app_label,
            base_model=base_model, attrs=attrs, meta=meta, abstract=False, level=level, hash_chain=hash_chain,
            partition_by=partition_by,
        )  # fmt: skip
        return model

    return decorate


def create_event_model(
    tracked_model: Model,
    *trackers: Tracker,
    fields: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    obj_field: ObjField = UNSET,
    context_field: ContextField = UNSET,
    context_id_field: ContextIdField = UNSET,
    append_only: bool | Unset = UNSET,
    model_name: str | None = None,
    app_label: str | None = None,
    base_model: Model | None = None,
    attrs: Mapping[str, Any] | None = None,
    meta: Mapping[str, Any] | None = None,
    abstract: bool = True,
    level: Level | None = None,
    hash_chain: bool = False,
    partition_by: Literal["month"] | None = None,
) -> EventModel:
    """Return an event model of `tracked_model`; an abstract one, to be subclassed, unless told otherwise.

    trackers: what becomes an event; inserts and real updates unless given. fields, exclude: what is mirrored, all
    fields unless given. obj_field, context_field, context_id_field: how the event's own fields are made, None for
    going without; where the events of many contexts are looked up at once, `ContextForeignKey(db_index=True)` makes the
    index on them a B-tree, a tenth of the time of a bulk insert.
    append_only: whether events may neither be changed nor removed. model_name: `PostEvent` for all
    fields of `Post`, `PostTitleEvent` for its field `title`, unless given. app_label: the tracked model's unless
    given. attrs, meta: more attributes of the model, and of its `Meta`. level: `Statement`
    (one INSERT for all rows of a statement) unless `Row` is given, here, to a tracker, or as `PGHISTORY_LEVEL`; `Row`
    always where Postgres needs it: partitioned and inherited tables, `UpdateOf`; and, unless `Statement` is given,
    where a condition is in SQL. A migration finds out when it runs. hash_chain: whether
    each event carries a hash over itself and the event before of the same object; `pgmagic.verify` says what it proves.
    partition_by: "month" for a table that is partitioned by `pgh_created_at`, which then is part of its primary key;
    the present month and the next three are made with it, later ones by `migrate` and `create_partitions`. A table
    that exists is led into partitions, or out of them, when the cell or `migrate` runs.

    Raises:
        DeclarationError: the arguments contradict each other, two trackers have one label, or a field cannot be
            mirrored; the message names the model and the field.
    """
    if partition_by not in (None, "month"):
        raise DeclarationError(
            f'The events of {tracked_model._meta.object_name} are partitioned by "month" or not at all, but '
            f"partition_by={partition_by!r} was given."
        )
    names = _names_of(tracked_model, fields, "fields")
    tracked = _tracked_fields(tracked_model, fields, exclude)
    _check_names(tracked, (*_OWN_FIELDS, *CHAIN_FIELDS) if hash_chain else _OWN_FIELDS)
    label = app_label or _own_app_label(tracked_model, abstract)
    name = model_name or _model_name(tracked_model, names)
    chosen = _trackers(trackers)
    check_labels(tracked_model, f"{label}.{name}", chosen)
    check_level(level or setting("PGHISTORY_LEVEL"), f"The tracking of {tracked_model._meta.object_name}")
    own = _own(obj_field, context_field, context_id_field, "_".join([*names, "events"]))
    body: dict[str, Any] = {
        **(attrs or {}),
        "__module__": _module(tracked_model, app_label),
        "pgh_tracked_model": tracked_model,
        "pgh_trackers": chosen,
        "pgh_append_only": bool(
            setting("PGHISTORY_APPEND_ONLY", False) if append_only is UNSET else append_only
        ),
        "pgh_level": level,
        "pgh_hash_chain": hash_chain,
        "pgh_partition_by": partition_by,
        "Meta": type("Meta", (), {"abstract": abstract, "app_label": label, **(meta or {})}),
    }
    for field_name, field in {
        **_own_fields(tracked_model, own, chosen),
        **(chain_fields() if hash_chain else {}),
        **_mirrored(tracked, attrs or {}),
    }.items():
        body.setdefault(field_name, field)
    event_model: EventModel = type(name, (_base(base_model),), body)
    if not abstract:
        _publish(event_model)
    return event_model


def _names_of(model: Model, names: Sequence[str] | None, argument: str) -> list[str]:
    if isinstance(names, str) or not all(isinstance(name, str) for name in names or ()):
        raise DeclarationError(
            f"The {argument}= of {model._meta.object_name}'s events is a list of field names, but {names!r} was given."
        )
    return list(names or ())


def _tracked_fields(
    model: Model, fields: Sequence[str] | None, exclude: Sequence[str] | None
) -> list[AnyField]:
    """Return the fields that events mirror, in the order of the table.

    Raises:
        UnknownFieldError: a name is none of a field with a column in the model's own table.
    """
    named = (
        concrete_fields(model, _names_of(model, fields, "fields"))
        if fields is not None
        else table_fields(model)
    )
    excluded = concrete_fields(model, _names_of(model, exclude, "exclude"))
    return [field for field in table_fields(model) if field in named and field not in excluded]


def _check_names(tracked: Iterable[AnyField], taken: Iterable[str]) -> None:
    """Check that no field has a name that the event's own fields need.

    Raises:
        DeclarationError: one has.
    """
    for field in tracked:
        if field.name in taken:
            raise DeclarationError(
                f"The field '{field.name}' of {field.model._meta.object_name} is called like one that every event has: "
                f"rename it, or leave it out by exclude=['{field.name}']."
            )


def _mirrored(tracked: Iterable[AnyField], written_out: Mapping[str, Any]) -> dict[str, AnyField]:
    return {field.name: mirror(field) for field in tracked if field.name not in written_out}


def _own_app_label(model: Model, abstract: bool) -> str:
    """Return the tracked model's app label.

    Raises:
        DeclarationError: the app is an installed package's, into which no migration of ours may be written.
    """
    label = model._meta.app_label
    config = apps.app_configs.get(label)
    if (
        config is not None
        and not abstract
        and {"site-packages", "dist-packages"} & set(Path(config.path).parts)
    ):
        raise DeclarationError(
            f'{model._meta.object_name} belongs to the installed package "{config.name}", which cannot be given an '
            f"event model: say in which app of yours its events live, as in track(app_label='my_app')."
        )
    return label


def _model_name(model: Model, names: Iterable[str]) -> str:
    words = "".join(word.title() for name in names for word in name.split("_"))
    return f"{model._meta.object_name}{words}Event"


def _trackers(given: tuple[Tracker, ...]) -> tuple[Tracker, ...]:
    return tuple(given or setting("PGHISTORY_DEFAULT_TRACKERS") or (InsertEvent(), UpdateEvent()))


def _base(given: Model | None) -> Model:
    base: Model = given or imported(setting("PGHISTORY_BASE_MODEL")) or doors.event_base()()
    if not (isinstance(base, type) and issubclass(base, models.Model) and base._meta.abstract):
        raise DeclarationError(f"The base of an event model is an abstract model, but {base!r} was given.")
    return base


def _module(tracked_model: Model, app_label: str | None) -> str:
    """Return the module that an event model lives in: the tracked model's, or that of the app that was named."""
    config = apps.app_configs.get(app_label) if app_label else None
    module = getattr(config, "models_module", None)
    return (
        module.__name__ if module and app_label != tracked_model._meta.app_label else tracked_model.__module__
    )


def _own(obj: ObjField, context: ContextField, context_id: ContextIdField, related_name: str) -> _Own:
    return _Own(
        obj=_chosen(obj, "PGHISTORY_OBJ_FIELD", ObjForeignKey()),
        context=_chosen(context, "PGHISTORY_CONTEXT_FIELD", ContextForeignKey()),
        context_id=_chosen(context_id, "PGHISTORY_CONTEXT_ID_FIELD", ContextUUIDField()),
        related_name=related_name,
        is_default_obj=obj is UNSET,
    )


def _chosen(given: Any, setting_name: str, default: Any) -> Any:
    return setting(setting_name, default) if given is UNSET else given


def _own_fields(tracked_model: Model, own: _Own, trackers: Iterable[Tracker]) -> dict[str, AnyField]:
    fields: dict[str, AnyField] = {}
    if own.obj is not None:
        fields["pgh_obj"] = _obj_field(tracked_model, own.obj, own)
        if any(isinstance(tracker, OLDER) for tracker in trackers):
            fields |= event_setup.alias_fields(tracked_model, fields["pgh_obj"])
    if isinstance(own.context, ContextForeignKey):
        fields["pgh_context"] = models.ForeignKey(CONTEXT_MODEL, **_unindexed(own.context.kwargs))
    elif own.context is not None:
        fields["pgh_context"] = models.JSONField(encoder=DjangoJSONEncoder, **own.context.kwargs)
        if own.context_id is not None:
            fields["pgh_context_id"] = models.UUIDField(**own.context_id.kwargs)
    return fields


def _obj_field(tracked_model: Model, configured: ObjForeignKey, own: _Own) -> AnyField:
    if len(getattr(tracked_model._meta, "pk_fields", [None])) > 1:
        raise DeclarationError(
            f"{tracked_model._meta.object_name} has a composite primary key, which no foreign key can hold: track it "
            f"with obj_field=None."
        )
    kwargs = configured.kwargs
    if own.is_default_obj and configured._given.get("related_name") is DEFAULT:
        kwargs["related_name"] = own.related_name
        _check_free(tracked_model, own.related_name)
    return models.ForeignKey(tracked_model, **_unindexed(kwargs))


def _check_free(tracked_model: Model, name: str) -> None:
    """Check that a tracked model has no field by which its events are to be reached.

    Raises:
        DeclarationError: it has.
    """
    if any(
        field.name == name
        for field in (*tracked_model._meta.local_fields, *tracked_model._meta.local_many_to_many)
    ):
        raise DeclarationError(
            f"{tracked_model._meta.object_name} has a field '{name}', the name by which its events would be reached: "
            f"choose another, as in track(obj_field=pghistory.ObjForeignKey(related_name='history'))."
        )


def _unindexed(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a foreign key without its own index, unless somebody asked for one: see `event_setup`."""
    return {"db_index": False, **kwargs}


def _publish(event_model: EventModel) -> None:
    module = sys.modules.get(event_model.__module__)
    if module is None:
        return
    known = getattr(module, event_model.__name__, None)
    if known is None or (
        hasattr(known, "pgh_tracked_model") and known._meta.label == event_model._meta.label
    ):
        setattr(module, event_model.__name__, event_model)


def _set_up_when_prepared(sender: EventModel, **_kwargs: object) -> None:
    """Set an event model up, whether it was made here or subclassed from an abstract one."""
    options = sender._meta
    if hasattr(sender, "pgh_tracked_model") and not (options.abstract or options.proxy or options.swapped):
        sender.pghistory_setup()


class_prepared.connect(_set_up_when_prepared, dispatch_uid="pgmagic.event_models")

__all__ = ["create_event_model", "track"]
