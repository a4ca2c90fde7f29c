"""What `%pgtrigger` does with the triggers of a database, and shows as frames."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from django.db import DEFAULT_DB_ALIAS

from pgmagic.db import changes, inspection, installation, schemas
from pgmagic.db.installation_frame import InstallationFrame
from pgmagic.db.trigger_frames import (
    DifferenceFrame,
    DifferenceRow,
    TriggerFrame,
    TriggerRow,
    difference_frame,
    trigger_frame,
)
from pgmagic.declare import registry
from pgmagic.notebook.declaring import outcomes_frame
from pgmagic.plan.listing import Listed
from pgmagic.tables.highlighting import SqlText


def list_matching(pattern: str | None, database: str | None) -> TriggerFrame:
    """Return every trigger of the database, or those with the pattern in their table or name."""
    found = inspection.list_database(database)
    shown = [trigger for trigger in found if _matches(trigger, pattern)]
    hidden = len(found) - len(shown)
    return trigger_frame(
        (
            TriggerRow(
                table=trigger.table,
                name=trigger.name,
                fires=trigger.fires,
                condition=trigger.condition,
                state=trigger.state,
                enabled=trigger.enabled,
                drift=trigger.drift,
            )
            for trigger in shown
        ),
        notes=[f"{hidden:,} of {len(found):,} triggers do not match {pattern!r}."] if hidden else [],
    )


def _matches(trigger: Listed, pattern: str | None) -> bool:
    """Return whether a pattern, in which * and ? stand for anything, is somewhere in the table or the name."""
    if not pattern:
        return True
    wanted = f"*{pattern.lower()}*"
    return any(fnmatchcase(text.lower(), wanted) for text in (trigger.table, trigger.name))


def sql_of(uri: str) -> SqlText:
    """Return the SQL that installs a registered trigger on the default database."""
    [(model, trigger)] = registry.registered(uri)
    return SqlText(changes.compiled(model, trigger, schemas.target_of(DEFAULT_DB_ALIAS)).install_sql)


def compare(uris: Sequence[str], database: str | None) -> DifferenceFrame:
    """Return where triggers differ from their declarations."""
    found = inspection.compare(*uris, database=database)
    return difference_frame(
        (
            DifferenceRow(
                trigger=difference.trigger,
                kind=difference.kind,
                line=difference.line,
                live=difference.live,
                declared=difference.declared,
            )
            for difference in found
        ),
        notes=[] if found else ["Everything is installed as it is declared."],
    )


def install(uris: Sequence[str], database: str | None) -> InstallationFrame:
    """Install registered triggers, all of them without a URI."""
    return outcomes_frame(changes.carry_out(installation.installing(*uris), database))


def uninstall(uris: Sequence[str], database: str | None) -> InstallationFrame:
    """Drop registered triggers, all of them without a URI."""
    return outcomes_frame(changes.carry_out(installation.uninstalling(*uris), database))


def enable(uris: Sequence[str], database: str | None) -> InstallationFrame:
    """Let registered triggers fire, all of them without a URI."""
    return outcomes_frame(changes.carry_out(installation.enabling(*uris), database))


def disable(uris: Sequence[str], database: str | None) -> InstallationFrame:
    """Keep registered triggers from firing, all of them without a URI."""
    return outcomes_frame(changes.carry_out(installation.disabling(*uris), database))


def prune(uris: Sequence[str], database: str | None) -> InstallationFrame:
    """Drop what is installed and not registered, all of it without a URI."""
    return outcomes_frame(installation.prune_only(uris, database))
