"""`ProxyField`: a field that reads a key of an event's context."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, cast

from django.core.exceptions import ValidationError
from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Col
from django.db.models.sql.compiler import SQLCompiler

from pgmagic.declare.model_types import AnyField, Model
from pgmagic.errors import DeclarationError

if TYPE_CHECKING:
    from pgmagic.declare.model_types import EventRow

    class _FieldBase(models.Field[Any, Any]):
        """What the mixin below is mixed into."""
else:
    _FieldBase = object

_NUMBER = r"^-?[0-9]{1,300}(?:[.][0-9]{1,300})?$"
# For each kind of field: the type to cast to, and the pattern that a text must match, so that an odd context never
# breaks a query. A group in a pattern would be what `substring` returns. Types are the widest of their kind.
_CASTS: dict[type[AnyField], tuple[str, str]] = {
    models.IntegerField: ("bigint", r"^-?[0-9]{1,18}$"),
    models.UUIDField: ("uuid", r"^[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$"),
    models.DecimalField: ("numeric", _NUMBER),
    models.FloatField: ("double precision", _NUMBER),
    models.BooleanField: ("boolean", r"^(?:true|false)$"),
    models.CharField: ("text", ""),
    models.TextField: ("text", ""),
    models.JSONField: ("jsonb", ""),
}


def ProxyField(proxy: str, field: AnyField) -> AnyField:  # noqa: N802 - upstream's name
    """Return a field without a column for a key in the context, such as `pgh_context__metadata__user`.

    Events can be filtered and ordered by it; it can be used in `values` and read from an event. A foreign key is
    filtered by its value; a filter cannot follow it.

    Args:
        proxy: the path to the key, beginning with `pgh_context`.
        field: the field that gives the type.

    Returns:
        A field of the same type. A context without the key, or with a value of another type there, gives None.

    Raises:
        DeclarationError: if the path does not lead into the context, or JSON has no such type.

    Example:
        >>> class UserEvent(Post.pgh_event_model):
        ...     user = pghistory.ProxyField("pgh_context__metadata__user", models.TextField())
        ...     class Meta:
        ...         proxy = True
        >>> with pghistory.context(user="ada"):
        ...     Post.objects.update(likes=1)
        1
        >>> [event.likes for event in UserEvent.objects.filter(user="ada")]
        [1]
    """
    root, *path = proxy.split(LOOKUP_SEP)
    if root != "pgh_context" or not path:
        raise DeclarationError(
            f"A ProxyField reads a key of the context, as in pgh_context__metadata__user, but {proxy!r} was given."
        )
    if not isinstance(field, models.ForeignKey):
        _cast(field)
    made = copy.deepcopy(field)
    made.__class__ = type(f"Proxied{type(field).__name__}", (_Proxied, type(field)), {"proxied_path": path})
    if isinstance(made, models.ForeignKey):
        vars(made)["db_constraint"] = False
        made.remote_field.related_name = "+"
    return made


def _cast(field: AnyField) -> tuple[str, str]:
    for kind, cast_to in _CASTS.items():
        if isinstance(field, kind):
            return cast_to
    raise DeclarationError(
        f"A ProxyField is of a type that JSON holds (text, number, boolean, UUID, JSON), but {type(field).__name__} "
        f"was given: use models.TextField."
    )


class _Proxied(_FieldBase):
    """Makes a private field out of a field: it has no column, and is computed from the context."""

    proxied_path: list[str]

    def get_attname_column(self) -> tuple[str, None]:
        return self.get_attname(), None

    def contribute_to_class(self, cls: Model, name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only=True)
        setattr(cls, self.attname, _ProxiedValue(self))

    def get_col(self, alias: str, output_field: AnyField | None = None) -> Col:
        return _ContextValue(alias, self, output_field or self)


class _ContextValue(Col):
    """A value out of the context, as an expression; NULL where it is not a value of the field's type."""

    def as_sql(self, compiler: SQLCompiler, connection: BaseDatabaseWrapper) -> tuple[str, Any]:
        """Return the value of the field's type."""
        field = cast("_Proxied", self.target)
        document, path = self._document(field, compiler, connection)
        cast_to, pattern = _cast(_value_field(field))
        if cast_to == "jsonb":
            return f"({document} #> %s::text[])", [path]
        text = f"({document} #>> %s::text[])"
        if not pattern:
            return text, [path]
        # Strict, unlike CASE: an event without a context cannot pass, and Postgres may begin with the contexts.
        return f"(substring({text} FROM %s)::{cast_to})", [path, pattern]

    def _document(
        self, field: _Proxied, compiler: SQLCompiler, connection: BaseDatabaseWrapper
    ) -> tuple[str, list[str]]:
        """Return the SQL of the JSON that the path is in, and the rest of the path."""

        def quoted_column(model: Model, name: str) -> str:
            return connection.ops.quote_name(str(cast("AnyField", model._meta.get_field(name)).column))

        context = field.model._meta.get_field("pgh_context")
        column = f"{compiler.quote_name_unless_alias(self.alias)}.{quoted_column(field.model, 'pgh_context')}"
        if not isinstance(context, models.ForeignKey):
            return column, list(field.proxied_path)
        first, *rest = field.proxied_path
        shared = context.related_model
        table = connection.ops.quote_name(shared._meta.db_table)
        chosen, key = quoted_column(shared, first), quoted_column(shared, shared._meta.pk.name)
        return f"(SELECT shared.{chosen} FROM {table} AS shared WHERE shared.{key} = {column})", rest  # noqa: S608 - names are quoted


class _ProxiedValue:
    """The value of a proxied field on an event that was loaded."""

    def __init__(self, field: _Proxied) -> None:
        self.field = field

    def __get__(self, instance: EventRow | None, owner: Model) -> object:
        if instance is None:
            return self
        value = instance.pgh_context
        for name in self.field.proxied_path:
            value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        try:
            return _value_field(self.field).to_python(value)
        except (ValidationError, TypeError, ValueError):
            return None


def _value_field(field: AnyField) -> AnyField:
    """Return the field whose values a proxied one has: for a foreign key, the key that it refers to."""
    return field.target_field if isinstance(field, models.ForeignKey) else field
