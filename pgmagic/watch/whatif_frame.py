"""What differs between a cell as it is and under other triggers: the rows, and the frame of them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from pgmagic.tables.frame import ResultFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class WhatIfRow:
    """One thing that differs between two runs; see the columns of `WhatIfFrame`.

    as_is, what_if: `pandas.NA` for a row that is not there.
    """

    step: int | None
    statement: str | None = None
    table: str | None = None
    row: object = None
    field: str | None = None
    as_is: object = None
    what_if: object = None
    lines: tuple[str, ...] = ()


class WhatIfFrame(ResultFrame):
    """One row for each verdict and each field of a row that differs, in the order of the steps.

    Columns:
        step (Int64): the number of the statement in the cell, from 1; for a row, the last statement that wrote it.
            Missing for a row that only COMMIT wrote.
        statement (string): its source; missing where the step is.
        table (string): the table that was written to; missing where none is known.
        row (object): the row's primary key, a dict where it has several columns; `new 1` is the first row that the
            cell inserts into the table; None for a verdict.
        field (string): `verdict`, or the column of the row that differs; missing where the whole row differs.
        as_is, what_if (object): the two verdicts or values; a dict of columns for a whole row, NA where the row does
            not exist.

    Index: `line`, from 0. `notes`: whether anything differs, and what either run reported as a whole.
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


whatif_frame = WhatIfFrame.from_rows
"""Return the rows as a `WhatIfFrame`, in their order."""
