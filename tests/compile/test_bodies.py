"""The bodies of ready-made triggers, as golden SQL. What they do is tested on a live table, in `tests/db`."""

from __future__ import annotations

import pytest
from django.db import models
from django.db.models.functions import Concat, Now

from pgmagic import pgtrigger
from pgmagic.compile.bodies import field_value
from pgmagic.compile.declarations import compile_declaration
from pgmagic.compile.functions import ready_made_body
from pgmagic.compile.sql import render
from pgmagic.compile.target import Target
from pgmagic.errors import DeclarationError, PgMagicError
from tests.compile.golden import assert_golden
from tests.declare.models import Book

FSM = {"name": "t", "field": "title", "transitions": [("draft", "o'k"), ("draft", "a:b"), ("o'k", "{,}\\ %")]}
GOLDEN = {
    "protect": pgtrigger.Protect(name="t", operation=pgtrigger.Update | pgtrigger.Delete),
    "protect_truncate": pgtrigger.Protect(name="t", operation=pgtrigger.Truncate),
    "protect_condition": pgtrigger.Protect(name="t", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__good=True)),
    "read_only": pgtrigger.ReadOnly(name="t", fields=["isbn"]),
    "read_only_several": pgtrigger.ReadOnly(name="t", fields=["title", "data"], condition=pgtrigger.Q(old__good=True)),
    "soft_delete": pgtrigger.SoftDelete(name="t", field="isbn", value="o'k"),
    "soft_delete_expression": pgtrigger.SoftDelete(name="t", field="printed", value=Now()),
    "fsm": pgtrigger.FSM(**FSM),
    "fsm_null": pgtrigger.FSM(name="t", field="pages", transitions=[(None, 1), (1, 2), (1, None)]),
    "fsm_condition": pgtrigger.FSM(**FSM, condition=pgtrigger.Q(new__good=True)),
    "fsm_initial": pgtrigger.FSM(
        name="t",
        field="title",
        initial=["draft", None],
        condition=pgtrigger.Q(new__good=True),
        transitions=[
            ("draft", "out"),
            ("draft", "o'k", pgtrigger.Q(new__pages__gt=1)),
            ("o'k", "out", pgtrigger.Condition("OLD.pages = 1 OR true")),
        ],
    ),
    "protect_truncate_condition": pgtrigger.Protect(
        name="t", operation=pgtrigger.Delete | pgtrigger.Truncate, condition=pgtrigger.Q(old__good=True)
    ),
    "protect_statement": pgtrigger.Protect(
        name="t",
        level=pgtrigger.Statement,
        operation=pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate,
        condition=pgtrigger.Condition("OLD.good OR false"),
    ),
    "read_only_statement": pgtrigger.ReadOnly(name="t", level=pgtrigger.Statement, fields=["isbn"]),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_body_compiles_to_golden_sql(name):
    compiled = compile_declaration(GOLDEN[name], Book, Target("my Schema"))
    assert_golden(f"body_{name}", compiled.install_sql)


@pytest.mark.parametrize(
    ("field", "value", "sql"),
    [
        ("title", "o'k", "'o''k'"),
        ("title", "50% \\", " E'50% \\\\'"),
        ("pages", None, "NULL"),
        ("good", False, "false"),
        ("data", {"a": "o'k"}, """'{"a": "o''k"}'::jsonb"""),
        ("printed", Now(), "STATEMENT_TIMESTAMP()"),
        ("title", models.Value("o'k"), "'o''k'"),
        # In a BEFORE DELETE trigger, the row that the update writes is OLD.
        ("title", models.F("isbn"), 'OLD."Isbn No"'),
        ("pages", models.F("order") + 1, '(OLD."order" + 1)'),
        ("title", pgtrigger.F("old__isbn"), 'OLD."Isbn No"'),
        (
            "title",
            Concat("title", models.Value(" %")),
            """(COALESCE(OLD."title", '') || COALESCE(' %', ''))""",
        ),
    ],
)
def test_value_of_a_field_is_rendered(field, value, sql):
    assert render(field_value(value, Book._meta.get_field(field))).strip() == sql.strip()


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("pages", "x", "'x' is not a value of Book.pages: "),
        ("day", "x", "'x' is not a value of Book.day: “x” value has an invalid date format."),
        (
            "title",
            models.F("shelf__label"),
            "A trigger sees only the row itself: 'shelf__label' would need a join",
        ),
        ("title", models.F("nope"), "Book has no field named 'nope'"),
    ],
)
def test_value_that_a_field_cannot_have_is_refused(field, value, sentence):
    with pytest.raises(PgMagicError) as raised:
        field_value(value, Book._meta.get_field(field))
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_trigger_without_a_body_is_refused():
    class Empty(pgtrigger.Trigger):
        def get_func(self, model):
            return ready_made_body(self, model, Target())

    with pytest.raises(DeclarationError, match="Empty has no body: give it a func or a get_func"):
        Empty(name="t", when=pgtrigger.After, operation=pgtrigger.Update).compile(Book)
