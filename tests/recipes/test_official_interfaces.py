"""What may be done through one function only."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from tests.recipes.conftest import copy, raw, rejected


def test_official_interface(cell):
    """Accounts are made by `create_account` only, which also writes what belongs to one."""
    with cell():

        class Account(models.Model):
            name = models.CharField(max_length=20)

            class Meta:
                triggers = [pgtrigger.Protect(name="official", operation=pgtrigger.Insert)]

        class Audit(models.Model):
            text = models.TextField()

    @pgtrigger.ignore("blog.Account:official")
    def create_account(name):
        if not name:
            raise ValueError("An account needs a name.")
        account = Account.objects.create(name=name)
        Audit.objects.create(text=f"{name} joined")
        return account

    assert create_account("ann").pk
    for bypass in (
        lambda: Account.objects.create(name="bob"),
        lambda: Account(name="bob").save(),
        lambda: Account.objects.get_or_create(name="bob"),
        lambda: Account.objects.bulk_create([Account(name="bob")]),
        lambda: raw("INSERT INTO blog_account (name) VALUES ('bob')"),
        lambda: copy(Account, ["name"], [("bob",)]),
    ):
        with rejected("Cannot insert rows from blog_account table"):
            bypass()
    with pytest.raises(ValueError, match="needs a name"):
        create_account("")
    # The function failed, and the trigger is back.
    with rejected("Cannot insert rows"):
        Account.objects.create(name="bob")
    create_account("bob")
    assert [audit.text for audit in Audit.objects.order_by("pk")] == ["ann joined", "bob joined"]
