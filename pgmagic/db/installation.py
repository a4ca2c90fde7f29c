"""Installing, dropping, enabling and disabling declared triggers: all URIs of a call together, or none."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from django.conf import settings
from django.db import connections

from pgmagic.compile.desired import Desired, DesiredTrigger
from pgmagic.db.apply import execute_and_time
from pgmagic.db.catalog import read_catalog
from pgmagic.db.changes import (
    Change,
    Planner,
    Restoration,
    aliases_of,
    apply_to_each,
    make,
)
from pgmagic.declare import registry
from pgmagic.declare.conditions import table_fields
from pgmagic.errors import UnknownTriggerError
from pgmagic.plan.drops import plan_pruning, plan_uninstalling, prunable_triggers, prunable_uris
from pgmagic.plan.installed import Installed
from pgmagic.plan.planning import plan_changes
from pgmagic.plan.steps import Outcome, Plan
from pgmagic.plan.switching import plan_disabling, plan_enabling


def installing(*uris: str) -> Change:
    """Return the change that `install` makes."""
    return Change(registry.registered(*uris), _with_pruning(plan_installing, uris), "install")


def uninstalling(*uris: str) -> Change:
    """Return the change that `uninstall` makes."""
    return Change(registry.registered(*uris), _with_pruning(plan_uninstalling, uris), "uninstall")


def enabling(*uris: str) -> Change:
    """Return the change that `enable` makes."""
    return Change(registry.registered(*uris), plan_enabling, "enable")


def disabling(*uris: str) -> Change:
    """Return the change that `disable` makes."""
    return Change(registry.registered(*uris), plan_disabling, "disable")


def install(*uris: str, database: str | None = None) -> Restoration:
    """Install registered triggers, all of them without a URI, on a database or on every one that a router allows.

    Without a URI, triggers that are no longer registered are dropped, too, if `PGTRIGGER_PRUNE_ON_INSTALL` says so.
    As a context manager, it leaves everything as it was before.

    Raises:
        UnknownTriggerError: nothing is registered under a URI.
        InstallationError: a database refused; nothing was kept on any.
    """
    return make(installing(*uris), database)


def uninstall(*uris: str, database: str | None = None) -> Restoration:
    """Drop registered triggers, all of them without a URI, with their functions; see `install`."""
    return make(uninstalling(*uris), database)


def enable(*uris: str, database: str | None = None) -> Restoration:
    """Let registered triggers, all of them without a URI, fire in ordinary sessions; see `install`.

    Raises:
        NotInstalledError: one of them is not installed; then none is enabled.
    """
    return make(enabling(*uris), database)


def disable(*uris: str, database: str | None = None) -> Restoration:
    """Keep registered triggers, all of them without a URI, from firing in every session; see `enable`."""
    return make(disabling(*uris), database)


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

    return apply_to_each(aliases_of(database), lambda _alias: plan, execute_and_time)


def prunable(database: str | None = None) -> list[tuple[str, str, bool, str]]:
    """Return (table, name in Postgres, enabled, database) of the triggers that `prune` would drop."""
    return [
        (found.table, found.name, found.is_enabled, alias)
        for alias in aliases_of(database)
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
        return plan_installing(present, installed)

    make(Change(registry.registered(), _with_pruning(plan, ())), database)


def plan_installing(triggers: Sequence[DesiredTrigger], installed: Installed) -> Plan:
    """Return the steps that install triggers, and replace what is installed of them."""
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
