"""The what-if frame: what differs between a cell as it is, and under other triggers."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pgmagic.tables.frame import ResultFrame

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


@dataclass(frozen=True, kw_only=True, slots=True)
class WhatIfRow:
    """One thing that differs; `pd.NA` stands for a row that is not there."""

    step: int | None
    statement: str | None = None
    table: str | None = None
    row: Any = None
    field: str | None = None
    as_is: Any = None
    what_if: Any = None
    lines: Sequence[str] = ()


class WhatIfFrame(ResultFrame):
    """One row for each verdict and each field of a row that differs, in the order of the steps.

    Columns:
        step (Int64): the number of the statement in the cell, from 1; of a row: the one that wrote it last.
        statement (string): its source.
        table (string): the table that it is about.
        row (object): the row's primary key, a dict where it has several columns; `new 1` is the first that the cell
            inserts; None for a verdict.
        field (string): `verdict`, or the column of the row; missing where it is about the whole row.
        as_is, what_if (object): the two verdicts or values; a dict of columns for a whole row, NA where the row is
            not there.
    """

    columns_contract = MappingProxyType(
        {
            "step": "Int64",
            "statement": "string",
            "table": "string",
            "row": "object",
            "field": "string",
            "as_is": "object",
            "what_if": "object",
        }
    )
    columns_roles = MappingProxyType({"statement": "code", "as_is": "before", "what_if": "after"})


def whatif_frame(
    rows: Iterable[WhatIfRow], *, caption: str | None = None, notes: Iterable[str] = ()
) -> WhatIfFrame:
    """Return the rows as a `WhatIfFrame`, in their order."""
    return WhatIfFrame.from_rows(rows, caption=caption, notes=notes)
