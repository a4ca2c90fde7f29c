"""Names: URIs, and names in Postgres of at most 63 bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmagic.declare.names import (
    MAX_NAME_BYTES,
    postgres_name,
    shorten,
    split_uri,
    trigger_uri,
    validate_name,
)
from pgmagic.errors import DeclarationError

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=90)


@given(TEXT, TEXT)
def test_postgres_name_fits_and_is_stable(name, label):
    uri = trigger_uri("app", label, name)
    made = postgres_name(name, uri)
    # Room for the suffix of a second trigger of the same declaration.
    assert len(f"{made}_t".encode()) <= MAX_NAME_BYTES
    assert made.startswith("pgtrigger_")
    assert made == postgres_name(name, uri)


@given(st.lists(st.tuples(st.sampled_from(["a", "b"]), TEXT), min_size=2, max_size=30, unique=True))
def test_postgres_names_are_unique(declared):
    made = {postgres_name(name, trigger_uri("app", label, name)) for label, name in declared}
    assert len(made) == len(declared)


def test_long_names_with_the_same_beginning_differ():
    one, other = (postgres_name("x" * 80 + end, f"app.Model:{'x' * 80}{end}") for end in "ab")
    assert one != other
    assert one[:45] == other[:45]


@pytest.mark.parametrize(
    ("text", "size", "kept"),
    [
        ("abc", 3, "abc"),
        ("abc", 2, "ab"),
        ("äöü", 4, "äö"),
        ("äöü", 3, "ä"),
        ("\U0001f40d!", 3, ""),
        ("\U0001f40d!", 4, "\U0001f40d"),
        ("", 5, ""),
    ],
)
def test_shorten_never_splits_a_character(text, size, kept):
    assert shorten(text, size) == kept


@given(TEXT.filter(lambda name: not name.isspace()))
def test_uri_splits_into_what_it_was_made_of(name):
    assert split_uri(trigger_uri("app", "Model", name)) == ("app.Model", name)


@pytest.mark.parametrize(
    "uri", ["", "keep", "app.Model", "app.Model:", "Model:keep", "a.b.C:keep", ":", ".", None, 3, dict]
)
def test_text_that_is_not_a_uri_is_refused(uri):
    with pytest.raises(DeclarationError, match=r"app_label\.model_name:trigger_name") as raised:
        split_uri(uri)
    assert repr(uri) in str(raised.value)


@pytest.mark.parametrize("name", [None, "", 3, b"keep", "a\x00b", "\x00", "\ud800"])
def test_name_that_postgres_cannot_store_is_refused(name):
    with pytest.raises(DeclarationError, match="FSM"):
        validate_name(name, "FSM")


@pytest.mark.parametrize("name", ["a", "it's", 'a "quoted" name', "a:b", "$body$", "é\u0308", " ", "%s {x}"])
def test_hostile_name_is_accepted(name):
    validate_name(name, "Protect")
