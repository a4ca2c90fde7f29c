"""`Trigger.install`, `uninstall`, `enable`, `disable`: each in one transaction, and only where a router allows it."""

from __future__ import annotations

import pytest
from django.db import models, transaction

from pgmagic import pgtrigger
from pgmagic.db.catalog import read_catalog
from pgmagic.errors import InstallationError, TriggerError

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
    assert live.sql("SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace") == [
        (0,)
    ]


def test_disabled_trigger_fires_for_nobody(live, model):
    trigger = pgtrigger.Protect(**KEEP)
    trigger.install(model)
    trigger.disable(model)
    live.other().execute(f'TRUNCATE "{live.schema}".live_post')
    trigger.enable(model)
    with pytest.raises(TriggerError):
        live.sql("TRUNCATE live_post")


@pytest.mark.parametrize("change", ["enable", "disable"])
def test_what_is_not_installed_cannot_be_switched(model, change):
    with pytest.raises(
        InstallationError, match=r"live\.Post:keep is not installed, so it cannot be enabled or dis"
    ):
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


def test_router_that_forbids_the_model_is_obeyed(live, model, settings_routers):
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
