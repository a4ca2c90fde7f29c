from __future__ import annotations

from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField, HStoreField
from django.db import models

from pgmagic import pghistory
from pgmagic.compile.declarations import compile_declaration
from pgmagic.compile.event_values import compile_routines
from pgmagic.compile.target import Target
from pgmagic.declare import registry
from pgmagic.errors import DeclarationError
from tests.history_support import declared_here, declaring, model, settings_with  # noqa: F401

pytestmark = pytest.mark.usefixtures("declared_here")


OPEN_ID = "pg_catalog.current_setting('pgmagic.context_id', true)"
IN_CONTEXT = f"CASE WHEN {OPEN_ID} OPERATOR(pg_catalog.<>) '' THEN"
SAME_N = '(OLD."N n" OPERATOR(pg_catalog.=) NEW."N n")'
SAME_SOME = '(OLD."some" OPERATOR(pg_catalog.=) NEW."some")'
METADATA = "pg_catalog.current_setting('pgmagic.context_metadata', true)"


def compiled(schema: str | None, *trackers: Any, columns: dict[str, Any] | None = None, **kwargs: Any) -> str:
    """Return the SQL of the only trigger of a tracked model."""
    fields = {
        "n": models.IntegerField(db_column="N n"),
        "key": models.UUIDField(primary_key=True),
        **(columns or {}),
    }
    with declaring():
        thing = pghistory.track(*trackers or [pghistory.InsertEvent()], **kwargs)(model("Thing", **fields))
    [trigger] = [trigger for owner, trigger in registry.registered() if owner is thing]
    return compile_declaration(trigger, thing, Target(schema)).install_sql


def test_body_is_one_insert_into_the_qualified_event_table() -> None:
    sql = compiled('s "x"', context_field=None)
    assert sql.startswith('CREATE OR REPLACE FUNCTION "s ""x"""."pgtrigger_insert_insert_')
    assert "search_path" not in sql
    assert (
        'INSERT INTO "s ""x"""."hist_thingevent" ("pgh_created_at", "pgh_label", "pgh_obj_id", "N n", "key")\n'
        'SELECT pg_catalog.now(), \'insert\', NEW."key", NEW."N n", NEW."key"\n'
        'FROM "new_values" AS new;\nRETURN NULL;\n'
    ) in sql
    assert "AFTER INSERT ON" in sql
    assert 'REFERENCING NEW TABLE AS "new_values"\n  FOR EACH STATEMENT' in sql


def test_body_at_row_level_is_one_insert_of_values() -> None:
    sql = compiled("s", context_field=None, level=pghistory.Row)
    assert 'VALUES (pg_catalog.now(), \'insert\', NEW."key", NEW."N n", NEW."key");\nRETURN NULL;\n' in sql
    assert "FOR EACH ROW" in sql
    assert "#variable_conflict" not in sql


@pytest.mark.parametrize(
    ("field", "is_resolved"),
    [
        (models.CharField(max_length=3), False),
        (models.DecimalField(max_digits=4, decimal_places=2), False),
        (models.DateTimeField(), False),
        (ArrayField(models.CharField(max_length=3), size=2), False),
        (HStoreField(), True),
    ],
    ids=repr,
)
def test_types_of_extensions_are_compared_as_they_were_installed(field: Any, is_resolved: bool) -> None:
    sql = compiled("s", pghistory.UpdateEvent(), fields=["f"], columns={"f": field})
    assert ("SET search_path FROM CURRENT" in sql) == is_resolved
    own_sql = compiled("s", pghistory.UpdateEvent(condition=pghistory.Q(new__n=1)))
    assert "SET search_path FROM CURRENT" in own_sql


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (pghistory.AnyChange("n"), f"{SAME_N} IS NOT TRUE)"),
        (pghistory.AllDontChange("n"), f"(NOT {SAME_N} IS NOT TRUE)"),
        (~pghistory.AnyChange("n"), f"NOT ({SAME_N} IS NOT TRUE)"),
        (pghistory.AnyChange("n") & pghistory.AllChange("n"), f"(({SAME_N} IS NOT TRUE) AND ({SAME_N} IS NOT TRUE))"),
        (pghistory.AnyChange("some"),
         f'({SAME_SOME} IS NOT TRUE AND (OLD."some" IS NOT NULL OR NEW."some" IS NOT NULL))'),
    ],
)  # fmt: skip
def test_changes_are_found_by_postgres_own_operators(condition: Any, expected: str) -> None:
    columns = {"some": models.TextField(null=True)}
    sql = compiled("s", pghistory.UpdateEvent(condition=condition), columns=columns)
    assert expected in sql
    assert "search_path" not in sql
    assert "DISTINCT" not in sql


@pytest.mark.parametrize(
    ("function", "expected", "is_resolved"),
    [
        ("NOW()", "pg_catalog.now()", False),
        ("clock_timestamp( )", "pg_catalog.clock_timestamp()", False),
        ("pg_catalog.statement_timestamp()", "pg_catalog.statement_timestamp()", False),
        ("app.tick(1)", "app.tick(1)", True),
    ],
)
def test_time_comes_from_the_configured_function(
    settings_with: Any,  # noqa: F811
    function: str,
    expected: str,
    is_resolved: bool,
) -> None:
    with settings_with(PGHISTORY_CREATED_AT_FUNCTION=function):
        sql = compiled("s")
    assert f"SELECT {expected}, " in sql
    assert ("SET search_path FROM CURRENT" in sql) == is_resolved


def test_condition_on_a_row_that_an_operation_does_not_have_is_refused() -> None:
    condition = pghistory.Q(old__n=1)
    with pytest.raises(DeclarationError, match='"a" names the old row, which INSERT does not have'):
        compiled("s", pghistory.AfterInsertOrUpdate("a", condition=condition))


def test_body_without_a_schema_keeps_the_path_of_its_installation() -> None:
    sql = compiled(None)
    assert " SET search_path FROM CURRENT AS " in sql
    assert 'INSERT INTO "hist_thingevent" (' in sql
    assert '"pgmagic_attach_context"()' in sql


def test_deleted_rows_are_read_from_old() -> None:
    sql = compiled(None, pghistory.DeleteEvent(), context_field=None)
    values = 'SELECT pg_catalog.now(), \'delete\', OLD."key", OLD."N n", OLD."key"\nFROM '
    assert values + '"old_values" AS old;' in sql
    # TRUNCATE is asked before the rows are gone.
    assert values + '"hist_thing" AS old\nWHERE (old.tableoid OPERATOR(pg_catalog.=) TG_RELID' in sql
    assert "BEFORE TRUNCATE ON" in sql


@pytest.mark.parametrize(
    ("kwargs", "expected"),
    [
        ({"level": pghistory.Row}, f'{IN_CONTEXT} "s"."pgmagic_attach_context"() END'),
        ({}, f'(SELECT {IN_CONTEXT} "s"."pgmagic_attach_context"() END)'),
        ({"context_field": pghistory.ContextJSONField(), "level": pghistory.Row},
         f"{IN_CONTEXT} coalesce(CASE WHEN {METADATA} OPERATOR(pg_catalog.<>) '' THEN {METADATA} END, '{{}}')"
         f"::pg_catalog.jsonb END, {IN_CONTEXT} {OPEN_ID}::pg_catalog.uuid"),
    ],
)  # fmt: skip
def test_context_is_attached_as_it_is_stored(kwargs: Any, expected: str) -> None:
    assert expected in compiled("s", **kwargs)


def test_context_is_not_read_if_it_is_not_stored() -> None:
    assert "pgmagic.context" not in compiled("s", context_field=None)


def test_routine_is_compiled_only_for_events_with_shared_contexts() -> None:
    with declaring():
        shared = pghistory.track()(model("Shared")).pgh_event_model
        own = pghistory.track(context_field=pghistory.ContextJSONField())(model("Own")).pgh_event_model
    assert compile_routines([], Target()) == compile_routines([own], Target()) == ()
    [routine] = compile_routines([own, shared, shared], Target("it's"))
    assert routine.name == "pgmagic_attach_context"
    assert routine.create.startswith('CREATE OR REPLACE FUNCTION "it\'s"."pgmagic_attach_context"() RETURNS uuid')
    assert 'INSERT INTO "it\'s"."pghistory_context"' in routine.create
    assert routine.drop == 'DROP FUNCTION "it\'s"."pgmagic_attach_context"();'
    [without] = compile_routines([shared], Target())
    assert " SET search_path FROM CURRENT AS " in without.create


def test_a_column_that_no_trigger_can_fill_is_refused() -> None:
    message = "The field 'extra' of ThingEvent mirrors nothing, so no trigger can fill it"
    with pytest.raises(DeclarationError, match=message):
        compiled(None, attrs={"extra": models.IntegerField(default=1)})
    assert "extra" not in compiled(None, attrs={"extra": models.IntegerField(db_default=1)})
