"""Conditions on the OLD and NEW rows of a trigger, and how they combine.

A condition is data: it is rendered for given row aliases by `compile/predicate.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar, Literal

from django.db import models
from django.db.models.fields import Field
from django.db.models.fields.composite import CompositePrimaryKey
from django.db.models.fields.related import ForeignObject
from django.db.models.lookups import BuiltinLookup, FieldGetDbPrepValueMixin

from pgmagic.declare import doors
from pgmagic.errors import DeclarationError, UnknownFieldError

Connector = Literal["AND", "OR"]


class Condition:
    """A condition in raw SQL on OLD and NEW; conditions of all kinds combine with `&`, `|` and `~`."""

    sql: str | None = None

    def __init__(self, sql: str | None = None) -> None:
        self.sql = sql or self.sql
        if not self.sql:
            raise DeclarationError("Condition needs SQL, as in Condition('NEW.price > OLD.price').")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.sql!r})"

    def resolve(self, model: type[models.Model]) -> str:
        """Return the condition as SQL on OLD and NEW of `model`'s table."""
        return doors.compiler().condition(self, model)

    def __and__(self, other: Any) -> Condition:
        return _combine("AND", self, other)

    def __or__(self, other: Any) -> Condition:
        return _combine("OR", self, other)

    def __rand__(self, other: Any) -> Condition:
        return _combine("AND", other, self)

    def __ror__(self, other: Any) -> Condition:
        return _combine("OR", other, self)

    def __xor__(self, other: Any) -> Condition:
        return _combine("OR", self & ~other, ~self & other)

    def __rxor__(self, other: Any) -> Condition:
        return _combine("OR", other & ~self, ~other & self)

    def __invert__(self) -> Condition:
        return Not(self)


class Combined(Condition):
    """Conditions joined by AND or OR."""

    def __init__(self, connector: Connector, *conditions: Condition) -> None:
        self.connector = connector
        self.conditions = conditions

    def __repr__(self) -> str:
        return "(" + f" {self.connector} ".join(map(repr, self.conditions)) + ")"


class Not(Condition):
    """A condition negated."""

    def __init__(self, condition: Condition) -> None:
        self.condition = condition

    def __repr__(self) -> str:
        return f"NOT {self.condition!r}"


class Q(models.Q, Condition):
    """Django's Q over `old__field` and `new__field`."""

    def __init__(
        self, *args: Any, _connector: str | None = None, _negated: bool = False, **kwargs: Any
    ) -> None:
        models.Q.__init__(
            self,
            *(_kept(arg) for arg in args),
            _connector=_connector,
            _negated=_negated,
            **{name: _kept_value(value) for name, value in kwargs.items()},
        )

    def __and__(self, other: Any) -> Any:
        return super().__and__(other) if isinstance(other, models.Q) else _combine("AND", self, other)

    def __or__(self, other: Any) -> Any:
        return super().__or__(other) if isinstance(other, models.Q) else _combine("OR", self, other)

    def __rand__(self, other: Any) -> Condition:
        return _combine("AND", other, self)

    def __ror__(self, other: Any) -> Condition:
        return _combine("OR", other, self)

    def __xor__(self, other: Any) -> Any:
        return super().__xor__(other) if isinstance(other, models.Q) else Condition.__xor__(self, other)

    def __invert__(self) -> Any:
        return models.Q.__invert__(self)


class F(models.F):
    """Django's F over `old__field` and `new__field`."""


def _kept(child: Any) -> Any:
    return (child[0], _kept_value(child[1])) if isinstance(child, tuple) and len(child) == 2 else child


def _kept_value(value: Any) -> Any:
    """Return the value, or a list of what can be iterated over only once: a condition is rendered several times."""
    return list(value) if isinstance(value, Iterator) else value


def _combine(connector: Connector, left: Any, right: Any) -> Condition:
    for side in (left, right):
        if not isinstance(side, Condition | models.Q):
            raise TypeError(
                f"A condition combines with Q, Condition and the change conditions, not with {side!r}."
            )
    return Combined(connector, *_operands(connector, left), *_operands(connector, right))


def _operands(connector: Connector, side: Condition | models.Q) -> tuple[Condition, ...]:
    """Return what a side of AND or OR is made of, so that a long chain does not become a deep one."""
    if type(side) is Combined and side.connector == connector:
        return side.conditions
    return (_as_condition(side),)


def _as_condition(condition: Condition | models.Q) -> Condition:
    if isinstance(condition, Condition):
        return condition
    converted = Q(_connector=condition.connector, _negated=condition.negated)
    converted.children = list(condition.children)
    return converted


class _Change(Condition):
    """A comparison, field by field, of the row before with the row after."""

    connector: ClassVar[Connector]
    changed: ClassVar[bool]

    def __init__(
        self, *fields: str, exclude: list[str] | None = None, exclude_auto: bool | None = None
    ) -> None:
        for names in (fields, exclude or ()):
            if isinstance(names, str) or not all(isinstance(name, str) for name in names):
                raise DeclarationError(
                    f"{type(self).__name__} takes the names of fields and exclude= a list of them, got {names!r}."
                )
        self.fields = fields
        self.exclude = list(exclude or ())
        self.exclude_auto = bool(exclude_auto)

    def compared_fields(self, model: type[models.Model]) -> list[Field[Any, Any]]:
        """Return the concrete fields that are compared, in the model's order.

        Without names these are all but the excluded and the generated ones: a BEFORE trigger cannot see the latter.
        """
        named = concrete_fields(model, self.fields)
        excluded = set(concrete_fields(model, self.exclude))
        return [
            field
            for field in table_fields(model)
            if (field in named if named else not field.generated)
            and field not in excluded
            and not self._is_auto(field)
        ]

    def _is_auto(self, field: Field[Any, Any]) -> bool:
        return self.exclude_auto and (
            getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.fields))})"


class AnyChange(_Change):
    """True if at least one of the fields changed."""

    connector, changed = "OR", True


class AnyDontChange(_Change):
    """True if at least one of the fields did not change."""

    connector, changed = "OR", False


class AllChange(_Change):
    """True if every one of the fields changed."""

    connector, changed = "AND", True


class AllDontChange(_Change):
    """True if none of the fields changed."""

    connector, changed = "AND", False


def table_fields(model: type[models.Model]) -> list[Field[Any, Any]]:
    """Return the fields with a column in the model's own table: not those that live in a parent's table."""
    concrete_model = model._meta.concrete_model or model
    return list(concrete_model._meta.local_concrete_fields)


def concrete_fields(model: type[models.Model], names: Iterable[str]) -> list[Field[Any, Any]]:
    """Return the fields of the model's table called `names` (`pk` and a foreign key's `_id` name included).

    Raises:
        UnknownFieldError: the table has no such field.
    """
    return [field for name in names for field in _fields_named(model, name)]


def _fields_named(model: type[models.Model], name: str) -> list[Field[Any, Any]]:
    """Return the fields that a name stands for: several for the name of a composite key."""
    composite = composite_key(model)
    if composite is not None and name in ("pk", composite.name):
        return list(composite.fields)
    return [concrete_field(model, name)]


def composite_key(model: type[models.Model]) -> Any | None:
    """Return the model's key if it is made of several fields, else None."""
    key: Any = model._meta.pk
    return key if isinstance(key, CompositePrimaryKey) else None


def concrete_field(model: type[models.Model], name: str) -> Field[Any, Any]:
    """Return the field of the model's table called `name`; see `concrete_fields`."""
    fields = table_fields(model)
    for field in fields:
        if name in (field.name, field.attname) or (name == "pk" and field.primary_key):
            return field
    # Not `get_fields()`, which asks for every model of a project that may still be loading.
    for other in (*model._meta.fields, *model._meta.many_to_many, *model._meta.private_fields):
        if other.name == name:
            raise UnknownFieldError(_without_column(model, other))
    known = ", ".join(field.name for field in fields)
    raise UnknownFieldError(f"{model._meta.object_name} has no field named '{name}'; its fields are {known}.")


def _without_column(model: type[models.Model], field: Any) -> str:
    if field.concrete and not field.many_to_many:
        return (
            f"The field '{field.name}' of {model._meta.object_name} lives in the table of "
            f"{field.model._meta.object_name}: declare the trigger there."
        )
    name = model._meta.object_name
    beside = f" Its rows are those of {name}.{field.name}.through." if field.many_to_many else ""
    return f"'{field.name}' has no column in the table of {name}, so a trigger cannot see it.{beside}"


class _Distinctness(FieldGetDbPrepValueMixin, BuiltinLookup):
    """A comparison in which NULL is a value like any other.

    Source: https://www.postgresql.org/docs/current/functions-comparison.html
    """

    can_use_none_as_rhs = True
    operator: ClassVar[str]

    def get_prep_lookup(self) -> Any:
        if isinstance(self.rhs, models.Model):
            target = getattr(self.lhs.output_field, "target_field", None)
            return getattr(self.rhs, target.attname) if target else self.rhs.pk
        return None if self.rhs is None else super().get_prep_lookup()

    def get_rhs_op(self, connection: Any, rhs: str) -> str:
        return f"{self.operator} {rhs}"


@ForeignObject.register_lookup
@Field.register_lookup
class IsDistinctFrom(_Distinctness):
    """The lookup `df`: IS DISTINCT FROM."""

    lookup_name = "df"
    operator = "IS DISTINCT FROM"


@ForeignObject.register_lookup
@Field.register_lookup
class IsNotDistinctFrom(_Distinctness):
    """The lookup `ndf`: IS NOT DISTINCT FROM."""

    lookup_name = "ndf"
    operator = "IS NOT DISTINCT FROM"
