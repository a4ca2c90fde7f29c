"""The installation frame: what installing declarations did to the database."""

from __future__ import annotations

from types import MappingProxyType

from pgmagic.tables.frame import ResultFrame


class InstallationFrame(ResultFrame):
    """One row for each database object of a plan, in the order of the plan.

    Its rows are made from `pgmagic.plan.steps.Outcome`.

    Columns:
        object (string): trigger URI or model label.
        kind (string): table, column, index, function, trigger, event table and so on.
        action (string): `create`, `alter`, `replace`, `drop` or `unchanged`.
        status (string): `done`, `failed`, `rolled back`, `skipped` or `planned`.
        fires (string): when a trigger fires, as in `BEFORE DELETE · ROW`; missing for every other object.
        condition (string): the SQL of the trigger's condition; missing if it always fires.
        elapsed_ms (float64): milliseconds in the database; NaN if no statement was executed for the object alone.
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
