"""A model's table as golden SQL, by Django's schema editor without a connection."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic.compile.model_tables import compile_table
from pgmagic.errors import DeclarationError
from tests.compile.golden import assert_golden
from tests.declare.models import Book, Novel, Shelf


class Loan(models.Model):
    """Constraints, indexes and defaults of the database."""

    book = models.ForeignKey(Book, models.CASCADE)
    since = models.DateField(db_default=models.functions.Now(), db_index=True)
    place = models.CharField(max_length=10, unique=True, db_comment="o'k 100%")

    class Meta:
        app_label = "rooms"
        constraints = [models.CheckConstraint(condition=~models.Q(place="50%"), name="not_half")]
        indexes = [models.Index(models.F("since").desc(), name="by_since")]


MODELS = [Shelf, Book, Novel, Loan]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_table_compiles_to_golden_sql(model):
    table = compile_table(model)
    assert_golden(f"table_{model.__name__.lower()}", "\n".join([*table.create, "", *table.deferred]).rstrip())
    assert (table.label, table.kind) == (model._meta.label, "table")


def test_table_lists_its_own_columns():
    assert compile_table(Novel).columns == ("book_ptr_id", "plot")
    assert compile_table(Book).columns[:3] == ("id", "title", "Isbn No")


def test_different_definitions_have_different_digests():
    def declared(field):
        class Same(models.Model):
            value = field

            class Meta:
                app_label = "rooms_same"

        del models.base.apps.all_models["rooms_same"]["same"]
        return compile_table(Same).declared

    assert declared(models.CharField(max_length=3)) == declared(models.CharField(max_length=3))
    assert declared(models.CharField(max_length=3)) != declared(models.CharField(max_length=4))
    assert declared(models.IntegerField()) != declared(models.IntegerField(null=True))


def test_table_whose_name_cannot_be_quoted_is_refused():
    class Odd(models.Model):
        class Meta:
            app_label = "rooms_odd"
            db_table = "50%"

    with pytest.raises(DeclarationError, match="db_table of Odd"):
        compile_table(Odd)
    del models.base.apps.all_models["rooms_odd"]
