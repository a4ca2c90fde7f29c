"""The difference between what is desired and what is installed, as a plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from pgmagic.compile import ddl
from pgmagic.compile.desired import (
    Desired,
    DesiredPgTrigger,
    DesiredRoutine,
    DesiredTable,
    DesiredTrigger,
    Marking,
)
from pgmagic.errors import InstallationError
from pgmagic.plan.drops import drop_steps
from pgmagic.plan.installed import Installed, InstalledFunction, InstalledTable, InstalledTrigger, Mark
from pgmagic.plan.marking import marking_again
from pgmagic.plan.steps import Action, Evolution, Plan, Remembered, Step


def plan_changes(
    desired: Desired, installed: Installed, evolutions: Mapping[str, Evolution] = MappingProxyType({})
) -> Plan:
    """Return the steps that make the database hold what is desired; what is there already is `unchanged`.

    Nothing is dropped but triggers of ours that were declared together with a model and no longer are, and those
    that a declaration no longer needs. Tables whose models are declared differently than before are altered by
    `evolutions`, which are by model label.

    Raises:
        InstallationError: a table that pgmagic did not create lacks columns of its model.
    """
    desired = replace(desired, triggers=[installed.suited(trigger) for trigger in desired.triggers])
    stale = _stale_triggers(desired, installed)
    moved = _moved_triggers(desired, installed, evolutions, stale)
    return Plan(
        [
            *drop_steps(stale, installed, {trigger.function.name for trigger in desired.triggers}),
            *(_table_step(table, installed) for table in desired.tables),
            *_evolution_steps(desired, evolutions, moved),
            *(_routine_step(routine, installed) for routine in desired.routines),
            *(step for trigger in desired.triggers for step in _trigger_steps(trigger, installed, moved)),
            *_put_back(desired, moved),
        ]
    )


def _table_step(table: DesiredTable, installed: Installed) -> Step:
    existing = installed.table(table.table, table.schema)
    remember = Remembered(table.table, table.label, table.declared, table.state)
    if existing is None:
        return Step(table.label, table.kind, "create", table.create, table.deferred, remember=remember)
    notes = _edits(table, existing)
    if existing.declared == table.declared:
        return Step(table.label, table.kind, "unchanged", notes=notes)
    if existing.declared is not None:
        return Step(table.label, table.kind, "alter", remember=remember, notes=notes)
    if set(table.columns) <= set(existing.columns):
        return Step(table.label, table.kind, "unchanged")
    raise InstallationError(_drift(table, existing.columns))


def _edits(table: DesiredTable, existing: InstalledTable) -> tuple[str, ...]:
    """Return a sentence on a table that somebody changed since pgmagic did; nothing on any other."""
    if not existing.is_edited:
        return ()
    missing, surplus = _missing_and_surplus(table, existing.columns)
    found = [f"lacks {missing}"] if missing else []
    found += [f"has also {surplus}"] if surplus else []
    what = " and ".join(found) or "has a column of another type, or with another NOT NULL"
    return (
        f"Somebody changed {existing.name} in the database since pgmagic did: against the model it {what}.",
    )


_PASSED_BY = "The update that fills the column passes this notebook's triggers by."


def _evolution_steps(
    desired: Desired, evolutions: Mapping[str, Evolution], moved: Sequence[InstalledTrigger]
) -> Iterator[Step]:
    """Return the alterations; the first one of a table also takes away the triggers that are in its way.

    Updates that fill columns pass this notebook's triggers by.
    """
    for table in desired.tables:
        steps = list(evolutions[table.label].steps) if table.label in evolutions else []
        drops = [
            ddl.drop_trigger(trigger.schema, trigger.table, trigger.name)
            for trigger in moved
            if trigger.table == table.table
        ]
        for number, step in enumerate(steps):
            before = (ddl.IGNORE_ALL_TRIGGERS, *drops) if number == 0 else ()
            after = (ddl.IGNORE_NO_TRIGGER,) if number == len(steps) - 1 else ()
            # What Django fills columns with, where a default alone does not do it.
            updates = any(sql.startswith("UPDATE ") for sql in step.sql)
            notes = (_PASSED_BY,) if updates else ()
            yield replace(step, sql=(*before, *step.sql, *after), notes=(*step.notes, *notes))


def _moved_triggers(
    desired: Desired,
    installed: Installed,
    evolutions: Mapping[str, Evolution],
    stale: Sequence[InstalledTrigger],
) -> list[InstalledTrigger]:
    """Return the triggers of ours on tables whose columns are moved under them."""
    labels = {label for label, evolution in evolutions.items() if evolution.moves_columns}
    tables = {table.table for table in desired.tables if table.label in labels}
    return [trigger for trigger in installed.own_triggers if trigger.table in tables and trigger not in stale]


def _put_back(desired: Desired, moved: Sequence[InstalledTrigger]) -> Iterator[Step]:
    """Return the steps that create moved triggers again that this cell does not declare, just as they were."""
    declared = {(trigger.table, part.name) for trigger in desired.triggers for part in trigger.triggers}
    for trigger in moved:
        mark = trigger.mark
        if mark is None or (trigger.table, trigger.name) in declared:
            continue
        enabling = ddl.keep_enabled(trigger.schema, trigger.table, trigger.name, trigger.enabled)
        yield Step(
            mark.uri,
            "trigger",
            "replace",
            (f"{trigger.definition};", *enabling),
            fires=trigger.fires,
            condition=trigger.condition,
            marking=marking_again(trigger.own_function, moved),
        )


def _drift(table: DesiredTable, columns: tuple[str, ...]) -> str:
    missing, surplus = _missing_and_surplus(table, columns)
    also = f" and has also {surplus}" if surplus else ""
    return (
        f"The table {table.table} of {table.label} already exists and lacks {missing}{also}: "
        f"give the model another name, or start this notebook's schema afresh with %pgreset."
    )


def _missing_and_surplus(table: DesiredTable, columns: tuple[str, ...]) -> tuple[str, str]:
    wanted, found = set(table.columns), set(columns)
    return ", ".join(sorted(wanted - found)), ", ".join(sorted(found - wanted))


def _routine_step(routine: DesiredRoutine, installed: Installed) -> Step:
    mark = installed.routines.get(routine.name)
    if mark is not None and mark.declared == routine.declared:
        return Step(routine.name, "function", "unchanged")
    action = "replace" if routine.name in installed.routines else "create"
    marking = Marking(routine.name, routine.name, routine.declared)
    return Step(routine.name, "function", action, (routine.create,), marking=marking)  # type: ignore[arg-type]


def _trigger_steps(
    trigger: DesiredTrigger, installed: Installed, moved: Sequence[InstalledTrigger]
) -> list[Step]:
    function_step = _function_step(trigger, installed)
    steps = [function_step]
    for part in trigger.triggers:
        existing = installed.trigger(trigger.table, part.name, trigger.schema)
        # A function that is created anew in another schema is not the one that the trigger calls.
        calls_it = existing is None or existing.function.schema == (trigger.schema or installed.schema)
        stays = calls_it or not function_step.changes
        step = _pg_trigger_step(trigger, part, existing, stays=stays)
        steps.append(_created_again(trigger, part, step, existing) if existing in moved else step)
    return steps


def _created_again(
    trigger: DesiredTrigger, part: DesiredPgTrigger, step: Step, existing: InstalledTrigger | None
) -> Step:
    """Return the step for a trigger that was taken away while its table was altered."""
    state = existing.enabled if existing else "O"
    table = existing.schema if existing else None
    enabling = ddl.keep_enabled(table, trigger.table, part.name, state)
    return replace(step, action="replace", sql=(part.create, *enabling))


def _function_step(trigger: DesiredTrigger, installed: Installed) -> Step:
    """Return the step for the function that the trigger calls, or will call."""
    function = trigger.function
    called = _called_function(trigger, installed)
    if called is not None and _is_current(called.mark, function.declared, called.stored, trigger.with_model):
        return Step(trigger.uri, "function", "unchanged")
    action: Action = "create" if called is None else "replace"
    sql = (function.create,)
    return Step(
        trigger.uri, "function", action, sql, marking=trigger.marking, needs_check=function.needs_check
    )


def _called_function(trigger: DesiredTrigger, installed: Installed) -> InstalledFunction | None:
    """Return the function that the installed trigger calls; without one, that which one would call."""
    for part in trigger.triggers:
        existing = installed.trigger(trigger.table, part.name, trigger.schema)
        if existing is not None and existing.function.name == trigger.function.name:
            return existing.function
    return installed.function(trigger.function.name, trigger.schema)


def _pg_trigger_step(
    trigger: DesiredTrigger, part: DesiredPgTrigger, existing: InstalledTrigger | None, *, stays: bool
) -> Step:
    action: Action
    sql: tuple[str, ...]
    if existing is None:
        action, sql = "create", (part.create,)
    elif stays and _is_current(existing.mark, part.declared, existing.stored, trigger.with_model):
        action, sql = "unchanged", ()
    else:
        # A trigger that is replaced fires again; one that was disabled stays so.
        enabling = ddl.keep_enabled(existing.schema, existing.table, existing.name, existing.enabled)
        action, sql = "replace", (part.replace, *enabling)
    # Left, as that of the function, if the step changes anything.
    marking = trigger.marking
    return Step(
        trigger.uri, "trigger", action, sql, fires=part.fires, condition=part.condition, marking=marking
    )


def _is_current(mark: Mark | None, declared: str, stored: str, with_model: bool) -> bool:
    """Return whether an object is as it is declared now, and as pgmagic left it in the database."""
    return mark is not None and (mark.declared, mark.stored, mark.with_model) == (
        declared,
        stored,
        with_model,
    )


def _stale_triggers(desired: Desired, installed: Installed) -> list[InstalledTrigger]:
    """Return the triggers that were declared together with a model, and no longer are."""
    kept = {(trigger.table, part.name) for trigger in desired.triggers for part in trigger.triggers}
    uris = {trigger.uri for trigger in desired.triggers}
    return [
        existing
        for existing in installed.own_triggers
        if existing.mark is not None
        and (existing.mark.uri in uris or _goes_with_model(existing.mark, desired))
        and (existing.table, existing.name) not in kept
    ]


def _goes_with_model(mark: Mark, desired: Desired) -> bool:
    return mark.with_model and mark.uri.partition(":")[0] in desired.owned_labels
