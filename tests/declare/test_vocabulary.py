"""The words of CREATE TRIGGER: equality, hash, repr and `|`."""

from __future__ import annotations

import pytest

from pgmagic import pgtrigger
from pgmagic.errors import DeclarationError

WORDS = [
    (pgtrigger.Before, "BEFORE", "pgtrigger.Before"),
    (pgtrigger.After, "AFTER", "pgtrigger.After"),
    (pgtrigger.InsteadOf, "INSTEAD OF", "pgtrigger.InsteadOf"),
    (pgtrigger.Row, "ROW", "pgtrigger.Row"),
    (pgtrigger.Statement, "STATEMENT", "pgtrigger.Statement"),
    (pgtrigger.Immediate, "IMMEDIATE", "pgtrigger.Immediate"),
    (pgtrigger.Deferred, "DEFERRED", "pgtrigger.Deferred"),
    (pgtrigger.Insert, "INSERT", "pgtrigger.Insert"),
    (pgtrigger.Update, "UPDATE", "pgtrigger.Update"),
    (pgtrigger.Delete, "DELETE", "pgtrigger.Delete"),
    (pgtrigger.Truncate, "TRUNCATE", "pgtrigger.Truncate"),
    (pgtrigger.UpdateOf("a", "b c"), 'UPDATE OF "a", "b c"', "pgtrigger.UpdateOf('a', 'b c')"),
    (
        pgtrigger.Insert | pgtrigger.UpdateOf("a"),
        'INSERT OR UPDATE OF "a"',
        "pgtrigger.Insert | pgtrigger.UpdateOf('a')",
    ),
]


@pytest.mark.parametrize(("word", "sql", "text"), WORDS, ids=lambda value: str(value))
def test_word_is_its_sql_and_its_repr_is_the_declaration(word, sql, text):
    assert str(word) == sql
    assert repr(word) == text
    assert eval(text, {"pgtrigger": pgtrigger}) == word  # noqa: S307


@pytest.mark.parametrize("word", [word for word, _, _ in WORDS], ids=str)
def test_word_equals_the_same_word_only(word):
    assert [other for other, _, _ in WORDS if other == word] == [word]
    assert len({hash(other) for other, _, _ in WORDS}) == len(WORDS)
    assert word != str(word)


@pytest.mark.parametrize(
    ("made", "named"),
    [
        (pgtrigger.When("BEFORE"), pgtrigger.Before),
        (pgtrigger.Level("ROW"), pgtrigger.Row),
        (pgtrigger.Timing("DEFERRED"), pgtrigger.Deferred),
        (pgtrigger.Operation("TRUNCATE"), pgtrigger.Truncate),
        (pgtrigger.UpdateOf("a"), pgtrigger.UpdateOf("a")),
        (pgtrigger.Update | pgtrigger.Insert, pgtrigger.Insert | pgtrigger.Update),
        (pgtrigger.Referencing(old="o"), pgtrigger.Referencing(old="o")),
    ],
    ids=str,
)
def test_equal_words_hash_alike(made, named):
    assert made == named
    assert hash(made) == hash(named)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pgtrigger.UpdateOf("a"), pgtrigger.UpdateOf("b")),
        (pgtrigger.UpdateOf("a"), pgtrigger.Update),
        (pgtrigger.Update | pgtrigger.Insert, pgtrigger.Update),
        (pgtrigger.Referencing(old="o"), pgtrigger.Referencing(new="o")),
        (pgtrigger.Referencing(old="o"), "o"),
    ],
    ids=str,
)
def test_different_words_differ(one, other):
    assert one != other


def test_operations_keep_their_order_and_each_once():
    combined = pgtrigger.Delete | pgtrigger.Update | (pgtrigger.Insert | pgtrigger.Delete)
    assert isinstance(combined, pgtrigger.Operations)
    assert list(combined) == [pgtrigger.Delete, pgtrigger.Update, pgtrigger.Insert]
    assert str(combined) == "DELETE OR UPDATE OR INSERT"
    assert list(pgtrigger.Update) == [pgtrigger.Update]


@pytest.mark.parametrize("other", ["DELETE", None, pgtrigger.Before])
def test_operation_combines_with_operations_only(other):
    with pytest.raises(TypeError):
        pgtrigger.Update | other


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda: pgtrigger.When("DURING"), "When is one of BEFORE, AFTER, INSTEAD OF, but 'DURING' was given."),
        (lambda: pgtrigger.Level("row"), "Level is one of ROW, STATEMENT, but 'row' was given."),
        (lambda: pgtrigger.Operation(0), "Operation is one of UPDATE, DELETE, TRUNCATE, INSERT, but 0 was given."),
        (lambda: pgtrigger.UpdateOf(), "UpdateOf needs at least one field, as in UpdateOf('title')."),
        (lambda: pgtrigger.Referencing(), 'Referencing needs a name for "old", for "new", or for both.'),
        (lambda: pgtrigger.Referencing(old=""), 'Referencing needs a name for "old", for "new", or for both.'),
        (
            lambda: pgtrigger.Referencing(old="r", new="r"),
            'Referencing needs two different names, but both are "r".',
        ),
    ],
)  # fmt: skip
def test_contradiction_is_one_sentence(declare, sentence):
    with pytest.raises(DeclarationError) as raised:
        declare()
    assert str(raised.value) == sentence
