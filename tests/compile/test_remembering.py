"""What was compiled is compiled again exactly when something that it was made from has changed."""

from __future__ import annotations

import gc
from weakref import ref

import pytest
from django.db import models
from django.test import override_settings
from django.test.utils import isolate_apps

from pgmagic import pgtrigger
from pgmagic.compile import triggers
from pgmagic.compile.declarations import compile_declaration
from pgmagic.compile.target import Target

TARGET = Target()


def compiled(trigger, model, target=TARGET):
    return compile_declaration(trigger, model, target)


@pytest.fixture
def compilations(monkeypatch):
    """The triggers that were really compiled."""
    found = []
    original = triggers.compile_trigger

    def compile_trigger(trigger, *rest):
        found.append(trigger)
        return original(trigger, *rest)

    monkeypatch.setattr(triggers, "compile_trigger", compile_trigger)
    return found


@pytest.fixture
def model():
    with isolate_apps("tests"):

        class Post(models.Model):
            title = models.TextField()
            n = models.IntegerField()

            class Meta:
                app_label = "tests"

        yield Post


def fixed(**changes):
    return pgtrigger.ReadOnly(name="fixed", **({"fields": ["title"]} | changes))


def test_same_declaration_is_compiled_once(model, compilations):
    trigger = fixed()
    first = compiled(trigger, model)
    assert compiled(trigger, model) is first
    assert compiled(trigger, model) is first
    assert compilations == [trigger]


@pytest.mark.parametrize(
    "change",
    [
        lambda trigger, _: trigger.fields.append("n"),
        lambda trigger, _: setattr(trigger, "name", "other"),
        lambda trigger, _: setattr(trigger, "fields", ["n"]),
        lambda _, model: setattr(model._meta.get_field("title"), "column", "heading"),
        lambda _, model: setattr(model._meta, "db_table", "elsewhere"),
        lambda _, model: models.IntegerField(default=0).contribute_to_class(model, "more"),
    ],
    ids=["list", "name", "attribute", "column", "table", "field"],
)
def test_change_in_place_is_noticed(model, compilations, change):
    trigger = fixed()
    before = compiled(trigger, model)
    change(trigger, model)
    assert compiled(trigger, model) is not before
    assert len(compilations) == 2
    if "more" not in [field.name for field in model._meta.fields]:
        assert compiled(trigger, model) != before


def test_equal_value_of_another_type_is_a_change(model, compilations):
    trigger = pgtrigger.SoftDelete(name="soft", field="n", value=1)
    compiled(trigger, model)
    trigger.value = True
    compiled(trigger, model)
    assert len(compilations) == 2


def test_extended_condition_is_noticed(model):
    trigger = pgtrigger.Protect(name="t", operation=pgtrigger.Update, condition=pgtrigger.Q(new__n=1))
    before = compiled(trigger, model)
    trigger.condition.children.append(("new__title", "a"))
    assert compiled(trigger, model).condition != before.condition


def test_target_and_time_zone_are_part_of_the_state(model, compilations):
    trigger = fixed()
    found = {compiled(trigger, model).install_sql}
    found.add(compiled(trigger, model, Target("a")).install_sql)
    with override_settings(TIME_ZONE="Europe/Vienna"):
        found.add(compiled(trigger, model).install_sql)
    assert len(compilations) == 3
    assert len(found) == 2


def test_class_of_the_user_s_is_compiled_each_time(model, compilations):
    words = ["a", "b"]

    class Own(pgtrigger.Trigger):
        when, operation = pgtrigger.Before, pgtrigger.Insert

        def get_func(self, model):
            return f"RAISE '{words[0]}';"

    trigger = Own(name="own")
    compiled(trigger, model)
    words.pop(0)
    assert "RAISE 'b'" in compiled(trigger, model).function.body
    assert len(compilations) == 2


def test_one_trigger_on_two_models(model, compilations):
    with isolate_apps("tests"):

        class Other(models.Model):
            title = models.TextField()

            class Meta:
                app_label = "tests"

    trigger = fixed()
    for _ in range(2):
        assert compiled(trigger, model).table == "tests_post"
        assert compiled(trigger, Other).table == "tests_other"
    assert len(compilations) == 2


def test_nothing_is_kept_alive():
    with isolate_apps("tests"):

        class Post(models.Model):
            title = models.TextField()

            class Meta:
                app_label = "tests"

        trigger = fixed()
        Post.kept = trigger
        compiled(trigger, Post)
        gone = ref(Post), ref(trigger)
    del Post, trigger
    gc.collect()
    assert [found() for found in gone] == [None, None]
