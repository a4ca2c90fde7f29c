"""Installing, dropping, enabling and disabling declared triggers: all URIs of a call together, or none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

from django.conf import settings
from django.db import connections, models, router, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from pgmagic.compile.desired import Desired, DesiredTrigger
from pgmagic.compile.remembering import models_at_rest
from pgmagic.db.apply import Execution, execute_and_time, execute_untimed, plan_and_apply
from pgmagic.db.catalog import read_catalog, with_definitions
from pgmagic.declare import registry
from pgmagic.declare.conditions import table_fields
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import UnknownTriggerError
from pgmagic.plan.diff import plan_changes
from pgmagic.plan.drops import plan_pruning, plan_uninstalling, prunable_triggers, prunable_uris
from pgmagic.plan.restoring import plan_restoring
from pgmagic.plan.state import Installed
from pgmagic.plan.status import UNALLOWED, trigger_status
from pgmagic.plan.steps import Outcome, Plan
from pgmagic.plan.switching import plan_disabling, plan_enabling

Model = type[models.Model]
Declared = tuple[Model, Trigger]
Planner = Callable[[Sequence[DesiredTrigger], Installed], Plan]


@dataclass(frozen=True)
class Change:
    """What is to become of declared triggers."""

    declared: Sequence[Declared]
    planner: Planner


def installing(*uris: str) -> Change:
    """Return the change that `install` makes."""
    return Change(registry.registered(*uris), _with_pruning(_plan_installing, uris))


def uninstalling(*uris: str) -> Change:
    """Return the change that `uninstall` makes."""
    return Change(registry.registered(*uris), _with_pruning(plan_uninstalling, uris))


def enabling(*uris: str) -> Change:
    """Return the change that `enable` makes."""
    return Change(registry.registered(*uris), plan_enabling)


def disabling(*uris: str) -> Change:
    """Return the change that `disable` makes."""
    return Change(registry.registered(*uris), plan_disabling)


def carry_out(change: Change, database: str | None = None) -> list[Outcome]:
    """Make a change on a database or on every one that a router allows; return what became of each step, and its time.

    Raises:
        InstallationError: a database refused; nothing was kept on any.
    """
    return _change(change, _aliases(database), execute_and_time)[1]


def install(*uris: str, database: str | None = None) -> Restoration:
    """Install registered triggers, all of them without a URI, on a database or on every one that a router allows.

    Without a URI, triggers that are no longer registered are dropped, too, if `PGTRIGGER_PRUNE_ON_INSTALL` says so.
    As a context manager, it leaves everything as it was before.

    Raises:
        UnknownTriggerError: nothing is registered under a URI.
        InstallationError: a database refused; nothing was kept on any.
    """
    return _change_for_now(installing(*uris), database)


def uninstall(*uris: str, database: str | None = None) -> Restoration:
    """Drop registered triggers, all of them without a URI, with their functions; see `install`."""
    return _change_for_now(uninstalling(*uris), database)


def enable(*uris: str, database: str | None = None) -> Restoration:
    """Let registered triggers, all of them without a URI, fire in ordinary sessions; see `install`.

    Raises:
        NotInstalledError: one of them is not installed; then none is enabled.
    """
    return _change_for_now(enabling(*uris), database)


def disable(*uris: str, database: str | None = None) -> Restoration:
    """Keep registered triggers, all of them without a URI, from firing in every session; see `enable`."""
    return _change_for_now(disabling(*uris), database)


def prune(database: str | None = None) -> None:
    """Drop the triggers that pgmagic installed and that are not registered, and functions left without a trigger."""
    prune_only((), database)


def prune_only(uris: Collection[str], database: str | None) -> list[Outcome]:
    """Drop those with the given URIs, or all without one, of what `prune` drops; return what was done.

    Raises:
        UnknownTriggerError: there is nothing to prune under a URI.
    """

    def plan(installed: Installed) -> Plan:
        registered = registered_uris()
        prunable = prunable_uris(installed, registered)
        for uri in uris:
            if uri not in prunable:
                known = ", ".join(sorted(prunable)) or "nothing"
                raise UnknownTriggerError(
                    f"There is nothing to prune under {uri!r}; what can be pruned: {known}."
                )
        return plan_pruning(installed, registered | (prunable - {*uris} if uris else set()))

    return _apply_to_each(_aliases(database), lambda _alias: plan, execute_and_time)


def prunable(database: str | None = None) -> list[tuple[str, str, bool, str]]:
    """Return (table, name in Postgres, enabled, database) of the triggers that `prune` would drop."""
    return [
        (found.table, found.name, found.is_enabled, alias)
        for alias in _aliases(database)
        for found in prunable_triggers(read_catalog(connections[alias]), registered_uris())
    ]


def install_where_possible(database: str) -> None:
    """Install every registered trigger whose table is there with its columns; the last step of a migration.

    A project that is migrated back to a former state lacks tables and columns that the code names already.
    """

    def plan(triggers: Sequence[DesiredTrigger], installed: Installed) -> Plan:
        columns = {
            trigger.get_uri(model): {field.column for field in table_fields(model)}
            for model, trigger in registry.registered()
        }
        present = [
            trigger
            for trigger in triggers
            if (table := installed.table(trigger.table, trigger.schema))
            and columns[trigger.uri] <= {*table.columns}
        ]
        return _plan_installing(present, installed)

    _change(Change(registry.registered(), _with_pruning(plan, ())), [database], execute_untimed)


def lives_on(alias: str, model: Model) -> bool:
    """Return whether a database has the table of a model: that of a proxy is the table of what it stands for."""
    table_model: Any = model._meta.concrete_model
    return not model._meta.swapped and bool(router.allow_migrate_model(alias, table_model))


def compiled(model: Model, trigger: Trigger) -> DesiredTrigger:
    """Return a registered trigger as it is to be installed."""
    desired = cast("DesiredTrigger", trigger.compile(model))
    return desired.declared_with_model() if registry.is_declared_with_model(trigger, model) else desired


@dataclass(frozen=True)
class _Before:
    """What one database held of some triggers."""

    alias: str
    triggers: Sequence[DesiredTrigger]
    installed: Installed


class Restoration(AbstractContextManager[None]):
    """What a change returns: at the end of a `with` block, triggers are what they were before it, come what may."""

    def __init__(self, before: Sequence[_Before]) -> None:
        self._before = before

    def __repr__(self) -> str:
        uris = {trigger.uri: None for before in self._before for trigger in before.triggers}
        return f"<changed: {', '.join(uris) or 'nothing'}>"

    def __enter__(self) -> None:
        # Those of functions that were changed were read before.
        self._before = [
            replace(each, installed=with_definitions(connections[each.alias], each.installed))
            for each in self._before
        ]

    def __exit__(self, *_exception: object) -> None:
        # A transaction in error is rolled back, and takes the change with it.
        by_alias = {
            before.alias: before for before in self._before if not _is_in_error(connections[before.alias])
        }
        _apply_to_each(
            list(by_alias),
            lambda alias: (
                lambda installed: plan_restoring(
                    by_alias[alias].triggers, by_alias[alias].installed, installed
                )
            ),
        )


class LiveDatabase:
    """What `declare.delegates` asks of a database."""

    def install(self, model: Model, trigger: Trigger, database: str | None) -> Restoration:
        """Install one trigger, or replace what is installed of it.

        Raises:
            InstallationError: the database refused it; nothing of it was kept.
        """
        return _change_for_now(Change([(model, trigger)], _plan_installing), database or "default")

    def uninstall(self, model: Model, trigger: Trigger, database: str | None) -> Restoration:
        """Drop one trigger and its function; nothing happens where it is not installed."""
        return _change_for_now(Change([(model, trigger)], plan_uninstalling), database or "default")

    def enable(self, model: Model, trigger: Trigger, database: str | None) -> Restoration:
        """Let one trigger fire in ordinary sessions."""
        return _change_for_now(Change([(model, trigger)], plan_enabling), database or "default")

    def disable(self, model: Model, trigger: Trigger, database: str | None) -> Restoration:
        """Keep one trigger from firing, in every session."""
        return _change_for_now(Change([(model, trigger)], plan_disabling), database or "default")

    def installation_status(
        self, model: Model, trigger: Trigger, database: str | None
    ) -> tuple[str, bool | None]:
        """Return INSTALLED, OUTDATED, UNINSTALLED or UNALLOWED, and whether it is enabled (None: not installed)."""
        alias = database or "default"
        if not lives_on(alias, model):
            return UNALLOWED, None
        return trigger_status(compiled(model, trigger), read_catalog(connections[alias]))

    def execute(self, sql: str, model: Model, database: str | None, fetchall: bool) -> Any:
        """Execute SQL on the database; return all rows if asked to."""
        with connections[database or "default"].cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if fetchall else None


def _plan_installing(triggers: Sequence[DesiredTrigger], installed: Installed) -> Plan:
    return plan_changes(Desired(triggers=triggers), installed)


def _with_pruning(planner: Planner, uris: Sequence[str]) -> Planner:
    """Return a planner that also prunes, where that belongs to installing all triggers."""
    if uris or not getattr(settings, "PGTRIGGER_PRUNE_ON_INSTALL", True):
        return planner

    def plan(triggers: Sequence[DesiredTrigger], installed: Installed) -> Plan:
        pruning = plan_pruning(installed, registered_uris())
        return Plan([*pruning.steps, *planner(triggers, installed).steps])

    return plan


def registered_uris() -> set[str]:
    """Return the URIs of all registered triggers."""
    return {trigger.get_uri(model) for model, trigger in registry.registered()}


def _aliases(database: str | None) -> list[str]:
    """Return the databases that a call is about; without a name, every Postgres."""
    if database is not None:
        return [database]
    return [alias for alias in connections if connections[alias].vendor == "postgresql"]


def _change_for_now(change: Change, database: str | None) -> Restoration:
    """Make a change; return the way back."""
    return Restoration(_change(change, _aliases(database), execute_untimed)[0])


def _change(
    change: Change, aliases: Sequence[str], execution: Execution
) -> tuple[list[_Before], list[Outcome]]:
    """Carry out what a planner says about the triggers that each database may have; return what was, and was done."""
    with models_at_rest():
        desired = [(model, compiled(model, trigger)) for model, trigger in change.declared]
    before: list[_Before] = []

    def plan_for(alias: str) -> Callable[[Installed], Plan]:
        allowed = {model for model in dict(desired) if lives_on(alias, model)}
        triggers = [trigger for model, trigger in desired if model in allowed]

        def plan(installed: Installed) -> Plan:
            made = change.planner(triggers, installed)
            if any(step.changes and step.action != "create" for step in made.steps):
                installed = with_definitions(connections[alias], installed)
            before.append(_Before(alias, triggers, installed))
            return made

        return plan

    outcomes = _apply_to_each(aliases, plan_for, execution)
    return before, outcomes


def _apply_to_each(
    aliases: Sequence[str],
    plan_for: Callable[[str], Callable[[Installed], Plan]],
    execution: Execution = execute_untimed,
) -> list[Outcome]:
    """Carry out a plan on each database, or on none; return what became of all steps.

    Raises:
        InstallationError: a database refused.
    """
    outcomes: list[Outcome] = []
    with _in_one_transaction(aliases):
        for alias in aliases:
            applied = plan_and_apply(connections[alias], plan_for(alias), execution=execution)
            if applied.error is not None:
                raise applied.error
            outcomes += applied.outcomes
    return outcomes


@contextmanager
def _in_one_transaction(aliases: Sequence[str]) -> Iterator[None]:
    """Let what happens on several databases be kept on all of them or on none; one plan is a transaction by itself."""
    with ExitStack() as stack:
        for alias in aliases if len(aliases) > 1 else ():
            stack.enter_context(transaction.atomic(using=alias))
        yield


def _is_in_error(connection: BaseDatabaseWrapper) -> bool:
    raw: Any = connection.connection
    return connection.needs_rollback or (
        raw is not None and raw.info.transaction_status == TransactionStatus.INERROR
    )
