"""How the fields of an event model are made: configuration objects, and the mirror of a tracked field.

What holds for a field is decided in this order, the later winning: what is built in, the settings of the project
(`PGHISTORY_FIELD`, `PGHISTORY_RELATED_FIELD`, `PGHISTORY_FOREIGN_KEY_FIELD`; for the fields of the event itself
`PGHISTORY_OBJ_FIELD`, `PGHISTORY_CONTEXT_FIELD`, `PGHISTORY_CONTEXT_ID_FIELD`), the arguments of `track`, and a
field written out in an event model. Settings are read when a model is tracked, never at import.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import Any, ClassVar, Final, TypeAlias, TypedDict, Unpack

from django.conf import settings
from django.db import models
from django.db.models.fields import AutoFieldMixin
from django.utils.module_loading import import_string

from pgmagic.declare.model_types import AnyField
from pgmagic.errors import DeclarationError

# Keyword arguments of a field of Django's.
Kwargs: TypeAlias = dict[str, Any]


class Unset(Enum):
    """The type of `UNSET`: nothing was given, so what is configured further down holds."""

    token = 0

    def __repr__(self) -> str:
        return "UNSET"


class Default(Enum):
    """The type of `DEFAULT`: what is configured further down does not hold; Django's or the field's own value does."""

    token = 0

    def __repr__(self) -> str:
        return "DEFAULT"


UNSET: Final = Unset.token
DEFAULT: Final = Default.token

Toggle: TypeAlias = bool | Unset | Default
Name: TypeAlias = str | Unset | Default
OnDelete: TypeAlias = Callable[..., None] | Unset | Default


class CommonOptions(TypedDict, total=False):
    """The options of every field but `null`."""

    primary_key: Toggle
    unique: Toggle
    blank: Toggle
    db_index: Toggle
    editable: Toggle
    unique_for_date: Toggle | None
    unique_for_month: Toggle | None
    unique_for_year: Toggle | None


class FieldOptions(CommonOptions, total=False):
    """The options of `Field`."""

    null: Toggle


class RelatedOptions(FieldOptions, total=False):
    """The options of `RelatedField`."""

    related_name: Name
    related_query_name: Name


class ObjOptions(FieldOptions, total=False):
    """The options of `ForeignKey` but the names of the reverse side."""

    on_delete: OnDelete
    db_constraint: Toggle


class ContextOptions(CommonOptions, total=False):
    """The options of `ForeignKey` but `null` and `related_query_name`."""

    related_name: Name
    on_delete: OnDelete
    db_constraint: Toggle


def setting(name: str, default: object = None) -> Any:
    """Return a project's setting as it is now, or the default without one."""
    return getattr(settings, name, default)


def imported(value: object) -> Any:
    """Return what a dotted path names; anything but a text is returned as it is."""
    return import_string(value) if isinstance(value, str) else value


class Field:
    """Configures every field of an event model that mirrors a tracked one.

    Each argument is a value, `DEFAULT` (take the tracked field's own), or left out (take what the settings say).

    Args:
        primary_key, unique, blank, null, db_index, editable: as of a field of Django's.
        unique_for_date, unique_for_month, unique_for_year: as of a field of Django's.

    Example:
        >>> pghistory.Field(null=True).kwargs["null"]
        True
    """

    setting_name: ClassVar[str | None] = "PGHISTORY_FIELD"
    built_in: ClassVar[Mapping[str, object]] = {
        "primary_key": False,
        "unique": False,
        "db_index": False,
        "unique_for_date": None,
        "unique_for_month": None,
        "unique_for_year": None,
    }

    def __init__(
        self,
        *,
        primary_key: Toggle = UNSET,
        unique: Toggle = UNSET,
        blank: Toggle = UNSET,
        null: Toggle = UNSET,
        db_index: Toggle = UNSET,
        editable: Toggle = UNSET,
        unique_for_date: Toggle | None = UNSET,
        unique_for_month: Toggle | None = UNSET,
        unique_for_year: Toggle | None = UNSET,
    ) -> None:
        self._given: Kwargs = {}
        self._give(
            primary_key=primary_key, unique=unique, blank=blank, null=null, db_index=db_index, editable=editable,
            unique_for_date=unique_for_date, unique_for_month=unique_for_month, unique_for_year=unique_for_year,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"pghistory.{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._given.items())})"

    def _give(self, **kwargs: object) -> None:
        self._given |= {name: value for name, value in kwargs.items() if value is not UNSET}

    def get_default_kwargs(self) -> Kwargs:
        """Return what is built in and what the settings say; the values may be `DEFAULT`."""
        kwargs: Kwargs = {}
        for kind in reversed(type(self).__mro__):
            kwargs |= vars(kind).get("built_in", {})
            name = vars(kind).get("setting_name")
            configured = setting(name) if name else None
            if isinstance(configured, Field):
                kwargs |= configured._given
        return kwargs

    @property
    def kwargs(self) -> Kwargs:
        """The keyword arguments that the field is made with; `DEFAULT` values are left out."""
        merged = self.get_default_kwargs() | self._given
        return {name: value for name, value in merged.items() if value is not DEFAULT}


class RelatedField(Field):
    """Configures every relation of an event model; the reverse side is hidden unless named.

    Args:
        related_name, related_query_name: as of a relation of Django's; "+" unless given.
        kwargs: see `Field`.

    Example:
        >>> pghistory.RelatedField().kwargs["related_name"]
        '+'
    """

    setting_name: ClassVar[str | None] = "PGHISTORY_RELATED_FIELD"
    built_in = {"related_name": "+", "related_query_name": "+"}

    def __init__(
        self, *, related_name: Name = UNSET, related_query_name: Name = UNSET, **kwargs: Unpack[FieldOptions]
    ) -> None:
        super().__init__(**kwargs)
        self._give(related_name=related_name, related_query_name=related_query_name)


class ForeignKey(RelatedField):
    """Configures every foreign key of an event model: without a constraint, since events outlive what they name.

    Args:
        on_delete: as of a foreign key of Django's; DO_NOTHING unless given.
        db_constraint: whether there is a constraint; False unless given.
        kwargs: see `RelatedField`.

    Example:
        >>> pghistory.ForeignKey().kwargs["db_constraint"]
        False
    """

    setting_name: ClassVar[str | None] = "PGHISTORY_FOREIGN_KEY_FIELD"
    built_in = {"on_delete": models.DO_NOTHING, "db_constraint": False, "db_index": DEFAULT}

    def __init__(
        self, *, on_delete: OnDelete = UNSET, db_constraint: Toggle = UNSET, **kwargs: Unpack[RelatedOptions]
    ) -> None:
        super().__init__(**kwargs)
        self._give(on_delete=on_delete, db_constraint=db_constraint)


class ObjForeignKey(ForeignKey):
    """Configures `pgh_obj`, the foreign key from an event to its object.

    Args:
        related_name: the name by which an object reaches its events; "events" unless given or fields are named.
        related_query_name: the same in filters.
        kwargs: see `ForeignKey`.

    Example:
        >>> @pghistory.track(obj_field=pghistory.ObjForeignKey(related_name="changes"))
        ... class Note(models.Model):
        ...     text = models.TextField()
        >>> Note.objects.create(text="a").changes.count()
        1
    """

    setting_name = None
    built_in = {}

    def __init__(
        self, *, related_name: Name = DEFAULT, related_query_name: Name = DEFAULT, **kwargs: Unpack[ObjOptions]
    ) -> None:
        super().__init__(related_name=related_name, related_query_name=related_query_name, **kwargs)


class ContextForeignKey(ForeignKey):
    """Configures `pgh_context` as a foreign key to the shared table of contexts.

    Args:
        null: whether there may be events without a context.
        related_query_name: the name of the events in filters on contexts.
        kwargs: see `ForeignKey`. `db_index=True` makes the index on contexts a B-tree: faster for the events of many
            contexts at once, a tenth slower for a bulk insert.

    Example:
        >>> @pghistory.track(context_field=pghistory.ContextForeignKey(db_index=True))
        ... class Note(models.Model):
        ...     text = models.TextField()
        >>> Note.pgh_event_model._meta.get_field("pgh_context").db_index
        True
    """

    setting_name = None
    built_in = {}

    def __init__(
        self, *, null: bool = True, related_query_name: Name = DEFAULT, **kwargs: Unpack[ContextOptions]
    ) -> None:
        super().__init__(null=null, related_query_name=related_query_name, **kwargs)


class ContextJSONField(Field):
    """Configures `pgh_context` as the metadata itself, stored in each event.

    Args:
        null: whether there may be events without a context.
        kwargs: see `Field`.

    Example:
        >>> @pghistory.track(context_field=pghistory.ContextJSONField())
        ... class Note(models.Model):
        ...     text = models.TextField()
        >>> with pghistory.context(user="ada"):
        ...     note = Note.objects.create(text="a")
        >>> note.events.get().pgh_context
        {'user': 'ada'}
    """

    setting_name = None
    built_in = {}

    def __init__(self, *, null: bool = True, **kwargs: Unpack[CommonOptions]) -> None:
        super().__init__(null=null, **kwargs)


class ContextUUIDField(Field):
    """Configures `pgh_context_id`, which goes with `ContextJSONField`: events of one context share it.

    Args:
        null: whether there may be events without a context.
        kwargs: see `Field`. `db_index=True` makes the index a B-tree.

    Example:
        >>> pghistory.ContextUUIDField(db_index=True)
        pghistory.ContextUUIDField(null=True, db_index=True)
    """

    setting_name = None
    built_in = {}

    def __init__(self, *, null: bool = True, **kwargs: Unpack[CommonOptions]) -> None:
        super().__init__(null=null, **kwargs)


# Arguments that give a value by themselves, or belong to the tracked table alone: an event only records.
_NOT_MIRRORED: Final = (
    "auto_now", "auto_now_add", "serialize", "auto_created", "parent_link", "limit_choices_to",
    # Django would open each image of each event that it loads, to fill these in.
    "width_field", "height_field",
)  # fmt: skip


def mirror(field: AnyField) -> AnyField:
    """Return a field of an event model that records the values of a tracked model's field.

    It has the same column and type, but no constraint, no index but a foreign key's, and no value by itself: keys are
    not counted, dates do not set themselves, and a generated column is an ordinary one.

    Raises:
        DeclarationError: if the field cannot be made again.
    """
    try:
        source = (field.output_field or field) if isinstance(field, models.GeneratedField) else field
        kind, args, kwargs = _recipe(source)
        kwargs = {name: value for name, value in kwargs.items() if name not in _NOT_MIRRORED}
        kwargs |= _own_kwargs(field, source)
        for excluded_kind, names in (setting("PGHISTORY_EXCLUDE_FIELD_KWARGS") or {}).items():
            if isinstance(source, imported(excluded_kind)):
                kwargs = {name: value for name, value in kwargs.items() if name not in names}
        if field.has_db_default():
            kwargs.setdefault("db_default", field.db_default)
        return kind(*args, **kwargs)
    except (TypeError, ValueError, AttributeError) as error:
        raise DeclarationError(
            f"The field '{field.name}' of {field.model._meta.object_name} cannot be mirrored in an event model "
            f"({error}): leave it out by exclude=['{field.name}'], or write its mirror out in attrs=."
        ) from error


def _recipe(source: AnyField) -> tuple[type[AnyField], Iterable[Any], Kwargs]:
    """Return the class and the arguments that make a field like another."""
    if isinstance(source, models.ForeignKey):
        # A foreign key's own `deconstruct` asks for every model, and in a project these are still being loaded.
        _name, _path, args, kwargs = models.Field.deconstruct(source)
        kwargs.pop("unique", None)
        # Left out of a plain field's arguments where it is off, which is not a foreign key's default.
        kwargs["db_index"] = getattr(source, "db_index", True)
        if source.remote_field.field_name:
            kwargs["to_field"] = source.remote_field.field_name
        return models.ForeignKey, args, kwargs
    _name, _path, args, kwargs = source.deconstruct()
    # BigAutoField is an AutoFieldMixin and a BigIntegerField: the latter is what is left without the counter.
    kinds = [kind for kind in type(source).__mro__ if issubclass(kind, models.Field)]
    return next(kind for kind in kinds if not issubclass(kind, AutoFieldMixin)), args, kwargs


def _own_kwargs(field: AnyField, source: AnyField) -> Kwargs:
    if isinstance(field, models.GeneratedField):
        named = {"db_column": field.db_column} if field.db_column else {}
        return {"null": True, **Field().kwargs, **named}
    if isinstance(source, models.ForeignKey):
        return {**ForeignKey().kwargs, "to": source.remote_field.model}
    kwargs = Field().kwargs
    if isinstance(source, models.FileField) and not kwargs.get("primary_key"):
        # Django refuses the argument itself, whatever its value is.
        kwargs.pop("primary_key", None)
    return kwargs
