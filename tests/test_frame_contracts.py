from __future__ import annotations

import importlib
import pickle
import pkgutil
import re
from dataclasses import fields

import pandas as pd
import pytest

import pgmagic
from pgmagic.db.installation_frame import InstallationFrame
from pgmagic.db.trigger_frames import DifferenceFrame, TriggerFrame
from pgmagic.history.diff import DiffFrame, WideDiffFrame, diff_frame, wide_diff_frame
from pgmagic.history.reading import HistoryFrame, history_frame
from pgmagic.history.timeline import TimelineFrame, timeline_frame
from pgmagic.history.undo import undo_step
from pgmagic.history.undo.undo_plan import UndoFrame
from pgmagic.pghistory.models import Context
from pgmagic.plan.listing import Difference, Listed
from pgmagic.plan.steps import Outcome, Step
from pgmagic.tables.frame import ResultFrame
from pgmagic.trial.bypass_frame import Bypass, BypassFrame
from pgmagic.trial.exercise import ExerciseFrame, Judged
from pgmagic.watch.outcome_frame import OutcomeFrame, OutcomeRow, outcome_frame
from pgmagic.watch.sql_frames import CommandFrame, CommandRow, SqlFrame, command_frame, sql_frame
from pgmagic.watch.trace_frame import TraceFrame, TraceRow, trace_frame
from pgmagic.watch.whatif_frame import WhatIfFrame, WhatIfRow, whatif_frame

for module in pkgutil.walk_packages(pgmagic.__path__, "pgmagic."):
    if module.name.rpartition(".")[2].endswith(("frame", "frames", "as_of", "verify")):
        importlib.import_module(module.name)

FULL_OUTCOME = OutcomeRow(
    step=1,
    statement="post.delete()",
    verdict="rejected",
    rows=0,
    table="notebook_post",
    trigger="notebook.Post:keep",
    reason="no",
    elapsed_ms=1.5,
)
FULL_INSTALLATION = Outcome(
    Step("notebook.Post:keep", "trigger", "create", fires="BEFORE DELETE · ROW", condition='OLD."kept"'),
    "done",
    elapsed_ms=2.5,
)
FULL_TRACE = TraceRow(
    step=1,
    seq=1,
    depth=1,
    table="notebook_post",
    trigger="notebook.Post:keep",
    fires="BEFORE DELETE · ROW",
    row=1,
    fired=True,
    condition={"old.kept": True},
    before={"a": 1},
    after={"a": 2},
    elapsed_ms=0.5,
    notices=["NOTICE: kept"],
)
EVENT = {"pgh_id": [1], "pgh_created_at": [None], "pgh_label": ["l"], "pgh_obj_id": [1]}

FRAMES = {
    "outcome, empty": (outcome_frame([]), OutcomeFrame),
    "outcome, full": (outcome_frame([FULL_OUTCOME]), OutcomeFrame),
    "outcome, all missing": (outcome_frame([OutcomeRow(step=1, statement="pass")]), OutcomeFrame),
    "installation, empty": (InstallationFrame.from_rows([]), InstallationFrame),
    "installation, full": (InstallationFrame.from_rows([FULL_INSTALLATION]), InstallationFrame),
    "commands, empty": (command_frame([]), CommandFrame),
    "commands, full": (command_frame([CommandRow(command="INSERT", rows=1)]), CommandFrame),
    "commands, all missing": (command_frame([CommandRow(command="BEGIN")]), CommandFrame),
    "sql, no columns": (sql_frame([], 3), SqlFrame),
    "trace, empty": (trace_frame([]), TraceFrame),
    "trace, full": (trace_frame([FULL_TRACE]), TraceFrame),
    "trace, all missing": (
        trace_frame([TraceRow(step=None, seq=1, depth=1, table="t", trigger="a", fires="BEFORE INSERT · ROW")]),
        TraceFrame,
    ),
    "triggers, empty": (TriggerFrame.from_rows([]), TriggerFrame),
    "triggers, all missing": (
        TriggerFrame.from_rows([Listed("t", "n", "f", None, "FOREIGN", None, None)]),
        TriggerFrame,
    ),
    "triggers, full": (
        TriggerFrame.from_rows([Listed("t", "n", "f", condition="c", state="s", enabled=True, drift="d")]),
        TriggerFrame,
    ),
    "differences, empty": (DifferenceFrame.from_rows([]), DifferenceFrame),
    "differences, full": (
        DifferenceFrame.from_rows([Difference("t", "function", line=1, live="a", declared="b")]),
        DifferenceFrame,
    ),
    "exercise, empty": (ExerciseFrame.from_rows([]), ExerciseFrame),
    "exercise, full": (
        ExerciseFrame.from_rows([Judged(case="a", expected="true", got="true", is_right=True)]),
        ExerciseFrame,
    ),
    "bypass, empty": (BypassFrame.from_rows([]), BypassFrame),
    "bypass, full": (
        BypassFrame.from_rows(
            [Bypass(way="raw SQL", operation="DELETE", result="held", takes="DELETE", row=1, reason="no")]
        ),
        BypassFrame,
    ),
    "bypass, all missing": (
        BypassFrame.from_rows([Bypass(way="a", operation="b", result="held")]),
        BypassFrame,
    ),
    "what if, empty": (whatif_frame([]), WhatIfFrame),
    "what if, full": (
        whatif_frame([WhatIfRow(step=1, statement="s", table="t", row=1, field="verdict", as_is="a", what_if="b")]),
        WhatIfFrame,
    ),
    "what if, all missing": (whatif_frame([WhatIfRow(step=None)]), WhatIfFrame),
    "history, empty": (history_frame({}, {}), HistoryFrame),
    "history, full": (history_frame(EVENT, {}), HistoryFrame),
    "diff, empty": (diff_frame(history_frame({}, {})), DiffFrame),
    "diff, no field": (diff_frame(history_frame(EVENT, {})), DiffFrame),
    "undo, empty": (UndoFrame.from_rows([]), UndoFrame),
    "undo, full": (
        UndoFrame.from_rows([undo_step.Step(Context, Context, (1,), "delete", 1, {"n": 1}, None)]),
        UndoFrame,
    ),
    "timeline, empty": (timeline_frame(history_frame({}, {})), TimelineFrame),
    "timeline, full": (timeline_frame(history_frame(EVENT, {})), TimelineFrame),
    "wide diff, empty": (wide_diff_frame(history_frame({}, {})), WideDiffFrame),
    "wide diff, full": (wide_diff_frame(history_frame(EVENT, {})), WideDiffFrame),
}


# The contract of every kind of table: its columns in order, with their dtypes; UTC is datetime64[us, UTC]. Those
# without columns of their own have those of a result set, of a model, or of a field's states.
CONTRACTS = {
    "AsOfFrame": "",
    "BypassFrame": "way string, operation string, result string, takes string, row object, reason string",
    "CommandFrame": "command string, rows Int64",
    "DiffFrame": (
        "pgh_created_at UTC, pgh_obj_id Int64, pgh_label string, field string, before object, "
        "after object, context object"
    ),
    "DifferenceFrame": "trigger string, kind string, line Int64, live string, declared string",
    "ExerciseFrame": "case string, expected string, got string, result string, reason string",
    "HistoryFrame": (
        "pgh_id Int64, pgh_created_at UTC, pgh_label string, pgh_obj_id Int64, pgh_context_id object, context object"
    ),
    "InstallationFrame": (
        "object string, kind string, action string, status string, fires string, condition string, elapsed_ms float64"
    ),
    "OutcomeFrame": (
        "step Int64, statement string, verdict string, rows Int64, table string, trigger string, "
        "reason string, elapsed_ms float64"
    ),
    "SqlFrame": "",
    "TimelineFrame": "pgh_obj_id Int64, valid_from UTC, valid_to UTC",
    "TraceFrame": (
        "step Int64, seq Int64, depth Int64, table string, trigger string, fires string, row object, "
        "fired boolean, condition object, before object, after object, elapsed_ms float64, notice string"
    ),
    "TransitionFrame": "",
    "TriggerFrame": (
        "name string, state string, drift string, enabled boolean, table string, fires string, condition string"
    ),
    "UndoFrame": "model string, object string, action string, changes object, status string, conflict string",
    "VerificationFrame": "pgh_obj_id object, pgh_id Int64, pgh_label string, pgh_created_at UTC, problem string",
    "WhatIfFrame": (
        "step Int64, statement string, table string, row object, field string, as_is object, what_if object"
    ),
    "WideDiffFrame": (
        "pgh_id Int64, pgh_created_at UTC, pgh_obj_id Int64, pgh_label string, pgh_diff object, context object"
    ),
}


def test_every_kind_of_table_has_its_contract():
    kinds = {kind.__name__: kind for kind in ResultFrame.__subclasses__()}
    assert {name: _told(kind) for name, kind in kinds.items()} == CONTRACTS


def _told(kind):
    dtypes = {"datetime64[us, UTC]": "UTC"}
    return ", ".join(f"{name} {dtypes.get(dtype, dtype)}" for name, dtype in kind.columns_contract.items())


@pytest.mark.parametrize("kind", ResultFrame.__subclasses__(), ids=lambda kind: kind.__name__)
def test_docstring_states_each_column_with_its_dtype(kind):
    missing = [
        name
        for name, dtype in kind.columns_contract.items()
        if not re.search(rf"\b{name}\b[^(\n]*\({re.escape(dtype)}", kind.__doc__)
    ]
    assert missing == []
    assert "Columns" in kind.__doc__


@pytest.mark.parametrize(("frame", "expected"), FRAMES.values(), ids=FRAMES)
def test_frame_keeps_its_contract(frame, expected):
    assert type(frame) is expected
    assert list(frame.columns) == list(expected.columns_contract)
    assert {name: str(dtype).replace("[python]", "") for name, dtype in frame.dtypes.items()} == dict(
        expected.columns_contract
    )


@pytest.mark.parametrize(("frame", "expected"), FRAMES.values(), ids=FRAMES)
def test_frame_survives_pickling(frame, expected):
    again = pickle.loads(pickle.dumps(frame))  # noqa: S301
    assert type(again) is expected
    pd.testing.assert_frame_equal(again, frame)
    assert getattr(again, "sides", None) == getattr(frame, "sides", None)


@pytest.mark.parametrize(
    "expected", list(dict.fromkeys(kind for _, kind in FRAMES.values())), ids=lambda kind: kind.__name__
)
def test_roles_are_those_of_columns_in_the_contract(expected):
    assert set(expected.columns_roles) <= set(expected.columns_contract)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        (OutcomeRow, OutcomeFrame),
        (CommandRow, CommandFrame),
        (TraceRow, TraceFrame),
        (Bypass, BypassFrame),
        (WhatIfRow, WhatIfFrame),
        (Outcome, InstallationFrame),
        (Listed, TriggerFrame),
        (Difference, DifferenceFrame),
    ],
    ids=lambda kind: kind.__name__,
)
def test_row_has_a_value_for_every_column(row, kind):
    """As a field, or as a property of what the row is made of."""
    names = {field.name for field in fields(row)} | set(dir(row))
    assert [name for name in [*kind.columns_contract, "lines"] if name not in names] == []


def test_values_arrive_in_their_columns():
    assert outcome_frame([FULL_OUTCOME]).iloc[0].to_dict() == {
        "step": 1,
        "statement": "post.delete()",
        "verdict": "rejected",
        "rows": 0,
        "table": "notebook_post",
        "trigger": "notebook.Post:keep",
        "reason": "no",
        "elapsed_ms": 1.5,
    }


def test_missing_values_are_missing():
    frame = outcome_frame([OutcomeRow(step=1, statement="pass")])
    missing = frame.columns[frame.isna().iloc[0]]
    assert list(missing) == ["verdict", "rows", "table", "trigger", "reason", "elapsed_ms"]


def test_unknown_column_is_refused():
    with pytest.raises(TypeError):
        OutcomeRow(step=1, statement="x", verdikt="applied")  # type: ignore[call-arg]
