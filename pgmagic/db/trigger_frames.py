"""The triggers of a database, and where they differ from their declarations."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class TriggerRow:
    """One trigger as Postgres counts them: a declaration can need several."""

    table: str
    name: str
    fires: str
    condition: str | None = None
    state: str
    enabled: bool | None = None
    drift: str | None = None
    lines: Sequence[str] = ()


class TriggerFrame(ResultFrame):
    """One row for each trigger that is installed or declared, by table and name.

    Columns:
        table (string): its table; with the schema where the name alone means another table.
        name (string): the URI of one of pgmagic's, otherwise its name in Postgres.
        fires (string): when it fires, as in `BEFORE DELETE · ROW`.
        condition (string): the SQL of its condition; missing where it always fires.
        state (string): `INSTALLED`, `OUTDATED`, `UNINSTALLED`, `PRUNE` (installed, but not registered in this
            process), `UNALLOWED` (by the database router) or `FOREIGN` (not installed by pgmagic, or not from here).
        enabled (boolean): whether it fires in ordinary sessions; missing where it is not installed.
        drift (string): in what it differs from its declaration; missing where it does not.
    """

    columns_contract = MappingProxyType(
        {
            "table": "string",
            "name": "string",
            "fires": "string",
            "condition": "string",
            "state": "string",
            "enabled": "boolean",
            "drift": "string",
        }
    )
    columns_roles = MappingProxyType({"condition": "code", "state": "verdict", "enabled": "verdict"})


def trigger_frame(
    rows: Iterable[TriggerRow], *, caption: str | None = None, notes: Iterable[str] = ()
) -> TriggerFrame:
    """Return the rows as a `TriggerFrame`, in their order."""
    return TriggerFrame.from_rows(rows, caption=caption, notes=notes)


@dataclass(frozen=True, kw_only=True, slots=True)
class DifferenceRow:
    """A stretch of lines in which an installed object differs from what is declared."""

    trigger: str
    kind: str
    line: int | None = None
    live: str | None = None
    declared: str | None = None
    lines: Sequence[str] = ()


class DifferenceFrame(ResultFrame):
    """One row for each stretch of lines that differs; empty where everything is installed as declared.

    Columns:
        trigger (string): URI.
        kind (string): `function`, `trigger` or `comment`.
        line (Int64): number of the first line in the live definition, from 1; missing where a whole object differs.
        live (string): the lines that Postgres holds; missing where it holds none.
        declared (string): the lines that it would hold; missing where nothing declares any.
    """

    columns_contract = MappingProxyType(
        {"trigger": "string", "kind": "string", "line": "Int64", "live": "string", "declared": "string"}
    )
    columns_roles = MappingProxyType({"line": "count", "live": "before", "declared": "after"})


def difference_frame(
    rows: Iterable[DifferenceRow], *, caption: str | None = None, notes: Iterable[str] = ()
) -> DifferenceFrame:
    """Return the rows as a `DifferenceFrame`, in their order."""
    return DifferenceFrame.from_rows(rows, caption=caption, notes=notes)
