"""What declarations ask of other rooms depends on the database that is named, and on nothing that a session chose."""

from __future__ import annotations

import pytest
from django.db import connections, models
from IPython.core.interactiveshell import InteractiveShell

from pgmagic import pgtrigger
from pgmagic.db import backend, changes
from pgmagic.db.connect import Choice
from pgmagic.db.installation import plan_installing
from pgmagic.declare.doors import Door
from pgmagic.notebook.session import Session, notebook_schema
from pgmagic.plan.installed import Installed
from tests.declare.models import Book


class LoudDelete(pgtrigger.SoftDelete):
    """A class of a user, whose method calls the method of the ready-made one."""

    def get_func(self, model):
        return f"RAISE NOTICE 'gone'; {super().get_func(model)}"


class Marked(pgtrigger.Protect):
    """A class of a user with a `compile` of its own, without the keyword."""

    def compile(self, model):
        return super().compile(model)


DECLARED = {
    "trigger": pgtrigger.Trigger(
        name="t",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        func=pgtrigger.Func("RETURN {columns.isbn};"),
    ),
    "protect": pgtrigger.Protect(name="t", operation=pgtrigger.Delete | pgtrigger.Truncate),
    "soft_delete": pgtrigger.SoftDelete(name="t", field="good"),
    "composer": pgtrigger.Composer(
        name="t",
        when=pgtrigger.After,
        level=pgtrigger.Statement,
        operation=pgtrigger.Update,
        condition=pgtrigger.Q(new__good=True),
        func=pgtrigger.Func("PERFORM FROM {cond_new_values}; RETURN NULL;"),
    ),
    "overridden_func": LoudDelete(name="t", field="good"),
    "overridden_compile": Marked(name="t", operation=pgtrigger.Delete),
}


@pytest.fixture
def other(monkeypatch):
    """A second alias, with Django's own engine; nothing connects to it."""
    monkeypatch.setitem(connections.settings, "other", {**connections.settings["default"],
                                                        "ENGINE": "django.db.backends.postgresql"})  # fmt: skip
    yield "other"
    del connections["other"]


def compiled(trigger):
    return trigger.compile(Book).install_sql, trigger.render_func(Book), trigger.compile(Book).uninstall_sql


@pytest.mark.parametrize("name", DECLARED)
def test_sql_is_the_same_before_and_after_a_session(name, monkeypatch):
    before = compiled(DECLARED[name])
    monkeypatch.setattr(backend, "choice", Choice())
    session = Session(InteractiveShell.instance(), own=True)
    session.start()
    schema = notebook_schema(session.shell)
    assert f'"{schema}".' in compiled(DECLARED[name])[0]
    session.stop()
    monkeypatch.undo()
    assert compiled(DECLARED[name]) == before


@pytest.mark.parametrize("name", DECLARED)
def test_sql_is_the_same_when_the_schema_comes_back(name, monkeypatch):
    found = {}
    for schema in ("one", "two", None, "one", "two", None):
        monkeypatch.setattr(backend.choice, "schema", schema)
        now = compiled(DECLARED[name])
        assert found.setdefault(schema, now) == now
        assert ('"one"' in str(now), '"two"' in str(now)) == (schema == "one", schema == "two")


@pytest.mark.parametrize("name", [name for name in DECLARED if name != "overridden_compile"])
def test_two_databases_are_two_schemas(name, other, monkeypatch):
    monkeypatch.setattr(backend.choice, "schema", "own one")
    here, there = (DECLARED[name].compile(Book, database=alias) for alias in ("default", other))
    assert '"own one"' in here.install_sql
    assert "own one" not in there.install_sql
    assert here.install_sql == DECLARED[name].compile(Book).install_sql
    assert here.install_sql.replace('"own one".', "") == there.install_sql


@pytest.mark.parametrize("name", DECLARED)
def test_installation_compiles_for_each_database(name, other, monkeypatch):
    monkeypatch.setattr(backend.choice, "schema", "own one")
    planned = {}

    def apply_to(alias, planning, _execution):
        steps = planning(Installed()).steps
        planned[alias] = "\n".join(sql for step in steps for sql in step.sql if isinstance(sql, str))
        return []

    monkeypatch.setattr(changes, "apply_to", apply_to)
    for alias in (None, other):
        changes.make(changes.Change([(Book, DECLARED[name])], plan_installing), alias)
    assert '"own one".' in planned["default"]
    assert planned["default"].replace('"own one".', "") == planned[other]


def test_unmanaged_table_has_no_schema(monkeypatch):
    monkeypatch.setattr(backend.choice, "schema", "own one")
    monkeypatch.setattr(Book._meta, "managed", False)
    for trigger in DECLARED.values():
        assert "own one" not in str(compiled(trigger))


def test_condition_resolves_in_any_session(monkeypatch):
    found = set()
    for schema in ("one", None):
        monkeypatch.setattr(backend.choice, "schema", schema)
        found.add(pgtrigger.AnyChange("isbn").resolve(Book))
    assert found == {'(OLD."Isbn No" IS DISTINCT FROM NEW."Isbn No")'}


def test_service_is_supplied_once():
    door = Door("pgtrigger")
    with pytest.raises(RuntimeError, match=r"A declaration needs pgmagic\.pgtrigger: import it first"):
        door()
    door.supply(models.Model)
    door.supply(models.Model)
    assert door() is models.Model
    with pytest.raises(RuntimeError, match="never replaced"):
        door.supply(models.Field)
