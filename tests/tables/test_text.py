from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from pgmagic.tables.grid import visible
from pgmagic.tables.text import text
from pgmagic.watch.outcome_frame import OutcomeRow, outcome_frame
from tests.tables.test_html import EVIL_FRAMES


def test_table_is_aligned():
    frame = outcome_frame(
        [
            OutcomeRow(step=1, statement="a()", verdict="applied", rows=12345, elapsed_ms=1.2),
            OutcomeRow(step=10, statement="b(1)", verdict="rejected", reason="no", messages=["NOTICE: n"]),
        ],
        caption="What",
        notes=["Kept."],
    ).drop(columns=["table", "trigger"])
    assert text(frame).split("\n") == [
        "What",
        "step  statement  verdict       rows  reason  elapsed_ms",
        "────  ─────────  ──────────  ──────  ──────  ──────────",
        "   1  a()        ✓ applied   12,345  –             1.20",  # noqa: RUF001
        "  10  b(1)       ✗ rejected       –  no               –",  # noqa: RUF001
        "  ↳ NOTICE: n",
        "Kept.",
    ]


def test_wide_characters_count_as_two_cells():
    frame = pd.DataFrame({"a": ["日本", "e\u0301", "x"], "b": ["|"] * 3})
    bars = {cell_len(line.partition("|")[0]) for line in text(frame).split("\n")[2:]}
    assert bars == {6}


def test_cut_table_says_so():
    lines = text(pd.DataFrame({"n": range(100)}), limit=4).split("\n")
    assert lines[2:] == [" 0", " 1", "⋮ 96 rows not shown ⋮", "98", "99", "4 of 100 rows"]


def test_empty_frame_says_so():
    assert text(outcome_frame([])[["step", "verdict"]]) == "step  verdict\n────  ───────\nno rows"


def test_lines_of_a_value_are_shown_below_each_other():
    frame = pd.DataFrame({"a": ["x\n\ty", "z"], "n": [1, 2]})
    assert text(frame).split("\n")[2:] == ["x      1", "    y", "z      2"]


def test_control_characters_never_reach_the_terminal():
    frame = outcome_frame(
        [OutcomeRow(step=1, statement="\x1b[2J", reason="\u202e", messages=["\x07"])],
        caption="\x1b",
        notes=["\x9b"],
    )
    shown = text(frame)
    assert not set(shown) & {"\x1b", "\u202e", "\x07", "\x9b"}
    assert {"\\x1b[2J", "\\u202e", "\\x07", "\\x9b"} <= set(shown.replace("\n", " ").split())


def test_wide_table_is_wrapped_with_a_mark():
    frame = pd.DataFrame({"n": [1], "a": ["some words that are too many for one line"], "b": ["notebook.Post:protect"]})
    assert text(frame, width=40).split("\n") == [
        "n  a                  b",
        "─  ─────────────────  ─────────────────",
        "1  some words that    notebook.Post:",
        "   ↪ are too many     ↪ protect",
        "   ↪ for one line",
    ]


def test_numbers_words_and_times_are_never_wrapped():
    frame = outcome_frame([OutcomeRow(step=123456, statement="s" * 99, verdict="rolled back", elapsed_ms=1234.5)])
    lines = text(frame[["step", "statement", "verdict", "elapsed_ms"]], width=10).split("\n")
    assert lines[2].startswith("123456  ")
    assert "↶ rolled back" in lines[2]
    assert lines[2].endswith("1,234.5")


def unwrapped(shown: str) -> str:
    return "".join(line.removeprefix("↪ ") for line in shown.split("\n")[2:])


@given(
    st.text(st.characters(categories=["L", "N", "P", "S"], exclude_characters="↪"), min_size=1),
    st.integers(16, 40),
)
def test_wrapping_loses_nothing_and_respects_the_width(content, width):
    shown = text(pd.DataFrame({"a": [content]}), width=width)
    assert unwrapped(shown) == visible(content)
    assert max(map(cell_len, shown.split("\n"))) <= width


@pytest.mark.parametrize("make", EVIL_FRAMES.values(), ids=EVIL_FRAMES)
def test_text_contains_what_the_html_does(make):
    assert "harmless.words" in text(make("harmless.words"))
