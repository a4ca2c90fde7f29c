"""Tables that change under their triggers."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import DatabaseError, models
from django.db.migrations import operations as ops
from django.test import override_settings

from pgmagic import pgtrigger
from pgmagic.db.catalog import read_catalog
from pgmagic.errors import InstallationError
from pgmagic.pgtrigger.migrations import AddTrigger, RemoveTrigger
from tests.pgtrigger.migrating import Migrating, create, item

RETYPED = models.BigIntegerField(default=0)


def read_only(model: str = "item", field: str = "price") -> AddTrigger:
    return AddTrigger(model, pgtrigger.ReadOnly(name="ro", fields=[field]))


def retype(name: str = "price", model: str = "Item", field: models.Field[Any, Any] = RETYPED) -> ops.AlterField:
    return ops.AlterField(model, name, field)


def installed(migrating: Migrating, table: str = "shop_item") -> Any:
    [found] = read_catalog(migrating.connection).triggers_on(table)
    return found


@pytest.mark.parametrize("atomic", [True, False])
@pytest.mark.parametrize(
    ("state", "enabled"), [("ENABLE", "O"), ("DISABLE", "D"), ("ENABLE ALWAYS", "A"), ("ENABLE REPLICA", "R")]
)
def test_retyped_column_keeps_its_trigger(migrating, state, enabled, atomic):
    migrating.forwards(item(), read_only())
    before = installed(migrating)
    migrating.sql(f'ALTER TABLE shop_item {state} TRIGGER "{before.name}"')
    migrating.forwards(retype(), atomic=atomic)
    after = installed(migrating)
    assert (after.name, after.enabled) == (before.name, enabled)
    assert after.mark.declared == before.mark.declared
    assert not after.is_edited
    migrating.backwards()
    assert installed(migrating).enabled == after.enabled


def generated(*, persist: bool = True) -> models.GeneratedField:
    """Return a field as django-pghistory mirrors a generated one."""
    return models.GeneratedField(
        expression=models.F("price") * 2,
        output_field=models.IntegerField(),
        db_persist=persist,
        db_column="The Twice",
    )


def events(**fields: models.Field[Any, Any]) -> ops.CreateModel:
    """Return the operation that creates a table of events as django-pghistory does."""
    own = [
        ("pgh_id", models.AutoField(primary_key=True)),
        ("pgh_created_at", models.DateTimeField(auto_now_add=True)),
        ("pgh_label", models.TextField()),
    ]
    return ops.CreateModel("ItemEvent", [*own, ("price", models.IntegerField()), *fields.items()])


def how_generated(migrating: Migrating) -> list[Any]:
    return migrating.sql(
        "SELECT attgenerated, format_type(atttypid, atttypmod), attnotnull FROM pg_attribute "
        "WHERE attrelid = 'shop_itemevent'::regclass AND attname = 'The Twice'"
    )


@pytest.mark.parametrize("trigger_friendly", [True, False])
@pytest.mark.parametrize("persist", [True, False])
@pytest.mark.parametrize(
    ("mirror", "column"),
    [
        (models.IntegerField(null=True, db_column="The Twice"), ("", "integer", False)),
        (models.BigIntegerField(null=True, db_column="The Twice"), ("", "bigint", False)),
    ],
)
def test_generated_column_of_an_event_table_becomes_an_ordinary_one_with_its_values(
    migrating, persist, mirror, column, trigger_friendly
):
    if not persist and migrating.connection.pg_version < 180000:
        persist = True
    migrating.forwards(events(twice=generated(persist=persist)), AddTrigger("itemevent", pgtrigger.Protect(
        name="append_only", operation=pgtrigger.Update | pgtrigger.Delete)))  # fmt: skip
    was = how_generated(migrating)
    insert = "INSERT INTO shop_itemevent (pgh_created_at, pgh_label, price) VALUES (now(), 'insert', 3)"
    migrating.sql(insert)
    alter = ops.AlterField("itemevent", "twice", mirror)
    with override_settings(PGTRIGGER_SCHEMA_EDITOR=trigger_friendly):
        assert "DROP EXPRESSION" in migrating.sql_of(alter)
        migrating.forwards(alter)
        assert how_generated(migrating) == [column]
        assert migrating.sql('SELECT price, "The Twice" FROM shop_itemevent') == [(3, 6)]
        migrating.sql(insert)
        # The way back makes the column again: its values follow from the others.
        migrating.backwards()
    assert how_generated(migrating) == was
    assert migrating.sql('SELECT price, "The Twice" FROM shop_itemevent') == [(3, 6), (3, 6)]


def test_generated_column_of_another_table_is_left_to_django(migrating):
    migrating.forwards(create("Item", price=models.IntegerField(), twice=generated()))
    with pytest.raises(ValueError, match="must be removed and re-added"):
        migrating.forwards(ops.AlterField("item", "twice", models.IntegerField(null=True, db_column="The Twice")))


def test_mixed_case_table_keeps_its_trigger_and_a_foreign_comment(migrating):
    table = "My Shop"
    migrating.forwards(
        create("Item", options={"db_table": table}, price=models.IntegerField(db_column="The Price")),
        read_only(),
    )
    name = installed(migrating, table).name
    migrating.sql(f"COMMENT ON TRIGGER \"{name}\" ON \"{table}\" IS 'somebody''s own'")
    migrating.forwards(retype(field=models.BigIntegerField(db_column="The Price")))
    assert (installed(migrating, table).name, installed(migrating, table).comment) == (name, "somebody's own")


def test_alteration_keeps_a_trigger_edited(migrating):
    migrating.forwards(item(), read_only())
    [(name, definition)] = migrating.sql(
        "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE tgrelid = 'shop_item'::regclass"
    )
    comment = installed(migrating).comment
    migrating.sql(
        definition.replace("CREATE TRIGGER", "CREATE OR REPLACE TRIGGER").replace("BEFORE UPDATE", "AFTER UPDATE")
    )
    assert installed(migrating).is_edited
    migrating.forwards(retype())
    assert installed(migrating).is_edited
    assert (installed(migrating).name, installed(migrating).comment) == (name, comment)


def test_retyped_key_keeps_triggers_of_other_tables(migrating):
    migrating.forwards(
        create("Item"),
        create("Order", item=models.ForeignKey("shop.item", models.CASCADE)),
        read_only("order", "item"),
    )
    migrating.forwards(retype("id", field=models.IntegerField(primary_key=True)))
    assert not installed(migrating, "shop_order").is_edited
    [(kind,)] = migrating.sql(
        "SELECT atttypid::regtype::text FROM pg_attribute "
        "WHERE attrelid = 'shop_order'::regclass AND attname = 'item_id'"
    )
    assert kind == "integer"


def test_renamed_and_retyped_column_keeps_its_trigger(migrating):
    migrating.forwards(item(), read_only(), ops.RenameField("Item", "price", "cost"), retype("cost"))
    assert "cost" in installed(migrating).definition
    migrating.sql("INSERT INTO shop_item (name, cost) VALUES ('a', 1)")


def test_trigger_that_does_not_fit_stops_the_migration(migrating):
    migrating.forwards(
        create("Item", name=models.TextField()),
        AddTrigger(
            "item",
            pgtrigger.Protect(
                name="dear", operation=pgtrigger.Delete, condition=pgtrigger.Condition("OLD.name LIKE 'x%'")
            ),
        ),
    )
    before = installed(migrating)
    with pytest.raises(InstallationError, match=r"shop\.Item:dear is not valid for the column's new type"):
        migrating.forwards(retype("name", field=models.IntegerField(default=0)))
    assert installed(migrating) == before


def test_triggers_of_others_are_not_moved(migrating):
    migrating.forwards(item())
    migrating.sql(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
        "CREATE TRIGGER theirs BEFORE UPDATE ON shop_item FOR EACH ROW WHEN (OLD.price > 3) EXECUTE FUNCTION f()"
    )
    with pytest.raises(DatabaseError, match="used in a trigger definition"):
        migrating.forwards(retype())
    assert installed(migrating).name == "theirs"


def test_setting_turns_the_schema_editor_off(migrating):
    migrating.forwards(item(), read_only())
    with (
        override_settings(PGTRIGGER_SCHEMA_EDITOR=False),
        pytest.raises(DatabaseError, match="used in a trigger definition"),
    ):
        migrating.forwards(retype())


def test_sqlmigrate_shows_what_happens_to_triggers(migrating):
    migrating.forwards(item(), read_only())
    before = installed(migrating)
    script = migrating.sql_of(retype())
    assert installed(migrating) == before
    migrating.connection.connection.execute(script)
    assert not installed(migrating).is_edited


def test_column_of_a_condition_is_not_dropped_with_its_trigger(migrating):
    migrating.forwards(item(), read_only())
    before = installed(migrating)
    with pytest.raises(InstallationError, match=rf"price of shop_item cannot be dropped, because {before.name} would"):
        migrating.forwards(ops.RemoveField("Item", "price"))
    assert installed(migrating) == before
    migrating.forwards(ops.RemoveField("Item", "name"), RemoveTrigger("item", "ro"), ops.RemoveField("Item", "price"))
    assert migrating.functions() == []


def test_collected_sql_knows_what_it_dropped(migrating):
    migrating.forwards(item(), read_only())
    with migrating.connection.schema_editor(collect_sql=True, atomic=False) as editor:
        before = migrating.state
        for operation in (RemoveTrigger("item", "ro"), retype(), ops.RemoveField("Item", "price")):
            after = before.clone()
            operation.state_forwards("shop", after)
            operation.database_forwards("shop", editor, before, after)
            before = after
    assert "CREATE TRIGGER" not in "".join(editor.collected_sql)
    migrating.connection.connection.execute("\n".join(editor.collected_sql))
    assert migrating.triggers("shop_item") == []


def test_tables_without_migrations_have_their_triggers(migrating):
    class Thing(models.Model):
        class Meta:
            app_label = "shop"
            db_table = "shop_thing"
            triggers = [pgtrigger.Protect(name="stay", operation=pgtrigger.Delete)]

    try:
        with migrating.connection.schema_editor() as editor:
            editor.create_model(Thing)
        assert not installed(migrating, "shop_thing").is_edited
        with migrating.connection.schema_editor() as editor:
            editor.delete_model(Thing)
        assert migrating.functions() == []
    finally:
        from pgmagic.declare import model_registry

        model_registry.forget_label("shop")
