"""Result frames: pandas DataFrames with documented columns; nothing here knows a connection."""

from __future__ import annotations

from pgmagic.frames.accessor import HistoryAccessor
from pgmagic.frames.as_of import AsOfFrame, as_of_frame, with_related
from pgmagic.frames.base import LINE, ResultFrame, ResultRow, Role
from pgmagic.frames.diff import DiffFrame, WideDiffFrame, diff_frame, wide_diff_frame
from pgmagic.frames.faithful import KINDS, Kind, faithful
from pgmagic.frames.history import EVENT_KINDS, HistoryFrame, Side, history_frame
from pgmagic.frames.installation import Action, InstallationFrame, InstallationRow, Status, installation_frame
from pgmagic.frames.outcomes import OutcomeFrame, OutcomeRow, Verdict, outcome_frame
from pgmagic.frames.sql import CommandFrame, CommandRow, SqlFrame, command_frame, sql_frame
from pgmagic.frames.timeline import TimelineFrame, timeline_frame
from pgmagic.frames.trace import TraceFrame, TraceRow, trace_frame
from pgmagic.frames.triggers import (
    DifferenceFrame,
    DifferenceRow,
    TriggerFrame,
    TriggerRow,
    difference_frame,
    trigger_frame,
)
from pgmagic.frames.undo import UndoFrame, UndoRow, undo_frame

__all__ = [
    "EVENT_KINDS",
    "KINDS",
    "LINE",
    "Action",
    "AsOfFrame",
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
    "TriggerFrame",
    "TriggerRow",
    "UndoFrame",
    "UndoRow",
    "Verdict",
    "WideDiffFrame",
    "as_of_frame",
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
    "trigger_frame",
    "undo_frame",
    "wide_diff_frame",
    "with_related",
]
