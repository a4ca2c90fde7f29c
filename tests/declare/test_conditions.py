"""Conditions as data: how they combine, and which fields they compare. Their SQL is tested in `tests/compile`."""

from __future__ import annotations

import functools
import operator

import pytest
from django.core.exceptions import FieldDoesNotExist
from django.db import models

from pgmagic import pgtrigger
from pgmagic.declare.conditions import Combined, Not, concrete_field, concrete_fields, table_fields
from pgmagic.errors import DeclarationError, UnknownFieldError
from tests.declare.models import Book, Novel, Shelf

Q = pgtrigger.Q(old__id=1)
RAW = pgtrigger.Condition("OLD.id > 1")
CHANGE = pgtrigger.AnyChange("title")
PLAIN = models.Q(old__id=1)


@pytest.mark.parametrize("left", [Q, RAW, CHANGE, RAW | Q, ~RAW], ids=repr)
@pytest.mark.parametrize("right", [Q, RAW, CHANGE, RAW & Q, ~CHANGE, PLAIN], ids=repr)
def test_conditions_of_all_kinds_combine(left, right):
    for combined, connector in ((left & right, "AND"), (left | right, "OR")):
        assert isinstance(combined, pgtrigger.Condition)
        assert combined.connector == connector
        assert isinstance(combined, models.Q if isinstance(right, models.Q) and left is Q else Combined)


def test_negations_are_conditions():
    assert isinstance(~Q, pgtrigger.Q)
    assert isinstance(~RAW, Not)
    assert isinstance(~~CHANGE, pgtrigger.Condition)
    assert isinstance(~(Q | RAW), pgtrigger.Condition)


def test_combining_leaves_the_operands_alone():
    q = pgtrigger.Q(old__id=1)
    before = repr(q)
    _ = (q & pgtrigger.Q(old__id=2), q | RAW, RAW & q, ~q)
    assert repr(q) == before


@pytest.mark.parametrize("other", [None, "OLD.a", 1, pgtrigger.Update, pgtrigger.AnyChange])
@pytest.mark.parametrize("condition", [Q, RAW, CHANGE], ids=repr)
@pytest.mark.parametrize("combine", ["__and__", "__or__", "__rand__", "__ror__"])
def test_condition_combines_with_conditions_only(condition, other, combine):
    with pytest.raises(TypeError, match="A condition combines with Q, Condition and the change conditions"):
        getattr(condition, combine)(other)


@pytest.mark.parametrize("sql", [None, ""])
def test_raw_condition_needs_sql(sql):
    with pytest.raises(DeclarationError, match="Condition needs SQL"):
        pgtrigger.Condition(sql)


def test_raw_condition_may_be_a_class():
    class Positive(pgtrigger.Condition):
        sql = "NEW.pages > 0"

    assert Positive().resolve(Book) == "(NEW.pages > 0)"


def test_long_chain_of_conditions_stays_flat():
    """Conditions that a program makes."""
    changes = [pgtrigger.AnyChange("title") & pgtrigger.Q(old__pages=number) for number in range(2000)]
    either = functools.reduce(operator.or_, changes)
    assert len(either.conditions) == 2000
    assert (~either).resolve(Book).count("NOT (") == 4000


def test_exclusive_or():
    one, other = pgtrigger.AnyChange("title"), pgtrigger.Q(old__pages=1)
    assert repr(one ^ other) == repr((one & ~other) | (~one & other))
    assert repr(other ^ one) == repr((other & ~one) | (~other & one))
    assert isinstance(other ^ other, pgtrigger.Q)
    with pytest.raises(TypeError, match=r"not with 'x'|bad operand"):
        one ^ "x"


@pytest.mark.parametrize(
    "declare",
    [
        lambda: pgtrigger.AnyChange(1),
        lambda: pgtrigger.AnyChange(["title"]),
        lambda: pgtrigger.AllChange(exclude="title"),
        lambda: pgtrigger.AnyChange(exclude="title,pages"),
        lambda: type("Written", (pgtrigger.AnyChange,), {"fields": "title"})(),
        lambda: pgtrigger.AnyChange("title", exclude=[Book]),
    ],
)
def test_change_condition_takes_names(declare):
    with pytest.raises(FieldDoesNotExist, match="takes the names of fields"):
        declare()


ALL = [field.name for field in Book._meta.local_concrete_fields if field.name != "doubled"]


@pytest.mark.parametrize(
    ("condition", "compared"),
    [
        # A generated column is computed after the BEFORE triggers, so it is compared only if it is named.
        (pgtrigger.AnyChange(), ALL),
        (pgtrigger.AnyChange("doubled"), ["doubled"]),
        (pgtrigger.AnyChange("title", "id"), ["id", "title"]),
        (pgtrigger.AnyChange("pk", "shelf_id"), ["id", "shelf"]),
        (pgtrigger.AnyChange("title", "title"), ["title"]),
        (
            pgtrigger.AnyChange(exclude=["shelf_id", "doubled", "pk"]),
            [name for name in ALL if name not in ("id", "shelf")],
        ),
        (
            pgtrigger.AnyChange(exclude_auto=True),
            [name for name in ALL if name not in ("created", "updated")],
        ),
        (pgtrigger.AnyChange("title", "updated", exclude_auto=True), ["title"]),
        (pgtrigger.AnyChange("title", "pages", exclude=["title"]), ["pages"]),
        (pgtrigger.AnyChange("title", exclude=["title"]), []),
    ],
    ids=repr,
)
def test_change_condition_compares(condition, compared):
    assert [field.name for field in condition.compared_fields(Book)] == compared


class Retitled(pgtrigger.AnyChange):
    fields = ["title", "pages"]
    exclude = ["pages"]


class ByHand(pgtrigger.AllDontChange):
    exclude_auto = True


@pytest.mark.parametrize(
    ("condition", "compared"),
    [
        (Retitled(), ["title"]),
        (Retitled("order", "pages"), ["order"]),
        (Retitled(exclude=["title"]), ["pages"]),
        # As upstream: nothing to exclude means what the class excludes.
        (Retitled(exclude=[]), ["title"]),
        (ByHand("title", "updated"), ["title"]),
        (ByHand("title", "updated", exclude_auto=False), ["title", "updated"]),
    ],
)
def test_class_attributes_of_change_conditions_serve_as_arguments(condition, compared):
    assert [field.name for field in condition.compared_fields(Book)] == compared


def test_condition_of_ones_own_builds_on_what_it_overrides():
    class Loud(pgtrigger.AnyChange):
        def resolve(self, model):
            return f"NEW.loud AND {super().resolve(model)}"

    class More(pgtrigger.Condition):
        sql = "NEW.pages > OLD.pages"

        def resolve(self, model):
            return f"NOT {super().resolve(model)}"

    assert Loud("title").resolve(Book) == 'NEW.loud AND (OLD."title" IS DISTINCT FROM NEW."title")'
    assert (~More()).resolve(Book) == "NOT (NOT (NEW.pages > OLD.pages))"


def test_child_compares_its_own_table_only():
    assert [field.name for field in pgtrigger.AnyChange().compared_fields(Novel)] == ["book_ptr", "plot"]
    assert [field.name for field in table_fields(Novel)] == ["book_ptr", "plot"]


@pytest.mark.parametrize(
    ("model", "name", "column"),
    [
        (Book, "isbn", "Isbn No"),
        (Book, "pk", "id"),
        (Book, "shelf", "shelf_id"),
        (Book, "shelf_id", "shelf_id"),
        (Novel, "pk", "book_ptr_id"),
        (Novel, "book_ptr_id", "book_ptr_id"),
    ],
)
def test_field_is_found_by_each_of_its_names(model, name, column):
    assert concrete_field(model, name).column == column


@pytest.mark.parametrize(
    ("model", "name", "sentence"),
    [
        (Shelf, "labl", "Shelf has no field named 'labl'; its fields are id, label."),
        (Book, "Isbn No", "Book has no field named 'Isbn No'; its fields are id, title, isbn, "),
        (Novel, "title", "The field 'title' of Novel lives in the table of Book: declare the trigger there."),
        (Novel, "id", "The field 'id' of Novel lives in the table of Book: declare the trigger there."),
        (
            Book,
            "readers",
            "'readers' has no column in the table of Book, so a trigger cannot see it. Its rows are those of "
            "Book.readers.through.",
        ),
    ],
)
def test_field_without_a_column_is_refused(model, name, sentence):
    with pytest.raises(UnknownFieldError) as raised:
        concrete_fields(model, [name])
    assert str(raised.value).startswith(sentence)
    assert isinstance(raised.value, FieldDoesNotExist)
    assert isinstance(raised.value, ValueError)
