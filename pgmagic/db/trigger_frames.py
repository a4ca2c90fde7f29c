"""What `%pgtrigger` shows and does, as frames: the triggers of a database, and where they differ from declarations."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

from django.db import DEFAULT_DB_ALIAS

from pgmagic.db import changes, inspection, installation
from pgmagic.db.declared import compiled
from pgmagic.db.installation_frame import InstallationFrame
from pgmagic.db.schemas import target_of
from pgmagic.declare import registry
from pgmagic.tables.frame import ResultFrame
from pgmagic.tables.highlighting import SqlText


class TriggerFrame(ResultFrame):
    """One row for each trigger that is installed or declared, by table and name.

    Postgres counts the triggers: a declaration can need several. The rows are made from `pgmagic.plan.listing.Listed`.

    Columns:
        name (string): the URI of a trigger of pgmagic's, otherwise its name in Postgres.
        state (string): `INSTALLED`, `OUTDATED`, `UNINSTALLED`, `PRUNE` (installed, but not registered in this
            process), `UNALLOWED` (by the database router) or `FOREIGN` (not installed by pgmagic, or not from here).
        drift (string): how it differs from its declaration; missing if it does not.
        enabled (boolean): whether it fires in ordinary sessions; missing if it is not installed.
        table (string): its table; with the schema if the name alone means another table.
        fires (string): when it fires, as in `BEFORE DELETE · ROW`.
        condition (string): the SQL of its condition; missing if it always fires.
    """

    columns_contract = MappingProxyType(
        {
            "name": "string",
            "state": "string",
            "drift": "string",
            "enabled": "boolean",
            "table": "string",
            "fires": "string",
            "condition": "string",
        }
    )
    columns_roles = MappingProxyType({"condition": "code", "state": "verdict", "enabled": "verdict"})


class DifferenceFrame(ResultFrame):
    """One row for each stretch of lines that differs; empty if everything is installed as declared.

    Its rows are made from `pgmagic.plan.listing.Difference`.

    Columns:
        trigger (string): URI.
        kind (string): `function`, `trigger` or `comment`.
        line (Int64): number of the first line in the live definition, from 1; missing if a whole object differs.
        live (string): the lines that Postgres holds; missing if it holds none.
        declared (string): the lines that it would hold; missing if nothing declares any.
    """

    columns_contract = MappingProxyType(
        {"trigger": "string", "kind": "string", "line": "Int64", "live": "string", "declared": "string"}
    )
    columns_roles = MappingProxyType({"line": "count", "live": "before", "declared": "after"})


def list_matching(pattern: str | None, database: str | None, *, everywhere: bool = False) -> TriggerFrame:
    """Return the triggers of the schemas that the session looks into, or those with the pattern in their table or name.

    pattern: * and ? in it stand for any text and for any character; upper and lower case are the same.
    everywhere: return those of all other schemas, too.
    """
    listed = inspection.list_database(database)
    found = [row for row in listed if everywhere or not row.elsewhere]
    wanted = f"*{pattern.lower()}*" if pattern else "*"
    shown = [row for row in found if any(fnmatchcase(text.lower(), wanted) for text in (row.table, row.name))]
    hidden = len(found) - len(shown)
    notes = [f"{hidden:,} of {len(found):,} triggers do not match {pattern!r}."] if hidden else []
    elsewhere = len(listed) - len(found)
    if elsewhere:
        triggers = (
            "1 trigger in another schema is" if elsewhere == 1 else f"{elsewhere:,} triggers in other schemas are"
        )
        notes.append(f"{triggers} not shown: add --all.")
    return TriggerFrame.from_rows(shown, notes=notes)


def sql_of(uri: str) -> SqlText:
    """Return the SQL that installs a registered trigger on the default database."""
    [(model, trigger)] = registry.registered(uri)
    return SqlText(compiled(model, trigger, target_of(DEFAULT_DB_ALIAS)).install_sql)


def compare(uris: Sequence[str], database: str | None) -> DifferenceFrame:
    """Return where triggers differ from their declarations."""
    found = inspection.compare(*uris, database=database)
    return DifferenceFrame.from_rows(found, notes=[] if found else ["Everything is installed as it is declared."])


def install(uris: Sequence[str], database: str | None) -> InstallationFrame:
    """Install registered triggers, all of them without a URI."""
    return InstallationFrame.from_rows(changes.carry_out(installation.installing(*uris), database))


def uninstall(uris: Sequence[str], database: str | None) -> InstallationFrame:
    """Drop registered triggers, all of them without a URI."""
    return InstallationFrame.from_rows(changes.carry_out(installation.uninstalling(*uris), database))


def enable(uris: Sequence[str], database: str | None) -> InstallationFrame:
    """Let registered triggers fire, all of them without a URI."""
    return InstallationFrame.from_rows(changes.carry_out(installation.enabling(*uris), database))


def disable(uris: Sequence[str], database: str | None) -> InstallationFrame:
    """Keep registered triggers from firing, all of them without a URI."""
    return InstallationFrame.from_rows(changes.carry_out(installation.disabling(*uris), database))


def prune(uris: Sequence[str], database: str | None) -> InstallationFrame:
    """Drop what is installed and not registered, all of it without a URI."""
    return InstallationFrame.from_rows(installation.prune_only(uris, database))
