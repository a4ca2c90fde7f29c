from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmagic.history.event_frame import history_frame
from pgmagic.tables.frame import ResultFrame
from pgmagic.tables.grid import describe
from pgmagic.watch.outcome_frame import OutcomeRow, outcome_frame


def numbers(count: int) -> pd.DataFrame:
    return pd.DataFrame({"n": range(count)})


def first_cells(rows) -> list[str]:
    return [row.cells[0].text for row in rows]


def test_long_frame_shows_both_ends_and_counts_the_rest():
    table = describe(numbers(1234), limit=5)
    assert first_cells(table.head) == ["0", "1", "2"]
    assert first_cells(table.tail) == ["1232", "1233"]
    assert table.hidden == 1229
    assert table.size == "5 of 1,234 rows"


def test_frame_at_the_limit_is_whole():
    table = describe(numbers(60))
    assert len(table.head) == 60
    assert (table.tail, table.hidden, table.size, table.gap) == ((), 0, None, None)
    assert describe(numbers(61)).size == "60 of 61 rows"
    assert describe(numbers(61)).gap == "⋮ 1 row not shown ⋮"


@given(st.integers(0, 30), st.integers(0, 12))
def test_shown_and_hidden_rows_add_up(count, limit):
    table = describe(numbers(count), limit)
    shown = first_cells([*table.head, *table.tail])
    assert shown == [
        str(n) for n in [*range(count)][: len(table.head)] + [*range(count)][count - len(table.tail) :]
    ]
    assert len(shown) + table.hidden == count
    assert len(shown) == min(count, limit)


def test_negative_limit_is_refused():
    with pytest.raises(ValueError, match="-1"):
        describe(numbers(1), -1)


def test_empty_frame_says_so():
    table = describe(outcome_frame([]))
    assert table.size == "no rows"
    assert [column.name for column in table.columns] == list(outcome_frame([]).columns)


def test_numbers_stand_on_the_right_also_where_there_are_none():
    table = describe(outcome_frame([]))
    right = {column.name for column in table.columns if column.align == "right"}
    assert right == {"step", "rows", "elapsed_ms"}


def test_decimals_stand_on_the_right():
    from decimal import Decimal

    history = history_frame({"pgh_id": [1], "price": [Decimal("1.1")]}, {"price": "decimal"})
    assert {column.name for column in describe(history).columns if column.align == "right"} >= {
        "price",
        "pgh_id",
    }


INDEXES = {
    "default": (numbers(3), []),
    "filtered result": (ResultFrame({"n": range(3)})[1:], []),
    "result of rows": (outcome_frame([OutcomeRow(step=1, statement="a")])[["step"]], []),
    "default of a long frame": (numbers(100), []),
    "filtered": (numbers(3).loc[[2]], [""]),
    "named": (numbers(3).rename_axis("id"), ["id"]),
    "named result": (ResultFrame({"n": [1]}, index=pd.Index([7], name="id")), ["id"]),
    "described result": (ResultFrame({"n": [1]}, index=["mean"]), [""]),
    "two levels": (numbers(1).set_axis(pd.MultiIndex.from_tuples([(1, "a")], names=["x", "y"])), ["x", "y"]),
}


@pytest.mark.parametrize(("frame", "expected"), INDEXES.values(), ids=INDEXES)
def test_index_is_shown_where_it_says_something(frame, expected):
    assert [column.name for column in describe(frame).columns][:-1] == expected


def test_index_levels_hold_their_values():
    index = pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])
    [first, second] = describe(numbers(2).set_axis(index)).head
    assert [cell.text for cell in first.cells] == ["1", "a", "0"]
    assert [cell.text for cell in second.cells] == ["2", "b", "1"]


def test_columns_of_one_name_stay_apart():
    frame = pd.DataFrame([[1, "x"]], columns=["a", "a"])
    [row] = describe(frame).head
    assert [cell.text for cell in row.cells] == ["1", "x"]


def test_headings_of_several_levels_are_joined():
    frame = pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")]))
    assert describe(frame).columns[0].name == "a · b"


def test_roles_belong_to_result_frames_only():
    data = {"verdict": ["rejected"], "rows": [12345]}
    assert [cell.text for cell in describe(pd.DataFrame(data)).head[0].cells] == ["rejected", "12345"]
    assert describe(pd.DataFrame(data)).head[0].cells[0].sign == ""
    frame = outcome_frame([OutcomeRow(step=1, statement="a", verdict="rejected", rows=12345)])
    assert [cell.text for cell in describe(frame[["verdict", "rows"]]).head[0].cells] == [
        "rejected",
        "12,345",
    ]
    assert describe(frame[["verdict", "rows"]]).head[0].cells[0].sign == "✗"


def test_lines_stay_with_their_row():
    rows = [OutcomeRow(step=n, statement="s", messages=[f"NOTICE: {n}"]) for n in range(4)]
    frame = outcome_frame(rows).sort_values("step", ascending=False)
    table = describe(frame, limit=2)
    assert [row.lines for row in (*table.head, *table.tail)] == [("NOTICE: 3",), ("NOTICE: 0",)]


def test_lines_without_a_row_are_kept():
    frame = outcome_frame([OutcomeRow(step=1, statement="s", messages=["NOTICE: a"])]).reset_index(drop=True)
    table = describe(frame)
    assert (table.head[0].lines, table.lines) == ((), ("NOTICE: a",))
