"""Result frames: pandas DataFrames with documented columns; nothing here knows a connection."""

from __future__ import annotations

from pgmagic.frames.accessor import HistoryAccessor
from pgmagic.frames.as_of import AsOfFrame, as_of_frame, with_related
from pgmagic.frames.base import LINE, ResultFrame, ResultRow, Role
from pgmagic.frames.bypasses import BypassFrame, BypassRow, bypass_frame
from pgmagic.frames.diff import DiffFrame, WideDiffFrame, diff_frame, wide_diff_frame
from pgmagic.frames.faithful import KINDS, Kind, faithful
from pgmagic.frames.history import EVENT_KINDS, HistoryFrame, Side, history_frame
from pgmagic.frames.installation import Action, InstallationFrame, InstallationRow, Status, installation_frame
from pgmagic.frames.outcomes import OutcomeFrame, OutcomeRow, Verdict, outcome_frame
from pgmagic.frames.sql import CommandFrame, CommandRow, SqlFrame, command_frame, sql_frame
from pgmagic.frames.timeline import TimelineFrame, timeline_frame
from pgmagic.frames.trace import TraceFrame, TraceRow, trace_frame
from pgmagic.frames.transitions import TransitionFrame, transition_frame
from pgmagic.frames.triggers import (
    DifferenceFrame,
    DifferenceRow,
    TriggerFrame,
    TriggerRow,
    difference_frame,
    trigger_frame,
)
from pgmagic.frames.undo import UndoFrame, UndoRow, undo_frame
from pgmagic.frames.whatif import WhatIfFrame, WhatIfRow, whatif_frame

__all__ = [
    "EVENT_KINDS",
    "KINDS",
    "LINE",
    "Action",
    "AsOfFrame",
    "BypassFrame",
    "BypassRow",
    "CommandFrame",
    "CommandRow",
    "DiffFrame",
    "DifferenceFrame",
    "DifferenceRow",
    "HistoryAccessor",
    "HistoryFrame",
    "InstallationFrame",
    "InstallationRow",
    "Kind",
    "OutcomeFrame",
    "OutcomeRow",
    "ResultFrame",
    "ResultRow",
    "Role",
    "Side",
    "SqlFrame",
    "Status",
    "TimelineFrame",
    "TraceFrame",
    "TraceRow",
    "TransitionFrame",
    "TriggerFrame",
    "TriggerRow",
    "UndoFrame",
    "UndoRow",
    "Verdict",
    "WhatIfFrame",
    "WhatIfRow",
    "WideDiffFrame",
    "as_of_frame",
    "bypass_frame",
    "command_frame",
    "diff_frame",
    "difference_frame",
    "faithful",
    "history_frame",
    "installation_frame",
    "outcome_frame",
    "sql_frame",
    "timeline_frame",
    "trace_frame",
    "transition_frame",
    "trigger_frame",
    "undo_frame",
    "whatif_frame",
    "wide_diff_frame",
    "with_related",
]
