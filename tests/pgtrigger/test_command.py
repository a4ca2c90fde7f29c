from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connections, models

from pgmagic import pgtrigger


@pytest.fixture
def item(live):
    return live.declare(
        "Item",
        [
            pgtrigger.Protect(name="stay", operation=pgtrigger.Delete),
            pgtrigger.ReadOnly(name="ro", fields=["name"]),
        ],
        name=models.TextField(),
    )


def said(*arguments, **options):
    out = StringIO()
    call_command("pgtrigger", *arguments, stdout=out, no_color=True, **options)
    return out.getvalue().splitlines()


def test_list_of_nothing_is_empty(schema, connection):
    assert said("ls") == []


def test_list_shows_state_switch_and_uri(live, item):
    assert said("ls") == ["INSTALLED ENABLED live.Item:stay", "INSTALLED ENABLED live.Item:ro"]
    pgtrigger.disable("live.Item:stay")
    pgtrigger.uninstall("live.Item:ro")
    assert said("ls") == ["INSTALLED   DISABLED live.Item:stay", "UNINSTALLED N/A      live.Item:ro"]
    assert said("ls", "live.Item:ro") == ["UNINSTALLED N/A live.Item:ro"]


def test_list_shows_triggers_that_are_not_declared(live, item):
    live.sql(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
        "CREATE TRIGGER pgtrigger_theirs_12345 BEFORE UPDATE ON live_item FOR EACH ROW EXECUTE FUNCTION f()"
    )
    [(model, ro)] = pgtrigger.registered("live.Item:ro")
    name = ro.get_pgid(model)
    ro.unregister(model)
    assert sorted(said("ls")[1:]) == [
        "FOREIGN   ENABLED live_item:pgtrigger_theirs_12345", "PRUNE     ENABLED live_item:live.Item:ro",
    ]  # fmt: skip
    assert said("prune") == [f"pgtrigger: Pruning trigger {name} for table live_item on default database."]
    assert said("prune") == []
    assert said("ls")[1:] == ["FOREIGN   ENABLED live_item:pgtrigger_theirs_12345"]


def test_changes_of_state_are_reported(live, item):
    on = "trigger for live_item table on default database."
    assert said("install") == []
    assert said("uninstall", "live.Item:ro") == [f"pgtrigger: Uninstalling ro {on}"]
    assert said("install") == [f"pgtrigger: Installing ro {on}"]
    assert said("disable") == [f"pgtrigger: Disabling stay {on}", f"pgtrigger: Disabling ro {on}"]
    assert said("enable", "live.Item:stay", "--database", "default") == [f"pgtrigger: Enabling stay {on}"]
    assert said("enable", verbosity=0) == []
    assert said("ls") == ["INSTALLED ENABLED live.Item:stay", "INSTALLED ENABLED live.Item:ro"]


def test_schema_option_names_where_tables_are(live, item):
    live.sql(f'CREATE SCHEMA "{live.schema} 2"')
    try:
        assert said("ls", "--schema", f"{live.schema} 2") == [
            "UNINSTALLED N/A live.Item:stay", "UNINSTALLED N/A live.Item:ro",
        ]  # fmt: skip
        assert len(said("ls", "-s", f"{live.schema} 2", "-s", live.schema)) == 2
    finally:
        live.sql(f'DROP SCHEMA "{live.schema} 2"')


def altered(live, item):
    pgtrigger.uninstall("live.Item:ro")


def disabled(live, item):
    pgtrigger.disable("live.Item:ro")


def edited(live, item):
    [(model, ro)] = pgtrigger.registered("live.Item:ro")
    live.sql(f'ALTER FUNCTION "{ro.get_pgid(model)}"() SECURITY DEFINER')


def declared_no_more(live, item):
    [(model, ro)] = pgtrigger.registered("live.Item:ro")
    ro.unregister(model)


@pytest.mark.parametrize("differ", [altered, disabled, edited, declared_no_more])
def test_list_can_check_that_everything_is_as_declared(live, item, differ):
    live.sql(
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; "
        "CREATE TRIGGER theirs BEFORE UPDATE ON live_item FOR EACH ROW EXECUTE FUNCTION f()"
    )
    listed = said("ls")
    assert said("ls", "--check") == listed
    differ(live, item)
    with pytest.raises(CommandError, match=r"1 of \d triggers listed is not in the database as declared") as caught:
        said("ls", "--check")
    assert caught.value.returncode == 1
    assert said("ls", "--check", "live.Item:stay") == ["INSTALLED ENABLED live.Item:stay"]


@pytest.mark.parametrize("command", ["ls", "install", "uninstall", "enable", "disable", "prune"])
def test_database_that_is_not_postgres_is_named_and_left_alone(live, item, monkeypatch, command):
    monkeypatch.setitem(connections.settings, "lite", connections.settings["default"] | {
        "ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "OPTIONS": {},
    })  # fmt: skip
    try:
        assert said(command, "-d", "lite") == [
            'pgtrigger: The database "lite" is not Postgres, so it has no triggers: nothing was done.'
        ]
    finally:
        del connections["lite"]
    assert said("ls", "--check") == ["INSTALLED ENABLED live.Item:stay", "INSTALLED ENABLED live.Item:ro"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ls", "nonsense"], "must be in the format"),
        (["install", "live.Item:nobody"], "not found in pgtrigger registry"),
        (["ls", "--database", "nowhere"], "'nowhere' doesn't exist"),
    ],
)
def test_error_is_one_line(live, item, arguments, sentence):
    with pytest.raises(CommandError, match=sentence) as caught:
        said(*arguments)
    assert "\n" not in str(caught.value)
