"""The matrix of an FSM: every state to every state, allowed or not, and by whom."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

import pandas as pd

from pgmagic.tables.frame import ResultFrame, Role

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence


class TransitionFrame(ResultFrame):
    """One row for each state that a row may be in, one column for each state that it may go to.

    Columns: the states, as text: NULL for none, in quotes what could be taken for that. The index, called `from`,
    holds the same states.

    Values (string): `allowed`, `rejected by URI` (or `rejected: reason`), `rewritten to STATE`, `suppressed`, or
    `unknown: reason` where no row could be brought to the first state; behind ` · ` the condition under which an FSM
    allows the transition (`if …`), and how often it was taken, where a tracker tells.
    """

    columns_contract = MappingProxyType({})

    def role_of(self, column: Hashable) -> Role:
        """Return the role of every column: its values are verdicts."""
        return "verdict"


def transition_frame(
    states: Sequence[str],
    verdicts: Sequence[Sequence[str]],
    *,
    caption: str | None = None,
    notes: Iterable[str] = (),
) -> TransitionFrame:
    """Return a matrix of verdicts, a row for each state, as a `TransitionFrame`."""
    index = pd.Index(pd.array(list(states), dtype="string"), name="from")
    columns = {
        place: pd.Series([row[place] for row in verdicts], index=index, dtype="string")
        for place in range(len(states))
    }
    frame = TransitionFrame(columns, index=index, caption=caption, notes=notes)
    frame.columns = pd.Index(states, dtype=object)
    return frame
