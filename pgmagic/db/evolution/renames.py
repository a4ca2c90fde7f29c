"""The renames that the user asked for, and the states of models before and after a change.

Nothing is guessed: a model or a field has a new name only if the user says so, or if a model keeps its name and names
another table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from django.apps import apps
from django.db.migrations import operations as ops
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ModelState, ProjectState

from pgmagic.compile.desired import DesiredTable, digest
from pgmagic.compile.model_state import load_state, with_renamed_model
from pgmagic.plan.installed import Installed, InstalledTable
from pgmagic.plan.renaming import Renaming
from pgmagic.plan.steps import Remembered


@dataclass(frozen=True)
class Wishes:
    """The options of the cell about changes that the declarations alone do not show.

    renames: the new name of a field by (model label in lower case, former name). models: the former label by the new
    label, both in lower case.
    """

    renames: Mapping[tuple[str, str], str] = field(default_factory=dict)
    allow_data_loss: bool = False
    models: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, app_label: str, renames: Iterable[tuple[str, str | None, str]], *, allow_data_loss: bool) -> Wishes:
        """Return the wishes in (model, field, new name); without a field, the model itself has the new name."""
        listed = list(renames)
        return cls(
            {(f"{app_label}.{model}".lower(), old): new for model, old, new in listed if old is not None},
            allow_data_loss,
            {f"{app_label}.{new}".lower(): f"{app_label}.{model}".lower() for model, old, new in listed if old is None},
        )


def find_renamings(tables: Sequence[DesiredTable], installed: Installed, wishes: Wishes) -> list[Renaming]:
    """Return the tables of a former declaration that have another name now."""
    declared = {table.label.lower() for table in tables}
    by_label: dict[str, InstalledTable] = {
        table.label.lower(): table for table in installed.tables if table.label is not None
    }
    found = []
    for table in tables:
        existing = installed.table(table.table, table.schema)
        label = _former_label(table.label, wishes)
        former = by_label.get(label)
        if former is None or (label != table.label.lower() and label in declared):
            continue
        if existing is None or (existing is former and label != table.label.lower()):
            found.append(Renaming(former, table))
    return found


def _former_label(label: str, wishes: Wishes) -> str:
    """Return the label, in lower case, that a model had: for an event model, it follows from that of its model."""
    if label.lower() in wishes.models:
        return wishes.models[label.lower()]
    app_label, _, name = label.partition(".")
    tracked = getattr(apps.get_model(app_label, name), "pgh_tracked_model", None)
    if tracked is not None and tracked._meta.label_lower in wishes.models:
        former = wishes.models[tracked._meta.label_lower].rpartition(".")[2]
        if name.startswith(tracked._meta.object_name):
            return f"{app_label}.{former}{name.removeprefix(tracked._meta.object_name)}".lower()
    return label.lower()


def project_states(
    changed: Sequence[DesiredTable], installed: Installed, renamings: Sequence[Renaming]
) -> tuple[ProjectState, ProjectState, ProjectState]:
    """Return the models under their former names, as their tables were made, and as they are declared now.

    In the second state they have their new names already. Models that did not change are in every state.
    """
    made, before, after = ProjectState(), ProjectState(), ProjectState()
    renewed = {table.label: table for table in changed}
    for table in changed:
        existing = installed.table(table.table, table.schema)
        if existing is not None:
            made.add_model(load_state(str(existing.state)))
        after.add_model(load_state(table.state))
    for app_label, former, new in _new_names(renamings):
        made.rename_model(app_label, former.lower(), new)
    for state in made.models.values():
        before.add_model(state)
    for model in apps.get_models():
        if model._meta.label not in renewed:
            before.add_model(ModelState.from_model(model))
            after.add_model(ModelState.from_model(model))
    start = before.clone()
    for app_label, former, new in reversed(_new_names(renamings)):
        start.rename_model(app_label, new.lower(), former)
    return start, before, after


def asked_renames(
    changed: Sequence[DesiredTable],
    before: ProjectState,
    after: ProjectState,
    renamings: Sequence[Renaming],
    wishes: Wishes,
) -> Iterator[tuple[str, Operation]]:
    """Yield the operations that rename models, their tables and their fields, each with its app label."""
    for app_label, former, new in _new_names(renamings):
        yield app_label, ops.RenameModel(former, new)
    for renaming in renamings:
        app_label, _, name = renaming.table.label.partition(".")
        options = after.models[app_label, name.lower()].options
        if before.models[app_label, name.lower()].options.get("db_table") != options.get("db_table"):
            yield app_label, ops.AlterModelTable(name, options.get("db_table"))
    for table in changed:
        app_label, _, name = table.label.partition(".")
        former_fields = before.models[app_label, name.lower()].fields
        fields = after.models[app_label, name.lower()].fields
        for (label, former), new in wishes.renames.items():
            is_there = former in former_fields and new in fields
            is_done = former in fields or new in former_fields
            if label in labels_for_renames(table.label, wishes) and is_there and not is_done:
                yield app_label, ops.RenameField(name, former, new)


def labels_for_renames(label: str, wishes: Wishes) -> set[str]:
    """Return the labels under which fields of a model may be renamed; those of an event model follow its model."""
    app_label, _, name = label.partition(".")
    tracked = getattr(apps.get_model(app_label, name), "pgh_tracked_model", None)
    own = {label.lower()} | ({tracked._meta.label_lower} if tracked is not None else set())
    return own | {wishes.models[each] for each in own if each in wishes.models}


def _new_names(renamings: Sequence[Renaming]) -> list[tuple[str, str, str]]:
    """Return (app label, former name, new name) of the models that have a new name."""
    return [
        (renaming.table.label.partition(".")[0], former, new)
        for renaming in renamings
        if (former := renaming.former_label.partition(".")[2]) != (new := renaming.table.label.partition(".")[2])
    ]


def remembered_anew(installed: Installed, renamings: Sequence[Renaming]) -> Iterator[Remembered]:
    """Yield what is remembered about tables that refer to renamed models, unless they are declared again themselves."""
    renamed = {renaming.table.table for renaming in renamings}
    for table in installed.tables:
        if table.state is None or table.label is None or table.name in renamed:
            continue
        state = table.state
        for renaming in renamings:
            state = with_renamed_model(state, renaming.former_label, renaming.table.label)
        if state != table.state:
            yield Remembered(table.name, table.label, digest(state), state)
