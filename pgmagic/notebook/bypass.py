"""`%pgbypass URI`: every way around a rule."""

from __future__ import annotations

from pgmagic.trial.bypass_frame import BypassFrame, BypassRow, bypass_frame
from pgmagic.trial.bypasses import try_bypasses


def try_rule(uri: str, using: str = "default") -> BypassFrame:
    """Try every way around the trigger of a URI, each in a savepoint; nothing is kept.

    Raises:
        UnknownTriggerError: nothing is registered under the URI.
        CellError: the trigger is not installed, or a transaction is open.
    """
    found, notes = try_bypasses(uri, using)
    rows = [
        BypassRow(
            way=bypass.way,
            operation=bypass.operation,
            result=bypass.result,
            takes=bypass.takes,
            row=bypass.row,
            reason=bypass.reason,
        )
        for bypass in found
    ]
    through = sum(bypass.result == "got through" for bypass in found)
    said = "Every way was tried in a savepoint; nothing was kept."
    return bypass_frame(
        rows, caption=f"Ways around {uri}: {through:,} of {len(rows):,} got through", notes=[said, *notes]
    )
