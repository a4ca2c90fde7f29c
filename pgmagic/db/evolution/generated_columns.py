"""Columns of event tables that are generated no longer, or again; Django alters no generated column.

django-pghistory makes the mirror of a `GeneratedField` a generated column of the event table. Here it is an ordinary
one, which keeps what was recorded when the expression changes.

Source: https://www.postgresql.org/docs/current/sql-altertable.html (DROP EXPRESSION; not for virtual columns)
"""

from __future__ import annotations

from copy import copy
from typing import Any, Final, Protocol

from pgmagic.compile.sql import compose, identifier, render
from pgmagic.declare.model_types import AnyField, Model

# What tells an event model in the state of a migration, where models have fields and nothing else.
_EVENT_FIELDS: Final = {"pgh_id", "pgh_created_at", "pgh_label"}


class SchemaEditor(Protocol):
    """What is used here of Django's schema editor."""

    def execute(self, sql: str, params: None) -> None:
        """Execute or collect a statement."""

    def add_field(self, model: Model, field: AnyField) -> None:
        """Add a field's column."""

    def remove_field(self, model: Model, field: AnyField) -> None:
        """Drop a field's column."""


def is_regenerated(model: Model, old_field: AnyField, new_field: AnyField) -> bool:
    """Return whether a column of an event table becomes generated, or an ordinary one."""
    names = {field.name for field in model._meta.local_fields}
    return old_field.generated is not new_field.generated and names >= _EVENT_FIELDS


def made_ordinary(editor: SchemaEditor, model: Model, field: AnyField) -> AnyField:
    """Let a generated column keep its values as an ordinary one; return the field that it now belongs to.

    A virtual column, which has no stored values, is made again as a stored one first.
    """
    generated: Any = field
    if not generated.db_persist:
        # Not a clone, which would not know the model that the expression speaks of.
        stored = copy(generated)
        stored.db_persist = True
        editor.remove_field(model, field)
        editor.add_field(model, stored)
    table, column = identifier(model._meta.db_table), identifier(str(field.column))
    editor.execute(render(compose("ALTER TABLE ", table, " ALTER COLUMN ", column, " DROP EXPRESSION;")), params=None)
    ordinary: AnyField = generated.output_field.clone()
    for name in ("null", "db_column", "db_index", "_unique", "primary_key", "db_comment"):
        setattr(ordinary, name, getattr(field, name))
    ordinary.set_attributes_from_name(field.name)
    ordinary.model = field.model
    return ordinary
