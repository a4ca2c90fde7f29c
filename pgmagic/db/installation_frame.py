"""The installation frame: what installing a cell's declarations did to the database."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Action = Literal["create", "alter", "replace", "drop", "unchanged"]
Status = Literal["done", "failed", "rolled back", "skipped", "planned"]


@dataclass(frozen=True, kw_only=True, slots=True)
class InstallationRow:
    """One database object that a plan is about; `lines` are its effects and the server's messages."""

    object: str
    kind: str
    action: Action
    status: Status
    fires: str | None = None
    condition: str | None = None
    elapsed_ms: float | None = None
    lines: Sequence[str] = ()


class InstallationFrame(ResultFrame):
    """One row for each database object of a plan, in the order of the plan.

    Columns:
        object (string): trigger URI or model label.
        kind (string): table, column, index, function, trigger, event table and so on.
        action (string): `create`, `alter`, `replace`, `drop` or `unchanged`.
        status (string): `done`, `failed`, `rolled back`, `skipped` or `planned`.
        fires (string): when a trigger fires, as in `BEFORE DELETE · ROW`; missing for everything else.
        condition (string): the SQL of its WHEN clause; missing where it always fires.
        elapsed_ms (float64): milliseconds in the database; NaN where nothing was executed by itself.
    """

    columns_contract = MappingProxyType(
        {
            "object": "string",
            "kind": "string",
            "action": "string",
            "status": "string",
            "fires": "string",
            "condition": "string",
            "elapsed_ms": "float64",
        }
    )
    columns_roles = MappingProxyType(
        {"action": "verdict", "status": "verdict", "condition": "code", "elapsed_ms": "duration"}
    )


def installation_frame(
    rows: Iterable[InstallationRow], *, caption: str | None = None, notes: Iterable[str] = ()
) -> InstallationFrame:
    """Return the rows as an `InstallationFrame`, in their order."""
    return InstallationFrame.from_rows(rows, caption=caption, notes=notes)
