"""`history.pgh`: what can be asked of a history frame."""

from __future__ import annotations

from typing import Literal, overload

import pandas as pd

from pgmagic.history.diff import DiffFrame, WideDiffFrame, diff_frame, wide_diff_frame
from pgmagic.history.event_frame import HistoryFrame


@pd.api.extensions.register_dataframe_accessor("pgh")
class HistoryAccessor:
    """The questions to a `HistoryFrame`; AttributeError on any other DataFrame."""

    def __init__(self, frame: pd.DataFrame) -> None:
        if not isinstance(frame, HistoryFrame):
            raise AttributeError(
                f"Only a history frame has .pgh; this is a {type(frame).__name__}. "
                "Frames from pgmagic.history(...) and %pghistory are history frames."
            )
        self._history = frame

    @overload
    def diff(self, *, wide: Literal[False] = False) -> DiffFrame: ...

    @overload
    def diff(self, *, wide: Literal[True]) -> WideDiffFrame: ...

    def diff(self, *, wide: bool = False) -> DiffFrame | WideDiffFrame:
        """Return `diff_frame` of the history: a row for each changed field; `wide`: a row for each event."""
        return wide_diff_frame(self._history) if wide else diff_frame(self._history)
