"""Tables that a later declaration changed: the live table is altered and keeps its data.

Django's own autodetector finds the operations and its schema editor renders them; the editor reads the names of
constraints from the live database, which is why `compile/` does not do this. Nothing is guessed: a field is renamed
only if the user says so, and data is dropped only if the user allows it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime

from django.apps import apps
from django.db import models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import operations as ops
from django.db.migrations.autodetector import MigrationAutodetector
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.operations.base import Operation
from django.db.migrations.questioner import MigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState

from pgmagic.compile.desired import Desired, DesiredTable
from pgmagic.compile.partitions import partition_of, renamed_sql
from pgmagic.db.driver import driver_connection
from pgmagic.db.evolution.alteration import Alteration
from pgmagic.db.evolution.renames import Wishes, asked_renames, find_renamings, project_states, remembered_anew
from pgmagic.db.evolution.repartitioning import repartitioning
from pgmagic.declare.model_types import AnyField
from pgmagic.declare.names import PARTITION_OPTION
from pgmagic.plan.installed import Installed
from pgmagic.plan.planning import plan_changes
from pgmagic.plan.renaming import Renaming, as_renamed, renaming_steps
from pgmagic.plan.steps import Evolution, Plan, Step


def plan_with_evolutions(
    connection: BaseDatabaseWrapper, desired: Desired, wishes: Wishes
) -> Callable[[Installed], Plan]:
    """Return the function that plans the changes to a catalog, with renamed and altered tables."""

    def plan(installed: Installed) -> Plan:
        renamings = find_renamings(desired.tables, installed, wishes)
        renamed = as_renamed(installed, renamings)
        renames, evolutions = plan_evolutions(connection, desired.tables, renamed, renamings, wishes)
        names = renaming_steps(installed, renamings)
        return Plan([*renames, *names, *plan_changes(desired, renamed, evolutions).steps])

    return plan


def plan_evolutions(
    connection: BaseDatabaseWrapper,
    tables: Sequence[DesiredTable],
    installed: Installed,
    renamings: Sequence[Renaming],
    wishes: Wishes,
) -> tuple[list[Step], dict[str, Evolution]]:
    """Return the steps that rename tables and columns, and those that alter each table, by the model's label.

    installed: the catalog with the tables under their new names.

    Raises:
        DataLossError: if a column that holds data would be dropped, and nobody allowed that.
        DeclarationError: if a column without a value in existing rows would become NOT NULL.
    """
    changed = []
    for table in tables:
        existing = installed.table(table.table, table.schema)
        if existing is not None and existing.declared not in (None, table.declared):
            changed.append(table)
    if not changed:
        return [], {}
    state, before, after = project_states(changed, installed, renamings)
    renames: list[Step] = []
    for app_label, operation in asked_renames(changed, before, after, renamings, wishes):
        alteration = Alteration.of(app_label, operation, state)
        if statements := alteration.statements(connection):
            statements += _renamed_partitions(alteration)
            renames.append(_rename_step(alteration, statements, installed, renamings))
        state = alteration.after
    with _carried_out_for_now(connection, renames):
        return renames, _alterations(connection, changed, state, after, wishes)


def _alterations(
    connection: BaseDatabaseWrapper,
    changed: Sequence[DesiredTable],
    before: ProjectState,
    after: ProjectState,
    wishes: Wishes,
) -> dict[str, Evolution]:
    steps: dict[str, list[Step]] = {table.label: [] for table in changed}
    # Postgres refuses to alter or drop a column while the condition of a trigger depends on it.
    moving: set[str] = set()
    state = before
    for app_label, operation in operations_between(before, after):
        alteration = Alteration.of(app_label, operation, state)
        label = alteration.label
        if label in steps:
            alteration.check_rows(connection, allow_data_loss=wishes.allow_data_loss)
            if statements := alteration.statements(connection):
                steps[label].append(alteration.step(statements))
                if isinstance(operation, ops.AlterField | ops.RemoveField):
                    moving.add(label)
        state = alteration.after
    for table in changed:
        app_label, _, name = table.label.partition(".")
        key = app_label, name.lower()
        if state.models[key].options.get(PARTITION_OPTION) != after.models[key].options.get(PARTITION_OPTION):
            statements = repartitioning(apps.get_model(app_label, name), datetime.now(UTC))
            steps[table.label].append(Step(table.label, table.kind, "alter", statements))
    return {label: Evolution(found, label in moving) for label, found in steps.items()}


@contextmanager
def _carried_out_for_now(connection: BaseDatabaseWrapper, steps: Sequence[Step]) -> Iterator[None]:
    """Let a block see tables and columns under their new names: the schema editor looks for their constraints."""
    if not steps:
        yield
        return
    with transaction.atomic(using=connection.alias):
        with connection.wrap_database_errors, driver_connection(connection).cursor() as cursor:
            cursor.execute("\n".join(sql for step in steps for sql in step.sql))
        yield
        transaction.set_rollback(True, using=connection.alias)


def _rename_step(
    alteration: Alteration, statements: tuple[str, ...], installed: Installed, renamings: Sequence[Renaming]
) -> Step:
    operation = alteration.operation
    if isinstance(operation, ops.RenameField):
        return alteration.step(statements)
    name = operation.new_name if isinstance(operation, ops.RenameModel) else getattr(operation, "name", "")
    label = f"{alteration.app_label}.{name}".lower()
    [renaming] = [found for found in renamings if found.table.label.lower() == label]
    return Step(
        renaming.former_label,
        renaming.table.kind,
        "alter",
        statements,
        forget=renaming.former.name,
        remember_others=tuple(remembered_anew(installed, renamings)),
    )


def _renamed_partitions(alteration: Alteration) -> tuple[str, ...]:
    """Return the statement that renames the partitions of a renamed table; a project's schema editor does so itself."""
    operation = alteration.operation
    if isinstance(operation, ops.RenameModel):
        was, name = operation.old_name, operation.new_name
    elif isinstance(operation, ops.AlterModelTable):
        was = name = operation.name
    else:
        return ()
    model = alteration.after.apps.get_model(alteration.app_label, name)
    former = alteration.before.apps.get_model(alteration.app_label, was)
    return () if partition_of(model) is None else (renamed_sql(former._meta.db_table, model),)


class _NoAnswers(MigrationQuestioner):
    """Answers the autodetector's questions so that nothing is guessed: renames that the user asked for come before."""

    def ask_initial(self, app_label: str) -> bool:
        """Say that operations are wanted for an app without migrations."""
        return True

    def ask_not_null_addition(self, field_name: str, model_name: str) -> object:
        """Offer no value: whether it is needed is checked in the live table."""
        return models.NOT_PROVIDED

    def ask_not_null_alteration(self, field_name: str, model_name: str) -> object:
        """Offer no value: whether it is needed is checked in the live table."""
        return models.NOT_PROVIDED

    def ask_rename(self, model_name: str, old_name: str, new_name: str, field_instance: AnyField) -> bool:
        """Say no."""
        return False

    def ask_rename_model(self, old_model_state: ModelState, new_model_state: ModelState) -> bool:
        """Say no."""
        return False


def operations_between(before: ProjectState, after: ProjectState) -> Iterator[tuple[str, Operation]]:
    """Yield the operations that Django's autodetector finds, each with its app label."""
    changes = MigrationAutodetector(before, after, _NoAnswers()).changes(MigrationGraph())
    for app_label, migrations in changes.items():
        for migration in migrations:
            for operation in migration.operations:
                if isinstance(operation, ops.AddField | ops.AlterField):
                    # The field as it was declared, with the default that fills existing rows.
                    model = apps.get_model(app_label, operation.model_name)
                    operation.field = model._meta.get_field(operation.name).clone()
                if isinstance(operation, ops.AlterField):
                    yield from _altering(app_label, operation, before)
                else:
                    yield app_label, operation


def _altering(app_label: str, operation: ops.AlterField, before: ProjectState) -> Iterator[tuple[str, Operation]]:
    """Yield an operation, or two that have its effect: Django cannot alter how a column is generated."""
    former = before.models[app_label, operation.model_name.lower()].fields.get(operation.name)
    if operation.field.generated or (former is not None and former.generated):
        yield app_label, ops.RemoveField(operation.model_name, operation.name)
        yield app_label, ops.AddField(operation.model_name, operation.name, operation.field)
    else:
        yield app_label, operation
