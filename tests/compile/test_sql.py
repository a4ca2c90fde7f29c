"""Typed fragments: what is quoted, and what no text can get out of."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.adapt import Transformer

from pgmagic.compile.sql import (
    DollarQuoted,
    compose,
    identifier,
    join,
    literal,
    merge,
    quoted,
    render,
    verbatim,
)


@pytest.mark.parametrize(
    ("fragment", "sql"),
    [
        (identifier("post"), '"post"'),
        (identifier("My Schema", 'a"b'), '"My Schema"."a""b"'),
        (identifier(None, "post"), '"post"'),
        (literal("o'k"), "'o''k'"),
        (literal("a\\b"), " E'a\\\\b'"),
        (literal(None), "NULL"),
        (literal(True), "true"),
        (literal(-1), " -1"),
        (literal(dt.date(2020, 1, 2)), "'2020-01-02'::date"),
        (verbatim("a % {b} %s :c $1"), "a % {b} %s :c $1"),
        (compose("a ", identifier("b"), " %s {}"), 'a "b" %s {}'),
        (join(", ", ["a", identifier("b")]), 'a, "b"'),
        (join(", ", []), ""),
    ],
)
def test_fragment_renders_without_a_connection(fragment, sql):
    assert render(fragment) == sql


@pytest.mark.parametrize(
    ("template", "params", "sql"),
    [
        ("a = %s AND b LIKE '%%x' || %s", ["50%", "%s"], "a = '50%' AND b LIKE '%x' || '%s'"),
        ("now()", [], "now()"),
        ("%s", ["{}"], "'{}'"),
    ],
)
def test_merge_quotes_every_parameter_once(template, params, sql):
    assert merge(template, params) == sql


@pytest.mark.parametrize("value", ["a\x00b", object(), "\ud800"])
def test_value_that_postgres_cannot_store_is_refused(value):
    with pytest.raises(ValueError, match=r"\w"):
        quoted(value)


def content(dollar_quoted: str) -> str:
    """The text of a dollar-quoted literal, scanned as Postgres does, from the first closing tag."""
    tag = dollar_quoted[: dollar_quoted.index("$", 1) + 1]
    text, closing, rest = dollar_quoted[len(tag) :].partition(tag)
    assert closing
    assert rest == "", f"the literal ends early: {dollar_quoted!r}"
    return text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "RETURN NULL;",
        "$body$",
        "$body",
        "x $body$ y $body1$",
        "$body1",
        "$",
        "$$",
        "$body$$body1$ $body2",
        "ü\n",
    ],
)
def test_no_text_ends_its_dollar_quotes(text):
    assert content(render(DollarQuoted(text))) == text


@given(st.lists(st.sampled_from(["$", "body", "1", "a", "$body$"]), max_size=8).map("".join))
def test_no_generated_text_ends_its_dollar_quotes(text):
    assert content(DollarQuoted(text).as_bytes(Transformer()).decode()) == text
