"""Desired against installed: which steps follow, and which do not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from pgmagic import pgtrigger
from pgmagic.compile.declarations import compile_declaration
from pgmagic.compile.desired import Desired, DesiredRoutine, DesiredTable, DesiredTrigger
from pgmagic.compile.target import Target
from pgmagic.errors import InstallationError
from pgmagic.plan.drops import drop_steps
from pgmagic.plan.installation_state import trigger_status
from pgmagic.plan.installed import Installed, InstalledFunction, InstalledTable, InstalledTrigger, Mark
from pgmagic.plan.planning import plan_changes
from pgmagic.plan.steps import Plan
from tests.declare.models import Book

ALL = pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate


def protect(name="keep", operation=pgtrigger.Delete) -> DesiredTrigger:
    return compile_declaration(pgtrigger.Protect(name=name, operation=operation), Book, Target("nb"))


def comment(desired: DesiredTrigger, *, of_function=None, of_triggers=None, with_model=False):
    """The mark of an installation, or that of one with other digests of the declaration."""
    return json.dumps(
        {
            "pgmagic": desired.uri,
            "declared": of_function or desired.function.declared,
            "with_model": with_model,
            "stored": "f1",
            "triggers": {part.name: [of_triggers or part.declared, "t1"] for part in desired.triggers},
        }
    )


def installed_as(desired: DesiredTrigger, schema="nb", with_model=False) -> tuple[InstalledTrigger, ...]:
    """What the catalog holds behind an installation."""
    return tuple(
        InstalledTrigger(
            schema=schema,
            table=desired.table,
            name=part.name,
            fires=part.fires,
            condition="",
            definition="",
            enabled="O",
            comment=None,
            stored="t1",
            function=InstalledFunction(schema, desired.function.name, comment(desired, with_model=with_model), "f1"),
        )
        for part in desired.triggers
    )


def catalog(*triggers: InstalledTrigger, tables=(), path=("nb",), routines=None) -> Installed:
    """The catalog with these triggers, their tables and functions in it."""
    known = {(table.schema, table.name) for table in tables}
    found = {(trigger.schema, trigger.table) for trigger in triggers} - known
    return Installed(
        search_path=path,
        home=path,
        tables=(*tables, *(InstalledTable(name, ("id",), None, schema) for schema, name in found)),
        routines=routines or {},
        triggers=triggers,
        functions=tuple(dict.fromkeys(trigger.function for trigger in triggers if trigger.function.mark)),
    )


def changed(trigger: InstalledTrigger, changes) -> InstalledTrigger:
    """A trigger with other attributes; those of its function begin with `function_`."""
    own = {name: value for name, value in changes.items() if not name.startswith("function_")}
    of_function = {name[9:]: value for name, value in changes.items() if name.startswith("function_")}
    return replace(trigger, **own, function=replace(trigger.function, **of_function))


def steps(desired, installed):
    return [
        (step.object.partition(":")[2] or step.object, step.kind, step.action)
        for step in plan_changes(desired, installed).steps
    ]


KEEP = protect()


def test_nothing_installed_is_created():
    assert steps(Desired(triggers=[KEEP]), Installed()) == [
        ("keep", "function", "create"),
        ("keep", "trigger", "create"),
    ]


def test_installed_as_declared_is_unchanged():
    plan = plan_changes(Desired(triggers=[KEEP]), catalog(*installed_as(KEEP)))
    assert [step.action for step in plan.steps] == ["unchanged", "unchanged"]
    assert not plan.changes
    assert plan.sql == ""


@pytest.mark.parametrize(
    ("changes", "actions"),
    [
        ({"comment": "a comment of somebody's"}, ["unchanged", "unchanged"]),
        ({"stored": "edited"}, ["unchanged", "replace"]),
        ({"function_comment": None}, ["replace", "replace"]),
        ({"function_comment": "a comment of somebody's"}, ["replace", "replace"]),
        ({"function_comment": '{"pgmagic": 3}'}, ["replace", "replace"]),
        ({"function_comment": comment(KEEP, of_triggers="older")}, ["unchanged", "replace"]),
        ({"function_comment": comment(KEEP, of_function="older")}, ["replace", "unchanged"]),
        ({"function_comment": comment(KEEP, with_model=True)}, ["replace", "replace"]),
        ({"function_comment": comment(KEEP).partition(', "triggers"')[0] + "}"}, ["unchanged", "replace"]),
        ({"function_stored": "edited"}, ["replace", "unchanged"]),
        ({"enabled": "D"}, ["unchanged", "unchanged"]),
    ],
    ids=str,
)  # fmt: skip
def test_different_parts_are_replaced(changes, actions):
    [existing] = installed_as(KEEP)
    plan = plan_changes(Desired(triggers=[KEEP]), catalog(changed(existing, changes)))
    assert [step.action for step in plan.steps] == actions


@pytest.mark.parametrize(
    ("state", "statement"),
    [("O", ""), ("D", "DISABLE TRIGGER"), ("R", "ENABLE REPLICA TRIGGER"), ("A", "ENABLE ALWAYS TRIGGER")],
)
def test_replaced_trigger_keeps_its_state(state, statement):
    [existing] = installed_as(KEEP)
    plan = plan_changes(Desired(triggers=[KEEP]), catalog(replace(existing, stored="edited", enabled=state)))
    assert plan.steps[1].sql[0].startswith("CREATE OR REPLACE TRIGGER")
    assert [sql for sql in plan.steps[1].sql[1:] if statement in sql] == list(plan.steps[1].sql[1:])
    assert len(plan.steps[1].sql) == (1 if state == "O" else 2)


def test_declaration_that_needs_less_drops_the_rest():
    wide, narrow = protect(operation=ALL), protect(operation=pgtrigger.Update | pgtrigger.Delete)
    found = steps(Desired(triggers=[narrow]), catalog(*installed_as(wide)))
    assert found == [
        ("keep", "trigger", "drop"),
        ("keep", "function", "replace"),
        ("keep", "trigger", "unchanged"),
    ]


@pytest.mark.parametrize(
    ("with_model", "owned", "schema_mark", "dropped"),
    [
        (True, {"rooms.Book"}, True, True),
        (True, {"rooms.Shelf"}, True, False),
        (True, set(), True, False),
        (False, {"rooms.Book"}, True, False),
        (True, {"rooms.Book"}, False, False),
    ],
)
def test_only_a_trigger_declared_with_the_model_is_dropped(with_model, owned, schema_mark, dropped):
    [existing] = installed_as(KEEP, with_model=with_model)
    existing = existing if schema_mark else changed(existing, {"function_comment": None})
    found = steps(Desired(owned_labels=frozenset(owned)), catalog(existing))
    assert found == ([("keep", "trigger", "drop"), ("keep", "function", "drop")] if dropped else [])


def test_function_that_another_trigger_calls_is_not_dropped():
    found = installed_as(protect(operation=ALL))
    dropping = list(drop_steps(found, catalog(*found)))
    assert [(step.kind, step.action) for step in dropping] == [("trigger", "drop")] * 2 + [("function", "drop")]
    kept = drop_steps(found, catalog(*found), kept_functions={found[0].function.name})
    assert [step.kind for step in kept] == ["trigger", "trigger"]
    assert [step.kind for step in drop_steps(found[:1], catalog(*found))] == ["trigger"]


def test_function_that_is_not_called_stays_while_its_trigger_exists():
    own = installed_as(protect(operation=ALL))
    foreign = InstalledFunction("public", "shared", None, "f")
    found = [replace(part, function=foreign, marked_by=part.function) for part in own]
    installed = replace(catalog(*found), functions=(own[0].function,))
    assert [step.kind for step in drop_steps(found[:1], installed)] == ["trigger"]
    assert [step.kind for step in drop_steps(found, installed)] == ["trigger", "trigger", "function"]


def test_function_of_somebody_else_is_not_dropped():
    [existing] = installed_as(KEEP)
    foreign = changed(existing, {"function_comment": None})
    assert [step.kind for step in drop_steps([foreign], catalog(foreign))] == ["trigger"]


TABLE = DesiredTable("rooms.Book", "rooms_book", "table", ("CREATE TABLE;",), ("FK;",), ("id", "title"), "{}")


@pytest.mark.parametrize(
    ("existing", "outcome"),
    [
        (None, "create"),
        (InstalledTable("rooms_book", ("id", "title"), TABLE.declared), "unchanged"),
        (InstalledTable("rooms_book", ("id", "title", "more")), "unchanged"),
        (InstalledTable("rooms_book", ("id",)), "lacks title: give the model another name"),
        (InstalledTable("rooms_book", ("id", "more")), "lacks title and has also more: "),
        (InstalledTable("rooms_book", ("id",), "older"), "alter"),
        (InstalledTable("rooms_book", ("id", "title", "more"), "older"), "alter"),
    ],
    ids=str,
)  # fmt: skip
def test_table_is_created_or_as_declared_or_refused(existing, outcome):
    installed = catalog(tables=[replace(existing, schema="nb")] if existing else [])
    if outcome in ("create", "unchanged", "alter"):
        assert steps(Desired(tables=[TABLE]), installed) == [("rooms.Book", "table", outcome)]
    else:
        with pytest.raises(
            InstallationError, match=r"The table rooms_book of rooms\.Book already exists and "
        ) as raised:
            plan_changes(Desired(tables=[TABLE]), installed)
        assert outcome in str(raised.value)


ROUTINE = DesiredRoutine("attach", "CREATE FUNCTION attach", "DROP FUNCTION attach")


@pytest.mark.parametrize(
    ("routines", "action"),
    [
        ({}, "create"),
        ({"attach": Mark("attach", ROUTINE.declared, "s")}, "unchanged"),
        ({"attach": Mark("attach", "older", "s")}, "replace"),
        ({"attach": None}, "replace"),
    ],
)
def test_routine_is_created_or_replaced(routines, action):
    assert steps(Desired(routines=[ROUTINE]), catalog(routines=routines)) == [("attach", "function", action)]


def test_steps_are_in_an_order_that_can_be_carried_out():
    gone = [replace(part, table="rooms_old") for part in installed_as(protect("gone"), with_model=True)]
    desired = Desired([TABLE], [ROUTINE], [KEEP], frozenset({"rooms.Book"}))
    found = [(kind, action) for _, kind, action in steps(desired, catalog(*gone))]
    assert found == [
        ("trigger", "drop"), ("function", "drop"), ("table", "create"), ("function", "create"),
        ("function", "create"), ("trigger", "create"),
    ]  # fmt: skip
    sql = plan_changes(desired, catalog(*gone)).sql
    assert sql.endswith("\nFK;")
    assert sql.startswith("DROP TRIGGER ")


PUBLIC_TABLE = InstalledTable("rooms_book", ("id", "title"), None, "public")


def test_other_schema_does_not_belong_to_the_notebook():
    elsewhere = installed_as(KEEP, schema="public", with_model=True)
    installed = catalog(*elsewhere, tables=[PUBLIC_TABLE], path=("nb", "public"))
    desired = Desired([replace(TABLE, schema="nb")], (), [KEEP], frozenset({"rooms.Book"}))
    assert {action for _, _, action in steps(desired, installed)} == {"create"}


def test_marked_objects_outside_of_home_are_not_own():
    elsewhere = installed_as(KEEP, schema="public", with_model=True)
    installed = replace(catalog(*elsewhere, tables=[PUBLIC_TABLE], path=("nb", "public")), home=("nb",))
    assert installed.own_triggers == ()
    assert steps(Desired(owned_labels=frozenset({"rooms.Book"})), installed) == []


def test_visible_table_counts_if_two_have_the_same_name():
    own_table = replace(PUBLIC_TABLE, schema="nb")
    public, own = installed_as(KEEP, "public"), installed_as(KEEP)
    name = KEEP.triggers[0].name
    path, tables = ("nb", "public"), [PUBLIC_TABLE, own_table]
    assert catalog(*public, tables=tables, path=path).trigger("rooms_book", name) is None
    assert catalog(*public, tables=tables, path=path).own_triggers == ()
    assert catalog(*public, *own, tables=tables, path=path).trigger("rooms_book", name) is own[0]
    assert catalog(*public, *own, tables=tables, path=path).trigger("rooms_book", name, "public") is public[0]
    assert catalog(*public, tables=[PUBLIC_TABLE], path=path).trigger("rooms_book", name) is public[0]


def test_plan_without_steps_changes_nothing():
    assert not Plan([]).changes
    assert Plan([]).sql == ""


WIDE = protect(operation=ALL)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        (({}, {}), ("INSTALLED", True)),
        (({"enabled": "D"}, {}), ("INSTALLED", False)),
        (({"enabled": "R"}, {}), ("INSTALLED", False)),
        (({"enabled": "A"}, {}), ("INSTALLED", True)),
        (({"stored": "edited"}, {}), ("OUTDATED", True)),
        (({}, {"function_stored": "edited"}), ("OUTDATED", True)),
        (({}, {"comment": "somebody's"}), ("INSTALLED", True)),
        (({}, {"function_comment": None}), ("OUTDATED", True)),
        (({}, {"function_comment": comment(WIDE, of_triggers="older"), "enabled": "D"}), ("OUTDATED", False)),
        (({},), ("OUTDATED", True)),
        ((), ("UNINSTALLED", None)),
    ],
    ids=str,
)
def test_status_is_read_from_the_catalog(changes, status):
    parts = installed_as(WIDE)
    found = [changed(part, change) for part, change in zip(parts, changes, strict=False)]
    assert trigger_status(WIDE, catalog(*found)) == status


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ('{"pgmagic": "u", "declared": "d", "stored": "s"}', Mark("u", "d", "s")),
        ('{"pgmagic": "u", "declared": "d", "stored": "s", "with_model": true}', Mark("u", "d", "s", True)),
        (
            '{"pgmagic": "u", "declared": "d", "stored": "s", "triggers": {"t": ["e", "r"]}}',
            Mark("u", "d", "s", triggers=(("t", "e", "r"),)),
        ),
        ('{"pgmagic": "u", "declared": "d", "stored": "s", "triggers": ["t"]}', None),
        ('{"pgmagic": "u", "declared": "d", "stored": "s", "triggers": {"t": ["e"]}}', None),
        ('{"pgmagic": "u", "declared": "d"}', None),
        ('{"pgmagic": ', None),
        ("[]", None),
        ("3", None),
        ("null", None),
        ("", None),
        (None, None),
        ("somebody's comment", None),
    ],
)
def test_mark_is_read_only_from_a_comment_of_pgmagic(text, mark):
    assert Mark.from_comment(text) == mark


def test_mark_of_a_function_describes_its_triggers():
    mark = Mark("u", "d", "s", True, (("t", "e", "r"),))
    assert mark.of_trigger("t") == Mark("u", "e", "r", True)
    assert mark.of_trigger("somebody's") is None
