"""Ready-made triggers: what each of them is asked for; their bodies are rendered by `compile/bodies.py`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django.db import models

from pgmagic.declare import doors
from pgmagic.declare.composer import Composer, transition_tables
from pgmagic.declare.conditions import AnyChange, Condition
from pgmagic.declare.templates import Func
from pgmagic.declare.trigger import Model, Trigger
from pgmagic.declare.vocabulary import After, Before, Delete, Insert, Statement, Truncate, Update, UpdateOf
from pgmagic.errors import DeclarationError


class ReadyMade(Trigger):
    """A trigger whose body the compiler writes."""

    def get_func(self, model: Model) -> Func | str:
        """Return the body, as written by the compiler."""
        return doors.compiler().body(self, model)


class Protect(ReadyMade, Composer):
    """Rejects the operation, where it touches a row for which the condition holds.

    At row level it rejects before anything is written. At statement level it judges each statement once, behind it,
    by its transition tables; a statement that touches no such row passes. TRUNCATE is rejected if the table holds
    such a row.

    Postgres fires the statement-level triggers of a partitioned table only for statements on that very table, not
    for those straight on a partition: use row level there.

    Raises:
        DeclarationError: a condition is to be judged at statement level for an UPDATE OF columns, for which Postgres
            has no transition tables.
    """

    when = Before

    def compose(self) -> None:
        """Judge statements behind them, where Postgres has transition tables for the operations."""
        if self.level != Statement:
            return
        self.referencing = transition_tables(self.operations)
        if self.referencing is not None:
            self.when = After
        elif self.condition is not None and self.operations != (Truncate,):
            raise DeclarationError(
                f'Postgres has no transition tables for {self.operation}, so the trigger "{self.name}" cannot judge '
                f"its condition at statement level: use pgtrigger.Update, or level=pgtrigger.Row."
            )


class ReadOnly(Protect):
    """Rejects changes to the fields: those named, all but the excluded ones, or all."""

    operation = Update
    fields: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

    def __init__(
        self, *, fields: Sequence[str] | None = None, exclude: Sequence[str] | None = None, **kwargs: Any
    ) -> None:
        self.fields = fields or self.fields
        self.exclude = exclude or self.exclude
        for argument, value in (("fields", self.fields), ("exclude", self.exclude)):
            if isinstance(value, str):
                raise DeclarationError(f"ReadOnly takes {argument}= as a list of names, got {value!r}.")
        if self.fields and self.exclude:
            raise DeclarationError('Must provide only one of "fields" or "exclude" to ReadOnly trigger.')
        super().__init__(**kwargs)

    def protected_fields(self, model: Model) -> list[models.Field[Any, Any]]:
        """Return the concrete fields that may not change.

        Raises:
            DeclarationError: none is left.
        """
        fields = self._changes().compared_fields(model)
        if not fields:
            raise DeclarationError(
                f'The ReadOnly "{self.name}" protects no field of {model._meta.object_name}: its exclude= names all.'
            )
        return fields

    def get_condition(self, model: Model) -> Condition | models.Q:
        """Return a condition that is true where a protected field changed, and the declared condition holds."""
        changes = self._changes()
        self.protected_fields(model)
        return changes & self.condition if self.condition is not None else changes

    def _changes(self) -> AnyChange:
        return AnyChange(*(self.fields or ()), exclude=list(self.exclude or ()))


class SoftDelete(ReadyMade):
    """Turns a delete into an update of a field."""

    when = Before
    operation = Delete
    field: str | None = None
    value: Any = False

    _UNSET: Final = object()

    def __init__(
        self,
        *,
        name: str | None = None,
        condition: Condition | models.Q | None = None,
        field: str | None = None,
        value: Any = _UNSET,
    ) -> None:
        self.field = field or self.field
        if value is not SoftDelete._UNSET:
            self.value = value
        if not self.field:
            raise DeclarationError('Must provide "field" for soft delete.')
        super().__init__(name=name, condition=condition)


class UpdateSearchVector(ReadyMade):
    """Keeps a field of type tsvector in step with the text of other fields, in their order.

    The fields may be of any type; NULL adds nothing. The vector is computed at each insert, and at each update that
    names one of the fields.

    Source: https://www.postgresql.org/docs/current/textsearch-controls.html#TEXTSEARCH-PARSING-DOCUMENTS
    """

    when = Before
    vector_field: str | None = None
    document_fields: Sequence[str] | None = None
    config_name: str = "pg_catalog.english"

    def __init__(
        self,
        *,
        name: str | None = None,
        vector_field: str | None = None,
        document_fields: Sequence[str] | None = None,
        config_name: str | None = None,
    ) -> None:
        self.vector_field = vector_field or self.vector_field
        self.document_fields = document_fields or self.document_fields
        self.config_name = config_name or self.config_name
        if not self.vector_field:
            raise DeclarationError('Must provide "vector_field" to update search vector.')
        if not self.document_fields:
            raise DeclarationError('Must provide "document_fields" to update search vector.')
        if isinstance(self.document_fields, str):
            raise DeclarationError(
                f"UpdateSearchVector takes document_fields= as a list of names, got {self.document_fields!r}."
            )
        super().__init__(name=name, operation=Insert | UpdateOf(*self.document_fields))


__all__ = ["Protect", "ReadOnly", "SoftDelete", "UpdateSearchVector"]
