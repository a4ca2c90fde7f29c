"""Every function that is compiled passes plpgsql_check, where the server has this extension (Debian's package does).

Source: https://github.com/okbob/plpgsql_check
"""

from __future__ import annotations

import decimal
import uuid
from typing import Any

import pytest
from django.contrib.postgres.fields import ArrayField, IntegerRangeField
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models.functions import Concat, Now

from pgmagic import pghistory, pgtrigger
from pgmagic.declare.model_registry import redeclaring
from tests.db.live import LABEL, Live

MODULE = "checked_cell"
Q, F = pgtrigger.Q, pgtrigger.F


@pytest.fixture
def check_function(live: Live) -> str:
    """The extension's function, qualified."""
    if not live.sql("SELECT 1 FROM pg_available_extensions WHERE name = 'plpgsql_check'"):
        pytest.skip("this server has no plpgsql_check")
    live.sql("CREATE EXTENSION IF NOT EXISTS plpgsql_check")
    [[schema]] = live.sql("SELECT extnamespace::regnamespace::text FROM pg_extension WHERE extname = 'plpgsql_check'")
    return f"{schema}.plpgsql_check_function"


def complaints(live: Live, check_function: str) -> dict[str, list[str]]:
    """What the extension says about the functions of all triggers in the schema, by trigger.

    It does not follow TG_OP: a function sees the transition tables of all the operations that it serves.
    """
    found = live.sql(
        f"""SELECT t.tgname, said FROM
              (SELECT DISTINCT ON (tgfoid) tgname, tgfoid, tgrelid, max(tgoldtable::text) OVER function AS old_table,
                 max(tgnewtable::text) OVER function AS new_table
               FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid
               WHERE NOT tgisinternal AND c.relnamespace = current_schema()::regnamespace
               WINDOW function AS (PARTITION BY tgfoid)) AS t,
            LATERAL {check_function}(t.tgfoid, t.tgrelid, fatal_errors => false,
                oldtable => t.old_table::name, newtable => t.new_table::name, extra_warnings => true,
                performance_warnings => true, security_warnings => true, compatibility_warnings => true) AS said"""
    )
    said: dict[str, list[str]] = {}
    for name, line in found:
        said.setdefault(name, []).append(line)
    return said


FIELDS: dict[str, Any] = {
    "text": models.TextField(default="", db_column="It's 50 {x}"),
    "order": models.IntegerField(null=True, db_column="order"),
    "price": models.DecimalField(max_digits=8, decimal_places=2, null=True),
    "good": models.BooleanField(default=True),
    "at": models.DateTimeField(null=True),
    "code": models.UUIDField(null=True),
    "data": models.JSONField(null=True),
    "raw": models.BinaryField(null=True),
    "tags": ArrayField(models.TextField(), null=True),
    "span": IntegerRangeField(null=True),
    "vector": SearchVectorField(null=True),
    "twice": models.GeneratedField(
        expression=models.F("order") * 2, output_field=models.IntegerField(), db_persist=True
    ),
}

EVERYTHING = pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate


def ready_made() -> list[Any]:
    """One of each kind, with the arguments that change what is compiled."""
    state_machines = {
        "text": [("a", "o'k"), ("o'k", "")], "order": [(None, 1), (1, None)], "good": [(True, False)],
        "price": [(decimal.Decimal("1.5"), 2)], "code": [(None, uuid.UUID(int=1))], "data": [({"a": 1}, [1])],
        "tags": [([], ["a"])], "at": [(None, "2020-01-01T00:00:00Z")],
    }  # fmt: skip
    values = {
        "text": [Concat("text", models.Value("'s")), "o'k"], "order": [None, 1], "at": [Now()], "good": [False],
        "data": [{"a": 1}], "tags": [["a"]], "code": [uuid.UUID(int=1)], "price": [decimal.Decimal(1)],
    }  # fmt: skip
    return [
        pgtrigger.Protect(name="protect", operation=EVERYTHING),
        pgtrigger.Protect(name="protect statement", operation=EVERYTHING, level=pgtrigger.Statement),
        pgtrigger.Protect(name="protect of", operation=pgtrigger.UpdateOf("text", "order") | pgtrigger.Delete),
        pgtrigger.Protect(
            name="protect if", operation=pgtrigger.Update,
            condition=Q(old__text="o'k") & pgtrigger.AnyChange("data", "span") | ~Q(new__order__gt=F("old__order")),
        ),
        pgtrigger.ReadOnly(name="read only", fields=["order"]),
        pgtrigger.ReadOnly(name="read only all"),
        pgtrigger.ReadOnly(name="read only but", exclude=["text"], condition=Q(old__good=True)),
        *(pgtrigger.FSM(name=f"fsm {field}", field=field, transitions=transitions)
          for field, transitions in state_machines.items()),
        pgtrigger.Protect(
            name="protect statement if", operation=pgtrigger.Update | pgtrigger.Delete, level=pgtrigger.Statement,
            condition=Q(old__text="o'k", old__order__gt=1) | pgtrigger.Condition("OLD.good"),
        ),
        pgtrigger.Protect(name="truncate if", operation=pgtrigger.Truncate, condition=Q(old__data__a=1)),
        pgtrigger.ReadOnly(name="read only statement", exclude=["text"], level=pgtrigger.Statement),
        *(pgtrigger.Composer(
            name=f"composed {level}", level=level, when=pgtrigger.After, operation=pgtrigger.Update,
            condition=pgtrigger.AnyChange("text") & ~Q(old__order=F("new__order")),
            func={
                pgtrigger.Row: "PERFORM OLD.id, NEW.good; RETURN NULL;",
                pgtrigger.Statement: pgtrigger.Func(
                    "PERFORM old_values.id FROM {cond_old_values}; PERFORM new_values.id FROM {cond_new_values};"
                    "PERFORM old_values.id, new_values.good FROM {cond_joined_values}; RETURN NULL;"
                ),
            },
        ) for level in (pgtrigger.Row, pgtrigger.Statement)),
        pgtrigger.FSM(
            name="fsm first", field="order", initial=[1, None],
            transitions=[(1, 2, Q(new__text="%")), (2, None, pgtrigger.Condition("OLD.good AND NEW.good"))],
        ),
        pgtrigger.FSM(name="fsm if", field="text", transitions=[("a", "b")], condition=Q(new__good=True)),
        pgtrigger.UpdateSearchVector(name="search", vector_field="vector", document_fields=["text", "data", "order"]),
        *(pgtrigger.SoftDelete(name=f"soft {field} {number}", field=field, value=value)
          for field, choices in values.items() for number, value in enumerate(choices)),
        pgtrigger.Trigger(
            name="deferred", when=pgtrigger.After, operation=pgtrigger.Insert, timing=pgtrigger.Deferred,
            declare=[("known", "bigint")],
            func=pgtrigger.Func("SELECT count(*) INTO known FROM {meta.db_table}; PERFORM known; RETURN NULL;"),
        ),
        pgtrigger.Trigger(
            name="tables", when=pgtrigger.After, operation=pgtrigger.Update, level=pgtrigger.Statement,
            referencing=pgtrigger.Referencing(old="old rows", new="new rows"),
            func=pgtrigger.Func('PERFORM a.id FROM "old rows" AS a JOIN "new rows" AS b '
                                'ON a.{fields.id.column} = b.id; RETURN NULL;'),
        ),
    ]  # fmt: skip


def test_ready_made_triggers_pass(live: Live, check_function: str) -> None:
    live.declare("Thing", ready_made(), **{name: field.clone() for name, field in FIELDS.items()})
    assert complaints(live, check_function) == {}


def test_triggers_with_other_keys_and_names_pass(live: Live, check_function: str) -> None:
    text = models.TextField(default="", db_column="Text")
    triggers = [
        pgtrigger.Protect(name="protect", operation=EVERYTHING),
        pgtrigger.ReadOnly(name="read only", fields=["text"]),
        pgtrigger.SoftDelete(name="soft", field="text", value="gone"),
        pgtrigger.FSM(name="fsm", field="text", transitions=[("", "a")]),
    ]
    keys = {
        "Composite": {
            "pk": models.CompositePrimaryKey("row", "seat"), "row": models.IntegerField(db_column="Row"),
            "seat": models.UUIDField(),
        },
        "Uuid": {"key": models.UUIDField(primary_key=True, db_column="it's")},
        "Text": {"user": models.TextField(primary_key=True)},
    }  # fmt: skip
    for name, key in keys.items():
        live.declare(name, triggers, meta={"db_table": f"{name} table"}, text=text.clone(), **key)
    assert complaints(live, check_function) == {}


@pytest.mark.parametrize(
    "context",
    [pghistory.ContextForeignKey(), pghistory.ContextJSONField(), pghistory.ContextUUIDField(), None],
)
@pytest.mark.parametrize("level", [pghistory.Row, pghistory.Statement])
def test_events_and_contexts_pass(live: Live, check_function: str, context: Any, level: Any) -> None:
    from pgmagic.pghistory.models import Context

    with redeclaring(LABEL, MODULE) as declaration:
        with declaration.collecting():
            fields = {name: field.clone() for name, field in FIELDS.items()}
            thing = type("Tracked", (models.Model,), {"__module__": MODULE, **fields})
            arguments = {} if context is None else {"context_field": context}
            pghistory.track(
                pghistory.InsertEvent("it's new"), pghistory.UpdateEvent(), pghistory.DeleteEvent("gone 50%"),
                pghistory.UpdateEvent("old", row=pghistory.Old, condition=pghistory.AnyChange("text")),
                pghistory.RowEvent("new", operation=pghistory.Insert | pghistory.Update, row=pghistory.New,
                                   condition=pghistory.Q(new__order__gt=3)),
                pghistory.UpdateEvent("always", condition=None),
                level=level, **arguments,
            )(thing)  # fmt: skip
        applied = live.apply(Context, *declaration.models)
    assert applied.error is None, applied.error
    assert complaints(live, check_function) == {}
    said = live.sql(
        f"""SELECT said FROM pg_proc AS p,
            LATERAL {check_function}(p.oid, fatal_errors => false, extra_warnings => true) AS said
            WHERE p.pronamespace = current_schema()::regnamespace AND p.prorettype <> 'trigger'::regtype
              AND p.prolang = (SELECT oid FROM pg_language WHERE lanname = 'plpgsql')"""
    )
    assert said == []
