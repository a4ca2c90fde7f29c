"""A row, and a change of it, that a rule really concerns: found by asking the server for its condition."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseFailure
from django.db import models, transaction

from pgmagic.compile.predicate import condition_sql
from pgmagic.compile.sql import Fragment, compose, identifier, literal, render, verbatim
from pgmagic.db.runtime.ignoring import ignore
from pgmagic.db.trying.attempts import attempt
from pgmagic.db.trying.examples import any_row, example_of, made_up
from pgmagic.declare.conditions import table_fields
from pgmagic.declare.fsm import FSM
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import Row, UpdateOf

Model = type[models.Model]

# How many values of each field are tried, and how many rows are copied for an INSERT.
_MOST_VALUES = 12
# How many changes are tried for one that nothing else forbids.
_MOST_CANDIDATES = 30


@dataclass(frozen=True)
class Concerned:
    """What a rule concerns. key: of the row, None for one that is inserted. values: what is changed, or inserted."""

    key: Any = None
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """Looks for what a trigger of a model concerns.

    condition: its WHEN clause as Postgres prints it, None where it has none.
    """

    model: Model
    trigger: Trigger
    condition: str | None
    connection: Any

    def for_delete(self) -> Concerned | None:
        """Return a row whose deletion the rule concerns."""
        return next((Concerned(key) for key in self._keys({})), None)

    def for_update(self) -> Concerned | None:
        """Return a row and a change of one of its fields that the rule concerns."""
        return self._best(self._updates(), lambda found: self._rows_of(found).update(**found.values))

    def for_insert(self) -> Concerned | None:
        """Return the values of a row whose insertion the rule concerns."""
        return self._best(
            self._inserts(),
            lambda found: self.model(**found.values).save(force_insert=True, using=self.connection.alias),
        )

    def _updates(self) -> Iterator[Concerned]:
        operations = [each for each in self.trigger.operations if isinstance(each, UpdateOf)]
        named = {name for operation in operations for name in operation.columns}
        for each in self._fields():
            if each.primary_key or (named and not {each.name, each.attname} & named):
                continue
            for value in self._values(each):
                key = next(self._keys({each.attname: value}), None)
                if key is not None:
                    yield Concerned(key, {each.attname: value})

    def _inserts(self) -> Iterator[Concerned]:
        row = any_row(self.model, self.connection.alias) or made_up(self.model, self.connection.alias)
        base = {
            each.attname: _unique_value(each, getattr(row, each.attname))
            for each in self._fields()
            if not isinstance(each, models.AutoField)
        }
        fields = [each for each in self._fields() if each.attname in base]
        changes = ({each.attname: value} for each in fields for value in self._values(each))
        for change in ({}, *changes):
            if self._holds_for_new({**base, **change}):
                yield Concerned(None, {**base, **change})

    def _best(self, candidates: Iterator[Concerned], change: Callable[[Concerned], Any]) -> Concerned | None:
        """Return the first candidate that only triggers of pgmagic's keep from being done, or else the first."""
        first: Concerned | None = None
        for found in islice(candidates, _MOST_CANDIDATES):
            first = first or found

            def ignored(found: Concerned = found) -> None:
                with ignore():
                    change(found)

            try:
                done = attempt(self.connection, ignored, None, self.model._meta.db_table)
            except (TypeError, ValueError):
                continue
            if done.refusal is None:
                return found
        return first

    def _rows_of(self, found: Concerned) -> Any:
        return models.QuerySet(self.model, using=self.connection.alias).filter(pk=found.key)

    def needs(self) -> str:
        """Return what a row needs for the rule to concern it."""
        return f"no row that it concerns was found; it needs: {self.condition or 'a row'}"

    def _fields(self) -> list[Any]:
        return [each for each in table_fields(self.model) if not each.generated]

    def _values(self, field: Any) -> Iterator[Any]:
        """Yield values for a field: its choices and states, those of other rows, and others of its type."""
        states = (
            self.trigger.states()
            if isinstance(self.trigger, FSM) and self.trigger.field == field.name
            else []
        )
        rows: Any = models.QuerySet(self.model, using=self.connection.alias).order_by()
        known = list(rows.values_list(field.attname, flat=True).distinct()[:_MOST_VALUES])
        candidates = [*states, *(value for value, _ in field.flatchoices), *known, *_others(field, known)]
        yield from islice(candidates, 3 * _MOST_VALUES)
        if field.null:
            yield None

    def _keys(self, change: dict[str, Any]) -> Iterator[Any]:
        """Yield the keys of rows for which the condition holds, with a change made."""
        table = identifier(self.model._meta.db_table)
        key = identifier("old", str(self._key().column))
        new = compose(
            "pg_catalog.jsonb_populate_record(old, ", literal(self._json(change)), "::jsonb) AS new"
        )
        differs = verbatim("old.* IS DISTINCT FROM new.*" if change else "true")
        query = compose(
            "SELECT ", key, " FROM ", table, " AS old CROSS JOIN LATERAL ", new, " WHERE ", differs, " AND ",
            self._condition(), " ORDER BY 1 LIMIT 1",
        )  # fmt: skip
        yield from (found for (found,) in self._rows(query))

    def _holds_for_new(self, values: dict[str, Any]) -> bool:
        table = identifier(self.model._meta.db_table)
        new = compose(
            "pg_catalog.jsonb_populate_record(NULL::",
            table,
            ", ",
            literal(self._json(values)),
            "::jsonb) AS new",
        )
        return bool(self._rows(compose("SELECT 1 FROM ", new, " WHERE ", self._condition())))

    def _condition(self) -> Fragment:
        if self.condition is not None:
            return compose("(", verbatim(self.condition), ")")
        declared = self.trigger.get_condition(self.model) if self.trigger.level != Row else None
        return condition_sql(declared, self.model) if declared is not None else verbatim("true")

    def _rows(self, query: Fragment) -> list[tuple[Any, ...]]:
        try:
            with transaction.atomic(using=self.connection.alias), self.connection.cursor() as cursor:
                cursor.execute(render(query))
                return list(cursor.fetchall())
        except DatabaseFailure:
            # A value that the column does not take, or a condition that fails for a row: this one is none.
            return []

    def _key(self) -> Any:
        return next(each for each in self.model._meta.local_concrete_fields if each.primary_key)

    def _json(self, values: dict[str, Any]) -> str:
        columns = {each.attname: each for each in table_fields(self.model)}
        plain = {str(columns[name].column): _plain(value) for name, value in values.items()}
        return json.dumps(plain, cls=DjangoJSONEncoder)


def _plain(value: Any) -> Any:
    return "\\x" + bytes(value).hex() if isinstance(value, bytes | memoryview) else value


def _others(field: Any, known: list[Any]) -> Iterator[Any]:
    """Yield values of a field's type that differ from known ones."""
    present = [value for value in known if value is not None]
    if isinstance(field, models.BooleanField):
        yield from (True, False)
    elif isinstance(field, models.ForeignKey):
        target: Any = field.related_model
        yield from target._base_manager.values_list(field.target_field.attname, flat=True)[:_MOST_VALUES]
    elif isinstance(field, models.IntegerField | models.FloatField | models.DecimalField):
        yield from (value for each in present[:3] for value in (each + 1, each - 1))
        yield from (0, 1, -1)
    elif isinstance(field, models.CharField | models.TextField):
        for text in [*present[:3], ""]:
            yield f"{text}x" if not field.max_length or len(text) < field.max_length else text[:-1]
        yield ""
    else:
        example = example_of(field)
        if example is not None:
            yield example


def _unique_value(field: Any, value: Any) -> Any:
    return value if not field.unique or value is None else example_of(field)
