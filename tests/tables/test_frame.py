from __future__ import annotations

import copy
import pickle

import pandas as pd
import pytest

from pgmagic.tables.frame import LINE, ResultFrame
from pgmagic.watch.outcome_frame import OutcomeFrame, OutcomeRow, outcome_frame

NOTICE = "NOTICE: checked"


@pytest.fixture
def outcomes() -> OutcomeFrame:
    rows = [
        OutcomeRow(step=1, statement="a()", verdict="applied", rows=3),
        OutcomeRow(step=2, statement="b()", verdict="rejected", messages=[NOTICE]),
        OutcomeRow(step=3, statement="c()", verdict="read", rows=9),
    ]
    return outcome_frame(rows, caption="What happened", notes=["Kept."])


KEEPING = {
    "mask": lambda frame: frame[frame["step"] > 1],
    "loc": lambda frame: frame.loc[[1, 2]],
    "iloc": lambda frame: frame.iloc[1:],
    "query": lambda frame: frame.query("step > 1"),
    "columns": lambda frame: frame[["step", "verdict"]],
    "drop": lambda frame: frame.drop(columns="rows"),
    "sort": lambda frame: frame.sort_values("step", ascending=False),
    "assign": lambda frame: frame.assign(extra=1),
    "copy": lambda frame: frame.copy(),
    "deepcopy": copy.deepcopy,
    "pickle": lambda frame: pickle.loads(pickle.dumps(frame)),  # noqa: S301
    "concat with its empty head": lambda frame: pd.concat([frame.head(0), frame]),
    "concat of its parts": lambda frame: pd.concat([frame.iloc[:1], frame.iloc[1:]]),
    "concat of its columns": lambda frame: pd.concat([frame[["step"]], frame[["verdict"]]], axis=1),
}


@pytest.mark.parametrize("derive", KEEPING.values(), ids=KEEPING)
def test_derived_frame_keeps_class_caption_notes_and_lines(outcomes, derive):
    derived = derive(outcomes)
    assert type(derived) is OutcomeFrame
    assert (derived.caption, derived.notes) == ("What happened", ["Kept."])
    assert derived.lines_of(1) == [NOTICE]
    assert derived.loose_lines() == []


@pytest.mark.parametrize("derive", KEEPING.values(), ids=KEEPING)
def test_derived_frame_has_its_own_copy_of_notes_and_lines(outcomes, derive):
    derived = derive(outcomes)
    derived.notes.append("more")
    derived.attached[1].append("more")
    assert outcomes.notes == ["Kept."]
    assert outcomes.attached == {1: [NOTICE]}


def test_single_column_is_an_ordinary_series(outcomes):
    assert type(outcomes["step"]) is pd.Series
    assert type(outcomes.iloc[0]) is pd.Series


RELABELLING = {
    "reset_index": lambda frame: frame.iloc[1:].reset_index(drop=True),
    "sort": lambda frame: frame.sort_values("step", ascending=False, ignore_index=True),
    "set_index": lambda frame: frame.set_index("step"),
}


@pytest.mark.parametrize("derive", RELABELLING.values(), ids=RELABELLING)
def test_replaced_labels_never_put_a_line_under_a_wrong_row(outcomes, derive):
    derived = derive(outcomes)
    assert all(derived.lines_of(label) == [] for label in derived.index)
    assert derived.loose_lines() == [NOTICE]


@pytest.mark.parametrize("ignore_index", [False, True])
def test_concat_with_clashing_labels_moves_lines_to_the_notes(outcomes, ignore_index):
    both = pd.concat([outcomes, outcomes], ignore_index=ignore_index)
    assert both.notes == ["Kept.", NOTICE, NOTICE]
    assert all(both.lines_of(label) == [] for label in both.index)


def test_concat_of_different_captions_has_none(outcomes):
    other = outcomes.copy()
    other.caption = "Another"
    assert pd.concat([outcomes, other]).caption is None


def test_concat_drops_lines_of_filtered_rows(outcomes):
    both = pd.concat([outcomes.iloc[:1], outcomes.iloc[:1]])
    assert both.notes == ["Kept."]


def test_attaching_names_the_index():
    frame = ResultFrame({"a": [1, 2]}, attached={0: ["x"]})
    assert frame.index.name == LINE
    assert (frame.lines_of(0), frame.lines_of(1)) == (["x"], [])


def test_frame_made_without_caption_and_notes_has_none():
    frame = ResultFrame({"a": [1]})
    assert (frame.caption, frame.notes, frame.attached, frame.index.name) == (None, [], {}, None)
