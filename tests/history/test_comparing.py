from __future__ import annotations

from decimal import Decimal

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmagic.history.comparing import changes

NA = pd.NA

CASES = {
    "scalar": (1, 2, [("f", 1, 2)]),
    "null": (None, 0, [("f", None, 0)]),
    "nested key": ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, [("f.a.c", 2, 3)]),
    "key added": ({}, {"a": None}, [("f.a", NA, None)]),
    "key removed": ({"a": 1}, {}, [("f.a", 1, NA)]),
    "key becomes null": ({"a": 1}, {"a": None}, [("f.a", 1, None)]),
    "item": ([1, 2], [1, 3], [("f[1]", 2, 3)]),
    "item added": ([1], [1, {"a": 2}], [("f[1]", NA, {"a": 2})]),
    "item removed": ([1, 2], [1], [("f[1]", 2, NA)]),
    "item inside": ([{"a": 1}], [{"a": 2}], [("f[0].a", 1, 2)]),
    "another type": ({"a": 1}, [1], [("f", {"a": 1}, [1])]),
    "from null": (None, {"a": 1}, [("f", None, {"a": 1})]),
    "dotted key": ({"a.b": 1}, {"a.b": 2}, [('f["a.b"]', 1, 2)]),
    "digits as key": ({"0": 1}, {"0": 2}, [('f["0"]', 1, 2)]),
    "quote in key": ({'"': 1}, {'"': 2}, [('f["\\""]', 1, 2)]),
    "empty key": ({"": 1}, {"": 2}, [('f[""]', 1, 2)]),
    "unicode key": ({"größe": 1}, {"größe": 2}, [("f.größe", 1, 2)]),
    "true is not 1": ({"a": True}, {"a": 1}, [("f.a", True, 1)]),
    "false is not 0": ([0], [False], [("f[0]", 0, False)]),
    "1 is 1.0": ({"a": 1}, {"a": 1.0}, []),
    "order of keys": ({"a": 1, "b": 2}, {"b": 2, "a": 1}, []),
    "equal decimals": (Decimal("1.0"), Decimal("1.00"), []),
    "NaN": (Decimal("NaN"), Decimal("NaN"), []),
    "both null": (None, None, []),
    "tuples whole": ((1, 2), (1, 3), [("f", (1, 2), (1, 3))]),
}


@pytest.mark.parametrize(("before", "after", "expected"), CASES.values(), ids=CASES)
def test_changes(before, after, expected):
    found = changes("f", before, after)
    assert [path for path, _, _ in found] == [path for path, _, _ in expected]
    for (_, old, new), (_, expected_old, expected_new) in zip(found, expected, strict=True):
        assert (old is NA, new is NA) == (expected_old is NA, expected_new is NA)
        assert old is NA or (old == expected_old and type(old) is type(expected_old))
        assert new is NA or (new == expected_new and type(new) is type(expected_new))


documents = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text('ab.["0', max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('ab.["0', max_size=2), inner, max_size=3),
    max_leaves=12,
)


def encoded(document):
    """Return a text that differs for documents that Postgres distinguishes."""
    if isinstance(document, dict):
        return "{" + ",".join(f"{key!r}:{encoded(document[key])}" for key in sorted(document)) + "}"
    if isinstance(document, list):
        return "[" + ",".join(map(encoded, document)) + "]"
    return repr(document)


@given(documents, documents)
def test_changes_are_empty_exactly_where_documents_are_equal(before, after):
    assert (changes("f", before, after) == []) == (encoded(before) == encoded(after))


@given(documents, documents)
def test_changes_mirror_when_the_sides_are_swapped(before, after):
    forth = {path: (encoded(old), encoded(new)) for path, old, new in changes("f", before, after)}
    back = {path: (encoded(new), encoded(old)) for path, old, new in changes("f", after, before)}
    assert forth == back


@given(documents, documents)
def test_no_two_changes_share_a_path(before, after):
    paths = [path for path, _, _ in changes("f", before, after)]
    assert len(paths) == len(set(paths))
