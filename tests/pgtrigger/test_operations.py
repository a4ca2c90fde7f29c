from __future__ import annotations

from typing import Any

import pytest
from django.db import InternalError, models
from django.db.migrations import operations as ops
from django.db.migrations.optimizer import MigrationOptimizer
from django.db.migrations.writer import OperationWriter

from pgmagic import pgtrigger
from pgmagic.errors import DeclarationError, InstallationError
from pgmagic.pgtrigger.compiler import Trigger, TriggerSql
from pgmagic.pgtrigger.migrations import AddTrigger, AlterPartitioning, RemoveTrigger
from tests.pgtrigger.migrating import LABEL, Migrating, create, item, upstreams


def protect(name: str = "stay", **given: Any) -> AddTrigger:
    return AddTrigger("item", pgtrigger.Protect(name=name, **{"operation": pgtrigger.Delete, **given}))


def refusal(migrating: Migrating, statement: str) -> str:
    with pytest.raises(InternalError) as caught:
        migrating.sql(statement)
    return str(caught.value).splitlines()[0]


def test_added_trigger_works_until_the_migration_is_reversed(migrating):
    migrating.forwards(item(), protect())
    migrating.sql("INSERT INTO shop_item (name, price) VALUES ('a', 1)")
    assert refusal(migrating, "DELETE FROM shop_item") == "pgtrigger: Cannot delete rows from shop_item table"
    [(name, enabled)] = migrating.triggers("shop_item")
    assert (name, enabled) == (migrating.functions()[0], "O")
    migrating.backwards()
    migrating.sql("DELETE FROM shop_item")
    assert migrating.triggers("shop_item") == migrating.functions() == []


def test_reversed_removal_restores_the_trigger(migrating):
    migrating.forwards(item(), protect(), RemoveTrigger("item", "stay"))
    assert migrating.triggers("shop_item") == migrating.functions() == []
    migrating.backwards()
    migrating.sql("INSERT INTO shop_item (name, price) VALUES ('a', 1)")
    assert refusal(migrating, "DELETE FROM shop_item").endswith("Cannot delete rows from shop_item table")


def test_adding_a_disabled_trigger_again_keeps_it_disabled(migrating):
    migrating.forwards(item(), protect())
    [(name, _)] = migrating.triggers("shop_item")
    migrating.sql(f'ALTER TABLE shop_item DISABLE TRIGGER "{name}"')
    migrating.forwards(protect(operation=pgtrigger.Update))
    assert migrating.triggers("shop_item") == [(name, "D")]
    migrating.sql(f"ALTER TABLE shop_item ENABLE TRIGGER \"{name}\"; INSERT INTO shop_item VALUES (1, 'a', 1)")
    assert "update" in refusal(migrating, "UPDATE shop_item SET price = 2")
    migrating.backwards()
    migrating.sql("UPDATE shop_item SET price = 2")
    assert "delete" in refusal(migrating, "DELETE FROM shop_item")


def test_all_triggers_of_a_declaration_are_added_and_removed_together(migrating):
    migrating.forwards(item(), protect(operation=pgtrigger.Delete | pgtrigger.Truncate))
    assert len(migrating.triggers("shop_item")) == 2
    migrating.forwards(protect())
    assert len(migrating.triggers("shop_item")) == 1
    migrating.backwards()
    assert len(migrating.triggers("shop_item")) == 2
    migrating.forwards(RemoveTrigger("item", "stay"))
    assert migrating.triggers("shop_item") == migrating.functions() == []


@pytest.mark.parametrize(
    ("pieces", "statement"),
    [
        ({"func": "RAISE EXCEPTION 'no % 100%%', TG_OP;"}, "DELETE FROM shop_item"),
        ({"func": "RAISE EXCEPTION 'no';", "condition": "WHEN (OLD.\"name\" = 'a')"}, "DELETE FROM shop_item"),
        ({"func": "RAISE EXCEPTION 'no';", "operation": 'UPDATE OF "price"'}, "UPDATE shop_item SET price = 2"),
        (
            {
                "func": "IF EXISTS (SELECT FROM gone) THEN RAISE EXCEPTION 'no'; END IF; RETURN NULL;",
                "when": "AFTER", "level": "STATEMENT", "referencing": "REFERENCING OLD TABLE AS gone ",
            },
            "DELETE FROM shop_item",
        ),
        (
            {
                "declare": "DECLARE word TEXT := 'no';", "func": "RAISE EXCEPTION '%', word;", "when": "AFTER",
                "constraint": "CONSTRAINT", "timing": "DEFERRABLE INITIALLY DEFERRED",
            },
            "DELETE FROM shop_item",
        ),
    ],
    ids=["row", "condition", "columns", "transition table", "deferred"],
)  # fmt: skip
def test_trigger_of_an_upstream_migration_works(migrating, pieces, statement):
    migrating.forwards(item(), AddTrigger("item", upstreams("stay", **pieces)))
    migrating.sql("INSERT INTO shop_item VALUES (1, 'a', 1)")
    assert refusal(migrating, statement).startswith("no")
    with pgtrigger.ignore():
        migrating.sql(statement)
    migrating.forwards(protect())
    [(name, _)] = migrating.triggers("shop_item")
    assert name != "pgtrigger_stay_12345"
    assert migrating.functions() == [name]
    migrating.backwards()
    assert [name for name, _ in migrating.triggers("shop_item")] == ["pgtrigger_stay_12345"]


def test_trigger_may_call_a_function_of_postgres(migrating):
    migrating.forwards(
        item(),
        AddTrigger(
            "item",
            upstreams("skip", operation="UPDATE", execute="suppress_redundant_updates_trigger()", func=""),
        ),
    )
    migrating.sql("INSERT INTO shop_item VALUES (1, 'a', 1)")
    assert migrating.sql("UPDATE shop_item SET price = 1 RETURNING id") == []
    migrating.backwards()
    assert migrating.functions() == []


def test_trigger_on_the_table_of_a_many_to_many_field(migrating):
    migrating.forwards(
        item(),
        create("Order", tags=models.ManyToManyField("shop.item")),
        AddTrigger("order_tags", pgtrigger.Protect(name="stay", operation=pgtrigger.Delete)),
    )
    assert len(migrating.triggers("shop_order_tags")) == 1
    assert [kept.many_to_many for kept in migrating.state.models["shop", "order"].options["triggers"]] == ["tags"]
    migrating.backwards()
    assert migrating.triggers("shop_order_tags") == []


def test_trigger_on_the_model_of_another_app(migrating):
    migrating.forwards(item())
    operation = AddTrigger("shop.Item", pgtrigger.Protect(name="stay", operation=pgtrigger.Delete))
    migrating.forwards(operation, app_label="other")
    assert len(migrating.triggers("shop_item")) == 1
    migrating.backwards(app_label="other")
    assert migrating.triggers("shop_item") == []


def test_unknown_model_is_named(migrating):
    with pytest.raises(DeclarationError, match=r"a trigger on shop\.item, but there is no such model"):
        migrating.forwards(protect())


def test_error_of_postgres_names_the_trigger(migrating):
    migrating.forwards(item())
    broken = pgtrigger.Trigger(name="broken", when=pgtrigger.Before, operation=pgtrigger.Insert, func="RETURN NEW")
    with pytest.raises(InstallationError, match=r"(?s)the trigger shop\.Item:broken: .*syntax error"):
        migrating.forwards(AddTrigger("item", broken))
    assert migrating.triggers("shop_item") == migrating.functions() == []


def test_sql_of_a_migration_can_be_run_by_hand(migrating):
    migrating.forwards(item())
    script = migrating.sql_of(protect())
    for _ in range(2):
        migrating.connection.connection.execute(script)
    migrating.sql("INSERT INTO shop_item VALUES (1, 'a', 1)")
    assert "delete" in refusal(migrating, "DELETE FROM shop_item")
    [(comment,)] = migrating.sql("SELECT obj_description(tgfoid) FROM pg_trigger WHERE tgrelid = 'shop_item'::regclass")
    assert '"shop.Item:stay"' in comment


def test_deleting_a_model_drops_its_functions_and_reversing_restores_its_triggers(migrating):
    migrating.forwards(item(), protect(), ops.DeleteModel("Item"))
    assert migrating.functions() == []
    migrating.backwards()
    migrating.sql("INSERT INTO shop_item VALUES (1, 'a', 1)")
    assert "delete" in refusal(migrating, "DELETE FROM shop_item")


@pytest.mark.parametrize(
    "operation",
    [AddTrigger("item", upstreams("x", func="RETURN NULL; -- it's 100% ok")), RemoveTrigger("item", "x")],
)
def test_written_operation_equals_the_original(operation):
    text, imports = OperationWriter(operation, indentation=0).serialize()
    namespace: dict[str, Any] = {}
    exec("\n".join(imports) + f"\nfound = {text.rstrip(',')}", namespace)  # noqa: S102 - what a migration file is
    assert namespace["found"].deconstruct() == operation.deconstruct()
    assert operation.describe() in {"Create trigger x on model item", "Remove trigger x from model item"}
    assert operation.migration_name_fragment in {"item_x", "remove_item_x"}


def test_state_holds_a_declared_trigger_as_sql(migrating):
    migrating.forwards(item(), protect())
    [kept] = migrating.state.models["shop", "item"].options["triggers"]
    text, _ = OperationWriter(AddTrigger("item", kept.trigger), indentation=0).serialize()
    assert "TriggerSql(" in text
    assert "RAISE EXCEPTION" in text


def optimized(*operations: Any) -> list[str]:
    return [type(operation).__name__ for operation in MigrationOptimizer().optimize(list(operations), LABEL)]


def test_squashing_drops_operations_without_effect():
    add, remove = AddTrigger("item", upstreams("x", func="A")), RemoveTrigger("item", "x")
    assert optimized(item(), add, remove) == ["CreateModel"]
    assert optimized(add, AddTrigger("item", upstreams("x", func="B"))) == ["AddTrigger"]
    assert optimized(add, AddTrigger("item", upstreams("y", func="B"))) == ["AddTrigger", "AddTrigger"]
    assert optimized(item(), add, ops.DeleteModel("Item")) == []
    field = ops.AddField("Other", "n", models.IntegerField(null=True))
    assert optimized(create("Other"), add, field) == ["AddTrigger", "CreateModel"]


def test_table_with_children_gets_row_level_triggers(migrating):
    function = "CREATE OR REPLACE FUNCTION pgtrigger_x() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"

    def written(level: str, by_row: TriggerSql | None = None) -> TriggerSql:
        trigger = (
            f"CREATE TRIGGER pgtrigger_x_{level} AFTER DELETE ON shop_item FOR EACH {level} "
            "EXECUTE FUNCTION pgtrigger_x();"
        )
        return TriggerSql(
            uri="shop.Item:x", table="shop_item", functions={"pgtrigger_x": function},
            triggers={f"pgtrigger_x_{level.lower()}": trigger}, by_row=by_row,
        )  # fmt: skip

    add = AddTrigger("item", Trigger(name="x", sql=written("STATEMENT", written("ROW"))))
    migrating.forwards(item(), add)
    assert migrating.triggers("shop_item") == [("pgtrigger_x_statement", "O")]
    migrating.backwards()
    migrating.sql("CREATE TABLE child () INHERITS (shop_item)")
    migrating.forwards(add)
    assert migrating.triggers("shop_item") == [("pgtrigger_x_row", "O")]
    migrating.backwards()
    assert migrating.triggers("shop_item") == migrating.functions() == []


@pytest.mark.parametrize(
    "operation",
    [
        AddTrigger("item", upstreams("stay")),
        RemoveTrigger("item", "stay"),
        AlterPartitioning("item", "month"),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_migration_files_name_the_public_modules(operation):
    text, imports = OperationWriter(operation, indentation=0).serialize()
    assert text.startswith(f"pgmagic.pgtrigger.migrations.{type(operation).__name__}(")
    assert "import pgmagic.pgtrigger.migrations" in imports
    assert ("pgmagic.pgtrigger.compiler.Trigger(" in text) == isinstance(operation, AddTrigger)
