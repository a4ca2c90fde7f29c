"""Ready-made triggers: what they refuse at declaration. What they do is tested on a live table, in `tests/db`."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from pgmagic.errors import DeclarationError, UnknownFieldError
from tests.declare.models import Book, Novel

FSM = {"name": "t", "field": "title", "transitions": [("a", "b")]}


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda: pgtrigger.Protect(name="t"), 'Invalid "operation" attribute of trigger "t"'),
        (lambda: pgtrigger.Protect(operation=pgtrigger.Delete), 'Protect must have "name" attribute'),
        (
            lambda: pgtrigger.ReadOnly(name="t", fields=["title"], exclude=["id"]),
            'Must provide only one of "fields" or "exclude" to ReadOnly trigger.',
        ),
        (
            lambda: pgtrigger.ReadOnly(name="t", fields="title"),
            "ReadOnly takes fields= as a list of names, got 'title'.",
        ),
        (
            lambda: pgtrigger.ReadOnly(name="t", exclude="id"),
            "ReadOnly takes exclude= as a list of names, got 'id'.",
        ),
        (lambda: pgtrigger.SoftDelete(name="t"), 'Must provide "field" for soft delete.'),
        (lambda: pgtrigger.SoftDelete(field="title"), 'SoftDelete must have "name" attribute'),
        (lambda: pgtrigger.FSM(name="t", transitions=[("a", "b")]), 'Must provide "field" for FSM.'),
        (
            lambda: pgtrigger.FSM(name="t", field="title"),
            'Must provide "transitions" for FSM: a list of (from, to) pairs.',
        ),
        (lambda: pgtrigger.FSM(**{**FSM, "transitions": []}), 'Must provide "transitions" for FSM'),
        (
            lambda: pgtrigger.FSM(**{**FSM, "transitions": ["ab"]}),
            "An FSM's transition is a pair (from, to), or a triple (from, to, condition), but 'ab' was given.",
        ),
        (
            lambda: pgtrigger.FSM(**{**FSM, "transitions": [("a", "b", "c")]}),
            "The condition of an FSM's transition is a Q or a Condition, but 'c' was given.",
        ),
        (
            lambda: pgtrigger.FSM(**FSM, initial="a"),
            "An FSM's initial= is a list of at least one state, but 'a' was given.",
        ),
        (
            lambda: pgtrigger.FSM(**FSM, initial=[]),
            "An FSM's initial= is a list of at least one state, but [] was given.",
        ),
        (
            lambda: pgtrigger.UpdateSearchVector(name="t", document_fields=["a"]),
            'Must provide "vector_field" to update search vector.',
        ),
        (
            lambda: pgtrigger.UpdateSearchVector(name="t", vector_field="a"),
            'Must provide "document_fields" to update search vector.',
        ),
        (
            lambda: pgtrigger.UpdateSearchVector(name="t", vector_field="a", document_fields="title"),
            "UpdateSearchVector takes document_fields= as a list of names, got 'title'.",
        ),
        (
            lambda: pgtrigger.Protect(
                name="t",
                operation=pgtrigger.UpdateOf("title"),
                level=pgtrigger.Statement,
                condition=pgtrigger.Q(old__id=1),
            ),
            'Postgres has no transition tables for UPDATE OF "title", so the trigger "t" cannot judge its condition',
        ),
        (
            lambda: pgtrigger.FSM(**{**FSM, "transitions": [("a",)]}),
            "An FSM's transition is a pair (from, to), or a triple (from, to, condition), but ('a',) was given.",
        ),
        (
            lambda: pgtrigger.FSM(**{**FSM, "transitions": [7]}),
            "An FSM's transition is a pair (from, to), or a triple (from, to, condition), but 7 was given.",
        ),
        (
            lambda: pgtrigger.FSM(**{**FSM, "transitions": "ab"}),
            "An FSM's transition is a pair (from, to), or a triple (from, to, condition), but 'a' was given.",
        ),
    ],
)
def test_contradiction_is_refused_at_declaration(declare, sentence):
    with pytest.raises(DeclarationError) as raised:
        declare()
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    ("trigger", "kind", "sentence"),
    [
        (
            pgtrigger.ReadOnly(name="t", fields=["titel"]),
            UnknownFieldError,
            "Book has no field named 'titel'",
        ),
        (
            pgtrigger.ReadOnly(name="t", exclude=["titel"]),
            UnknownFieldError,
            "Book has no field named 'titel'",
        ),
        (
            pgtrigger.ReadOnly(name="t", exclude=[field.name for field in Book._meta.local_concrete_fields]),
            DeclarationError,
            'The ReadOnly "t" protects no field of Book: its exclude= names all.',
        ),
        (pgtrigger.SoftDelete(name="t", field="titel"), UnknownFieldError, "Book has no field named 'titel'"),
        (pgtrigger.SoftDelete(name="t", field="readers"), UnknownFieldError, "'readers' has no column"),
        (
            pgtrigger.SoftDelete(name="t", field="pages", value="x"),
            DeclarationError,
            "'x' is not a value of Book.pages: ",
        ),
        (
            pgtrigger.SoftDelete(name="t", field="day", value="x"),
            DeclarationError,
            "'x' is not a value of Book.day: ",
        ),
        (
            pgtrigger.SoftDelete(name="t", field="title", value="a\x00b"),
            DeclarationError,
            "'a\\x00b' is not a value of Book.title: ",
        ),
        (pgtrigger.FSM(**{**FSM, "field": "titel"}), UnknownFieldError, "Book has no field named 'titel'"),
        (
            pgtrigger.FSM(**{**FSM, "field": "pages"}),
            DeclarationError,
            'The FSM "t" lists a state that is not a value of Book.pages: ',
        ),
        (
            pgtrigger.FSM(**{**FSM, "field": "code"}),
            DeclarationError,
            'The FSM "t" lists a state that is not a value of Book.code: ',
        ),
        (
            pgtrigger.FSM(**{**FSM, "transitions": [("a\x00b", "c")]}),
            DeclarationError,
            'The FSM "t" lists a state that is not a value of Book.title: ',
        ),
        (
            pgtrigger.Protect(
                name="t", operation=pgtrigger.Update | pgtrigger.Truncate, condition=pgtrigger.Q(new__id=1)
            ),
            DeclarationError,
            'TRUNCATE has no new row, but the condition of "t" names it',
        ),
        (
            pgtrigger.Protect(
                name="t",
                level=pgtrigger.Statement,
                operation=pgtrigger.Insert | pgtrigger.Delete,
                condition=pgtrigger.Condition("OLD.id = 1"),
            ),
            DeclarationError,
            'INSERT has no old row, but the condition of "t" names it',
        ),
        (
            pgtrigger.Trigger(
                name="t",
                when=pgtrigger.After,
                operation=pgtrigger.Truncate,
                func="RETURN NULL;",
                condition=pgtrigger.Condition("now() > now()"),
            ),
            DeclarationError,
            'TRUNCATE shows a trigger no rows, so "t" cannot have a condition',
        ),
        (
            pgtrigger.Trigger(
                name="t",
                when=pgtrigger.After,
                level=pgtrigger.Statement,
                operation=pgtrigger.Update,
                func="RETURN NULL;",
                condition=~pgtrigger.Q(new__id=1) & pgtrigger.Condition("true"),
            ),
            DeclarationError,
            'A trigger for each statement sees no single row, so "t" cannot have a condition on rows',
        ),
        (
            pgtrigger.FSM(**FSM, initial=["a"], condition=pgtrigger.Q(old__id=1)),
            DeclarationError,
            'The FSM "t" has initial states, so its condition holds for inserts, too',
        ),
        (
            pgtrigger.UpdateSearchVector(name="t", vector_field="title", document_fields=["isbn"]),
            DeclarationError,
            "UpdateSearchVector fills a SearchVectorField, but Book.title is a CharField.",
        ),
        (
            pgtrigger.Protect(name="t", operation=pgtrigger.UpdateOf("titel")),
            UnknownFieldError,
            "Book has no field named 'titel'",
        ),
        (
            pgtrigger.SoftDelete(name="t", field="doubled", value=1),
            DeclarationError,
            'The SoftDelete "t" cannot set Book.doubled, which Postgres generates',
        ),
        (
            pgtrigger.SoftDelete(name="t", field="title", value=None),
            DeclarationError,
            'The SoftDelete "t" would set Book.title to NULL',
        ),
        (
            pgtrigger.SoftDelete(name="t", field="pages", value=models.Max("id") + 1),
            DeclarationError,
            "<CombinedExpression: Max(F(id)) + Value(1)> needs many rows, but a trigger sees only one row.",
        ),
    ],
)
def test_what_the_model_does_not_have_is_refused_when_compiled(trigger, kind, sentence):
    with pytest.raises(kind) as raised:
        trigger.compile(Book)
    assert str(raised.value).startswith(sentence)
    assert "\n" not in str(raised.value)


def test_field_of_a_parent_is_refused():
    with pytest.raises(UnknownFieldError, match="lives in the table of Book: declare the trigger there"):
        pgtrigger.SoftDelete(name="t", field="good").compile(Novel)


def test_read_only_protects_the_named_all_but_or_all():
    def protected(**arguments):
        return [field.name for field in pgtrigger.ReadOnly(name="t", **arguments).protected_fields(Book)]

    everything = protected()
    assert protected(fields=["title", "id"]) == ["id", "title"]
    assert protected(fields=("title",)) == ["title"]
    assert set(everything) - set(protected(exclude=["title", "shelf_id"])) == {"title", "shelf"}


def test_fsm_lists_its_states_as_they_first_appear():
    trigger = pgtrigger.FSM(name="t", field="pages", transitions=[(2, None), (None, 1), [1, 2]])
    assert trigger.states() == [2, None, 1]


def test_class_attributes_hold_for_ready_made_triggers():
    class Life(pgtrigger.FSM):
        name = "life"
        field = "title"
        transitions = [("a", "b")]

    class Gone(pgtrigger.SoftDelete):
        name = "gone"
        field = "pages"
        value = 3

    assert Life().transitions == [("a", "b")]
    assert Life(transitions=[("c", "d")]).transitions == [("c", "d")]
    assert Gone().value == 3
    assert Gone(value=None).value is None
    assert pgtrigger.SoftDelete(name="t", field="good").value is False
