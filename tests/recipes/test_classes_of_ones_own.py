"""Trigger classes of one's own: attributes, and the hooks that the compiler asks."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from pgmagic.errors import DeclarationError
from tests.recipes.conftest import copy, raw, rejected


def test_class_attributes_are_defaults(cell):
    class KeepRich(pgtrigger.Protect):
        """A rule that many models share."""

        name = "keep_rich"
        operation = pgtrigger.Delete
        condition = pgtrigger.Q(old__balance__gt=100)

    class Calls(pgtrigger.Trigger):
        when = pgtrigger.After
        operation = pgtrigger.Insert | pgtrigger.Update
        level = pgtrigger.Statement
        referencing = pgtrigger.Referencing(new="fresh")
        declare = [("total", "bigint")]
        func = "SELECT count(*) INTO total FROM fresh; INSERT INTO blog_call (rows) VALUES (total); RETURN NULL;"

    with cell():

        class Account(models.Model):
            balance = models.IntegerField()

            class Meta:
                triggers = [
                    KeepRich(),
                    Calls(name="calls"),
                    Calls(name="inserts", operation=pgtrigger.Insert),
                ]

        class Wallet(models.Model):
            balance = models.IntegerField(db_column="Cents")

            class Meta:
                triggers = [KeepRich(name="other", operation=pgtrigger.Update | pgtrigger.Delete)]

        class Call(models.Model):
            rows = models.IntegerField()

    copy(Account, ["balance"], [(1,), (1000,)])
    Account.objects.update(balance=models.F("balance") + 1)
    assert sorted(Call.objects.values_list("rows", flat=True)) == [2, 2, 2]
    with rejected("Cannot delete rows from blog_account"):
        Account.objects.all().delete()
    Account.objects.filter(balance__lte=100).delete()
    Wallet.objects.create(balance=101)
    with rejected("Cannot update or delete rows from blog_wallet"):
        Wallet.objects.update(balance=0)


def test_hooks(cell):
    class AuditedColumns(pgtrigger.Trigger):
        """Writes down the old values of some columns; which ones, the model says."""

        when = pgtrigger.Before
        operation = pgtrigger.Update

        def audited(self, model):
            return [field for field in model._meta.fields if getattr(field, "audited", False)]

        def get_condition(self, model):
            return pgtrigger.AnyChange(*(field.name for field in self.audited(model)))

        def get_declare(self, model):
            return [("note", "text := ''")]

        def get_func_template_kwargs(self, model):
            return super().get_func_template_kwargs(model) | {
                "old": " || ' ' || ".join(f'OLD."{field.column}"' for field in self.audited(model)),
            }

        def get_func(self, model):
            return pgtrigger.Func(
                "note = {old}; INSERT INTO blog_note (text) VALUES ('{meta.object_name}: ' || note); RETURN NEW;"
            )

    class Audited(models.TextField):
        audited = True

    with cell():

        class Person(models.Model):
            name = Audited()
            email = Audited(db_column="E-Mail")
            seen = models.IntegerField(default=0)

            class Meta:
                triggers = [AuditedColumns(name="audit")]

        class Note(models.Model):
            text = models.TextField()

    person = Person.objects.create(name="ann", email="a@b")
    Person.objects.update(seen=1)
    Person.objects.update(email="50%")
    person.name = "bob"
    Person.objects.bulk_update([person], ["name"])
    raw("UPDATE blog_person SET name = name, seen = 3")
    assert [note.text for note in Note.objects.order_by("pk")] == ["Person: ann a@b", "Person: ann 50%"]


def test_hooks_of_ready_made_triggers(cell):
    class KeepOthers(pgtrigger.Protect):
        """Its condition is for the model to know, and its message, too."""

        def get_condition(self, model):
            own = pgtrigger.Q(old__owner="me")
            return ~own if self.condition is None else ~own & self.condition

        def get_func(self, model):
            return f"RAISE EXCEPTION 'this % is not yours', '{model._meta.verbose_name}';"

    class Life(pgtrigger.FSM):
        field = "state"
        transitions = [("a", "b")]

        def get_condition(self, model):
            return super().get_condition(model) & pgtrigger.Q(new__owner="me")

    class Numbered(pgtrigger.ReadOnly):
        def get_name(self):
            return f"{self.name}_{len(self.fields)}"

    with cell():

        class Thing(models.Model):
            owner = models.TextField(default="me")
            state = models.TextField(default="a")
            key = models.IntegerField(default=0)

            class Meta:
                verbose_name = "precious thing"
                triggers = [
                    KeepOthers(name="keep", operation=pgtrigger.Delete),
                    Life(name="life"),
                    Numbered(name="fixed", fields=["key"]),
                ]

    mine, other = Thing.objects.bulk_create([Thing(), Thing(owner="you")])
    mine.delete()
    with rejected("this precious thing is not yours"):
        other.delete()
    Thing.objects.update(state="z")
    Thing.objects.update(owner="me")
    with rejected('from "z" to "a"'):
        Thing.objects.update(state="a")
    with rejected("Cannot update"):
        Thing.objects.update(key=1)
    with pgtrigger.ignore("blog.Thing:fixed_1"):
        Thing.objects.update(key=1)


def test_hook_that_goes_wrong_is_told_and_nothing_installed(cell):
    class Lost(pgtrigger.Protect):
        def get_condition(self, model):
            return pgtrigger.Q(old__lost=1)

    with pytest.raises(DeclarationError, match="Thing has no field named 'lost'"), cell():

        class Thing(models.Model):
            text = models.TextField()

            class Meta:
                triggers = [Lost(name="lost", operation=pgtrigger.Update)]

    assert raw("SELECT to_regclass('blog_thing')") == [(None,)]
    assert pgtrigger.registered() == []
