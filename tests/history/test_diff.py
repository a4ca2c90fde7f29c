from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgmagic.history.diff import DiffFrame, WideDiffFrame, diff_frame, wide_diff_frame
from pgmagic.history.reading import HistoryFrame, history_frame

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)
KINDS = {
    "number": "integer",
    "flag": "boolean",
    "title": "text",
    "price": "decimal",
    "ratio": "float",
    "day": "date",
    "seen": "timestamp",
    "data": "json",
}


def history_of(events: list[dict], sides: dict | None = None) -> HistoryFrame:
    """Return the events, dicts with `id`, `obj`, `label` and some fields, as a history."""
    fields = [name for name in KINDS if any(name in event for event in events)]
    columns = {
        "pgh_id": [event["id"] for event in events],
        "pgh_created_at": [NOON + timedelta(seconds=event["id"]) for event in events],
        "pgh_label": [event.get("label", "snapshot") for event in events],
        "pgh_obj_id": [event.get("obj", 1) for event in events],
        "context": [{"event": event["id"]} for event in events],
        **{name: [event.get(name) for event in events] for name in fields},
    }
    return history_frame(columns, {name: KINDS[name] for name in fields}, sides=sides)


def listed(diff: DiffFrame) -> list[tuple]:
    return [
        (row.context["event"], int(row.pgh_obj_id), row.pgh_label, row.field, row.before, row.after)
        for row in diff.itertuples()
    ]


def test_long_form_has_a_row_for_each_changed_field():
    history = history_of(
        [
            {"id": 1, "number": 1, "title": "a", "price": Decimal("1.0")},
            {"id": 2, "number": 2, "title": "b", "price": Decimal("1.00")},
        ]
    )
    diff = diff_frame(history)
    assert listed(diff) == [(2, 1, "snapshot", "number", 1, 2), (2, 1, "snapshot", "title", "a", "b")]
    assert list(diff["pgh_created_at"]) == [NOON + timedelta(seconds=2)] * 2


def test_events_are_ordered_by_id_whatever_the_order_of_rows():
    history = history_of([{"id": 3, "number": 3}, {"id": 1, "number": 1}, {"id": 2, "number": 2}])
    assert listed(diff_frame(history)) == [
        (2, 1, "snapshot", "number", 1, 2),
        (3, 1, "snapshot", "number", 2, 3),
    ]


def test_objects_are_never_compared_with_each_other():
    history = history_of([{"id": 1, "obj": 1, "number": 1}, {"id": 2, "obj": 2, "number": 2}])
    assert diff_frame(history).empty


def test_events_of_no_object_are_never_compared():
    history = history_of([{"id": 1, "obj": None, "number": 1}, {"id": 2, "obj": None, "number": 2}])
    assert diff_frame(history).empty
    assert list(wide_diff_frame(history)["pgh_diff"]) == [None, None]


def test_old_rows_are_compared_with_old_rows_only():
    # One update 1 -> 2, then another 2 -> 3, each recorded before and after.
    history = history_of(
        [
            {"id": 1, "label": "before", "number": 1},
            {"id": 2, "label": "after", "number": 2},
            {"id": 3, "label": "before", "number": 2},
            {"id": 4, "label": "after", "number": 3},
        ],
        sides={"before": "OLD"},
    )
    assert listed(diff_frame(history)) == [(3, 1, "before", "number", 1, 2), (4, 1, "after", "number", 2, 3)]


def test_labels_of_one_side_are_compared_with_each_other():
    history = history_of([{"id": 1, "label": "insert", "number": 1}, {"id": 2, "label": "update", "number": 2}])
    assert listed(diff_frame(history)) == [(2, 1, "update", "number", 1, 2)]


def test_values_come_out_as_themselves():
    later = NOON + timedelta(microseconds=1)
    history = history_of(
        [
            {"id": 1, "day": date(2020, 1, 1), "seen": NOON, "ratio": 0.5, "flag": True},
            {"id": 2, "day": date(2020, 1, 2), "seen": later, "ratio": float("nan"), "flag": None},
            {"id": 3, "day": None, "seen": later, "ratio": float("nan"), "flag": None},
        ]
    )
    diff = diff_frame(history).set_index("field")
    assert diff["before"].tolist() == [True, 0.5, date(2020, 1, 1), NOON, date(2020, 1, 2)]
    assert [type(value) for value in diff["after"]] == [type(None), float, date, datetime, type(None)]


def test_documents_are_compared_by_path():
    history = history_of(
        [{"id": 1, "data": {"a": {"b": [1, 2]}, "c": 1}}, {"id": 2, "data": {"a": {"b": [1, 3]}, "d": None}}]
    )
    diff = diff_frame(history)
    assert diff["field"].tolist() == ["data.a.b[1]", "data.c", "data.d"]
    assert diff["before"].tolist()[:2] == [2, 1]
    assert diff["after"].tolist()[1] is pd.NA
    assert (diff["before"].tolist()[2], diff["after"].tolist()[2]) == (pd.NA, None)


def test_wide_form_has_a_row_for_each_event():
    history = history_of(
        [
            {"id": 2, "number": 1},
            {"id": 3, "number": 2},
            {"id": 1, "obj": 2, "number": 5},
            {"id": 4, "number": 2},
        ]
    )
    wide = history.pgh.diff(wide=True)
    assert type(wide) is WideDiffFrame
    assert wide["pgh_id"].tolist() == [1, 2, 3, 4]
    assert wide["pgh_diff"].tolist() == [None, None, {"number": [1, 2]}, {}]
    assert wide["context"].tolist() == [{"event": event} for event in (1, 2, 3, 4)]


def test_accessor_gives_the_long_form():
    history = history_of([{"id": 1, "number": 1}, {"id": 2, "number": 2}])
    pd.testing.assert_frame_equal(history.pgh.diff(), diff_frame(history))


def test_accessor_is_for_histories_only():
    assert not hasattr(pd.DataFrame({"a": [1]}), "pgh")
    with pytest.raises(AttributeError, match="history frame"):
        pd.DataFrame({"a": [1]}).pgh.diff()


def test_only_the_columns_left_are_compared():
    history = history_of([{"id": 1, "number": 1, "title": "a"}, {"id": 2, "number": 2, "title": "b"}])
    without = history.drop(columns=["title", "context", "pgh_context_id"])
    diff = diff_frame(without)
    assert diff["field"].tolist() == ["number"]
    assert diff["context"].tolist() == [None]


def test_missing_column_is_named():
    history = history_of([{"id": 1, "number": 1}])
    with pytest.raises(ValueError, match="pgh_obj_id"):
        diff_frame(history.drop(columns="pgh_obj_id"))


def test_unknown_sides_are_not_guessed():
    history = HistoryFrame(pd.DataFrame(history_of([{"id": 1, "number": 1}])))
    with pytest.raises(ValueError, match="OLD"):
        diff_frame(history)


def test_contradicting_sides_are_refused():
    one = history_of([{"id": 1, "label": "a", "number": 1}], sides={"a": "OLD"})
    two = history_of([{"id": 2, "label": "a", "number": 1}])
    with pytest.raises(ValueError, match="label a records"):
        diff_frame(pd.concat([one, two]))


FIELDS = {
    "number": st.none() | st.integers(0, 2),
    "flag": st.none() | st.booleans(),
    "title": st.none() | st.sampled_from(["", "a", "b"]),
    "price": st.none() | st.sampled_from([Decimal("1.0"), Decimal("1.00"), Decimal("2"), Decimal("NaN")]),
    "ratio": st.none() | st.sampled_from([0.0, 0.5, float("nan")]),
    "day": st.none() | st.sampled_from([date(2020, 1, 1), date(2020, 1, 2)]),
    "seen": st.none() | st.sampled_from([NOON, NOON + timedelta(microseconds=1)]),
}
EVENTS = st.lists(
    st.fixed_dictionaries(
        {
            "obj": st.none() | st.integers(1, 3),
            "label": st.sampled_from(["old", "new", "also new"]),
            **FIELDS,
        }
    ),
    max_size=12,
)


def naive(events: list[dict]) -> list[tuple]:
    """Return the differences, found event by event."""
    found, latest = [], {}
    for event in sorted(events, key=lambda event: event["id"]):
        key = (event["obj"], event["label"] == "old")
        previous = latest.get(key)
        if event["obj"] is None:
            continue
        for field in FIELDS if previous is not None else ():
            before, after = previous[field], event[field]
            both_nan = before != before and after != after
            if before != after and not both_nan:
                found.append((event["id"], event["obj"], event["label"], field, before, after))
        latest[key] = event
    return found


# Without a deadline: what else runs on the machine says nothing about the code.
@settings(deadline=None)
@given(EVENTS, st.randoms(use_true_random=False))
def test_diff_agrees_with_a_naive_one(events, random):
    for number, event in enumerate(events, start=1):
        event["id"] = number
    shuffled = random.sample(events, len(events))
    history = history_of(shuffled, sides={"old": "OLD"})
    # repr, since NaN differs from itself
    assert [repr(row) for row in listed(diff_frame(history))] == [repr(row) for row in naive(events)]


@settings(deadline=None)
@given(EVENTS)
def test_wide_diff_holds_what_the_long_one_does(events):
    for number, event in enumerate(events, start=1):
        event["id"] = number
    history = history_of(events, sides={"old": "OLD"})
    from_wide = [
        (int(row.pgh_id), int(row.pgh_obj_id), row.pgh_label, field, *sides)
        for row in wide_diff_frame(history).itertuples()
        for field, sides in (row.pgh_diff or {}).items()
    ]
    assert [repr(row) for row in from_wide] == [repr(row) for row in listed(diff_frame(history))]


@pytest.mark.slow
def test_diff_of_200_000_events_is_fast():
    count = 200_000
    columns = {
        "pgh_id": list(range(count)),
        "pgh_created_at": [NOON] * count,
        "pgh_label": ["snapshot"] * count,
        "pgh_obj_id": [number % 20_000 for number in range(count)],
        **{f"field_{n}": [number // 20_000 % (n + 1) for number in range(count)] for n in range(8)},
    }
    history = history_frame(columns, {f"field_{n}": "integer" for n in range(8)})
    start = time.process_time()  # of the processor, since the machine may be busy with something else
    diff = diff_frame(history)
    assert time.process_time() - start < 2
    # field_0 never changes, field_n takes the values 0, 1 ... n in turn over ten events of each object
    assert len(diff) == 20_000 * sum(9 for n in range(1, 8))
