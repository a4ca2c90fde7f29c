"""Conditions on the OLD and NEW rows of a trigger, and how they combine.

A condition is data: it is rendered for given row aliases by `compile/predicate.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from typing import ClassVar, Literal, cast, overload

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models.fields import Field
from django.db.models.fields.composite import CompositePrimaryKey
from django.db.models.fields.related import ForeignObject
from django.db.models.lookups import BuiltinLookup, FieldGetDbPrepValueMixin

from pgmagic.declare import doors
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.errors import DeclarationError, UnknownFieldError

Connector = Literal["AND", "OR"]


class Condition:
    """A condition in raw SQL on OLD and NEW. Conditions of all kinds combine with `&`, `|`, `^` and `~`.

    A subclass may override `resolve`.

    Args:
        sql: what stands in the WHEN clause.

    Raises:
        DeclarationError: if there is no SQL.

    Example:
        >>> more = pgtrigger.Condition("NEW.likes > OLD.likes")
        >>> print((more & pgtrigger.Q(old__status="draft")).resolve(Post))
        ((NEW.likes > OLD.likes) AND (OLD."status" = 'draft'))
    """

    sql: str | None = None

    def __init__(self, sql: str | None = None) -> None:
        self.sql = sql or self.sql
        if not self.sql:
            raise DeclarationError("Condition needs SQL, as in Condition('NEW.price > OLD.price').")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.sql!r})"

    def resolve(self, model: Model) -> str:
        """Return the condition as SQL on OLD and NEW of `model`'s table.

        Raises:
            UnknownFieldError: if it names a field that the model does not have.
            ConditionError: if it needs a join, or Django does not know the lookup.
        """
        return doors.compiler().built_in_condition(self, model)

    def __and__(self, other: Condition | models.Q) -> Condition:
        return _combine("AND", self, other)

    def __or__(self, other: Condition | models.Q) -> Condition:
        return _combine("OR", self, other)

    def __rand__(self, other: Condition | models.Q) -> Condition:
        return _combine("AND", other, self)

    def __ror__(self, other: Condition | models.Q) -> Condition:
        return _combine("OR", other, self)

    def __xor__(self, other: Condition | models.Q) -> Condition:
        return _combine("OR", self & ~other, ~self & other)

    def __rxor__(self, other: Condition | models.Q) -> Condition:
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
    """Django's Q over `old__field` and `new__field`, with Django's lookups and those of NULL, `df` and `ndf`.

    Example:
        >>> print(pgtrigger.Q(old__likes__lt=pgtrigger.F("new__likes"), new__status__in=["draft"]).resolve(Post))
        ((NEW."status" IN ('draft') AND OLD."likes" < (NEW."likes")))
    """

    def __init__(self, *args: object, _connector: str | None = None, _negated: bool = False, **kwargs: object) -> None:
        models.Q.__init__(
            self,
            *((arg[0], _kept(arg[1])) if isinstance(arg, tuple) and len(arg) == 2 else arg for arg in args),
            _connector=_connector,
            _negated=_negated,
            **{name: _kept(value) for name, value in kwargs.items()},
        )

    @overload  # type: ignore[override]
    def __and__(self, other: models.Q) -> Q: ...
    @overload
    def __and__(self, other: Condition) -> Condition: ...
    def __and__(self, other: Condition | models.Q) -> Condition | models.Q:
        return super().__and__(other) if isinstance(other, models.Q) else _combine("AND", self, other)

    @overload  # type: ignore[override]
    def __or__(self, other: models.Q) -> Q: ...
    @overload
    def __or__(self, other: Condition) -> Condition: ...
    def __or__(self, other: Condition | models.Q) -> Condition | models.Q:
        return super().__or__(other) if isinstance(other, models.Q) else _combine("OR", self, other)

    @overload  # type: ignore[override]
    def __xor__(self, other: models.Q) -> Q: ...
    @overload
    def __xor__(self, other: Condition) -> Condition: ...
    def __xor__(self, other: Condition | models.Q) -> Condition | models.Q:
        return super().__xor__(other) if isinstance(other, models.Q) else Condition.__xor__(self, other)

    def __invert__(self) -> Q:
        return cast("Q", models.Q.__invert__(self))


class F(models.F):
    """Django's F over `old__field` and `new__field`.

    Example:
        >>> print(pgtrigger.Q(new__likes__gt=pgtrigger.F("old__likes") + 1).resolve(Post))
        (NEW."likes" > (OLD."likes" + 1))
    """


def _kept(value: object) -> object:
    """Return the value, or a list of what can be iterated over only once: a condition is rendered several times."""
    return list(value) if isinstance(value, Iterator) else value


def _combine(connector: Connector, *sides: object) -> Condition:
    """Return conditions joined; a long chain of AND, or of OR, does not become a deep one."""
    operands: list[Condition] = []
    for side in sides:
        if type(side) is Combined and side.connector == connector:
            operands += side.conditions
        elif isinstance(side, Condition):
            operands.append(side)
        elif isinstance(side, models.Q):
            converted = Q(_connector=side.connector, _negated=side.negated)
            converted.children = list(side.children)
            operands.append(converted)
        else:
            raise TypeError(f"A condition combines with Q, Condition and the change conditions, not with {side!r}.")
    return Combined(connector, *operands)


class Change(Condition):
    """A comparison, field by field, of the row before with the row after. Each argument may be a class attribute."""

    connector: ClassVar[Connector]
    changed: ClassVar[bool]

    fields: Sequence[str] = ()
    exclude: Sequence[str] = ()
    exclude_auto: bool = False
    # The fields that are compared if none is named: those that a tracker tracks, or without any the model's.
    unnamed: tuple[str, ...] = ()

    def __init__(self, *fields: str, exclude: list[str] | None = None, exclude_auto: bool | None = None) -> None:
        chosen = (fields or self.fields or (), exclude or self.exclude or ())
        for names in chosen:
            if isinstance(names, str) or not all(isinstance(name, str) for name in names):
                raise UnknownFieldError(
                    f"{type(self).__name__} takes the names of fields and exclude= a list of them, got {names!r}."
                )
        self.fields, self.exclude = tuple(chosen[0]), list(chosen[1])
        self.exclude_auto = bool(self.exclude_auto if exclude_auto is None else exclude_auto)

    def compared_fields(self, model: Model) -> list[AnyField]:
        """Return the concrete fields that are compared, in the model's order.

        Without names these are the tracked fields in a tracker's condition; elsewhere all but the generated ones,
        which a BEFORE trigger cannot see. The excluded ones are left out.

        Raises:
            UnknownFieldError: if a name does not belong to a field with a column.
        """
        named = concrete_fields(model, self.fields or self.unnamed)
        left_out = set(concrete_fields(model, self.exclude))
        for field in table_fields(model):
            is_auto = getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
            if (self.exclude_auto and is_auto) or (field.generated and not named):
                left_out.add(field)
        return [field for field in table_fields(model) if field not in left_out and (not named or field in named)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.fields))})"


class AnyChange(Change):
    """True if at least one of the fields changed.

    Args:
        fields: names of fields; without a name, all but the excluded and the generated ones, or in the condition of
            a tracker those that it tracks.
        exclude: names of fields that are not compared.
        exclude_auto: whether to leave out fields with `auto_now` or `auto_now_add`.

    Example:
        >>> print(pgtrigger.AnyChange("title", "likes").resolve(Post))
        (OLD."title" IS DISTINCT FROM NEW."title" OR OLD."likes" IS DISTINCT FROM NEW."likes")
    """

    connector, changed = "OR", True


class AnyDontChange(Change):
    """True if at least one of the fields did not change. The arguments are those of `AnyChange`.

    Example:
        >>> print(pgtrigger.AnyDontChange("title").resolve(Post))
        (OLD."title" IS NOT DISTINCT FROM NEW."title")
    """

    connector, changed = "OR", False


class AllChange(Change):
    """True if every one of the fields changed. The arguments are those of `AnyChange`.

    Example:
        >>> print(pgtrigger.AllChange("title", "likes").resolve(Post))
        (OLD."title" IS DISTINCT FROM NEW."title" AND OLD."likes" IS DISTINCT FROM NEW."likes")
    """

    connector, changed = "AND", True


class AllDontChange(Change):
    """True if none of the fields changed. The arguments are those of `AnyChange`.

    Example:
        >>> print(pgtrigger.AllDontChange("title").resolve(Post))
        (OLD."title" IS NOT DISTINCT FROM NEW."title")
    """

    connector, changed = "AND", False


def within(condition: Condition, names: Sequence[str]) -> Condition:
    """Return a condition in which changes without named fields are changes of the given fields.

    Without any, they stay changes of the model's fields. The condition that is given stays as it is.
    """
    if isinstance(condition, Change):
        narrowed = copy(condition)
        narrowed.unnamed = tuple(names)
        return narrowed
    if isinstance(condition, Combined):
        return Combined(condition.connector, *(within(part, names) for part in condition.conditions))
    return Not(within(condition.condition, names)) if isinstance(condition, Not) else condition


def table_fields(model: Model) -> list[AnyField]:
    """Return the fields with a column in the model's own table, without those in a parent's table."""
    concrete_model = model._meta.concrete_model or model
    return list(concrete_model._meta.local_concrete_fields)


def concrete_fields(model: Model, names: Iterable[str]) -> list[AnyField]:
    """Return the fields of the model's table called `names` (`pk` and a foreign key's `_id` name included).

    The name of a composite key stands for several fields.

    Raises:
        UnknownFieldError: if the table has no such field.
    """
    composite = composite_key(model)
    fields: list[AnyField] = []
    for name in names:
        if composite is not None and name in ("pk", composite.name):
            fields += (part for part in composite.fields if isinstance(part, Field))
        else:
            fields.append(concrete_field(model, name))
    return fields


def composite_key(model: Model) -> CompositePrimaryKey | None:
    """Return the model's key if it is made of several fields, else None."""
    key: object = model._meta.pk
    return key if isinstance(key, CompositePrimaryKey) else None


def concrete_field(model: Model, name: str) -> AnyField:
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


def _without_column(model: Model, field: AnyField) -> str:
    name = model._meta.object_name
    if field.concrete and not field.many_to_many:
        return (
            f"The field '{field.name}' of {name} lives in the table of {field.model._meta.object_name}: declare the "
            f"trigger there."
        )
    beside = f" Its rows are those of {name}.{field.name}.through." if field.many_to_many else ""
    return f"'{field.name}' has no column in the table of {name}, so a trigger cannot see it.{beside}"


class _Distinctness(FieldGetDbPrepValueMixin, BuiltinLookup):
    """A comparison in which NULL is a value like any other.

    Source: https://www.postgresql.org/docs/current/functions-comparison.html
    """

    can_use_none_as_rhs = True
    operator: ClassVar[str]

    def get_prep_lookup(self) -> object:
        if isinstance(self.rhs, models.Model):
            target = getattr(self.lhs.output_field, "target_field", None)
            return getattr(self.rhs, target.attname) if target else self.rhs.pk
        return None if self.rhs is None else super().get_prep_lookup()

    def get_rhs_op(self, connection: BaseDatabaseWrapper, rhs: str) -> str:
        return f"{self.operator} {rhs}"


@ForeignObject.register_lookup
@Field.register_lookup
class IsDistinctFrom(_Distinctness):
    """The lookup `df`: IS DISTINCT FROM.

    Example:
        >>> print(pgtrigger.Q(old__title__df=pgtrigger.F("new__title")).resolve(Post))
        (OLD."title" IS DISTINCT FROM (NEW."title"))
    """

    lookup_name = "df"
    operator = "IS DISTINCT FROM"


@ForeignObject.register_lookup
@Field.register_lookup
class IsNotDistinctFrom(_Distinctness):
    """The lookup `ndf`: IS NOT DISTINCT FROM.

    Example:
        >>> print(pgtrigger.Q(old__title__ndf=None).resolve(Post))
        (OLD."title" IS NOT DISTINCT FROM NULL)
    """

    lookup_name = "ndf"
    operator = "IS NOT DISTINCT FROM"
