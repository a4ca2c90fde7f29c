"""One call of a function for all rows of a statement, which it sees as tables."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from tests.recipes.conftest import copy, raw, rejected


def test_statement_level_history_with_transition_tables(cell):
    with cell():

        class Price(models.Model):
            product = models.CharField(max_length=20, db_column="Product")
            amount = models.DecimalField(max_digits=8, decimal_places=2, null=True)

            class Meta:
                triggers = [
                    pgtrigger.Trigger(
                        name="history",
                        level=pgtrigger.Statement,
                        when=pgtrigger.After,
                        operation=pgtrigger.Update,
                        referencing=pgtrigger.Referencing(old="before", new="after"),
                        func=pgtrigger.Func(
                            """
                            INSERT INTO blog_pricechange (product, before, after)
                            SELECT after."{columns.product}", before.{columns.amount}, after.{columns.amount}
                            FROM before JOIN after USING (id)
                            WHERE before.{columns.amount} IS DISTINCT FROM after.{columns.amount};
                            RETURN NULL;
                            """
                        ),
                    ),
                ]

        class PriceChange(models.Model):
            product = models.CharField(max_length=20)
            before = models.DecimalField(max_digits=8, decimal_places=2, null=True)
            after = models.DecimalField(max_digits=8, decimal_places=2, null=True)

    def changes():
        rows = list(PriceChange.objects.order_by("product").values_list("product", "before", "after"))
        PriceChange.objects.all().delete()
        return rows

    prices = Price.objects.bulk_create([Price(product="a", amount=1), Price(product="b")])
    copy(Price, ["Product", "amount"], [("50%", 3)])
    assert changes() == []
    Price.objects.update(amount=models.F("amount") * 2)
    assert changes() == [("50%", 3, 6), ("a", 1, 2)]
    prices[1].amount = 5
    prices[1].save()
    prices[1].save()
    assert changes() == [("b", None, 5)]
    prices[0].amount = prices[1].amount = 7
    Price.objects.bulk_update(prices, ["amount"])
    raw("UPDATE blog_price SET amount = NULL WHERE \"Product\" = 'b'")
    assert changes() == [("a", 2, 7), ("b", 5, 7), ("b", 7, None)]
    with pgtrigger.ignore("blog.Price:history"):
        Price.objects.update(amount=0)
    assert changes() == []


def test_a_count_is_kept_of_rows_that_come_and_go(cell):
    """Several operations with transition tables: Postgres wants a trigger for each, the declaration is one."""
    with cell():

        class Order(models.Model):
            shop = models.IntegerField()

            class Meta:
                triggers = [
                    pgtrigger.Trigger(
                        name="count",
                        level=pgtrigger.Statement,
                        when=pgtrigger.After,
                        operation=pgtrigger.Insert | pgtrigger.Delete,
                        referencing=pgtrigger.Referencing(old="gone", new="come"),
                        func="""
                            IF TG_OP = 'INSERT' THEN
                                INSERT INTO blog_count AS known (shop, orders)
                                SELECT shop, count(*) FROM come GROUP BY shop
                                ON CONFLICT (shop) DO UPDATE SET orders = known.orders + excluded.orders;
                            ELSE
                                UPDATE blog_count AS known SET orders = known.orders - lost.orders
                                FROM (SELECT shop, count(*) AS orders FROM gone GROUP BY shop) AS lost
                                WHERE known.shop = lost.shop;
                            END IF;
                            RETURN NULL;
                        """,
                    ),
                ]

        class Count(models.Model):
            shop = models.IntegerField(unique=True)
            orders = models.IntegerField()

    def counts():
        return dict(Count.objects.values_list("shop", "orders"))

    Order.objects.create(shop=1)
    Order.objects.bulk_create([Order(shop=1), Order(shop=2)])
    copy(Order, ["shop"], [(2,)] * 10)
    assert counts() == {1: 2, 2: 11}
    Order.objects.filter(shop=1).delete()
    raw("DELETE FROM blog_order WHERE id = (SELECT min(id) FROM blog_order)")
    assert counts() == {1: 0, 2: 10}


@pytest.mark.parametrize("level", [pgtrigger.Row, pgtrigger.Statement])
def test_composed_for_rows_and_for_statements(cell, level):
    """One declaration: a body for single rows, which needs no tables, and one for the rows of a statement together."""
    with cell():

        class Price(models.Model):
            product = models.CharField(max_length=20)
            amount = models.IntegerField(null=True, db_column="Amount")

            class Meta:
                triggers = [
                    pgtrigger.Composer(
                        name="history",
                        level=level,
                        when=pgtrigger.After,
                        operation=pgtrigger.Update,
                        condition=pgtrigger.AnyChange("amount") & ~pgtrigger.Q(new__product="test"),
                        func={
                            pgtrigger.Row: pgtrigger.Func(
                                """
                                INSERT INTO blog_pricechange (product, before, after)
                                VALUES (NEW.product, OLD."{columns.amount}", NEW."{columns.amount}");
                                RETURN NULL;
                                """
                            ),
                            pgtrigger.Statement: pgtrigger.Func(
                                """
                                INSERT INTO blog_pricechange (product, before, after)
                                SELECT new_values.product, old_values."{columns.amount}", new_values."{columns.amount}"
                                FROM {cond_joined_values};
                                RETURN NULL;
                                """
                            ),
                        },
                    ),
                ]

        class PriceChange(models.Model):
            product = models.CharField(max_length=20)
            before = models.IntegerField(null=True)
            after = models.IntegerField(null=True)

    def changes():
        rows = list(PriceChange.objects.order_by("product").values_list("product", "before", "after"))
        PriceChange.objects.all().delete()
        return rows

    a, b, test = Price.objects.bulk_create(
        [Price(product="a", amount=1), Price(product="b"), Price(product="test", amount=3)]
    )
    Price.objects.update(amount=models.functions.Coalesce("amount", 0))
    assert changes() == [("b", None, 0)]
    a.amount, b.amount, test.amount = 1, 7, 7
    Price.objects.bulk_update([a, b, test], ["amount"])
    assert changes() == [("b", 0, 7)]
    # Keys that a statement swaps do not mix up rows.
    raw("ALTER TABLE blog_price DROP CONSTRAINT blog_price_pkey")
    raw('UPDATE blog_price SET id = 3 - id, "Amount" = "Amount" + 1 WHERE id < 3')
    assert changes() == [("a", 1, 2), ("b", 7, 8)]


def test_a_statement_is_rejected_as_a_whole(cell):
    """Judged once, behind the statement, by the rows that it touched."""
    with cell():

        class Account(models.Model):
            balance = models.IntegerField(default=0)
            closed = models.BooleanField(default=False)

            class Meta:
                triggers = [
                    pgtrigger.Protect(
                        name="closed",
                        level=pgtrigger.Statement,
                        operation=pgtrigger.Update | pgtrigger.Delete,
                        condition=pgtrigger.Q(old__closed=True),
                    ),
                    pgtrigger.ReadOnly(name="key", level=pgtrigger.Statement, fields=["id"]),
                ]

    Account.objects.bulk_create([Account() for _ in range(5)] + [Account(closed=True)])
    Account.objects.filter(closed=False).update(balance=1)
    for change in (
        lambda: Account.objects.update(balance=2),
        Account.objects.all().delete,
        lambda: raw("UPDATE blog_account SET balance = 2 WHERE closed"),
        # Who also changes the key does not get past it.
        lambda: raw("UPDATE blog_account SET balance = 2, id = id + 100 WHERE closed"),
        lambda: raw("UPDATE blog_account SET id = id + 100 WHERE NOT closed"),
    ):
        with rejected("Cannot update (or delete )?rows from blog_account table"):
            change()
    assert Account.objects.filter(closed=False).delete()[0] == 5
