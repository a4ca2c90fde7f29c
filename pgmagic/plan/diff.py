"""The difference between what is desired and what is installed, as a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from pgmagic.compile import ddl
from pgmagic.compile.desired import Desired, DesiredPgTrigger, DesiredRoutine, DesiredTable, DesiredTrigger
from pgmagic.errors import InstallationError
from pgmagic.plan.state import Installed, InstalledTrigger, Mark
from pgmagic.plan.steps import Evolution, Marking, Plan, Remembered, Step


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
    stale = _stale_triggers(desired, installed)
    moved = _moved_triggers(desired, installed, evolutions, stale)
    return Plan(
        [
            *drop_steps(stale, kept_functions={trigger.function.name for trigger in desired.triggers}),
            *(_table_step(table, installed) for table in desired.tables),
            *_evolution_steps(desired, evolutions, moved),
            *(_routine_step(routine, installed) for routine in desired.routines),
            *(step for trigger in desired.triggers for step in _trigger_steps(trigger, installed, moved)),
            *_put_back(desired, moved),
        ]
    )


def _table_step(table: DesiredTable, installed: Installed) -> Step:
    existing = installed.tables.get(table.table)
    remember = Remembered(table.table, table.label, table.declared, table.state)
    if existing is None:
        return Step(table.label, table.kind, "create", table.create, table.deferred, remember=remember)
    if existing.declared == table.declared:
        return Step(table.label, table.kind, "unchanged")
    if existing.declared is not None:
        return Step(table.label, table.kind, "alter", remember=remember)
    if set(table.columns) <= set(existing.columns):
        return Step(table.label, table.kind, "unchanged")
    raise InstallationError(_drift(table, existing.columns))


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
            yield replace(step, sql=(*before, *step.sql, *after))


def _moved_triggers(
    desired: Desired,
    installed: Installed,
    evolutions: Mapping[str, Evolution],
    stale: Sequence[InstalledTrigger],
) -> list[InstalledTrigger]:
    """Return the triggers of ours on tables whose columns are moved under them."""
    labels = {label for label, evolution in evolutions.items() if evolution.moves_columns}
    tables = {table.table for table in desired.tables if table.label in labels}
    return [
        trigger
        for trigger in installed.triggers
        if trigger.mark is not None and trigger.table in tables and trigger not in stale
    ]


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
            marking=Marking(trigger.name, mark.uri, mark.declared, trigger.table, mark.with_model),
        )


def _drift(table: DesiredTable, columns: tuple[str, ...]) -> str:
    missing = ", ".join(sorted(set(table.columns) - set(columns)))
    surplus = ", ".join(sorted(set(columns) - set(table.columns)))
    also = f" and has also {surplus}" if surplus else ""
    return (
        f"The table {table.table} of {table.label} already exists and lacks {missing}{also}: "
        f"give the model another name, or start this notebook's schema afresh with %pgreset."
    )


def _routine_step(routine: DesiredRoutine, installed: Installed) -> Step:
    mark = installed.routines.get(routine.name)
    if mark is not None and mark.declared == routine.declared:
        return Step(routine.name, "function", "unchanged")
    action = "replace" if routine.name in installed.routines else "create"
    marking = Marking(routine.name, routine.name, routine.declared)
    return Step(routine.name, "function", action, (routine.create,), marking=marking)  # type: ignore[arg-type]


def _trigger_steps(
    trigger: DesiredTrigger, installed: Installed, moved: Sequence[InstalledTrigger]
) -> Iterator[Step]:
    found = [
        (pg_trigger, installed.trigger(trigger.table, pg_trigger.name)) for pg_trigger in trigger.triggers
    ]
    yield _function_step(trigger, [existing for _, existing in found if existing])
    for pg_trigger, existing in found:
        step = _pg_trigger_step(trigger, pg_trigger, existing)
        yield _created_again(trigger, pg_trigger, step, existing) if existing in moved else step


def _created_again(
    trigger: DesiredTrigger, pg_trigger: DesiredPgTrigger, step: Step, existing: InstalledTrigger | None
) -> Step:
    """Return the step for a trigger that was taken away while its table was altered."""
    state = existing.enabled if existing else "O"
    table = existing.schema if existing else None
    enabling = ddl.keep_enabled(table, trigger.table, pg_trigger.name, state)
    marking = Marking(pg_trigger.name, trigger.uri, pg_trigger.declared, trigger.table, trigger.with_model)
    return replace(step, action="replace", sql=(pg_trigger.create, *enabling), marking=marking)


def _function_step(trigger: DesiredTrigger, found: list[InstalledTrigger]) -> Step:
    function = trigger.function
    marking = Marking(function.name, trigger.uri, function.declared, with_model=trigger.with_model)
    if not found:
        return Step(trigger.uri, "function", "create", (function.create,), marking=marking)
    if _is_current(found[0].function_mark, function.declared, found[0].function_stored, trigger.with_model):
        return Step(trigger.uri, "function", "unchanged")
    return Step(trigger.uri, "function", "replace", (function.create,), marking=marking)


def _pg_trigger_step(
    trigger: DesiredTrigger, pg_trigger: DesiredPgTrigger, existing: InstalledTrigger | None
) -> Step:
    step = Step(trigger.uri, "trigger", "unchanged", fires=pg_trigger.fires, condition=trigger.condition)
    marking = Marking(pg_trigger.name, trigger.uri, pg_trigger.declared, trigger.table, trigger.with_model)
    if existing is None:
        return replace(step, action="create", sql=(pg_trigger.create,), marking=marking)
    if _is_current(existing.mark, pg_trigger.declared, existing.stored, trigger.with_model):
        return step
    # A trigger that is replaced fires again; one that was disabled stays so.
    enabling = ddl.keep_enabled(existing.schema, existing.table, existing.name, existing.enabled)
    return replace(step, action="replace", sql=(pg_trigger.replace, *enabling), marking=marking)


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
        for existing in installed.triggers
        if existing.mark is not None
        and (existing.mark.uri in uris or _goes_with_model(existing.mark, desired))
        and (existing.table, existing.name) not in kept
    ]


def _goes_with_model(mark: Mark, desired: Desired) -> bool:
    return mark.with_model and mark.uri.partition(":")[0] in desired.owned_labels


def drop_steps(triggers: list[InstalledTrigger], kept_functions: Collection[str] = ()) -> Iterator[Step]:
    """Return the steps that drop triggers of ours and, behind them, the functions that no other trigger calls."""
    functions: dict[tuple[str, str], str] = {}
    for existing in triggers:
        uri = existing.mark.uri if existing.mark else existing.name
        sql = ddl.drop_trigger(existing.schema, existing.table, existing.name)
        # Its condition in the catalog is what Postgres made of it, with the ignore check: nothing to read here.
        yield Step(uri, "trigger", "drop", (sql,), fires=existing.fires)
        if existing.function_mark is not None and existing.function not in kept_functions:
            functions[existing.function_schema, existing.function] = uri
    for (schema, name), uri in functions.items():
        yield Step(uri, "function", "drop", (ddl.drop_function(schema, name),))
