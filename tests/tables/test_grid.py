from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmagic.history.reading import history_frame
from pgmagic.tables.frame import ResultFrame, faithful
from pgmagic.tables.grid import MISSING, Cell, cells, describe, plain, visible
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
    assert shown == [str(n) for n in [*range(count)][: len(table.head)] + [*range(count)][count - len(table.tail) :]]
    assert len(shown) + table.hidden == count
    assert len(shown) == min(count, limit)


def test_negative_limit_is_refused():
    with pytest.raises(ValueError, match="-1"):
        describe(numbers(1), -1)


def test_empty_frame_says_so():
    table = describe(outcome_frame([]))
    assert table.size == "no rows"
    assert [column.name for column in table.columns] == list(outcome_frame([]).columns)


def test_columns_of_numbers_are_right_aligned_even_if_empty():
    table = describe(outcome_frame([]))
    right = {column.name for column in table.columns if column.align == "right"}
    assert right == {"step", "rows", "elapsed_ms"}


def test_decimals_are_right_aligned():
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
def test_index_is_shown_unless_it_only_counts_rows(frame, expected):
    assert [column.name for column in describe(frame).columns][:-1] == expected


def test_index_levels_hold_their_values():
    index = pd.MultiIndex.from_tuples([(1, "a"), (2, "b")])
    [first, second] = describe(numbers(2).set_axis(index)).head
    assert [cell.text for cell in first.cells] == ["1", "a", "0"]
    assert [cell.text for cell in second.cells] == ["2", "b", "1"]


def test_columns_with_the_same_name_stay_separate():
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


NOON = dt.datetime(2020, 1, 1, 12, tzinfo=dt.UTC)
NEPAL = dt.timezone(dt.timedelta(hours=5, minutes=45))


def shown(values, role="text", dtype=object):
    return cells(pd.Series(values, dtype=dtype), role)


def texts(values, role="text", dtype=object):
    return [cell.text for cell in shown(values, role, dtype)]


PLAIN = [
    ("", ""),
    (" a\tb\nc ", " a\tb\nc "),
    (7, "7"),
    (-0.1, "-0.1"),
    (1e20, "1e+20"),
    (float("nan"), "NaN"),
    (float("-inf"), "-Infinity"),
    (True, "True"),
    (Decimal("1.10"), "1.10"),
    (Decimal("0E-8"), "0.00000000"),
    (Decimal("1E+3"), "1000"),
    (Decimal("NaN"), "NaN"),
    (NOON, "2020-01-01 12:00:00 UTC"),
    (NOON.replace(microsecond=5), "2020-01-01 12:00:00.000005 UTC"),
    (NOON.astimezone(NEPAL), "2020-01-01 17:45:00 +0545"),
    (NOON.replace(tzinfo=None), "2020-01-01 12:00:00"),
    (pd.Timestamp(1, unit="ns"), "1970-01-01 00:00:00.000000001"),
    (dt.date(2020, 1, 1), "2020-01-01"),
    (dt.timedelta(days=1, seconds=1), "1 day, 0:00:01"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (b"\x00\xff", "\\x00ff"),
    (memoryview(b"a"), "\\x61"),
    ({"ä": [1, None, True]}, '{"ä": [1, null, true]}'),
    ({"d": Decimal("1.0"), "t": NOON}, '{"d": "1.0", "t": "2020-01-01 12:00:00 UTC"}'),
    ({(1, 2): 3}, "{(1, 2): 3}"),
    (np.array([1, 2]), "[1, 2]"),
    ((1, "a"), "(1, 'a')"),
]


@pytest.mark.parametrize(
    ("value", "expected"),
    PLAIN,
    ids=[f"{type(value).__name__}-{number}" for number, (value, _) in enumerate(PLAIN)],
)
def test_plain(value, expected):
    assert plain(value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred", "\\x1b[31mred"),
        ("nul\x00", "nul\\x00"),
        ("a\r\nb\rc", "a\nb\\x0dc"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2066x\u2069", "\\u2066x\\u2069"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("مرحبا 日本 👩‍👧 é\n\t", "مرحبا 日本 👩‍👧 é\n\t"),
    ],
)
def test_visible_writes_out_what_cannot_be_seen(text, expected):
    assert visible(text) == expected


@pytest.mark.parametrize("role", ["text", "code", "verdict", "count", "duration", "pairs", "changes"])
@pytest.mark.parametrize("missing", [None, pd.NA, pd.NaT, float("nan")], ids=repr)
def test_missing_values_are_a_dash_in_every_role(role, missing):
    assert shown([missing], role) == [Cell(MISSING, "missing")]


def test_a_nan_of_the_database_is_not_missing():
    column = pd.Series(faithful([float("nan"), None, 1.5], "float"))
    assert [cell.text for cell in cells(column, "text")] == ["NaN", MISSING, "1.5"]


def test_only_columns_of_numbers_look_like_numbers():
    assert [cell.look for cell in shown([1, Decimal(2), 2.5])] == ["number"] * 3
    assert [cell.look for cell in shown([True, False])] == ["text"] * 2
    assert [cell.look for cell in shown([1, "a"])] == ["text"] * 2


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 1.005, 99.994], ["0.00", "1.00", "99.99"]),
        ([0.004, 2.0], ["<0.01", "2.00"]),
        ([0.04, 1234.56], ["<0.1", "1,234.6"]),
        ([None, 2.0], [MISSING, "2.00"]),
    ],
)
def test_durations_of_a_column_share_their_decimals(values, expected):
    assert texts(values, "duration", "float64") == expected


def test_counts_are_grouped_and_identifiers_are_not():
    assert texts([12345], "count", "Int64") == ["12,345"]
    assert texts([12345], "text", "Int64") == ["12345"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["2020-01-01", "2020-01-02"], ["2020-01-01", "2020-01-02"]),
        (["2020-01-01", "2020-01-02 01:00"], ["2020-01-01 00:00:00", "2020-01-02 01:00:00"]),
        (["2020-01-01 00:00:00.5", None], ["2020-01-01 00:00:00.500000", MISSING]),
    ],
)
def test_times_of_a_column_share_their_precision(values, expected):
    assert [
        cell.text for cell in cells(pd.Series([pd.Timestamp(v) if v else pd.NaT for v in values]), "text")
    ] == expected


def test_midnight_in_a_zone_is_not_a_date():
    assert texts([NOON.replace(hour=0)]) == ["2020-01-01 00:00:00 UTC"]


def test_words_have_a_sign_and_a_tone():
    assert shown(["rejected"], "verdict") == [Cell("rejected", "word", "✗", "bad")]
    assert shown(["invented"], "verdict") == [Cell("invented", "word", "", "quiet")]
    assert [cell.text for cell in shown([True, False], "verdict", "boolean")] == ["yes", "no"]


def test_pairs_are_key_and_value():
    [cell] = shown([{"user": 1, "url": None, "tags": ["a"]}], "pairs")
    assert cell.pairs == (("user", "1"), ("url", "null"), ("tags", '["a"]'))
    assert cell.text == 'user: 1, url: null, tags: ["a"]'


def test_pairs_that_are_not_a_dict_are_shown_as_code():
    assert texts([[1], "a"], "pairs") == ["[1]", "a"]


SIDES = [
    (None, "NULL", "null"),
    (pd.NA, MISSING, "missing"),
    ("NULL", "'NULL'", "before"),
    (MISSING, f"'{MISSING}'", "before"),
    ("", "''", "before"),
    ("a ", "'a '", "before"),
    ("a b", "a b", "before"),
    (0, "0", "before"),
    (float("nan"), "NaN", "before"),
]


@pytest.mark.parametrize(("value", "text", "look"), SIDES, ids=[repr(value) for value, _, _ in SIDES])
def test_sides_of_a_change_are_distinguished(value, text, look):
    [cell] = shown([value], "before")
    assert (cell.text, cell.look) == (text, look)


def test_sides_have_a_sign_besides_their_colour():
    assert shown(["a"], "before")[0].sign == "\N{MINUS SIGN}"
    assert shown(["a"], "after")[0].sign == "+"
    assert shown([pd.NA], "after")[0].sign == ""


def test_changes_show_both_sides():
    assert texts([{"n": [1, None], "data.k": [pd.NA, "x"]}], "changes") == [f"n: 1 → NULL, data.k: {MISSING} → x"]
    assert texts([{}], "changes") == ["no change"]
