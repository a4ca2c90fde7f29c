"""The difference between what is desired and what is installed, as a plan."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace

from pgmagic.compile import ddl
from pgmagic.compile.desired import Desired, DesiredPgTrigger, DesiredRoutine, DesiredTable, DesiredTrigger
from pgmagic.errors import InstallationError
from pgmagic.plan.state import Installed, InstalledTrigger, Mark
from pgmagic.plan.steps import Marking, Plan, Step


def plan_changes(desired: Desired, installed: Installed) -> Plan:
    """Return the steps that make the database hold what is desired; what is there already is `unchanged`.

    Nothing is dropped but triggers of ours that were declared together with a model and no longer are, and those
    that a declaration no longer needs.

    Raises:
        InstallationError: a table exists whose columns are not those of its model.
    """
    return Plan(
        [
            *(_table_step(table, installed) for table in desired.tables),
            *(_routine_step(routine, installed) for routine in desired.routines),
            *_dropped(desired, installed),
            *(step for trigger in desired.triggers for step in _trigger_steps(trigger, installed)),
        ]
    )


def _table_step(table: DesiredTable, installed: Installed) -> Step:
    existing = installed.tables.get(table.table)
    remember = (table.label, table.table, table.declared)
    if existing is None:
        return Step(table.label, table.kind, "create", table.create, table.deferred, remember=remember)
    if existing.declared == table.declared or (
        existing.declared is None and set(table.columns) <= set(existing.columns)
    ):
        return Step(table.label, table.kind, "unchanged")
    raise InstallationError(_drift(table, existing.columns))


def _drift(table: DesiredTable, columns: tuple[str, ...]) -> str:
    missing = ", ".join(sorted(set(table.columns) - set(columns)))
    surplus = ", ".join(sorted(set(columns) - set(table.columns)))
    differences = [
        f"lacks {missing}" if missing else "",
        f"has also {surplus}" if surplus else "",
        "" if missing or surplus else "was made from other field definitions",
    ]
    return (
        f"The table {table.table} of {table.label} already exists and {' and '.join(filter(None, differences))}: "
        f"give the model another name, or start this notebook's schema afresh with %pgreset."
    )


def _routine_step(routine: DesiredRoutine, installed: Installed) -> Step:
    mark = installed.routines.get(routine.name)
    if mark is not None and mark.declared == routine.declared:
        return Step(routine.name, "function", "unchanged")
    action = "replace" if routine.name in installed.routines else "create"
    marking = Marking(routine.name, routine.name, routine.declared)
    return Step(routine.name, "function", action, (routine.create,), marking=marking)  # type: ignore[arg-type]


def _trigger_steps(trigger: DesiredTrigger, installed: Installed) -> Iterator[Step]:
    found = [
        (pg_trigger, installed.trigger(trigger.table, pg_trigger.name)) for pg_trigger in trigger.triggers
    ]
    yield _function_step(trigger, [existing for _, existing in found if existing])
    for pg_trigger, existing in found:
        yield _pg_trigger_step(trigger, pg_trigger, existing)


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


def _dropped(desired: Desired, installed: Installed) -> Iterator[Step]:
    kept = {(trigger.table, part.name) for trigger in desired.triggers for part in trigger.triggers}
    uris = {trigger.uri for trigger in desired.triggers}
    stale = [
        existing
        for existing in installed.triggers
        if existing.mark is not None
        and (existing.mark.uri in uris or _goes_with_model(existing.mark, desired))
        and (existing.table, existing.name) not in kept
    ]
    yield from drop_steps(stale, kept_functions={trigger.function.name for trigger in desired.triggers})


def _goes_with_model(mark: Mark, desired: Desired) -> bool:
    return mark.with_model and mark.uri.partition(":")[0] in desired.owned_labels


def drop_steps(triggers: list[InstalledTrigger], kept_functions: Collection[str] = ()) -> Iterator[Step]:
    """Return the steps that drop triggers of ours and, behind them, the functions that no other trigger calls."""
    functions: dict[tuple[str, str], str] = {}
    for existing in triggers:
        uri = existing.mark.uri if existing.mark else existing.name
        sql = ddl.drop_trigger(existing.schema, existing.table, existing.name)
        yield Step(uri, "trigger", "drop", (sql,), fires=existing.fires, condition=existing.condition)
        if existing.function_mark is not None and existing.function not in kept_functions:
            functions[existing.function_schema, existing.function] = uri
    for (schema, name), uri in functions.items():
        yield Step(uri, "function", "drop", (ddl.drop_function(schema, name),))
