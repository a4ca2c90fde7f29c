"""Rows that may not go, not change, or not change in vain."""

from __future__ import annotations

import pytest
from django.db import models, transaction

from pgmagic import pgtrigger
from tests.recipes.conftest import copy, raw, rejected


def test_delete_protection(cell):
    with cell():

        class Invoice(models.Model):
            number = models.IntegerField()

            class Meta:
                triggers = [
                    pgtrigger.Protect(name="keep", operation=pgtrigger.Delete | pgtrigger.Truncate),
                ]

    invoice = Invoice.objects.create(number=1)
    Invoice.objects.bulk_create([Invoice(number=2), Invoice(number=3)])
    Invoice.objects.update(number=models.F("number") + 10)
    for delete in (
        invoice.delete,
        Invoice.objects.all().delete,
        lambda: raw("DELETE FROM blog_invoice WHERE number > 11"),
        lambda: raw("TRUNCATE blog_invoice"),
    ):
        with rejected("^pgtrigger: Cannot delete or truncate rows from blog_invoice table"):
            delete()
    assert Invoice.objects.count() == 3


def test_delete_protection_reaches_cascades(cell):
    with cell():

        class Customer(models.Model):
            name = models.TextField()

        class Invoice(models.Model):
            customer = models.ForeignKey(Customer, models.CASCADE)

            class Meta:
                triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]

    customer = Customer.objects.create(name="ann")
    Invoice.objects.create(customer=customer)
    with rejected("Cannot delete rows from blog_invoice table"):
        customer.delete()
    assert Customer.objects.count() == 1


def test_conditional_delete_protection(cell):
    with cell():

        class Article(models.Model):
            title = models.TextField()
            is_deletable = models.BooleanField(default=False)

            class Meta:
                triggers = [
                    pgtrigger.Protect(
                        name="keep",
                        operation=pgtrigger.Delete,
                        condition=pgtrigger.Q(old__is_deletable=False),
                    ),
                ]

    kept, free = Article.objects.bulk_create([Article(title="kept"), Article(title="free", is_deletable=True)])
    free.delete()
    for delete in (kept.delete, Article.objects.all().delete, lambda: raw("DELETE FROM blog_article")):
        with rejected("Cannot delete rows from blog_article table"):
            delete()
    Article.objects.update(is_deletable=True)
    assert Article.objects.all().delete() == (1, {"blog.Article": 1})


def test_append_only(cell):
    with cell():

        class Entry(models.Model):
            text = models.TextField()

            class Meta:
                triggers = [
                    pgtrigger.Protect(
                        name="append_only",
                        operation=pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate,
                    ),
                ]

    entry = Entry.objects.create(text="a")
    Entry.objects.bulk_create([Entry(text="b"), Entry(text="c")])
    raw("INSERT INTO blog_entry (text) VALUES ('d')")
    copy(Entry, ["text"], [("e",), ("f",)])
    for change in (
        entry.save,
        entry.delete,
        lambda: Entry.objects.update(text="x"),
        lambda: Entry.objects.bulk_update([entry], ["text"]),
        lambda: raw("UPDATE blog_entry SET text = 'x' WHERE text = 'd'"),
        lambda: raw("DELETE FROM blog_entry"),
        lambda: raw("TRUNCATE blog_entry"),
        lambda: raw(
            "INSERT INTO blog_entry (id, text) VALUES (%s, 'x') ON CONFLICT (id) DO UPDATE SET text = 'x'",
            entry.pk,
        ),
    ):
        with rejected("Cannot update or delete or truncate rows from blog_entry table"):
            change()
    assert "".join(Entry.objects.order_by("pk").values_list("text", flat=True)) == "abcdef"


@pytest.mark.parametrize("named", [{"fields": ["author", "created"]}, {"exclude": ["text"]}])
def test_read_only_fields(cell, named):
    with cell():

        class Comment(models.Model):
            author = models.CharField(max_length=20)
            created = models.DateTimeField(auto_now_add=True)
            text = models.TextField()

            class Meta:
                triggers = [pgtrigger.ReadOnly(name="read_only", **named)]

    comment = Comment.objects.create(author="ann", text="a")
    Comment.objects.update(text="b", author="ann")
    comment.text = "c"
    comment.save()
    comment.author = "bob"
    for change in (
        comment.save,
        lambda: Comment.objects.update(author="bob", text="d"),
        lambda: Comment.objects.bulk_update([comment], ["author"]),
        lambda: raw("UPDATE blog_comment SET created = created + interval '1 second'"),
    ):
        with rejected("Cannot update rows from blog_comment table"):
            change()
    assert Comment.objects.values_list("author", "text").get() == ("ann", "c")


@pytest.mark.parametrize("condition", [~pgtrigger.AnyChange(), pgtrigger.Condition("OLD.* IS NOT DISTINCT FROM NEW.*")])
def test_redundant_update_protection(cell, condition):
    with cell():

        class Setting(models.Model):
            key = models.CharField(max_length=20)
            value = models.TextField(null=True)

            class Meta:
                triggers = [
                    pgtrigger.Protect(name="no_change", operation=pgtrigger.Update, condition=condition),
                ]

    one, two = Setting.objects.bulk_create([Setting(key="a", value=None), Setting(key="b", value="x")])
    one.value = "new"
    one.save()
    Setting.objects.filter(pk=two.pk).update(value=None)
    for change in (
        one.save,
        lambda: Setting.objects.filter(pk=two.pk).update(value=None),
        # One row changes, the other one does not.
        lambda: Setting.objects.update(value="new"),
        lambda: raw("UPDATE blog_setting SET key = key"),
    ):
        with rejected("Cannot update rows from blog_setting table"):
            change()
    with transaction.atomic():
        assert Setting.objects.update(value=models.functions.Concat("key", models.Value("!"))) == 2
