"""Comparing the triggers of a database with their declarations; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.compile.desired import Desired
from pgmagic.db.apply import try_out
from pgmagic.db.catalog import read_catalog, read_whole_catalog
from pgmagic.db.changes import belongs, postgres_alias
from pgmagic.db.declared import compiled
from pgmagic.db.installation import registered_uris
from pgmagic.db.schemas import target_of
from pgmagic.declare import registry
from pgmagic.plan.drops import prunable_triggers
from pgmagic.plan.installation_state import UNALLOWED, trigger_status
from pgmagic.plan.installed import Installed
from pgmagic.plan.listing import Difference, Listed, differences, list_triggers
from pgmagic.plan.planning import plan_changes
from pgmagic.plan.steps import Plan


def list_database(database: str | None = None) -> list[Listed]:
    """Return every trigger of a database, whoever made it, and those that are registered and not installed."""
    return _list(database or "default", read_whole_catalog)


def list_visible(database: str | None = None) -> list[Listed]:
    """Return what `list_database` returns, but only of the schemas of the session's `search_path`."""
    return _list(database or "default", read_catalog)


def _list(alias: str, read: Callable[[BaseDatabaseWrapper], Installed]) -> list[Listed]:
    declared = registry.registered()
    unallowed = {trigger.get_uri(model) for model, trigger in declared if not belongs(alias, model, trigger)}
    target = target_of(alias)
    desired = [compiled(model, trigger, target) for model, trigger in declared]
    return list_triggers(desired, unallowed, read(connections[alias]))


def list_declared(*uris: str, database: str) -> dict[str, tuple[str, bool | None]]:
    """Return the state of registered triggers, all of them without a URI, and whether they are enabled, by URI.

    Raises:
        UnknownTriggerError: if nothing is registered under a URI.
    """
    declared = registry.of_project(*uris)
    if postgres_alias(database) is None:
        return {trigger.get_uri(model): (UNALLOWED, None) for model, trigger in declared}
    installed, target = read_catalog(connections[database]), target_of(database)
    return {
        trigger.get_uri(model): trigger_status(compiled(model, trigger, target), installed)
        if belongs(database, model, trigger)
        else (UNALLOWED, None)
        for model, trigger in declared
    }


def compare(*uris: str, database: str | None = None) -> list[Difference]:
    """Return where the registered triggers, all of them without a URI, differ from what is installed.

    To know what Postgres makes of a declaration, it is installed and rolled back; until then the locks of an
    installation are held. Without a URI, triggers that can be pruned count as differences.

    Raises:
        UnknownTriggerError: if nothing is registered under a URI.
        InstallationError: if the database refuses a declaration, or a lock is not free in time.
    """
    alias = database or "default"
    allowed = [pair for pair in registry.of_project(*uris) if belongs(alias, *pair)]
    target = target_of(alias)
    desired = [compiled(model, trigger, target) for model, trigger in allowed]

    def plan(installed: Installed) -> Plan:
        possible = [trigger for trigger in desired if installed.table(trigger.table, trigger.schema)]
        return plan_changes(Desired(triggers=possible), installed)

    live, declared = try_out(connections[alias], plan)
    prunable = [] if uris else prunable_triggers(live, registered_uris())
    return differences(desired, live, declared, prunable)
