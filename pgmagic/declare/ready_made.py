"""Ready-made triggers: what users declare; their bodies are rendered by `compile/bodies.py`."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import models

from pgmagic.declare.composer import Composer, transition_tables
from pgmagic.declare.conditions import AnyChange, Condition
from pgmagic.declare.event_fields import UNSET
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.declare.signatures import arguments_checked
from pgmagic.declare.trigger import ReadyMade
from pgmagic.declare.vocabulary import (
    After,
    Before,
    Delete,
    Insert,
    Level,
    Operation,
    Statement,
    Timing,
    Truncate,
    Update,
    UpdateOf,
    When,
)
from pgmagic.errors import DeclarationError, UnknownFieldError


class Protect(ReadyMade, Composer):
    """Rejects an operation on rows for which the condition holds.

    At row level it rejects before anything is written. At statement level it judges each statement once, after it, by
    its transition tables; a statement that touches no such row passes. TRUNCATE is rejected if the table holds such a
    row. Postgres fires the statement-level triggers of a partitioned table only for statements on that very table, not
    for those on a partition: use row level there.

    Args:
        name: unique among the triggers of a model.
        operation: what is rejected, as in `pgtrigger.Update | pgtrigger.Delete`.
        condition: the rows that are protected; all, unless given.
        level: `Row` (the default) or `Statement`.
        when, declare, timing: see `Trigger`.

    Raises:
        DeclarationError: if the arguments contradict each other, or one does not exist.

    Example:
        >>> keep = pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)
        >>> with keep.install(Post):
        ...     post.delete()
        Traceback (most recent call last):
        ...
        pgmagic.errors.TriggerError: pgtrigger: Cannot delete rows from notebook_post table...
    """

    when = Before

    @arguments_checked
    def __init__(
        self,
        *,
        name: str | None = None,
        operation: Operation | None = None,
        condition: Condition | models.Q | None = None,
        level: Level | None = None,
        when: When | None = None,
        declare: list[tuple[str, str]] | None = None,
        timing: Timing | None = None,
    ) -> None:
        super().__init__(
            name=name, operation=operation, condition=condition, level=level, when=when, declare=declare, timing=timing
        )  # fmt: skip

    def compose(self) -> None:
        """Judge statements after they ran, where Postgres has transition tables for the operations."""
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
    """Rejects changes to fields: those named, all but the excluded ones, or all.

    Args:
        name: unique among the triggers of a model.
        fields: the names of the fields that may not change.
        exclude: the names of the fields that may change.
        condition: the rows that are protected; all, unless given.
        level: `Row` (the default) or `Statement`.
        operation, when, declare, timing: see `Trigger`.

    Raises:
        DeclarationError: if both fields and exclude are given, or an argument does not exist.

    Example:
        >>> fixed = pgtrigger.ReadOnly(name="fixed", fields=["title"])
        >>> with fixed.install(Post):
        ...     Post.objects.update(title="Other")
        Traceback (most recent call last):
        ...
        pgmagic.errors.TriggerError: pgtrigger: Cannot update rows from notebook_post table...
    """

    operation = Update
    fields: Sequence[str] | None = None
    exclude: Sequence[str] | None = None

    @arguments_checked
    def __init__(
        self,
        *,
        name: str | None = None,
        fields: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        condition: Condition | models.Q | None = None,
        level: Level | None = None,
        operation: Operation | None = None,
        when: When | None = None,
        declare: list[tuple[str, str]] | None = None,
        timing: Timing | None = None,
    ) -> None:
        self.fields = fields or self.fields
        self.exclude = exclude or self.exclude
        for argument, value in (("fields", self.fields), ("exclude", self.exclude)):
            if isinstance(value, str):
                raise UnknownFieldError(f"ReadOnly takes {argument}= as a list of names, got {value!r}.")
        if self.fields and self.exclude:
            raise DeclarationError('Must provide only one of "fields" or "exclude" to ReadOnly trigger.')
        super().__init__(
            name=name, operation=operation, condition=condition, level=level, when=when, declare=declare, timing=timing
        )  # fmt: skip

    def protected_fields(self, model: Model) -> list[AnyField]:
        """Return the concrete fields that may not change.

        Raises:
            DeclarationError: if no field is left.
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
    """Turns a delete into an update of a field.

    Args:
        name: unique among the triggers of a model.
        condition: the rows for which it does; the others are deleted.
        field: the name of the field that is updated.
        value: what the field is set to: a value, or an expression on the row; False, unless given.

    Raises:
        DeclarationError: if there is no field, or an argument does not exist.

    Example:
        >>> soft = pgtrigger.SoftDelete(name="soft", field="likes", value=-1)
        >>> with soft.install(Post):
        ...     _ = post.delete()
        >>> Post.objects.get().likes
        -1
    """

    when = Before
    operation = Delete
    field: str | None = None
    value: object = False

    @arguments_checked
    def __init__(
        self,
        *,
        name: str | None = None,
        condition: Condition | models.Q | None = None,
        field: str | None = None,
        value: object = UNSET,
    ) -> None:
        self.field = field or self.field
        if value is not UNSET:
            self.value = value
        if not self.field:
            raise DeclarationError('Must provide "field" for soft delete.')
        super().__init__(name=name, condition=condition)


class UpdateSearchVector(ReadyMade):
    """Keeps a field of type tsvector in step with the text of other fields.

    The vector is computed at each insert, and at each update that names one of the fields.

    Args:
        name: unique among the triggers of a model.
        vector_field: the name of the `SearchVectorField`.
        document_fields: the names of the fields whose text goes in, in this order; of any type, and NULL adds nothing.
        config_name: the text search configuration; "pg_catalog.english", unless given.

    Raises:
        DeclarationError: if a field is missing, or an argument does not exist.

    Source: https://www.postgresql.org/docs/current/textsearch-controls.html#TEXTSEARCH-PARSING-DOCUMENTS

    Example:
        >>> search = pgtrigger.UpdateSearchVector(name="search", vector_field="words", document_fields=["title"])
        >>> search.operations
        (pgtrigger.Insert, pgtrigger.UpdateOf('title'))
    """

    when = Before
    vector_field: str | None = None
    document_fields: Sequence[str] | None = None
    config_name: str = "pg_catalog.english"

    @arguments_checked
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
