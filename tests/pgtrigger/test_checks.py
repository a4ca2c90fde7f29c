from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.test import override_settings

from pgmagic import pgtrigger
from pgmagic.pgtrigger.checks import check_choices, check_owners, check_settings


@pytest.fixture
def on_user():
    trigger = pgtrigger.Protect(name="stay", operation=pgtrigger.Delete)
    pgtrigger.register(trigger)(User)
    yield
    trigger.unregister(User)


def test_check_warns_of_a_trigger_on_the_model_of_an_installed_package(on_user):
    [warning] = check_owners()
    assert warning.id == "pgtrigger.W001"
    assert "auth.User:stay belongs to the installed package auth" in warning.msg
    assert "class MyUser(User)" in warning.hint


@pytest.mark.parametrize("named", [{"MIGRATION_MODULES": {"auth": "mine"}}, {"PGTRIGGER_MIGRATIONS": False}])
def test_no_warning_where_migrations_are_written_elsewhere(on_user, named):
    with override_settings(**named):
        assert check_owners() == []


def test_no_warning_for_apps_of_the_project():
    assert check_owners() == []


@pytest.mark.parametrize(("schema", "ids"), [(None, []), ("my Schema", ["pgtrigger.I001"])])
def test_check_reports_a_setting_without_effect(schema, ids):
    with override_settings(PGTRIGGER_SCHEMA=schema):
        assert [message.id for message in check_settings()] == ids
    assert check_settings() == []


def test_manage_py_check_runs_the_checks():
    with override_settings(PGTRIGGER_SCHEMA="my Schema"):
        assert "pgtrigger.I001" in {message.id for message in run_checks(tags=["pgtrigger"])}


def test_check_warns_of_a_value_outside_the_choices_of_its_field(monkeypatch):
    flow = pgtrigger.FSM(name="flow", field="username", transitions=[("ann", "bob")])
    with flow.register(User):
        assert check_choices() == []
        monkeypatch.setattr(User._meta.get_field("username"), "choices", [("ann", "Ann")])
        [warning] = check_choices()
    assert warning.id == "pgtrigger.W002"
    assert warning.msg == (
        "The FSM \"flow\" has the state 'bob', which the choices of User.username do not have: they are 'ann'."
    )
    wrong = pgtrigger.FSM(name="flow", field="nope", transitions=[("ann", "bob")])
    with wrong.register(User):
        assert check_choices() == []
