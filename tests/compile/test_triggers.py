"""Declarations to CREATE FUNCTION and CREATE TRIGGER, as golden SQL, and what cannot be compiled."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from pgmagic.compile.declarations import compile_declaration
from pgmagic.compile.target import Target
from pgmagic.errors import DeclarationError, UnknownFieldError
from tests.compile.golden import FOLDER, assert_golden
from tests.declare.models import Book

Q, F = pgtrigger.Q, pgtrigger.F
BODY = pgtrigger.Func("PERFORM '{columns.isbn}', '{meta.db_table}';\nRETURN NULL;")


def trigger(**changes):
    return pgtrigger.Trigger(
        **{"name": "t", "when": pgtrigger.After, "operation": pgtrigger.Update, "func": BODY, **changes}
    )


STATEMENT = {"level": pgtrigger.Statement}
GOLDEN = {
    "row": trigger(),
    "row_condition": trigger(condition=Q(new__title="o'k %s") & pgtrigger.Condition("(a) OR (b)")),
    "row_all_operations": trigger(
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.UpdateOf("isbn", "order") | pgtrigger.Delete | pgtrigger.Truncate,
        declare=[("n", "int = 3"), ("r", "record")],
    ),
    "truncate": trigger(operation=pgtrigger.Truncate),
    "statement": trigger(**STATEMENT, operation=pgtrigger.Update | pgtrigger.Truncate),
    "transition_tables": trigger(
        **STATEMENT,
        operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete,
        referencing=pgtrigger.Referencing(old="Old Rows", new="new_rows"),
    ),
    "transition_table": trigger(**STATEMENT, referencing=pgtrigger.Referencing(new="new_rows")),
    "deferred": trigger(timing=pgtrigger.Deferred, condition=pgtrigger.AnyChange("title")),
    "immediate": trigger(timing=pgtrigger.Immediate),
    "instead_of": trigger(when=pgtrigger.InsteadOf, operation=pgtrigger.Insert),
    "hostile_names": trigger(
        name='it\'s "$body$" %s {x} \\ \u00fc' + "x" * 60, func="RAISE '$body$ $body1$'; -- %\nRETURN NULL;"
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_trigger_compiles_to_golden_sql(name):
    compiled = compile_declaration(GOLDEN[name], Book, Target("my Schema"))
    assert_golden(f"trigger_{name}", f"{compiled.install_sql}\n\n{compiled.uninstall_sql}")


def test_every_golden_file_has_its_test():
    from tests.compile import test_bodies, test_model_tables

    names = {f"trigger_{name}" for name in GOLDEN} | {f"body_{name}" for name in test_bodies.GOLDEN}
    names |= {f"table_{model.__name__.lower()}" for model in test_model_tables.MODELS}
    assert {path.stem for path in FOLDER.glob("*.sql")} == names


def test_names_resolve_in_the_session_without_a_schema():
    sql = compile_declaration(trigger(), Book, Target()).install_sql
    assert 'CREATE OR REPLACE FUNCTION "pgtrigger_t_' in sql
    assert 'ON "rooms_book"\n' in sql


BLANKS = "\n\nv := 'line one\n\n  line three  \n';\n\tRETURN NULL;  \n"


@pytest.mark.parametrize("body", [BLANKS, pgtrigger.Func(BLANKS)], ids=["text", "template"])
def test_blanks_inside_of_a_body_are_kept(body):
    function = trigger(func=body).compile(Book).function
    assert "v := 'line one\n\n  line three  \n';" in function.body


def test_format_sql_may_be_overridden():
    class Shouting(pgtrigger.Trigger):
        def format_sql(self, sql):
            return sql.upper()

    compiled = Shouting(name="t", when=pgtrigger.After, operation=pgtrigger.Update, func="return null;").compile(Book)
    assert "RETURN NULL;" in compiled.function.body


def test_fires_uses_the_words_of_create_trigger():
    fires = {name: [part.fires for part in declared.compile(Book).triggers] for name, declared in GOLDEN.items()}
    assert fires["row_all_operations"] == [
        'BEFORE INSERT OR UPDATE OF "isbn", "order" OR DELETE · ROW',
        "BEFORE TRUNCATE · STATEMENT",
    ]
    assert fires["deferred"] == ["AFTER UPDATE · ROW · DEFERRED"]
    assert fires["transition_tables"] == [f"AFTER {name} · STATEMENT" for name in ("INSERT", "UPDATE", "DELETE")]


def test_order_of_operations_does_not_change_the_declaration():
    one, other = (
        trigger(operation=operation).compile(Book).triggers[0]
        for operation in (pgtrigger.Insert | pgtrigger.Update, pgtrigger.Insert | pgtrigger.Update)
    )
    assert one.declared == other.declared
    assert one.declared != trigger().compile(Book).triggers[0].declared


def test_replacing_a_constraint_trigger_drops_it_first():
    [deferred] = GOLDEN["deferred"].compile(Book).triggers
    assert deferred.replace.startswith("DROP TRIGGER ")
    [ordinary] = GOLDEN["row"].compile(Book).triggers
    assert ordinary.replace.startswith("CREATE OR REPLACE TRIGGER ")


@pytest.mark.parametrize(
    ("declared", "kind", "sentence"),
    [
        (trigger(operation=pgtrigger.UpdateOf("nope")), UnknownFieldError, "Book has no field named 'nope'"),
        (trigger(func=pgtrigger.Func("{columns.nope}")), DeclarationError, 'asks for "{columns.nope}"'),
        (
            trigger(operation=pgtrigger.Truncate, condition=Q(old__id=1)),
            DeclarationError,
            'TRUNCATE shows a trigger no rows, so "t" cannot have a condition',
        ),
    ],
)  # fmt: skip
def test_trigger_that_cannot_be_compiled_is_refused(declared, kind, sentence):
    with pytest.raises(kind) as raised:
        declared.compile(Book)
    assert sentence in str(raised.value)


@pytest.mark.parametrize("name", ['a"b', "50%", "a\x00b"])
def test_names_that_django_cannot_quote_are_refused(name):
    class Odd(models.Model):
        column = models.TextField(db_column=name)

        class Meta:
            app_label = "rooms_odd"

    class OddTable(models.Model):
        class Meta:
            app_label = "rooms_odd"
            db_table = name

    with pytest.raises(DeclarationError, match=r"The db_column of column of Odd is .* choose another name\."):
        trigger().compile(Odd)
    with pytest.raises(DeclarationError, match=r"The db_table of OddTable is .* choose another name\."):
        trigger().compile(OddTable)
    del models.base.apps.all_models["rooms_odd"]


def test_compiling_never_connects(monkeypatch):
    def connect(*_args, **_kwargs):
        raise AssertionError("the compiler connected")

    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.connect", connect)
    for declared in GOLDEN.values():
        declared.compile(Book)
