from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmagic.tables.grid import visible
from pgmagic.tables.highlighting import parts, sql_html, sql_text
from tests.tables.reading import read

FUNCTION = """\
-- why
CREATE FUNCTION f() RETURNS trigger AS $body$
BEGIN
    RAISE EXCEPTION 'no <b>%</b>', OLD.version USING ERRCODE = 10.5;
    RETURN NULL;
END;
$body$ LANGUAGE plpgsql;
"""
COLOUR = re.compile(r"\x1b\[\d+m")

SOURCES = [
    "",
    "\n\n",
    "  SELECT 1  ",
    FUNCTION,
    "SELECT $$unclosed",
    "'",
    "\t-- tab\r\n",
    'SELECT "a""b"::text',
    "\x1b[0m",
]


@pytest.mark.parametrize("sql", SOURCES)
def test_nothing_of_the_sql_is_lost(sql):
    assert COLOUR.sub("", sql_text(sql)) == visible(sql)
    assert read(sql_html(sql)).one("pre").text == visible(sql)


@given(st.text("sel'\"$- \n/*;0<&>é", max_size=30))
def test_nothing_of_any_text_is_lost(sql):
    assert "".join(written for _, written in parts(sql)) == sql
    assert read(sql_html(sql)).one("pre").text == sql


@pytest.mark.parametrize(
    ("part", "written"),
    [
        ("comment", "-- why"),
        ("keyword", "CREATE FUNCTION"),
        ("keyword", "RAISE EXCEPTION"),
        ("string", "'no <b>%</b>'"),
        ("number", "10.5"),
        ("keyword", "RETURN NULL"),
    ],
)
def test_body_of_a_function_is_highlighted(part, written):
    assert part in {found for found, text in parts(FUNCTION) if written.split()[0] in text}


def test_quoted_identifiers_are_not_strings_and_points_are_not_numbers():
    assert list(parts('OLD."status"')) == [("keyword", "OLD"), ("other", '."status"')]


def test_markup_in_sql_is_escaped():
    document = read(sql_html(FUNCTION + "</pre><script>x</script>"))
    assert {element.tag for element in document.all()} == {"div", "style", "pre", "span"}


def test_style_comes_once():
    assert sql_html(FUNCTION).count("<style>") == 1


def test_colours_end_with_their_line():
    for line in sql_text("/* a\nb */ SELECT 'c\nd'").split("\n"):
        assert not COLOUR.findall(line) or line.rstrip().endswith("\x1b[0m")
        assert len(re.findall(r"\x1b\[0m", line)) * 2 == len(COLOUR.findall(line))
