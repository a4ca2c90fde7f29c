"""There is no way around a protection: each way to write that Django and Postgres have is rejected, at both levels."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from tests.recipes.conftest import copy, raw, rejected

MERGE = """
MERGE INTO blog_stock AS target USING (VALUES (%s, %s)) AS given(item, amount) ON target.item = given.item
WHEN MATCHED AND given.amount = 0 THEN DELETE
WHEN MATCHED THEN UPDATE SET amount = given.amount
WHEN NOT MATCHED THEN INSERT (item, amount) VALUES (given.item, given.amount)"""
UPSERT = """
INSERT INTO blog_stock (item, amount) VALUES (%s, %s) ON CONFLICT (item) DO UPDATE SET amount = excluded.amount"""
STATEMENTS = {
    pgtrigger.Insert: "INSERT INTO blog_stock (item, amount) VALUES ('new', 1)",
    pgtrigger.Update: "UPDATE blog_stock SET amount = 9",
    pgtrigger.Delete: "DELETE FROM blog_stock",
}


def prepared(statement, value):
    """Execute a statement that the server has prepared; it forgets it when the session ends."""
    raw(f"PREPARE write (text) AS {statement}")
    raw("EXECUTE write (%s)", value)


def ways(stock, row):
    """Each way to write, by operation."""
    return {
        pgtrigger.Insert: {
            "create": lambda: stock.objects.create(item="new"),
            "get_or_create": lambda: stock.objects.get_or_create(item="new"),
            "update_or_create": lambda: stock.objects.update_or_create(item="new", defaults={"amount": 1}),
            "bulk_create": lambda: stock.objects.bulk_create([stock(item="new"), stock(item="newer")]),
            "bulk_create, conflicts ignored": lambda: stock.objects.bulk_create(
                [stock(item="new")], ignore_conflicts=True
            ),
            "insert, select": lambda: raw("INSERT INTO blog_stock (item, amount) SELECT 'new', 1 FROM blog_stock"),
            "copy": lambda: copy(stock, ["item", "amount"], [("new", 1)]),
            "merge": lambda: raw(MERGE, "new", 1),
            "upsert": lambda: raw(UPSERT, "new", 1),
            "prepared": lambda: prepared("INSERT INTO blog_stock (item, amount) VALUES ($1, 1)", "new"),
        },
        pgtrigger.Update: {
            "save": row.save,
            "save, one field": lambda: row.save(update_fields=["amount"]),
            "update": lambda: stock.objects.update(amount=9),
            "update_or_create": lambda: stock.objects.update_or_create(item="a", defaults={"amount": 9}),
            "bulk_update": lambda: stock.objects.bulk_update([row], ["amount"]),
            "bulk_create, conflicts updated": lambda: stock.objects.bulk_create(
                [stock(item="a", amount=9)], update_conflicts=True, unique_fields=["item"], update_fields=["amount"]
            ),
            "merge": lambda: raw(MERGE, "a", 9),
            "upsert": lambda: raw(UPSERT, "a", 9),
            "update, from": lambda: raw("UPDATE blog_stock AS s SET amount = 9 FROM blog_stock AS o WHERE s.id = o.id"),
            "prepared": lambda: prepared("UPDATE blog_stock SET amount = 9 WHERE item = $1", "a"),
        },
        pgtrigger.Delete: {
            "delete": row.delete,
            "delete, all": lambda: stock.objects.all().delete(),
            "delete, at once": lambda: stock.objects.all()._raw_delete("default"),
            "merge": lambda: raw(MERGE, "a", 0),
            "delete, using": lambda: raw("DELETE FROM blog_stock AS s USING blog_stock AS o WHERE s.id = o.id"),
            "prepared": lambda: prepared("DELETE FROM blog_stock WHERE item = $1", "a"),
        },
    }  # fmt: skip


@pytest.mark.parametrize("level", [pgtrigger.Row, pgtrigger.Statement])
@pytest.mark.parametrize("operation", [pgtrigger.Insert, pgtrigger.Update, pgtrigger.Delete], ids=str)
def test_every_way_to_write(cell, operation, level):
    with cell():

        class Stock(models.Model):
            item = models.TextField(unique=True)
            amount = models.IntegerField(default=1)

            class Meta:
                triggers = [pgtrigger.Protect(name="keep", operation=operation, level=level)]

    with pgtrigger.ignore("blog.Stock:keep"):
        row = Stock.objects.create(item="a")
    statement = STATEMENTS[operation]
    by_others = {
        "with": lambda: raw(f"WITH done AS ({statement} RETURNING id) SELECT id FROM done"),
        "do": lambda: raw(f"DO $$ BEGIN {statement}; END $$"),
    }
    for way, write in (ways(Stock, row)[operation] | by_others).items():
        with rejected(f"Cannot {str(operation).lower()} rows from blog_stock table"):
            write()
        assert list(Stock.objects.values_list("item", "amount")) == [("a", 1)], way
    with pgtrigger.ignore("blog.Stock:keep"):
        assert raw(MERGE, "a", 0) == []
    assert not Stock.objects.exists()
