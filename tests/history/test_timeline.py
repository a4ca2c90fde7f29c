from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import matplotlib as mpl
import pandas as pd
import pytest

from pgmagic.history.reading import history_frame
from pgmagic.history.timeline import timeline_frame

START = datetime(2024, 1, 1, tzinfo=UTC)


def day(number: int) -> Any:
    return pd.Timestamp(START + timedelta(days=number))


def timeline(*events: tuple[Any, ...], ends: Any = ("delete",), **more: Any) -> Any:
    """Return the timeline of events, given as (object, day, label, value)."""
    columns = {
        "pgh_id": list(range(1, len(events) + 1)),
        "pgh_created_at": [START + timedelta(days=when) for _, when, _, _ in events],
        "pgh_label": [label for _, _, label, _ in events],
        "pgh_obj_id": [key for key, _, _, _ in events],
        "value": [value for *_, value in events],
    }
    history = history_frame(columns, {"value": "json"}, sides=dict.fromkeys(["delete", "was", "change"], "OLD"))
    return timeline_frame(history, ends=ends, **more)


def spans(frame: Any) -> list[tuple[Any, ...]]:
    return [
        tuple(
            None if pd.isna(cell) else (cell - day(0)).days if isinstance(cell, pd.Timestamp) else cell for cell in row
        )
        for row in frame.astype({"value": object}).itertuples(index=False, name=None)
    ]


def test_states_are_valid_until_the_next_one() -> None:
    frame = timeline((2, 0, "insert", "x"), (1, 1, "insert", "a"), (1, 3, "update", "b"), (2, 4, "delete", "x"))
    assert spans(frame) == [(1, 1, 3, "a"), (1, 3, None, "b"), (2, 0, 4, "x")]


def test_states_within_one_transaction_are_left_out_and_equal_ones_joined() -> None:
    frame = timeline(
        (1, 0, "insert", "a"), (1, 2, "update", "b"), (1, 2, "update", "c"),
        (1, 5, "note", "c"), (1, 6, "update", {"k": 1}),
    )  # fmt: skip
    assert spans(frame) == [(1, 0, 2, "a"), (1, 2, 6, "c"), (1, 6, None, {"k": 1})]


def test_a_deleted_object_comes_back() -> None:
    frame = timeline((1, 0, "insert", "a"), (1, 2, "delete", "a"), (1, 5, "insert", "a"))
    assert spans(frame) == [(1, 0, 2, "a"), (1, 5, None, "a")]


def test_old_rows_hold_the_state_until_then() -> None:
    frame = timeline((1, 1, "was", "a"), (1, 4, "was", "b"), (1, 6, "delete", "c"), updates_are_new=False)
    assert spans(frame) == [(1, None, 1, "a"), (1, 1, 4, "b"), (1, 4, 6, "c")]


def test_labels_of_events_made_by_hand_are_skipped() -> None:
    frame = timeline((1, 0, "insert", "a"), (1, 1, "note", "never"), (1, 2, "update", "b"), apart=["note"])
    assert spans(frame) == [(1, 0, 2, "a"), (1, 2, None, "b")]


@pytest.mark.parametrize("old_first", [True, False])
def test_the_event_beside_it_shows_whether_an_old_row_is_of_an_update_or_a_delete(old_first: bool) -> None:
    update = [(1, 2, "change", "a"), (1, 2, "snapshot", "b")]
    events = [(1, 0, "snapshot", "a"), *(update if old_first else update[::-1]), (1, 4, "change", "b")]
    assert spans(timeline(*events, ends=())) == [(1, 0, 2, "a"), (1, 2, 4, "b")]


def test_an_older_transaction_that_ends_later_does_not_turn_time_back() -> None:
    frame = timeline((1, 0, "insert", "a"), (1, 5, "update", "b"), (1, 3, "update", "c"), (1, 9, "update", "d"))
    assert spans(frame) == [(1, 0, 5, "a"), (1, 5, 9, "c"), (1, 9, None, "d")]


def test_timeline_skips_events_without_an_object() -> None:
    assert spans(timeline((None, 0, "insert", "a"))) == []
    assert spans(timeline()) == []


@pytest.fixture
def drawn() -> Any:
    mpl.use("Agg")
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def test_plot_has_a_lane_for_each_object(drawn: None) -> None:
    frame = timeline((2, 0, "insert", "x"), (1, 1, "insert", "a"), (1, 50, "update", "b"), (2, 60, "delete", "x"))
    ax = frame.plot(until=day(100))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "2"]
    assert texts(ax) == ["a", "b", "x"]
    assert len(ax.patches) == 3
    assert ax.get_title(loc="left") == "value"
    limited = frame.plot("value", limit=1, until=day(100))
    assert limited.get_title(loc="left") == "value, the 1 of 2 that changed most"
    assert texts(limited) == ["a", "b"]
    assert texts(frame.plot(lane="value", ax=ax)) == texts(ax)


def test_plot_of_one_object_has_a_lane_for_each_field_that_changed(drawn: None) -> None:
    frame = timeline((1, 0, "insert", None), (1, 50, "update", "b" * 60)).assign(constant="same")
    ax = frame.plot(until=day(100))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["value"]
    assert texts(ax) == ["(none)", "b" * 39 + "…"]
    assert ax.get_title(loc="left") == "Timeline · 1"


def test_plot_names_what_it_cannot_draw(drawn: None) -> None:
    frame = timeline((1, 0, "insert", "a"))
    with pytest.raises(ValueError, match="no field 'colour' to draw; its fields are value"):
        frame.plot("colour")
    with pytest.raises(ValueError, match="nothing to draw"):
        timeline().plot()
