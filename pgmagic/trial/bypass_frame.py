"""The bypass frame: every way around a rule, and whether the rule held."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class BypassRow:
    """One way around a rule, and what became of it."""

    way: str
    operation: str
    result: str
    takes: str | None = None
    row: Any = None
    reason: str | None = None
    lines: Sequence[str] = ()


class BypassFrame(ResultFrame):
    """One row for each way around a rule, in the order in which they were tried.

    Columns:
        way (string): how the row was written, such as `QuerySet.update()`.
        operation (string): what was done to the row: `INSERT`, `UPDATE`, `DELETE` or `TRUNCATE`.
        result (string): `held`, `got through`, `not applicable`, or `unknown` where the trigger could not be observed.
        takes (string): what the way takes: a privilege, the table's owner, a superuser; missing where there is no way.
        row (object): the primary key of the row that was tried, a dict where it has several columns; None for one that
            is new, or was made up for it.
        reason (string): what the rule said where it held, and why it did not fire where it did not.
    """

    columns_contract = MappingProxyType(
        {
            "way": "string",
            "operation": "string",
            "result": "string",
            "takes": "string",
            "row": "object",
            "reason": "string",
        }
    )
    columns_roles = MappingProxyType({"result": "verdict"})


def bypass_frame(
    rows: Iterable[BypassRow], *, caption: str | None = None, notes: Iterable[str] = ()
) -> BypassFrame:
    """Return the rows as a `BypassFrame`, in their order."""
    return BypassFrame.from_rows(rows, caption=caption, notes=notes)
