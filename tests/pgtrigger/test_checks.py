from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.test import override_settings

from pgmagic import pgtrigger
from pgmagic.pgtrigger.checks import check_owners, check_settings


@pytest.fixture
def on_user():
    trigger = pgtrigger.Protect(name="stay", operation=pgtrigger.Delete)
    pgtrigger.register(trigger)(User)
    yield
    trigger.unregister(User)


def test_trigger_on_an_installed_packages_model_is_warned_of(on_user):
    [warning] = check_owners()
    assert warning.id == "pgtrigger.W001"
    assert "auth.User:stay belongs to the installed package auth" in warning.msg
    assert "class MyUser(User)" in warning.hint


@pytest.mark.parametrize("named", [{"MIGRATION_MODULES": {"auth": "mine"}}, {"PGTRIGGER_MIGRATIONS": False}])
def test_nothing_is_said_where_nothing_is_written_there(on_user, named):
    with override_settings(**named):
        assert check_owners() == []


def test_nothing_is_said_of_a_projects_own_apps():
    assert check_owners() == []


@pytest.mark.parametrize(("schema", "ids"), [(None, []), ("my Schema", ["pgtrigger.I001"])])
def test_setting_that_makes_no_difference_is_told(schema, ids):
    with override_settings(PGTRIGGER_SCHEMA=schema):
        assert [message.id for message in check_settings()] == ids
    assert check_settings() == []


def test_checks_are_asked_by_manage_py():
    with override_settings(PGTRIGGER_SCHEMA="my Schema"):
        assert "pgtrigger.I001" in {message.id for message in run_checks(tags=["pgtrigger"])}
