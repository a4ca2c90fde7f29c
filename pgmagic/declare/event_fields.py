"""How the fields of an event model are made: configuration objects, and the mirror of a tracked field.

What holds for a field is decided in this order, the later winning: what is built in, the settings of the project
(`PGHISTORY_FIELD`, `PGHISTORY_RELATED_FIELD`, `PGHISTORY_FOREIGN_KEY_FIELD`; for the fields of the event itself
`PGHISTORY_OBJ_FIELD`, `PGHISTORY_CONTEXT_FIELD`, `PGHISTORY_CONTEXT_ID_FIELD`), the arguments of `track`, and a
field written out in an event model. Settings are read when a model is tracked, never at import.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any, ClassVar, Final, TypeAlias

from django.conf import settings
from django.db import models
from django.db.models.fields import AutoFieldMixin
from django.utils.module_loading import import_string

from pgmagic.errors import DeclarationError

AnyField: TypeAlias = "models.Field[Any, Any]"


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


def setting(name: str, default: Any = None) -> Any:
    """Return a project's setting as it is now, or the default without one."""
    return getattr(settings, name, default)


def imported(value: Any) -> Any:
    """Return what a dotted path stands for; anything but a text is returned as it is."""
    return import_string(value) if isinstance(value, str) else value


class Field:
    """Configures every field of an event model that mirrors a tracked one.

    Each argument is a value, `DEFAULT` (take the tracked field's own), or left out (take what the settings say).
    """

    setting_name: ClassVar[str | None] = "PGHISTORY_FIELD"
    built_in: ClassVar[Mapping[str, Any]] = {
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
        primary_key: bool | Unset | Default = UNSET,
        unique: bool | Unset | Default = UNSET,
        blank: bool | Unset | Default = UNSET,
        null: bool | Unset | Default = UNSET,
        db_index: bool | Unset | Default = UNSET,
        editable: bool | Unset | Default = UNSET,
        unique_for_date: bool | Unset | Default | None = UNSET,
        unique_for_month: bool | Unset | Default | None = UNSET,
        unique_for_year: bool | Unset | Default | None = UNSET,
    ) -> None:
        self._given: dict[str, Any] = {}
        self._give(
            primary_key=primary_key, unique=unique, blank=blank, null=null, db_index=db_index, editable=editable,
            unique_for_date=unique_for_date, unique_for_month=unique_for_month, unique_for_year=unique_for_year,
        )  # fmt: skip

    def __repr__(self) -> str:
        return f"pghistory.{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self._given.items())})"

    def _give(self, **kwargs: Any) -> None:
        self._given |= {name: value for name, value in kwargs.items() if value is not UNSET}

    def get_default_kwargs(self) -> dict[str, Any]:
        """Return what is built in and what the settings say; the values may be `DEFAULT`."""
        kwargs: dict[str, Any] = {}
        for kind in reversed(type(self).__mro__):
            kwargs |= vars(kind).get("built_in", {})
            name = vars(kind).get("setting_name")
            configured = setting(name) if name else None
            if isinstance(configured, Field):
                kwargs |= configured._given
        return kwargs

    @property
    def kwargs(self) -> dict[str, Any]:
        """What the field is made with, over what it is made of; `DEFAULT` values are left out."""
        merged = self.get_default_kwargs() | self._given
        return {name: value for name, value in merged.items() if value is not DEFAULT}


class RelatedField(Field):
    """Configures every relation of an event model; the reverse side is hidden unless named."""

    setting_name: ClassVar[str | None] = "PGHISTORY_RELATED_FIELD"
    built_in = {"related_name": "+", "related_query_name": "+"}

    def __init__(
        self,
        *,
        related_name: str | Unset | Default = UNSET,
        related_query_name: str | Unset | Default = UNSET,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._give(related_name=related_name, related_query_name=related_query_name)


class ForeignKey(RelatedField):
    """Configures every foreign key of an event model: without a constraint, since events outlive what they name."""

    setting_name: ClassVar[str | None] = "PGHISTORY_FOREIGN_KEY_FIELD"
    built_in = {"on_delete": models.DO_NOTHING, "db_constraint": False, "db_index": DEFAULT}

    def __init__(
        self, *, on_delete: Any = UNSET, db_constraint: bool | Unset | Default = UNSET, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self._give(on_delete=on_delete, db_constraint=db_constraint)


class ObjForeignKey(ForeignKey):
    """Configures `pgh_obj`, the foreign key from an event to its object."""

    setting_name = None
    built_in = {}

    def __init__(
        self,
        *,
        related_name: str | Unset | Default = DEFAULT,
        related_query_name: str | Unset | Default = DEFAULT,
        **kwargs: Any,
    ) -> None:
        super().__init__(related_name=related_name, related_query_name=related_query_name, **kwargs)


class ContextForeignKey(ForeignKey):
    """Configures `pgh_context` as a foreign key to the shared table of contexts; db_index=True: with a B-tree."""

    setting_name = None
    built_in = {}

    def __init__(
        self, *, null: bool = True, related_query_name: str | Unset | Default = DEFAULT, **kwargs: Any
    ) -> None:
        super().__init__(null=null, related_query_name=related_query_name, **kwargs)


class ContextJSONField(Field):
    """Configures `pgh_context` as the metadata itself, stored in each event."""

    setting_name = None
    built_in = {}

    def __init__(self, *, null: bool = True, **kwargs: Any) -> None:
        super().__init__(null=null, **kwargs)


class ContextUUIDField(Field):
    """Configures `pgh_context_id`, which goes with `ContextJSONField`: events of one context share it.

    db_index=True: with a B-tree.
    """

    setting_name = None
    built_in = {}

    def __init__(self, *, null: bool = True, **kwargs: Any) -> None:
        super().__init__(null=null, **kwargs)


# What makes a value by itself, or belongs to the tracked table alone: an event only records.
_NOT_MIRRORED: Final = (
    "auto_now", "auto_now_add", "serialize", "auto_created", "parent_link", "limit_choices_to",
    # Django would open each image of each event that it loads, to fill these in.
    "width_field", "height_field",
)  # fmt: skip


def mirror(field: AnyField) -> AnyField:
    """Return a field of an event model that records the values of a tracked model's field.

    It has the same column and type, but no constraint, no index but a foreign key's, and makes no value by itself:
    keys count nothing up, dates do not set themselves, a generated column is an ordinary one.

    Raises:
        DeclarationError: the field cannot be made again.
    """
    try:
        source = _source(field)
        kind, args, kwargs = _recipe(source)
        kwargs = {name: value for name, value in kwargs.items() if name not in _NOT_MIRRORED}
        kwargs |= _own_kwargs(field, source)
        for name in _excluded_kwargs(source):
            kwargs.pop(name, None)
        if field.has_db_default():
            kwargs.setdefault("db_default", field.db_default)
        return kind(*args, **kwargs)
    except (TypeError, ValueError, AttributeError) as error:
        raise DeclarationError(
            f"The field '{field.name}' of {field.model._meta.object_name} cannot be mirrored in an event model "
            f"({error}): leave it out by exclude=['{field.name}'], or write its mirror out in attrs=."
        ) from error


def _source(field: AnyField) -> AnyField:
    return (field.output_field or field) if isinstance(field, models.GeneratedField) else field


def _recipe(source: AnyField) -> tuple[type[AnyField], Iterable[Any], dict[str, Any]]:
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
    return _kind(source), args, kwargs


def _kind(source: AnyField) -> type[AnyField]:
    if isinstance(source, AutoFieldMixin):
        # BigAutoField is an AutoFieldMixin and a BigIntegerField: the latter is what is left without the counter.
        return next(
            kind
            for kind in type(source).__mro__
            if issubclass(kind, models.IntegerField) and not issubclass(kind, AutoFieldMixin)
        )
    if isinstance(source, models.ImageField):
        return models.FileField
    return type(source)


def _own_kwargs(field: AnyField, source: AnyField) -> dict[str, Any]:
    if isinstance(field, models.GeneratedField):
        named = {"db_column": field.db_column} if field.db_column else {}
        return {"null": True, **Field().kwargs, **named}
    if isinstance(source, models.ForeignKey):
        return {**ForeignKey().kwargs, "to": source.remote_field.model}
    return Field().kwargs


def _excluded_kwargs(source: AnyField) -> Iterable[str]:
    """Return the arguments that `PGHISTORY_EXCLUDE_FIELD_KWARGS` takes from fields of this kind."""
    for kind, names in (setting("PGHISTORY_EXCLUDE_FIELD_KWARGS") or {}).items():
        if isinstance(source, imported(kind)):
            yield from names
