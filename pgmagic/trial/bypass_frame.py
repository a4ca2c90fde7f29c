"""The bypass frame: every way around a rule, and whether the rule held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from pgmagic.tables.frame import ResultFrame

Result = Literal["held", "got through", "not applicable", "unknown"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bypass:
    """A way around a rule, and what happened when it was tried: a row of the frame."""

    way: str
    operation: str
    result: Result
    takes: str | None = None
    row: object = None
    reason: str | None = None
    lines: Sequence[str] = ()


class BypassFrame(ResultFrame):
    """One row for each way around a rule, in the order in which they were tried.

    Columns:
        way (string): how the row was written, such as `QuerySet.update()`.
        operation (string): what was done to the row: `INSERT`, `UPDATE`, `DELETE` or `TRUNCATE`.
        result (string): `held`, `got through`, `not applicable`, or `unknown` if the trigger could not be observed.
        takes (string): what is needed to use the way: a privilege, the table's owner, a superuser; missing if no row
            could be found for the operation.
        row (object): the primary key of the row that was tried, a dict by column if it is composite; None for a row
            that is inserted, or was made up.
        reason (string): what the rule said if it held, and otherwise why it did not fire.
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
