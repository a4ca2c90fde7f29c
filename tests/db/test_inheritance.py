"""Triggers of abstract bases, of parents and children with tables of their own, of proxies and of partitions."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from pgmagic.declare import registry
from pgmagic.errors import ConditionError, UnknownFieldError
from tests.db.live import Live
from tests.recipes.conftest import cell, raw, rejected  # noqa: F401

Q = pgtrigger.Q


def test_abstract_base_gives_its_triggers_to_each_child(cell):  # noqa: F811
    class Base(models.Model):
        title = models.TextField(db_column="Title")
        locked = models.BooleanField(default=False)

        class Meta:
            abstract = True
            triggers = [
                pgtrigger.Protect(name="locked", operation=pgtrigger.Update, condition=Q(old__locked=True)),
                pgtrigger.ReadOnly(name="title", fields=["title"]),
            ]

    with cell():

        class Post(Base):
            text = models.TextField(default="")

        class Page(Base):
            class Meta(Base.Meta):
                db_table = "Blog Page"

        class Plain(Base):
            class Meta:
                triggers = []

    assert sorted(trigger.get_uri(model) for model, trigger in registry.registered()) == [
        "blog.Page:locked", "blog.Page:title", "blog.Post:locked", "blog.Post:title",
    ]  # fmt: skip
    for model in (Post, Page, Plain):
        model.objects.create(title="a", locked=True)
    for model in (Post, Page):
        with rejected(f"Cannot update rows from {model._meta.db_table} table"):
            model.objects.update(locked=False)
        with (
            rejected(f"Cannot update rows from {model._meta.db_table} table"),
            pgtrigger.ignore(f"blog.{model.__name__}:locked"),
        ):
            model.objects.update(title="b")
    Plain.objects.update(title="b")


def test_each_table_of_a_child_has_triggers_of_its_own(cell):  # noqa: F811
    with cell():

        class Place(models.Model):
            name = models.TextField()

            class Meta:
                triggers = [pgtrigger.ReadOnly(name="name", fields=["name"])]

        class Bar(Place):
            beers = models.IntegerField(default=0)

            class Meta:
                triggers = [
                    pgtrigger.Protect(
                        name="few",
                        operation=pgtrigger.Update,
                        condition=Q(new__beers__lt=pgtrigger.F("old__beers")),
                    ),
                    pgtrigger.Protect(name="keep", operation=pgtrigger.Delete, condition=Q(old__place_ptr__gt=0)),
                ]

    bar = Bar.objects.create(name="a", beers=3)
    bar.beers = 4
    bar.save()
    with rejected("Cannot update rows from blog_bar table"):
        Bar.objects.update(beers=1)
    for change in (lambda: Bar.objects.update(name="b"), lambda: Place.objects.update(name="b")):
        with rejected("Cannot update rows from blog_place table"):
            change()
    with rejected("Cannot delete rows from blog_bar table"):
        Place.objects.all().delete()


@pytest.mark.parametrize(
    "trigger",
    [
        pgtrigger.Protect(name="t", operation=pgtrigger.Update, condition=Q(old__name="a")),
        pgtrigger.Protect(name="t", operation=pgtrigger.Update, condition=pgtrigger.AnyChange("name")),
        pgtrigger.Protect(name="t", operation=pgtrigger.UpdateOf("name")),
        pgtrigger.ReadOnly(name="t", fields=["name"]),
        pgtrigger.SoftDelete(name="t", field="name", value=""),
        pgtrigger.FSM(name="t", field="name", transitions=[("a", "b")]),
        pgtrigger.UpdateSearchVector(name="t", vector_field="vector", document_fields=["name"]),
    ],
    ids=repr,
)
def test_field_in_a_parents_table_is_refused(cell, trigger):  # noqa: F811
    from django.contrib.postgres.search import SearchVectorField

    sentence = "The field 'name' of Bar lives in the table of Place: declare the trigger there."
    with pytest.raises(UnknownFieldError, match=sentence), cell():  # noqa: PT012

        class Place(models.Model):
            name = models.TextField()

        class Bar(Place):
            vector = SearchVectorField(null=True)

            class Meta:
                triggers = [trigger]


def test_proxy_of_a_proxy_and_two_proxies_of_one_table(cell):  # noqa: F811
    with cell():

        class Post(models.Model):
            state = models.TextField(default="draft")

            class Meta:
                triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]

        class Draft(Post):
            class Meta:
                proxy = True
                triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Insert, condition=Q(new__state="done"))]

        class Older(Draft):
            class Meta:
                proxy = True
                triggers = [pgtrigger.FSM(name="keep", field="state", transitions=[("draft", "done")])]

    post = Post.objects.create()
    with rejected("Cannot insert rows from blog_post"):
        Older.objects.create(state="done")
    Draft.objects.update(state="done")
    with rejected("Invalid transition"):
        Post.objects.update(state="draft")
    with rejected("Cannot delete"):
        Older.objects.all().delete()
    with pgtrigger.ignore("blog.Post:keep"):
        post.delete()


def test_partitioned_table(live: Live):
    live.sql(
        "CREATE TABLE live_reading (id bigint GENERATED BY DEFAULT AS IDENTITY, place int, value int, "
        "PRIMARY KEY (id, place)) PARTITION BY LIST (place);"
        "CREATE TABLE reading_1 PARTITION OF live_reading FOR VALUES IN (1);"
        "CREATE TABLE reading_2 PARTITION OF live_reading FOR VALUES IN (2)"
    )
    reading = live.declare(
        "Reading",
        [
            pgtrigger.ReadOnly(name="fixed", fields=["value"]),
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete | pgtrigger.Truncate),
            pgtrigger.Trigger(
                name="late", when=pgtrigger.After, operation=pgtrigger.Insert, timing=pgtrigger.Deferred,
                condition=Q(new__value__lt=0), func="RAISE EXCEPTION 'negative';",
            ),
        ],
        meta={"managed": False}, place=models.IntegerField(), value=models.IntegerField(null=True),
    )  # fmt: skip
    reading.objects.bulk_create([reading(place=1, value=1), reading(place=2, value=2)])
    raw("CREATE TABLE reading_3 PARTITION OF live_reading FOR VALUES IN (3)")
    raw("INSERT INTO reading_3 (id, place, value) VALUES (9, 3, 3)")
    # To Postgres a row that moves to another partition is updated, deleted and inserted.
    with rejected("Cannot delete"):
        reading.objects.filter(place=1).update(place=3)
    with pgtrigger.ignore("live.Reading:keep"):
        reading.objects.filter(place=1).update(place=3)
    for change in (
        lambda: reading.objects.filter(place=2).update(value=3),
        lambda: raw("UPDATE reading_3 SET value = 0"),
        lambda: raw("UPDATE live_reading SET place = 1, value = 0 WHERE id = 9"),
    ):
        with rejected("Cannot update rows from live_reading table"):
            change()
    for change in (
        lambda: raw("DELETE FROM reading_2"),
        reading.objects.all().delete,
        lambda: raw("TRUNCATE live_reading"),
    ):
        with rejected("Cannot delete or truncate rows from live_reading table"):
            change()
    with rejected("negative"):
        reading.objects.create(place=3, value=-1)
    assert {outcome.step.action for outcome in live.apply(reading).outcomes} == {"unchanged"}
    for model, trigger in registry.registered():
        assert trigger.get_installation_status(model) == ("INSTALLED", True)
        trigger.disable(model)
        assert trigger.get_installation_status(model) == ("INSTALLED", False)
    raw("UPDATE reading_3 SET value = 0")
    for model, trigger in registry.registered():
        trigger.uninstall(model)
    assert live.sql("SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace") == [(0,)]


def test_composite_key(live: Live):
    seat = live.declare(
        "Seat",
        [
            pgtrigger.Protect(name="first", operation=pgtrigger.Update, condition=Q(old__row=1, new__number__gt=5)),
            pgtrigger.ReadOnly(name="key", fields=["row", "number"], condition=Q(old__taken=True)),
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete, condition=Q(old__pk__in=[(1, 1), (2, 1)])),
            pgtrigger.Protect(name="moved", operation=pgtrigger.UpdateOf("pk"), condition=~Q(old__pk=(3, 1))),
            pgtrigger.SoftDelete(name="soft", field="taken", value=None, condition=Q(old__row=3)),
        ],
        pk=models.CompositePrimaryKey("row", "number"), row=models.IntegerField(db_column="Row"),
        number=models.IntegerField(), taken=models.BooleanField(null=True, default=False),
    )  # fmt: skip
    seat.objects.bulk_create([seat(row=1, number=1), seat(row=3, number=1), seat(row=3, number=2)])
    with rejected("Cannot update"), pgtrigger.ignore("live.Seat:moved"):
        seat.objects.filter(pk=(1, 1)).update(number=6)
    with rejected("Cannot update"):
        seat.objects.filter(pk=(3, 2)).update(number=6)
    seat.objects.filter(pk=(3, 1)).update(number=1)
    seat.objects.filter(pk=(1, 1)).update(taken=True)
    with rejected("Cannot update"), pgtrigger.ignore("live.Seat:moved"):
        raw('UPDATE live_seat SET "Row" = 4 WHERE taken')
    with rejected("Cannot delete"):
        seat.objects.get(pk=(1, 1)).delete()
    seat.objects.filter(pk=(3, 2)).delete()
    assert list(seat.objects.order_by("row", "number").values_list("taken", flat=True)) == [True, False, None]


@pytest.mark.parametrize(
    ("condition", "changes", "stays"),
    [
        (pgtrigger.AnyChange("pk"), {"number": 2}, {"taken": True}),
        (pgtrigger.AnyChange(exclude=["pk"]), {"taken": True}, {"number": 2}),
        (Q(old__pk=(1, 1)) & Q(new__pk__gt=(1, 1)), {"row": 2}, {"number": 0}),
        (~Q(new__pk__in=[(1, 1), (1, 2)]), {"number": 3}, {"number": 2}),
    ],
    ids=repr,
)
def test_composite_key_in_a_condition(live: Live, condition, changes, stays):
    seat = live.declare(
        "Seat", [pgtrigger.Protect(name="t", operation=pgtrigger.Update, condition=condition)],
        pk=models.CompositePrimaryKey("row", "number"), row=models.IntegerField(db_column="Row"),
        number=models.IntegerField(), taken=models.BooleanField(null=True),
    )  # fmt: skip
    seat.objects.create(row=1, number=1)
    with rejected("Cannot update"):
        seat.objects.update(**changes)
    seat.objects.update(**stays)


@pytest.mark.parametrize(
    "condition",
    [Q(old__pk=pgtrigger.F("new__pk")), Q(old__pk__df=(1, 1)), Q(new__row=pgtrigger.F("old__pk"))],
)
def test_composite_key_is_not_compared_as_one(live: Live, condition):
    start = "The composite key of Seat cannot be compared as a whole with another row's: "
    sentence = f"{start}compare row and number one by one"
    with pytest.raises(ConditionError, match=sentence):
        live.declare(
            "Seat", [pgtrigger.Protect(name="t", operation=pgtrigger.Update, condition=condition)],
            pk=models.CompositePrimaryKey("row", "number"), row=models.IntegerField(), number=models.IntegerField(),
        )  # fmt: skip
