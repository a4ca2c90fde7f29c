"""`ProxyField`: a name of its own for a key in an event's context."""

from __future__ import annotations

import copy
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.constants import LOOKUP_SEP
from django.db.models.expressions import Col

from pgmagic.declare.event_fields import AnyField
from pgmagic.errors import DeclarationError

_NUMBER = r"^-?[0-9]{1,300}(?:[.][0-9]{1,300})?$"
# For each kind of field: the type to cast to, and what a text has to look like so that one odd context never breaks a
# query; a group in it would be what `substring` returns. Types are the widest of their kind: no value is out of range.
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
    """Return a field without a column that stands for a key in the context, such as `pgh_context__metadata__user`.

    It can be filtered and ordered by, taken in `values`, and read from an event. Its type is that of `field`; a
    context without the key, or with something there that is no value of the type, gives None. A foreign key is
    filtered by its value; it cannot be followed in a filter.

    Raises:
        DeclarationError: the path does not lead into the context, or a context holds no such type.
    """
    root, *path = proxy.split(LOOKUP_SEP)
    if root != "pgh_context" or not path:
        raise DeclarationError(
            f"A ProxyField stands for a key in the context, as in pgh_context__metadata__user, but {proxy!r} was given."
        )
    if not isinstance(field, models.ForeignKey):
        _cast(field)
    made: Any = copy.deepcopy(field)
    made.__class__ = type(f"Proxied{type(field).__name__}", (_Proxied, type(field)), {"proxied_path": path})
    if isinstance(field, models.ForeignKey):
        made.db_constraint = False
        made.remote_field.related_name = "+"
    return made  # type: ignore[no-any-return]


def _cast(field: AnyField) -> tuple[str, str]:
    for kind, cast in _CASTS.items():
        if isinstance(field, kind):
            return cast
    raise DeclarationError(
        f"A ProxyField is of a type that JSON holds (text, number, boolean, UUID, JSON), but {type(field).__name__} "
        f"was given: use models.TextField."
    )


class _Proxied:
    """What makes a private field out of a field: it has no column, and is computed from the context."""

    proxied_path: list[str]

    def get_attname_column(self: Any) -> tuple[str, None]:
        return self.get_attname(), None

    def contribute_to_class(
        self: Any, cls: Any, name: str, private_only: bool = False, **kwargs: Any
    ) -> None:
        super().contribute_to_class(cls, name, private_only=True, **kwargs)  # type: ignore[misc]
        setattr(cls, self.attname, _ProxiedValue(self))

    def get_col(self: Any, alias: str, output_field: AnyField | None = None) -> Col:
        return _ContextValue(alias, self, output_field or self)


class _ContextValue(Col):
    """A value out of the context, as an expression; NULL where it is no value of the field's type."""

    def as_sql(self, compiler: Any, connection: Any) -> Any:
        """Return the value of the field's type."""
        field: Any = self.target
        document, path = self._document(compiler, connection)
        cast, pattern = _cast(_value_field(field))
        if cast == "jsonb":
            return f"({document} #> %s::text[])", [path]
        text = f"({document} #>> %s::text[])"
        if not pattern:
            return text, [path]
        # Strict, unlike CASE: an event without a context cannot pass, and Postgres may begin with the contexts.
        return f"(substring({text} FROM %s)::{cast})", [path, pattern]

    def _document(self, compiler: Any, connection: Any) -> tuple[str, list[str]]:
        """Return the SQL of the JSON that the path is in, and the rest of the path."""
        field: Any = self.target
        quote = connection.ops.quote_name
        context = field.model._meta.get_field("pgh_context")
        column = f"{compiler.quote_name_unless_alias(self.alias)}.{quote(context.column)}"
        if not isinstance(context, models.ForeignKey):
            return column, list(field.proxied_path)
        first, *rest = field.proxied_path
        shared: Any = context.related_model._meta
        chosen = quote(shared.get_field(first).column)
        table, key = quote(shared.db_table), quote(shared.pk.column)
        return f"(SELECT shared.{chosen} FROM {table} AS shared WHERE shared.{key} = {column})", rest  # noqa: S608 - names are quoted


class _ProxiedValue:
    """The value of a proxied field on an event that was loaded."""

    def __init__(self, field: Any) -> None:
        self.field = field

    def __get__(self, instance: Any, owner: Any) -> Any:
        if instance is None:
            return self
        value: Any = instance.pgh_context
        for name in self.field.proxied_path:
            value = value.get(name) if isinstance(value, dict) else getattr(value, name, None)
        try:
            return _value_field(self.field).to_python(value)
        except (ValidationError, TypeError, ValueError):
            return None


def _value_field(field: Any) -> Any:
    """Return the field whose values a proxied one has: for a foreign key, the key that it refers to."""
    return field.target_field if isinstance(field, models.ForeignKey) else field
