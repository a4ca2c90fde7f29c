"""`Trigger`: every contradiction is refused at declaration, each in its own sentence."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from pgmagic.declare import registry
from pgmagic.errors import DeclarationError
from tests.declare.models import Book, Shelf

GIVEN = {"name": "t", "when": pgtrigger.After, "operation": pgtrigger.Update, "func": "RETURN NULL;"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": None}, 'Trigger must have "name" attribute: a text that is not empty, got None.'),
        ({"name": ""}, "Trigger must have \"name\" attribute: a text that is not empty, got ''."),
        (
            {"when": None},
            'Invalid "when" attribute of trigger "t": expected pgtrigger.When, got None. '
            "The choices are pgtrigger.Before, pgtrigger.After, pgtrigger.InsteadOf.",
        ),
        (
            {"when": "AFTER"},
            'Invalid "when" attribute of trigger "t": expected pgtrigger.When, got \'AFTER\'. '
            "The choices are pgtrigger.Before, pgtrigger.After, pgtrigger.InsteadOf.",
        ),
        (
            {"operation": None},
            'Invalid "operation" attribute of trigger "t": expected pgtrigger.Operation, got None. '
            "The choices are pgtrigger.Update, pgtrigger.Delete, pgtrigger.Truncate, pgtrigger.Insert.",
        ),
        (
            {"operation": [pgtrigger.Insert]},
            'Invalid "operation" attribute of trigger "t": expected pgtrigger.Operation, got [pgtrigger.Insert]. '
            "The choices are pgtrigger.Update, pgtrigger.Delete, pgtrigger.Truncate, pgtrigger.Insert.",
        ),
        (
            {"level": pgtrigger.Before},
            'Invalid "level" attribute of trigger "t": expected pgtrigger.Level, got pgtrigger.Before. '
            "The choices are pgtrigger.Row, pgtrigger.Statement.",
        ),
        (
            {"condition": "OLD.a > 1"},
            'Invalid "condition" attribute of trigger "t": expected pgtrigger.Condition or pgtrigger.Q, '
            "got 'OLD.a > 1'.",
        ),
        (
            {"timing": pgtrigger.Deferred, "level": pgtrigger.Statement},
            'Deferrable triggers must have "level" attribute as "pgtrigger.Row" (trigger "t").',
        ),
        (
            {"timing": pgtrigger.Immediate, "when": pgtrigger.Before},
            'Deferrable triggers must have "when" attribute as "pgtrigger.After" (trigger "t").',
        ),
        (
            {"when": pgtrigger.InsteadOf, "level": pgtrigger.Statement},
            'InsteadOf triggers fire for each row (trigger "t").',
        ),
        (
            {"when": pgtrigger.InsteadOf, "condition": pgtrigger.Q(old__id=1)},
            'InsteadOf triggers take no condition in Postgres: test it in the body (trigger "t").',
        ),
        (
            {"referencing": pgtrigger.Referencing(old="o")},
            '"referencing" goes with when=pgtrigger.After and level=pgtrigger.Statement (trigger "t").',
        ),
        (
            {
                "referencing": pgtrigger.Referencing(old="o"),
                "level": pgtrigger.Statement,
                "operation": pgtrigger.Insert | pgtrigger.UpdateOf("title"),
            },
            'Postgres has no transition tables for UPDATE OF "title": use Update, Insert or Delete with '
            '"referencing" (trigger "t").',
        ),
        (
            {
                "referencing": pgtrigger.Referencing(old="o"),
                "level": pgtrigger.Statement,
                "operation": pgtrigger.Delete | pgtrigger.Truncate,
            },
            'Postgres has no transition tables for TRUNCATE: use Update, Insert or Delete with "referencing" '
            '(trigger "t").',
        ),
        (
            {"operation": pgtrigger.UpdateOf("title") | pgtrigger.Insert | pgtrigger.UpdateOf("pages")},
            'UPDATE OF "title" and UPDATE OF "pages" are one event in Postgres: name all fields in one '
            'pgtrigger.UpdateOf, or use pgtrigger.Update (trigger "t").',
        ),
        (
            {"operation": pgtrigger.Update | pgtrigger.UpdateOf("pages")},
            'UPDATE and UPDATE OF "pages" are one event in Postgres: name all fields in one pgtrigger.UpdateOf, or '
            'use pgtrigger.Update (trigger "t").',
        ),
        (
            {"operation": pgtrigger.Insert | pgtrigger.Truncate, "timing": pgtrigger.Deferred},
            'Deferrable triggers fire for each row, and TRUNCATE shows none (trigger "t").',
        ),
    ],
)
def test_contradiction_is_refused_at_declaration(changes, sentence):
    with pytest.raises(DeclarationError) as raised:
        pgtrigger.Trigger(**{**GIVEN, **changes})
    assert str(raised.value) == sentence


@pytest.mark.parametrize("func", ["", " \n", pgtrigger.Func(""), pgtrigger.Func("\t")])
def test_empty_body_is_refused(func):
    with pytest.raises(DeclarationError, match="has no body"):
        pgtrigger.Trigger(**{**GIVEN, "func": func}).compile(Book)


def test_column_under_two_names_is_named_once():
    trigger = pgtrigger.Trigger(**{**GIVEN, "operation": pgtrigger.UpdateOf("shelf", "title", "shelf_id", "title")})
    assert 'UPDATE OF "shelf_id", "title" ON' in trigger.compile(Book).install_sql


def test_positional_arguments_are_refused():
    with pytest.raises(TypeError):
        pgtrigger.Trigger("t")


@pytest.mark.parametrize(("attribute", "other"), [("when", pgtrigger.Before), ("level", pgtrigger.Statement)])
def test_class_attributes_hold_unless_an_argument_is_given(attribute, other):
    class Kind(pgtrigger.Trigger):
        name = "kind"
        when = pgtrigger.After
        operation = pgtrigger.Insert | pgtrigger.Update
        func = "RETURN NULL;"

    trigger = Kind()
    assert (trigger.name, trigger.when, trigger.level) == ("kind", pgtrigger.After, pgtrigger.Row)
    assert trigger.operations == (pgtrigger.Insert, pgtrigger.Update)
    assert getattr(Kind(**{attribute: other}), attribute) == other
    assert getattr(Kind(), attribute) != other
    assert repr(trigger) == "<Kind: kind>"


def test_class_attributes_are_checked_as_arguments_are():
    class Kind(pgtrigger.Trigger):
        when = "AFTER"
        operation = pgtrigger.Update

    with pytest.raises(DeclarationError, match=r"expected pgtrigger\.When, got 'AFTER'"):
        Kind(name="t")


def test_trigger_names_itself():
    trigger = pgtrigger.Trigger(**{**GIVEN, "name": "it's %s: \u00e9"})
    assert trigger.get_uri(Book) == "rooms.Book:it's %s: \u00e9"
    assert trigger.get_pgid(Book).startswith("pgtrigger_it's %s: \u00e9_")
    assert trigger.get_pgid(Book) != trigger.get_pgid(Shelf)
    trigger.register(Book)
    assert pgtrigger.registered("rooms.Book:it's %s: \u00e9") == [(Book, trigger)]


def test_trigger_without_a_body_says_so():
    trigger = pgtrigger.Trigger(**{**GIVEN, "func": None})
    with pytest.raises(DeclarationError, match='trigger "t" has no body'):
        trigger.compile(Book)


def test_trigger_renders_its_parts():
    trigger = pgtrigger.Trigger(
        **{**GIVEN, "func": pgtrigger.Func("{meta.db_table} {columns.isbn} {more}")},
        declare=[("n", "int"), ("t", "text = 'x'")],
        condition=pgtrigger.Condition("OLD.id > 1"),
    )
    trigger.get_func_template_kwargs = lambda model: {**super_kwargs(model), "more": "!"}
    super_kwargs = pgtrigger.Trigger(**GIVEN).get_func_template_kwargs
    assert trigger.render_func(Book) == "rooms_book Isbn No !"
    assert trigger.render_declare(Book) == "DECLARE n int; t text = 'x';"
    assert trigger.render_condition(Book) == "WHEN ((OLD.id > 1))"
    assert trigger.render_execute(Book) == f"{trigger.get_pgid(Book)}()"
    bare = pgtrigger.Trigger(**GIVEN)
    assert (bare.render_func(Book), bare.render_declare(Book), bare.render_condition(Book)) == (
        "RETURN NULL;",
        "",
        "",
    )


def test_text_is_not_a_template():
    assert pgtrigger.Trigger(**{**GIVEN, "func": "{meta.db_table}"}).render_func(Book) == "{meta.db_table}"


def test_overridden_hooks_reach_the_compiled_sql():
    class Kind(pgtrigger.Trigger):
        def get_name(self):
            return "renamed"

        def get_condition(self, model):
            return pgtrigger.Q(new__pages__gt=3)

        def get_declare(self, model):
            return [("n", "int")]

        def get_func(self, model):
            return "n := 1; RETURN NULL;"

    sql = Kind(**GIVEN).compile(Book).install_sql
    for part in ("pgtrigger_renamed_", '(NEW."pages" > 3)', "DECLARE n int;", "n := 1; RETURN NULL;"):
        assert part in sql


@pytest.mark.parametrize(
    ("clause", "found"),
    [
        ("WHEN (OLD.pages = 1)", "\n  WHEN (( (OLD.pages = 1)\n)"),
        ("OLD.pages = 1 -- one", "\n  WHEN ((OLD.pages = 1 -- one\n)"),
        (" ", "\n  FOR EACH ROW\n  EXECUTE FUNCTION"),
    ],
)
def test_condition_that_a_subclass_renders_is_the_when_clause(clause, found):
    class Kind(pgtrigger.Trigger):
        def render_condition(self, model):
            return clause

    assert found in Kind(**GIVEN).compile(Book).install_sql


class Calling(pgtrigger.Trigger):
    """Renders its call itself."""

    call = "{}"

    def render_execute(self, model):
        own = super().render_execute(model)
        return self.call.format(own) if isinstance(self.call, str) else self.call


CALLS = {
    "{}": '"OWN"()',
    " OWN('a') ;": "\"OWN\"('a')",
    "tsvector_update_trigger(vector, 'pg_catalog.simple', \"a b\")": None,
    "Audit( 'it''s (a), \"b\"' , E'\\\\n\\'' ,-1.5,\ttrue);": None,
    '"my Schema"."Do ""it"""()': None,
}


@pytest.mark.parametrize("call", CALLS)
def test_call_that_a_subclass_renders(call):
    trigger = Calling(**GIVEN)
    own = trigger.get_pgid(Book)
    trigger.call = call.replace("OWN", own)
    expected = (CALLS[call] or call.rstrip(";")).replace("OWN", own)
    assert f"EXECUTE FUNCTION {expected};" in trigger.compile(Book).install_sql


@pytest.mark.parametrize(
    "call",
    [
        "audit",
        "audit(",
        "audit('a)",
        "audit(); DROP TABLE x",
        "audit(now())",
        "",
        "a b()",
        None,
        "audit() -- x",
    ],
)
def test_text_that_is_not_a_call_is_refused(call):
    trigger = Calling(**GIVEN)
    trigger.call = call
    with pytest.raises(DeclarationError, match=r'The render_execute of "t" returned .* expects the call of a function'):
        trigger.compile(Book)


def test_trigger_registers_and_unregisters():
    trigger, other = pgtrigger.Trigger(**GIVEN), pgtrigger.Trigger(**GIVEN)
    trigger.register(Book, Shelf)
    assert trigger.is_registered(Book)
    assert trigger.is_registered(Shelf)
    assert not other.is_registered(Book)
    trigger.unregister(Book)
    assert not trigger.is_registered(Book)
    assert [model for model, _ in registry.registered()] == [Shelf]


def test_proxy_has_uris_of_its_own():
    class Volume(Book):
        class Meta:
            proxy = True
            app_label = "rooms"

    assert pgtrigger.Trigger(**GIVEN).get_uri(Volume) == "rooms.Volume:t"
    assert issubclass(Volume, models.Model)
