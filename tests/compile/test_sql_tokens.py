"""The tokenizer of SQL text knows what is code, and what is quoted or a comment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmagic.compile.sql_tokens import (
    code_of,
    row_columns_in,
    rows_in,
    tokens,
    trigger_condition_in,
    unquoted,
    without_leading_comments,
)

PIECES = [
    "'", "''", "E'", "e'", "\\", "\\'", '"', '""', "$", "$$", "$a$", "$a", "--", "/*", "*/", "\n", " ", "E", "old",
    "new.", ".", "1", "1.5", "1e3", "..", "(", ")", "=", "<>", "::", "%s", "é", "x$y", ";", "-", "/", "*",
]  # fmt: skip

QUOTED = {
    "plain": "'it''s'",
    "backslash in a plain text": r"'a\'",
    "escape": r"E'it\'s'",
    "escape with doubled quotes": r"e'it''s \\'",
    "dollar quotes": '$$it\'s "here" -- /*$$',
    "dollar quotes with a tag": "$tag$ it's $$ here $tag$",
    "name": '"it\'s ""here"" --"',
    "line comment": "-- it's /* $$",
    "block comment": "/* it's \n $$ -- */",
    "nested comment": "/* a /* b */ c */",
    "text that nothing closes": "'it",
    "comment that nothing closes": "/* a /* b */",
}


def kinds(sql: str) -> list[tuple[str, str]]:
    return [(token.kind, token.text) for token in tokens(sql) if token.kind != "space"]


@given(st.lists(st.sampled_from(PIECES)).map("".join) | st.text())
def test_joined_tokens_are_the_text(sql):
    found = list(tokens(sql))
    assert "".join(token.text for token in found) == sql
    assert [token.start for token in found] == [sum(len(t.text) for t in found[:n]) for n in range(len(found))]
    assert all(token.text and token.end == token.start + len(token.text) for token in found)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_quoted_text_is_one_token_with_its_value(text):
    for sql in ("'" + text.replace("'", "''") + "'", "$é_1$" + text.replace("$", "") + "$é_1$"):
        [token] = tokens(sql)
        assert token.kind == "string"
        assert token.value in (text, text.replace("$", ""))
    [name] = tokens('"' + text.replace('"', '""') + '"')
    assert (name.kind, name.value) == ("name", text)


@pytest.mark.parametrize("quoted", QUOTED.values(), ids=QUOTED)
def test_quoted_text_and_comments_are_not_code(quoted):
    assert code_of(f"SELECT {quoted}") == "SELECT  "
    assert [text for _, text in kinds(f"SELECT {quoted}")] == ["SELECT", quoted]


def test_code_is_split_into_tokens():
    sql = """a.b<>'x'::text AND c1$>=-1.5e3 OR f(0x1F, $1)/*why*/||"D" 1..2"""
    assert kinds(sql) == [
        ("word", "a"), ("other", "."), ("word", "b"), ("operator", "<>"), ("string", "'x'"),
        ("other", ":"), ("other", ":"), ("word", "text"), ("word", "AND"), ("word", "c1$"), ("operator", ">=-"),
        ("number", "1.5e3"), ("word", "OR"), ("word", "f"), ("other", "("), ("number", "0x1F"), ("other", ","),
        ("other", "$"), ("number", "1"), ("other", ")"), ("comment", "/*why*/"), ("operator", "||"), ("name", '"D"'),
        ("number", "1"), ("other", "."), ("other", "."), ("number", "2"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("namee'x'", [("word", "namee"), ("string", "'x'")]),
        ("a$b$c", [("word", "a$b$c")]),
        ("$1$2", [("other", "$"), ("number", "1"), ("other", "$"), ("number", "2")]),
    ],
    ids=["word that ends in e", "word with dollar signs", "parameters"],
)
def test_quote_begins_only_where_postgres_lets_it(sql, expected):
    assert kinds(sql) == expected


def test_value_of_an_escape_is_the_text_that_it_means():
    assert [token.value for token in tokens(r"E'it\'s\n''\\'")] == ["it's\n'\\"]


def test_rows_in_quotes_and_comments_are_not_named():
    assert rows_in("NEW.a <> $$the OLD one$$") == {"new"}
    assert rows_in(r"NEW.a <> E'it\'s OLD'") == {"new"}
    assert rows_in('NEW.a /* not /* the */ OLD */ <> "old value"') == {"new"}
    assert rows_in('"old".a = New.a') == {"old", "new"}


def test_column_called_new_is_no_row():
    assert rows_in("OLD.new = 1 AND OLD . old > 2") == {"old"}
    assert rows_in("NEW.old IS DISTINCT FROM 1") == {"new"}


def test_columns_of_rows_are_found_by_their_names():
    sql = '''OLD.Title = new . "Two ""words""" OR OLD.* IS NULL OR sold.price = 'new.x' '''
    assert row_columns_in(sql) == {("old", "title"), ("new", 'Two "words"')}


def test_leading_comments_are_left_out():
    assert without_leading_comments("  -- a\n/* b /* c */ */ SELECT /* d */ 1") == "SELECT /* d */ 1"
    assert without_leading_comments("-- a") == ""


def test_identifier_means_the_name_that_postgres_knows():
    assert [unquoted(name) for name in ("Title", '"Title"', '"a""b"')] == ["title", "Title", 'a"b']


def test_condition_is_read_from_a_definition():
    definition = "CREATE TRIGGER t BEFORE UPDATE ON a FOR EACH ROW WHEN ((old.a IS NULL)) EXECUTE FUNCTION f()"
    assert trigger_condition_in(definition) == "(old.a IS NULL)"
    assert trigger_condition_in("CREATE TRIGGER t BEFORE UPDATE ON a EXECUTE FUNCTION f()") is None
