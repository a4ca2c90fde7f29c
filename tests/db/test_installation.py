"""Installing, dropping, enabling and disabling: each call in one transaction, and only where a router allows it."""

from __future__ import annotations

from typing import ClassVar

import pytest
from django.db import ProgrammingError, models, transaction
from django.utils.connection import ConnectionDoesNotExist

from pgmagic import pgtrigger
from pgmagic.db import changes
from pgmagic.db.catalog import read_catalog
from pgmagic.db.installation import installing
from pgmagic.declare import registry
from pgmagic.errors import (
    DeclarationError,
    InstallationError,
    NotInstalledError,
    TriggerError,
    UnknownTriggerError,
)

KEEP = {"name": "keep", "operation": pgtrigger.Delete | pgtrigger.Truncate}


@pytest.fixture
def model(live):
    return live.declare("Post", title=models.TextField())


def test_trigger_lives_through_its_states(live, model):
    trigger = pgtrigger.Protect(**KEEP)
    states = [trigger.get_installation_status(model)]
    for change in ("install", "disable", "install", "enable", "uninstall", "uninstall"):
        getattr(trigger, change)(model)
        states.append(trigger.get_installation_status(model))
    assert states == [
        ("UNINSTALLED", None),
        ("INSTALLED", True),
        ("INSTALLED", False),
        ("INSTALLED", False),
        ("INSTALLED", True),
        ("UNINSTALLED", None),
        ("UNINSTALLED", None),
    ]
    assert live.sql("SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace") == [(0,)]


def test_disabled_trigger_fires_for_nobody(live, model):
    trigger = pgtrigger.Protect(**KEEP)
    trigger.install(model)
    trigger.disable(model)
    live.other().execute(f'TRUNCATE "{live.schema}".live_post')
    trigger.enable(model)
    with pytest.raises(TriggerError):
        live.sql("TRUNCATE live_post")


@pytest.mark.parametrize("change", ["enable", "disable"])
def test_missing_triggers_cannot_be_enabled_or_disabled(model, change):
    with pytest.raises(InstallationError, match=r"live\.Post:keep is not installed, so it cannot be enabled or dis"):
        getattr(pgtrigger.Protect(**KEEP), change)(model)


def test_uninstalling_leaves_other_triggers(live, model):
    mine, other = pgtrigger.Protect(**KEEP), pgtrigger.Protect(name="keep2", operation=pgtrigger.Delete)
    mine.install(model)
    other.install(model)
    mine.uninstall(model)
    assert [trigger.mark.uri for trigger in read_catalog(live.connection).triggers] == ["live.Post:keep2"]


def test_changes_belong_to_the_users_transaction(model):
    trigger = pgtrigger.Protect(**KEEP)
    with transaction.atomic():
        trigger.install(model)
        transaction.set_rollback(True)
    assert trigger.get_installation_status(model) == ("UNINSTALLED", None)


def test_router_can_forbid_a_model(live, model, settings_routers):
    trigger = pgtrigger.Protect(**KEEP)
    trigger.install(model)
    trigger.uninstall(model)
    assert trigger.get_installation_status(model) == ("UNALLOWED", None)
    assert read_catalog(live.connection).triggers == ()


class Router:
    """Forbids one model."""

    def allow_migrate(self, db, app_label, **hints):
        return False if app_label == "live" else None


@pytest.fixture
def settings_routers(monkeypatch):
    from django.db import router

    monkeypatch.setattr(router, "_routers", [Router()])
    router.__dict__.pop("routers", None)
    yield
    router.__dict__.pop("routers", None)


def test_compiled_sql_installs_and_uninstalls_by_hand(live, model):
    trigger = pgtrigger.Protect(**KEEP)
    compiled = trigger.compile(model)
    live.sql(compiled.install_sql)
    with pytest.raises(TriggerError):
        live.sql("TRUNCATE live_post")
    assert trigger.get_installation_status(model) == ("OUTDATED", True)
    live.sql(compiled.uninstall_sql)
    assert read_catalog(live.connection).triggers == ()


def test_exec_sql_returns_rows_when_asked(model):
    trigger = pgtrigger.Protect(**KEEP)
    assert trigger.exec_sql("SELECT 1", model, fetchall=True) == [(1,)]
    assert trigger.exec_sql("SELECT 1", model) is None


def by_hand(name, body="RETURN NEW;"):
    return pgtrigger.Trigger(name=name, when=pgtrigger.Before, operation=pgtrigger.Insert, func=body)


def uri(trigger, model):
    return trigger.get_uri(model)


@pytest.fixture
def five(live, model):
    """Five registered triggers, none of them installed."""
    triggers = [by_hand(f"t{number}") for number in range(5)]
    for trigger in triggers:
        trigger.register(model)
    return triggers


@pytest.fixture(autouse=True)
def only_what_the_test_registers():
    """Triggers that other modules registered are not to be installed here."""
    before = dict(registry._registry)
    registry._registry.clear()
    yield
    registry._registry.clear()
    registry._registry.update(before)


def names(live):
    return sorted(found.mark.uri.partition(":")[2] for found in read_catalog(live.connection).triggers if found.mark)


def functions(live):
    return [name for (name,) in live.sql(
        "SELECT proname::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace ORDER BY 1"
    )]  # fmt: skip


def test_functions_without_uri_are_about_all_triggers(live, model, five):
    pgtrigger.install()
    assert names(live) == ["t0", "t1", "t2", "t3", "t4"]
    pgtrigger.disable()
    assert {trigger.get_installation_status(model) for trigger in five} == {("INSTALLED", False)}
    pgtrigger.enable()
    assert {trigger.get_installation_status(model) for trigger in five} == {("INSTALLED", True)}
    pgtrigger.uninstall()
    assert names(live) == functions(live) == []


def test_functions_with_uris_are_about_these(live, model, five):
    pgtrigger.install("live.Post:t1", "live.Post:t3")
    assert names(live) == ["t1", "t3"]
    pgtrigger.disable("live.Post:t3")
    assert five[1].get_installation_status(model) == ("INSTALLED", True)
    assert five[3].get_installation_status(model) == ("INSTALLED", False)
    pgtrigger.uninstall("live.Post:t1")
    assert names(live) == ["t3"]


@pytest.mark.parametrize("change", ["install", "uninstall", "enable", "disable"])
def test_unknown_uri_changes_nothing(live, five, change):
    pgtrigger.install("live.Post:t1")
    before = read_catalog(live.connection)
    with pytest.raises(UnknownTriggerError, match=r'URI "live\.Post:nope" not found'):
        getattr(pgtrigger, change)("live.Post:t1", "live.Post:t2", "live.Post:nope")
    with pytest.raises(DeclarationError, match="must be in the format"):
        getattr(pgtrigger, change)("live.Post:t1", "nope")
    assert read_catalog(live.connection) == before


def test_if_one_of_five_fails_none_is_installed(live, model, five):
    with five[2].unregister(model), by_hand("t2", "RETURN nothing at all;").register(model):
        with pytest.raises(InstallationError, match=r"create the function live\.Post:t2: "):
            pgtrigger.install()
        assert names(live) == functions(live) == []
    pgtrigger.install()
    assert len(names(live)) == 5


def test_enabling_names_all_missing_triggers_and_enables_none(live, model, five):
    pgtrigger.install("live.Post:t0")
    with pytest.raises(NotInstalledError) as raised:
        pgtrigger.disable("live.Post:t0", "live.Post:t1", "live.Post:t2")
    assert str(raised.value).startswith("live.Post:t1, live.Post:t2 are not installed")
    assert five[0].get_installation_status(model) == ("INSTALLED", True)


def test_missing_trigger_raises_the_error_of_upstream(model, five):
    with pytest.raises(ProgrammingError):
        pgtrigger.enable()


STARTS = {
    "uninstalled": (),
    "installed": ("install",),
    "disabled": ("install", "disable"),
}


def state_of(live, model, trigger):
    """Everything that another session could notice of it."""
    installed = read_catalog(live.connection)
    return trigger.get_installation_status(model), installed.triggers, installed.functions


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize(
    ("change", "start"),
    [
        (change, start)
        for change in ("install", "uninstall", "enable", "disable")
        for start in STARTS
        if start != "uninstalled" or change in ("install", "uninstall")
    ],
)
@pytest.mark.parametrize("form", ["function", "method"])
def test_block_leaves_triggers_as_they_were(live, model, five, form, change, start, fails):
    trigger = five[0]
    for step in STARTS[start]:
        getattr(trigger, step)(model)
    before = state_of(live, model, trigger)

    def changing():
        return (
            getattr(pgtrigger, change)(uri(trigger, model)) if form == "function" else getattr(trigger, change)(model)
        )

    def run():
        with changing() as nothing:
            assert nothing is None
            if fails:
                raise ZeroDivisionError

    if fails:
        with pytest.raises(ZeroDivisionError):
            run()
    else:
        run()
    assert state_of(live, model, trigger) == before


def test_block_brings_back_even_what_somebody_edited(live, model, five):
    trigger = five[0]
    trigger.install(model)
    live.sql(f'ALTER FUNCTION "{trigger.get_pgid(model)}"() SECURITY DEFINER')
    live.sql(f"COMMENT ON TRIGGER \"{trigger.get_pgid(model)}\" ON live_post IS 'it''s \"mine\"'")
    before = state_of(live, model, trigger)
    assert before[0] == ("OUTDATED", True)
    with trigger.install(model):
        assert trigger.get_installation_status(model) == ("INSTALLED", True)
    assert state_of(live, model, trigger) == before
    with trigger.uninstall(model):
        assert trigger.get_installation_status(model) == ("UNINSTALLED", None)
    assert state_of(live, model, trigger) == before


def test_block_in_a_transaction_in_error_leaves_the_rollback_to_it(live, model, five):
    trigger = five[0]
    trigger.install(model)
    before = state_of(live, model, trigger)
    with pytest.raises(ProgrammingError, match="nowhere"), transaction.atomic(), trigger.uninstall(model):
        live.sql("SELECT * FROM nowhere")
    assert state_of(live, model, trigger) == before


def test_blocks_nest(live, model, five):
    with pgtrigger.install():
        with pgtrigger.uninstall("live.Post:t1", "live.Post:t2"), pgtrigger.disable("live.Post:t0"):
            assert names(live) == ["t0", "t3", "t4"]
        assert names(live) == ["t0", "t1", "t2", "t3", "t4"]
        assert five[0].get_installation_status(model) == ("INSTALLED", True)
    assert names(live) == functions(live) == []


@pytest.mark.parametrize("fails", [False, True])
def test_registration_block_puts_back_what_was_registered(model, five, fails):
    def run():
        with other.register(model):
            assert registry.find("live.Post:new") == (model, other)
            with five[0].unregister(model):
                assert not five[0].is_registered(model)
                assert not fails or 1 / 0

    other = by_hand("new")
    before = list(registry.registered())
    if fails:
        with pytest.raises(ZeroDivisionError):
            run()
    else:
        run()
    assert sorted(map(str, registry.registered())) == sorted(map(str, before))


def test_uninstalling_drops_the_function_of_a_dropped_trigger(live, model, five):
    pgtrigger.install()
    live.sql(f'DROP TRIGGER "{five[1].get_pgid(model)}" ON live_post')
    pgtrigger.uninstall("live.Post:t1")
    assert not [name for name in functions(live) if "_t1_" in name]
    assert names(live) == ["t0", "t2", "t3", "t4"]


def test_function_without_its_trigger_is_used_again(live, model, five):
    five[1].install(model)
    live.sql(f'DROP TRIGGER "{five[1].get_pgid(model)}" ON live_post')
    assert five[1].get_installation_status(model) == ("UNINSTALLED", None)
    five[1].install(model)
    assert five[1].get_installation_status(model) == ("INSTALLED", True)


def test_prune_drops_what_is_not_registered_with_functions(live, model, five):
    pgtrigger.install()
    live.sql("CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
    live.sql("CREATE TRIGGER pgtrigger_theirs AFTER DELETE ON live_post EXECUTE FUNCTION theirs()")
    five[0].disable(model)
    gone = [five[0], five[4]]
    live.sql(f'DROP TRIGGER "{five[3].get_pgid(model)}" ON live_post')
    for trigger in (*gone, five[3]):
        trigger.unregister(model)
    assert pgtrigger.prunable() == pgtrigger.prunable(database="default") == [
        ("live_post", five[0].get_pgid(model), False, "default"),
        ("live_post", five[4].get_pgid(model), True, "default"),
    ]  # fmt: skip
    assert pgtrigger.prune() is None
    assert pgtrigger.prunable() == []
    assert names(live) == ["t1", "t2"]
    assert functions(live) == [five[1].get_pgid(model), five[2].get_pgid(model), "theirs"]
    assert "pgtrigger_theirs" in {found.name for found in read_catalog(live.connection).triggers}


def test_function_called_by_somebody_elses_trigger_stays(live, model, five):
    five[0].install(model)
    live.sql("CREATE TABLE other (id int)")
    live.sql(f'CREATE TRIGGER theirs BEFORE INSERT ON other EXECUTE FUNCTION "{five[0].get_pgid(model)}"()')
    five[0].uninstall(model)
    assert names(live) == []
    assert functions(live) == [five[0].get_pgid(model)]


@pytest.mark.parametrize(("prunes", "left"), [(True, ["t1"]), (False, ["t0", "t1"])])
def test_installing_all_prunes_if_the_setting_says_so(live, model, five, settings_of, prunes, left):
    settings_of(PGTRIGGER_PRUNE_ON_INSTALL=prunes)
    pgtrigger.install("live.Post:t0")
    for number in (0, 2, 3, 4):
        five[number].unregister(model)
    pgtrigger.install("live.Post:t1")
    assert names(live) == ["t0", "t1"]
    pgtrigger.install()
    assert names(live) == left


@pytest.fixture
def settings_of(monkeypatch):
    from django.conf import settings

    def change(**values):
        for name, value in values.items():
            monkeypatch.setattr(settings, name, value, raising=False)

    return change


@pytest.fixture
def other_database(live, monkeypatch):
    """A second database alias, for a schema of its own, in which the model's table is."""
    from django.db import connections

    schema = f"{live.schema}_Other's"
    info = live.connection.connection.info
    live.sql(f'CREATE SCHEMA "{schema}"; CREATE TABLE "{schema}".live_post (id int, title text)')
    connections.settings["other"] = connections.settings["default"] | {
        "ENGINE": "django.db.backends.postgresql", "NAME": info.dbname, "HOST": info.host, "PORT": str(info.port),
        "USER": info.user, "PASSWORD": info.password,
    }  # fmt: skip
    with connections["other"].cursor() as cursor:
        cursor.execute(f'SET search_path TO "{schema}"')
    yield connections["other"]
    connections["other"].close()
    del connections["other"], connections.settings["other"]
    live.sql(f'DROP SCHEMA "{schema}" CASCADE')


def states(trigger, model):
    return [trigger.get_installation_status(model, database=alias)[0] for alias in ("default", "other")]


def test_functions_without_database_are_about_the_default_one(as_in_a_project, model, five, other_database):
    trigger = five[0]
    assert states(trigger, model) == ["UNINSTALLED", "UNINSTALLED"]
    pgtrigger.install()
    assert states(trigger, model) == ["INSTALLED", "UNINSTALLED"]
    pgtrigger.install(database="other")
    pgtrigger.disable()
    assert trigger.get_installation_status(model, database="other") == ("INSTALLED", True)
    assert trigger.get_installation_status(model) == ("INSTALLED", False)
    pgtrigger.disable(database="other")
    pgtrigger.enable()
    assert trigger.get_installation_status(model, database="other") == ("INSTALLED", False)
    pgtrigger.uninstall()
    assert states(trigger, model) == ["UNINSTALLED", "INSTALLED"]
    trigger.install(model)
    trigger.unregister(model)
    assert [entry[3] for entry in pgtrigger.prunable()] == ["default"]
    pgtrigger.prune()
    assert pgtrigger.prunable() == []
    assert [entry[3] for entry in pgtrigger.prunable(database="other")] == ["other"]
    pgtrigger.prune(database="other")
    assert pgtrigger.prunable(database="other") == []


@pytest.fixture
def lite():
    """A database that is not Postgres."""
    from django.db import connections

    connections.settings["lite"] = connections.settings["default"] | {
        "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "OPTIONS": {},
    }  # fmt: skip
    yield "lite"
    del connections["lite"], connections.settings["lite"]


def test_nothing_happens_in_a_database_that_is_not_postgres(as_in_a_project, live, model, five, lite):
    for change in (pgtrigger.install, pgtrigger.uninstall, pgtrigger.enable, pgtrigger.disable):
        with change(database=lite) as nothing:
            assert nothing is None
        assert repr(change("live.Post:t1", database=lite)) == "<changed: nothing>"
        getattr(five[0], change.__name__)(model, database=lite)
    pgtrigger.prune(database=lite)
    assert pgtrigger.prunable(database=lite) == []
    assert five[0].get_installation_status(model, database=lite) == ("UNALLOWED", None)
    assert not five[0].allow_migrate(model, database=lite)
    assert names(live) == []


def test_class_may_decide_in_which_database_its_trigger_may_be(as_in_a_project, live, model, five):
    class Elsewhere(pgtrigger.Protect):
        def allow_migrate(self, model, database=None):
            return database == "elsewhere"

    trigger = Elsewhere(name="elsewhere", operation=pgtrigger.Delete)
    with trigger.register(model):
        pgtrigger.install()
        trigger.install(model)
        assert trigger.get_installation_status(model) == ("UNALLOWED", None)
        assert five[0].get_installation_status(model) == ("INSTALLED", True)
        assert "elsewhere" not in " ".join(names(live))
    assert five[0].allow_migrate(model)


def test_models_of_another_registry_of_models_are_left_alone(as_in_a_project, live, model, five):
    from django.test.utils import isolate_apps

    with isolate_apps("tests"):

        class Alone(models.Model):
            class Meta:
                app_label = "tests"
                triggers = [pgtrigger.Protect(name="meta", operation=pgtrigger.Delete)]

    # As upstream: those of Meta.triggers are not registered, and those that somebody registers are.
    own = pgtrigger.Protect(name="own", operation=pgtrigger.Delete)
    with own.register(Alone):
        assert [trigger for owner, trigger in pgtrigger.registered() if owner is Alone] == [own]
        # There is no table.
        pgtrigger.install()
        pgtrigger.enable()
        pgtrigger.uninstall()
        pgtrigger.install()
        assert five[0].get_installation_status(model) == ("INSTALLED", True)
        with pytest.raises(InstallationError, match='relation "tests_alone" does not exist'):
            pgtrigger.install("tests.Alone:own")


class OnlyDefault:
    """Lets the model be on one database."""

    def allow_migrate(self, db, app_label, **hints):
        return db == "default"


def test_router_decides_for_each_database(as_in_a_project, monkeypatch, live, model, five, other_database):
    from django.db import router

    monkeypatch.setattr(router, "routers", [OnlyDefault()])
    pgtrigger.install()
    pgtrigger.install(database="other")
    assert states(five[0], model) == ["INSTALLED", "UNALLOWED"]
    assert [five[0].allow_migrate(model, database=alias) for alias in (None, "default", "other")] == [True, True, False]
    assert read_catalog(other_database).triggers == ()


def test_missing_database_is_named(five):
    with pytest.raises(ConnectionDoesNotExist, match="nope"):
        pgtrigger.install(database="nope")


def test_many_triggers_take_one_lock_and_one_script(live, model, five, monkeypatch):
    calls = []
    monkeypatch.setattr(
        changes,
        "plan_and_apply",
        lambda *args, **options: calls.append(args) or original(*args, **options),
    )
    pgtrigger.install()
    assert len(calls) == 1


original = changes.plan_and_apply


class Noting(pgtrigger.Protect):
    """Notes each call of its own hooks."""

    calls: ClassVar[list[tuple[str, str]]] = []
    fails: ClassVar[bool] = False

    def install(self, model, database=None):
        self.calls.append(("install", database))
        made = super().install(model, database=database)
        if self.fails:
            raise RuntimeError("not today")
        return made

    def uninstall(self, model, database=None):
        self.calls.append(("uninstall", database))
        return super().uninstall(model, database=database)


@pytest.fixture
def noting(live, monkeypatch):
    monkeypatch.setattr(Noting, "calls", [])
    trigger = Noting(name="noting", operation=pgtrigger.Delete)
    usual = pgtrigger.Protect(name="usual", operation=pgtrigger.Delete)
    model = live.declare("Post", [trigger, usual], title=models.TextField())
    pgtrigger.uninstall()
    trigger.calls.clear()
    return model, trigger, usual


def test_hooks_of_a_class_are_called(noting):
    model, trigger, usual = noting
    with pgtrigger.install(database="default"):
        assert trigger.get_installation_status(model) == ("INSTALLED", True)
        assert usual.get_installation_status(model) == ("INSTALLED", True)
    assert trigger.get_installation_status(model) == ("UNINSTALLED", None)
    outcomes = {(outcome.step.object, outcome.step.action) for outcome in changes.carry_out(installing(), "default")}
    assert outcomes == {("live.Post:noting", "create"), ("live.Post:usual", "create")}
    pgtrigger.disable()
    assert trigger.get_installation_status(model) == ("INSTALLED", False)
    pgtrigger.uninstall("live.Post:noting", database="default")
    assert trigger.get_installation_status(model) == ("UNINSTALLED", None)
    assert trigger.calls == [("install", "default"), ("install", "default"), ("uninstall", "default")]


def test_hook_that_fails_leaves_nothing(noting, monkeypatch):
    model, trigger, usual = noting
    monkeypatch.setattr(Noting, "fails", True)
    with pytest.raises(RuntimeError, match="not today"):
        pgtrigger.install(database="default")
    assert trigger.get_installation_status(model) == ("UNINSTALLED", None)
    assert usual.get_installation_status(model) == ("UNINSTALLED", None)
