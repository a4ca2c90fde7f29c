from __future__ import annotations

import decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmagic.db.installation_frame import InstallationFrame
from pgmagic.history.diff import diff_frame, wide_diff_frame
from pgmagic.history.reading import history_frame
from pgmagic.plan.steps import Outcome, Step
from pgmagic.tables.frame import ResultFrame
from pgmagic.tables.grid import visible
from pgmagic.tables.html import LONGEST, MOST_LINES, html
from pgmagic.watch.outcome_frame import OutcomeRow, outcome_frame
from tests.tables.reading import read, rows

EVIL = "<script>alert('x')</script>\"'&<b onclick=\"y\">"

TAGS = {
    "div", "style", "b", "table", "thead", "tbody", "tr", "th", "td", "p", "span", "bdi", "code", "pre",
    "del", "ins", "details", "summary", "wbr",
}  # fmt: skip
ATTRIBUTES = {"class", "scope", "colspan", "dir", "role", "tabindex", "aria-label"}


def outcomes(*rows: OutcomeRow, **words):
    return outcome_frame(rows, **words)


def history(before, after, kind="text", **words):
    return history_frame(
        {
            "pgh_id": [1, 2],
            "pgh_obj_id": [1, 1],
            "pgh_label": ["a", "a"],
            "context": [None, {"user": "eve"}],
            "field": [before, after],
        },
        {"field": kind},
        **words,
    )


EVIL_FRAMES = {
    "caption": lambda evil: outcomes(caption=evil),
    "note": lambda evil: outcomes(notes=[evil]),
    "attached line": lambda evil: outcomes(OutcomeRow(step=1, statement="s", messages=[evil])),
    "loose line": lambda evil: outcomes(OutcomeRow(step=1, statement="s", messages=[evil])).reset_index(drop=True),
    "code": lambda evil: outcomes(OutcomeRow(step=1, statement=evil)),
    "several lines of code": lambda evil: outcomes(OutcomeRow(step=1, statement=f"a\n{evil}")),
    "long code": lambda evil: outcomes(OutcomeRow(step=1, statement=evil * 20)),
    "word": lambda evil: outcomes(OutcomeRow(step=1, statement="s", verdict=evil)),
    "text": lambda evil: outcomes(OutcomeRow(step=1, statement="s", reason=evil)),
    "long text": lambda evil: outcomes(OutcomeRow(step=1, statement="s", reason=evil * 20)),
    "many lines": lambda evil: outcomes(OutcomeRow(step=1, statement="s", reason=f"{evil}\n" * 20)),
    "installed object": lambda evil: InstallationFrame.from_rows([Outcome(Step(evil, "table", "create"), "done")]),
    "column name": lambda evil: ResultFrame({evil: [1]}),
    "levels of columns": lambda evil: pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([(evil, "b")])),
    "index name": lambda evil: pd.DataFrame({"a": [1]}).rename_axis(evil),
    "index value": lambda evil: pd.DataFrame({"a": [1]}, index=[evil]),
    "dict key": lambda evil: pd.DataFrame({"a": [{evil: 1}]}),
    "list": lambda evil: pd.DataFrame({"a": [[evil]]}),
    "object": lambda evil: pd.DataFrame({"a": [type("Odd", (), {"__str__": lambda self: evil})()]}),
    "context key": lambda evil: history_frame({"context": [{evil: 1}]}, {}),
    "context value": lambda evil: history_frame({"context": [{"k": evil}]}, {}),
    "nested context": lambda evil: history_frame({"context": [{"k": {evil: [evil]}}]}, {}),
    "before": lambda evil: diff_frame(history(evil, "b")),
    "after": lambda evil: diff_frame(history("a", evil)),
    "path": lambda evil: diff_frame(history({evil: 1}, {evil: 2}, "json")),
    "wide path": lambda evil: wide_diff_frame(history({evil: 1}, {evil: 2}, "json")),
    "wide value": lambda evil: wide_diff_frame(history("a", evil)),
}


@pytest.mark.parametrize("make", EVIL_FRAMES.values(), ids=EVIL_FRAMES)
def test_text_is_escaped_everywhere(make):
    document = read(html(make(EVIL)))
    elements = document.all()
    assert {element.tag for element in elements} <= TAGS
    assert {name for element in elements for name in element.attributes} <= ATTRIBUTES
    # JSON and paths quote a text in their own way; what they leave is there all the same.
    assert "<script>alert('x')</script>" in document.text


@given(st.text(max_size=40))
def test_any_text_is_shown_as_it_is(content):
    document = read(html(pd.DataFrame({"a": [content]})))
    assert {element.tag for element in document.all()} <= TAGS
    assert document.one("td").text == visible(content)


def test_rows_read_as_expected():
    frame = outcomes(
        OutcomeRow(step=1, statement="a()", verdict="applied", rows=12345, elapsed_ms=1.239),
        OutcomeRow(step=2, statement="b()", verdict="rejected", trigger="app.M:t", reason="no"),
    )
    assert rows(html(frame)) == [
        ["step", "statement", "verdict", "rows", "table", "trigger", "reason", "elapsed_ms"],
        ["1", "a()", "✓ applied", "12,345", "–", "–", "–", "1.24"],  # noqa: RUF001
        ["2", "b()", "✗ rejected", "–", "–", "app.M:t", "no", "–"],  # noqa: RUF001
    ]


@pytest.mark.parametrize("columns", [["verdict"], ["elapsed_ms", "step"], ["reason", "trigger"], []])
def test_any_columns_can_be_left_out(columns):
    frame = outcomes(OutcomeRow(step=1, statement="a()", verdict="applied", elapsed_ms=1))[columns]
    assert rows(html(frame))[0] == columns


def test_output_contains_its_style_once_and_loads_nothing():
    written = html(outcomes(OutcomeRow(step=1, statement="a()", messages=["NOTICE: x"]), caption="c", notes=["n"]))
    assert written.count("<style>") == 1
    for foreign in ("<script", "http:", "https:", "url(", "@import", "javascript:", " on"):
        assert foreign not in written.partition("</style>")[2]
        assert foreign == " on" or foreign not in written


def test_caption_notes_and_size_are_shown():
    document = read(
        html(pd.concat([outcomes(OutcomeRow(step=1, statement="s"), caption="C", notes=["N."])] * 9), limit=4)
    )
    assert document.one(class_="pgm-caption").text == "C"
    assert [said.text for said in document.one(class_="pgm-foot").all("p")] == ["4 of 9 rows", "N."]
    assert document.one(class_="pgm-gap").text == "⋮ 5 rows not shown ⋮"
    assert document.one(class_="pgm-scroll").attributes["aria-label"] == "C"


def test_table_without_words_has_no_caption_and_no_foot():
    document = read(html(pd.DataFrame({"a": [1]})))
    assert document.all(class_="pgm-caption") + document.all(class_="pgm-foot") + document.all(class_="pgm-gap") == []


def test_empty_frame_shows_its_columns():
    document = read(html(outcomes()))
    assert len(document.all("th")) == 8
    assert document.one("p").text == "no rows"


def test_attached_line_spans_the_table_under_its_row():
    frame = outcomes(
        OutcomeRow(step=1, statement="a", messages=["NOTICE: one: two", "plain: line"]),
        OutcomeRow(step=2, statement="b"),
    )
    document = read(html(frame))
    assert [row.content[0].text for row in document.all("tr")] == [
        "step",
        "1",
        "↳ NOTICE: one: two",
        "↳ plain: line",
        "2",
    ]
    assert [row.content[0].attributes["colspan"] for row in document.all(class_="pgm-under")] == ["8", "8"]
    assert document.one(class_="pgm-severity").text == "NOTICE:"


@pytest.mark.parametrize("content", ["x" * (LONGEST + 1), "y\n" * MOST_LINES, " leading\n" * 20])
def test_long_value_is_folded_whole(content):
    document = read(html(pd.DataFrame({"a": [content]})))
    folded = document.one("details")
    summary = folded.one("summary")
    assert folded.text.removeprefix(summary.text) == content
    assert f"{len(content):,} characters" in summary.text
    assert "open" not in folded.attributes


@pytest.mark.parametrize("content", ["x" * LONGEST, "y\n" * (MOST_LINES - 1)])
def test_value_that_is_not_long_is_not_folded(content):
    document = read(html(pd.DataFrame({"a": [content]})))
    assert document.all("details") == []
    assert document.one("td").text == content


def test_long_value_keeps_its_look_when_folded():
    frame = outcomes(OutcomeRow(step=1, statement="f(x)\n" * 100))
    assert read(html(frame)).one("details").one("pre").one("code").text == "f(x)\n" * 100


def test_code_of_several_lines_keeps_them_without_the_style():
    assert read(html(outcomes(OutcomeRow(step=1, statement="for a in b:\n    c()")))).one("pre").text == (
        "for a in b:\n    c()"
    )


def test_numbers_are_right_aligned():
    document = read(html(pd.DataFrame({"n": [1], "d": [decimal.Decimal(1)], "s": ["1"]})))
    for tag in ("th", "td"):
        assert ["pgm-right" in cell.classes for cell in document.all(tag)] == [True, True, False]


def test_sides_of_a_change_are_marked_in_words_and_elements():
    document = read(html(diff_frame(history("old", "new"))))
    assert document.one("del").text == "\N{MINUS SIGN} old"
    assert document.one("ins").text == "+ new"


def test_right_to_left_text_affects_only_its_cell():
    document = read(html(pd.DataFrame({"a": ["مرحبا"], "n": [1]})))
    assert [cell.attributes.get("dir") for cell in document.all("td")] == ["auto", None]


def test_uris_may_break_and_are_copied_without_breaks():
    document = read(html(pd.DataFrame({"a": ["notebook.Post:protect_published"]})))
    assert document.one("td").text == "notebook.Post:protect_published"
    assert len(document.all("wbr")) == 2


def test_output_with_its_style_is_small():
    assert len(html(pd.DataFrame({"a": [1]}))) < 8_000
