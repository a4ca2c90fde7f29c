"""What migrations and projects import: the operations on triggers, and the classes that detect and keep triggers.

The names are those of django-pgtrigger's `pgtrigger.migrations`; migration files name this module.
"""

from pgmagic.db.evolution.schema_editor import DatabaseSchemaEditorMixin
from pgmagic.pgtrigger.autodetector import MigrationAutodetectorMixin
from pgmagic.pgtrigger.operations import AddTrigger, AlterPartitioning, RemoveTrigger, TriggerOperationMixin

__all__ = [
    "AddTrigger",
    "AlterPartitioning",
    "DatabaseSchemaEditorMixin",
    "MigrationAutodetectorMixin",
    "RemoveTrigger",
    "TriggerOperationMixin",
]
