"""A model's table to SQL, by Django's own schema editor without a connection."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db.backends.postgresql.schema import DatabaseSchemaEditor

from pgmagic.compile.desired import DesiredTable
from pgmagic.compile.model_state import dump_state
from pgmagic.compile.offline import offline_connection
from pgmagic.compile.partitions import PartitionedEditor, partition_of, with_partitions
from pgmagic.compile.table_names import check_table_name
from pgmagic.declare.conditions import table_fields
from pgmagic.declare.model_types import Model


def compile_table(model: Model, schema: str | None = None) -> DesiredTable:
    """Return the statements that create a model's table, then those that refer to other tables.

    Names are not qualified: tables are created in the first schema of the session's `search_path`. schema: where an
    existing table is looked for. A table in partitions gets partitions for this month and the next months.
    """
    check_table_name(model)
    is_partitioned = partition_of(model) is not None
    make = PartitionedEditor if is_partitioned else DatabaseSchemaEditor
    editor = make(offline_connection(), collect_sql=True, atomic=False)
    editor.deferred_sql = []
    editor.create_model(model)
    create = tuple(editor.collected_sql)
    return DesiredTable(
        label=model._meta.label,
        table=model._meta.db_table,
        kind="event table" if hasattr(model, "pgh_tracked_model") else "table",
        create=with_partitions(model, create, datetime.now(UTC)) if is_partitioned else create,
        deferred=tuple(str(statement) + ";" for statement in editor.deferred_sql),
        state=dump_state(model),
        columns=tuple(str(field.column) for field in table_fields(model)),
        schema=schema,
    )
