"""`%pgtrigger`: what it shows of a database, and what it changes there."""

from __future__ import annotations

import re

import pandas as pd
import pytest
from django.db import connection as default
from django.db import connections
from IPython.core.error import UsageError

from pgmagic.db.installation_frame import InstallationFrame
from pgmagic.db.trigger_frames import DifferenceFrame, TriggerFrame
from pgmagic.declare import registry
from pgmagic.tables.highlighting import SqlText
from pgmagic.tables.text import text

CELL = """%%pgtrigger
class Post(models.Model):
    title = models.TextField()
    status = models.TextField(default="draft")
    class Meta:
        triggers = [
            pgtrigger.Protect(name="keep", operation=pgtrigger.Delete | pgtrigger.Truncate),
            pgtrigger.Trigger(
                name="bump", when=pgtrigger.Before, operation=pgtrigger.Update, condition=pgtrigger.Q(new__status="a"),
                func="NEW.title = 'bumped';\\nRETURN NEW;",
            ),
        ]
"""


def execute(statement):
    with default.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def post(shell):
    shell.run(CELL)
    return shell


def pgid(uri):
    [(model, trigger)] = registry.registered(uri)
    return f'"{trigger.get_pgid(model)}"'


def here(frame):
    """The rows of the test's own schema: on one server, other tests may be at work in theirs."""
    return frame[~frame["table"].str.contains(".", regex=False)]


def listed(shell, line="%pgtrigger ls", *columns):
    frame = shell.run(line)
    assert type(frame) is TriggerFrame
    frame = here(frame)
    return [tuple(None if pd.isna(value) else value for value in row) for row in frame[list(columns)].to_numpy()]


FIRST = ("name", "fires", "state", "enabled", "drift")
IS_A = "(NEW.\"status\" = 'a')"
KEEP, KEEP_T = ("BEFORE DELETE · ROW", "BEFORE TRUNCATE · STATEMENT")


def test_empty_database_gives_an_empty_table(shell):
    frame = shell.run("%pgtrigger ls no_such_table")
    assert type(frame) is TriggerFrame
    assert list(frame.columns) == list(TriggerFrame.columns_contract)
    assert len(frame) == 0


def test_every_trigger_is_listed_whoever_made_it(post, schema):
    execute(
        "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER audit AFTER UPDATE ON notebook_post FOR EACH ROW WHEN (OLD.id > 3) EXECUTE FUNCTION theirs()"
    )
    post.run("pgtrigger.Protect(name='late', operation=pgtrigger.Insert).register(Post)")
    assert listed(post, "%pgtrigger ls", "table", "name", "fires", "condition", "state", "enabled", "drift") == [
        ("notebook_post", "audit", "AFTER UPDATE · ROW", "(old.id > 3)", "FOREIGN", True, None),
        ("notebook_post", "notebook.Post:bump", "BEFORE UPDATE · ROW", IS_A, "INSTALLED", True, None),
        ("notebook_post", "notebook.Post:keep", KEEP, None, "INSTALLED", True, None),
        ("notebook_post", "notebook.Post:keep", KEEP_T, None, "INSTALLED", True, None),
        ("notebook_post", "notebook.Post:late", "BEFORE INSERT · ROW", None, "UNINSTALLED", None, None),
    ]  # fmt: skip


def test_state_and_drift_stand_right_beside_the_name(post):
    frame = post.run("%pgtrigger ls")
    assert list(frame.columns) == ["name", "state", "drift", "enabled", "table", "fires", "condition"]
    name = "long_" * 9
    post.run(f"pgtrigger.Protect(name='{name}', operation=pgtrigger.Delete).register(Post)")
    heading = text(post.run("%pgtrigger ls"), width=100).splitlines()[0]
    assert heading.index("state") < heading.index("drift") < 80


def test_pattern_chooses_triggers_and_a_note_counts_the_others(post):
    frame = post.run("%pgtrigger ls *post:K?ep")
    assert set(frame["name"]) == {"notebook.Post:keep"}
    assert frame.notes[0] == "1 of 3 triggers do not match '*post:K?ep'."
    assert set(here(post.run("%pgtrigger ls NOTEBOOK_po"))["table"]) == {"notebook_post"}


EDITS = {
    "function edited in the database": "ALTER FUNCTION {bump}() SECURITY DEFINER",
    "trigger edited in the database":
        "CREATE OR REPLACE TRIGGER {bump} AFTER UPDATE ON notebook_post EXECUTE FUNCTION {bump}()",
    "installed in part": "DROP TRIGGER {keep_t} ON notebook_post",
}  # fmt: skip


@pytest.mark.parametrize("drift", EDITS)
def test_drift_is_read_from_the_catalog(post, drift):
    bump, keep = pgid("notebook.Post:bump"), pgid("notebook.Post:keep")
    execute(EDITS[drift].format(bump=bump, keep_t=keep.removesuffix('"') + '_t"'))
    found = listed(post, "%pgtrigger ls", "name", "state", "drift")
    name = "notebook.Post:keep" if "part" in drift else "notebook.Post:bump"
    assert (name, "OUTDATED", drift) in found
    assert [state for other, state, _ in found if other != name and "Post" in other] in (
        ["INSTALLED"], ["INSTALLED", "INSTALLED"],
    )  # fmt: skip
    assert len(post.run("%pgtrigger diff")) == 1
    post.run("%pgtrigger install")
    assert {state for _, state in listed(post, "%pgtrigger ls", "name", "state")} == {"INSTALLED"}
    assert len(post.run("%pgtrigger diff")) == 0


def test_changed_declaration_is_outdated_until_it_is_installed(post):
    post.run("new = pgtrigger.Protect(name='keep', operation=pgtrigger.Update | pgtrigger.Truncate)")
    post.run("registry = pgtrigger.registered('notebook.Post:keep')[0][1].unregister(Post); new.register(Post)")
    assert listed(post, "%pgtrigger ls keep", "fires", "state", "drift") == [
        ("BEFORE TRUNCATE · STATEMENT", "OUTDATED", "declaration changed"),
        ("BEFORE UPDATE · ROW", "OUTDATED", "declaration changed"),
    ]
    frame = post.run("%pgtrigger install notebook.Post:keep")
    assert type(frame) is InstallationFrame
    assert listed(post, "%pgtrigger ls keep", "fires", "state", "drift") == [
        ("BEFORE TRUNCATE · STATEMENT", "INSTALLED", None),
        ("BEFORE UPDATE · ROW", "INSTALLED", None),
    ]


def test_enable_and_disable_show_what_they_did(post):
    frame = post.run("%pgtrigger disable notebook.Post:keep -o kept")
    assert list(zip(frame["object"], frame["action"], frame["status"], frame["fires"], strict=True)) == [
        ("notebook.Post:keep", "alter", "done", KEEP),
        ("notebook.Post:keep", "alter", "done", KEEP_T),
    ]
    assert post["kept"] is frame
    assert listed(post, "%pgtrigger ls keep", "state", "enabled") == [("INSTALLED", False)] * 2
    assert set(post.run("%pgtrigger disable notebook.Post:keep")["action"]) == {"unchanged"}
    post.run("Post.objects.create(title='a').delete()")
    post.run("%pgtrigger enable")
    assert listed(post, "%pgtrigger ls", "enabled") == [(True,)] * 3


def test_uninstalling_leaves_others_and_the_declaration(post):
    frame = post.run("%pgtrigger uninstall notebook.Post:keep")
    assert list(zip(frame["kind"], frame["action"], strict=True)) == [
        ("trigger", "drop"), ("trigger", "drop"), ("function", "drop"),
    ]  # fmt: skip
    assert listed(post, "%pgtrigger ls", "name", "state", "enabled") == [
        ("notebook.Post:bump", "INSTALLED", True),
        ("notebook.Post:keep", "UNINSTALLED", None),
        ("notebook.Post:keep", "UNINSTALLED", None),
    ]


def test_prune_drops_what_nothing_declares_any_more(post):
    for uri in ("notebook.Post:keep", "notebook.Post:bump"):
        [(model, trigger)] = registry.registered(uri)
        trigger.unregister(model)
    assert {state for (state,) in listed(post, "%pgtrigger ls", "state")} == {"PRUNE"}
    assert list(post.run("%pgtrigger diff")["declared"].isna()) == [True] * 3
    post.run("%pgtrigger install")
    assert len(listed(post, "%pgtrigger ls", "state")) == 3, "installing does not prune in a notebook"
    post.run("%pgtrigger prune notebook.Post:keep")
    assert listed(post, "%pgtrigger ls", "name") == [("notebook.Post:bump",)]
    assert "what can be pruned: notebook.Post:bump." in str(post.error("%pgtrigger prune notebook.Post:keep"))
    post.run("%pgtrigger prune")
    assert listed(post, "%pgtrigger ls", "name") == []


def test_difference_is_shown_line_by_line(post):
    bump = pgid("notebook.Post:bump")
    [[definition]] = _rows(f"SELECT pg_get_functiondef('{bump}()'::regprocedure)")
    execute(definition.replace("'bumped'", "'hacked'"))
    frame = post.run("%pgtrigger diff notebook.Post:bump")
    assert type(frame) is DifferenceFrame
    [row] = frame.to_dict("records")
    assert (row["trigger"], row["kind"]) == ("notebook.Post:bump", "function")
    assert (row["live"], row["declared"]) == ("NEW.title = 'hacked';", "NEW.title = 'bumped';")
    assert definition.splitlines()[row["line"] - 1] == "NEW.title = 'bumped';"
    assert len(post.run("%pgtrigger diff notebook.Post:keep")) == 0
    [[after]] = _rows(f"SELECT pg_get_functiondef('{bump}()'::regprocedure)")
    assert "hacked" in after, "comparing changes nothing"


def _rows(statement):
    with default.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_difference_of_an_uninstalled_trigger_is_its_definition(post):
    post.run("%pgtrigger uninstall notebook.Post:bump")
    frame = post.run("%pgtrigger diff")
    assert list(frame["kind"]) == ["function", "trigger"]
    assert frame["live"].isna().all()
    assert "NEW.title = 'bumped';" in frame["declared"][0]
    post.run("Post._meta.db_table = 'nowhere'")
    missing = post.run("%pgtrigger diff notebook.Post:bump")
    assert list(missing["kind"]) == ["trigger"]
    assert '"nowhere"' in missing["declared"][0]


def test_sql_is_text_that_installs_the_trigger(post):
    sql = post.run("%pgtrigger sql notebook.Post:bump -o kept")
    assert type(sql) is SqlText
    assert post["kept"] is sql
    assert "pgm-sql-keyword" in sql._repr_html_()
    post.run("%pgtrigger uninstall notebook.Post:bump")
    execute(sql)
    post.run("Post.objects.create(title='a'); Post.objects.update(status='a')")
    assert post.run("Post.objects.get().title") == "bumped"


MISTAKES = {
    "%pgtrigger": "%pgtrigger, with one percent sign, takes a command, as in `%pgtrigger ls`: ",
    "%pgtrigger nope": "invalid choice: 'nope'",
    "%pgtrigger sql": "the following arguments are required: URI",
    "%pgtrigger sql notebook.Post": 'must be in the format of "app_label.model_name:trigger_name"',
    "%pgtrigger sql notebook.Post:nope": 'URI "notebook.Post:nope" not found',
    "%pgtrigger ls --nope": "unrecognized arguments: --nope",
    "%pgtrigger enable notebook.Post:nope": 'URI "notebook.Post:nope" not found',
    "%pgtrigger ls a b": "unrecognized arguments: b",
    "%pgtrigger install --database nope": "there is no database 'nope'; there are default",
    "%pgtrigger ls --database nope": "there is no database 'nope'; there are default",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_mistake_is_reported_in_one_line_by_sub_commands(post, line):
    error = post.error(line)
    assert type(error) is UsageError
    assert MISTAKES[line] in str(error)
    assert "\n" not in str(error)


def test_database_that_is_not_postgres_is_refused_by_sub_commands(post, monkeypatch):
    sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:", "OPTIONS": {}}
    monkeypatch.setitem(connections.settings, "lite", connections.settings["default"] | sqlite)
    for command in ("ls", "install", "diff", "prune"):
        error = post.error(f"%pgtrigger {command} --database lite")
        assert "the database 'lite' is not Postgres, so it has no triggers" in str(error)
    del connections["lite"]


def test_refused_installation_is_reported_in_one_line_and_keeps_nothing(post):
    bad = "pgtrigger.Trigger(name='bad', when=pgtrigger.Before, operation=pgtrigger.Update, func='x := 1;')"
    post.run(f"{bad}.register(Post)")
    post.run("%pgtrigger uninstall notebook.Post:keep")
    error = post.error("%pgtrigger install")
    assert type(error) is UsageError
    assert "refused to create the function notebook.Post:bad" in str(error)
    assert ("notebook.Post:keep", "UNINSTALLED") in listed(post, "%pgtrigger ls", "name", "state")


def test_manual_names_every_sub_command_with_its_arguments(shell):
    manual = shell.shell.find_line_magic("pgtrigger").__doc__
    for words in (
        "%pgtrigger ls [--all] [--database ALIAS] [-o NAME] [pattern]",
        "%pgtrigger sql [-o NAME] URI",
        "prune",
    ):
        assert words in manual
    assert "--allow-data-loss" not in manual
    assert "--allow-data-loss" in shell.shell.find_cell_magic("pgtrigger").__doc__


def test_other_notebooks_triggers_are_listed_and_left_alone(post, schema):
    other = f"{schema}_other"
    uri = "notebook.Post:keep"
    sql = str(post.run(f"%pgtrigger sql {uri}")).replace(f'"{schema}"', f'"{other}"')
    execute(f'CREATE SCHEMA "{other}"; CREATE TABLE "{other}".notebook_post (LIKE notebook_post); {sql}')
    try:
        marked = f'{{{pgid(uri)}: ["x", "x"]}}'
        mark = f'{{"pgmagic": "notebook.Post:gone", "declared": "x", "stored": "x", "triggers": {marked}}}'
        execute(f"""COMMENT ON FUNCTION "{other}".{pgid(uri)}() IS '{mark}'""")
        frame = post.run("%pgtrigger ls")
        assert set(frame["table"]) == {"notebook_post"}
        assert re.fullmatch(r"[\d,]+ triggers in other schemas are not shown: add --all\.", frame.notes[-1])
        frame = post.run("%pgtrigger ls --all")
        assert frame.notes == []
        theirs = frame[frame["table"] == f"{other}.notebook_post"]
        assert set(theirs["state"]) == {"FOREIGN"}
        assert "notebook.Post:gone" in set(theirs["name"])
        post.run("%pgtrigger prune")
        post.run("%pgtrigger uninstall")
        assert len(_rows(f"""SELECT 1 FROM pg_trigger WHERE tgrelid = '"{other}".notebook_post'::regclass""")) == 2
    finally:
        execute(f'DROP SCHEMA "{other}" CASCADE')


SHORT = """%%pgtrigger{app}
class Order(models.Model):
    state = models.CharField(max_length=9, default="open")
    class Meta:
        triggers = [
            pgtrigger.FSM(name="flow", field="state", transitions=[("open", "paid")]),
            pgtrigger.Protect(name="hide", operation=pgtrigger.Delete),
        ]
"""


@pytest.mark.parametrize(
    "cell",
    [
        "%pgbypass Order:hide",
        "%pgbypass Order.state",
        "%pgtrigger sql Order:hide",
        "%pgtrigger diff Order:hide Order.state",
        "%pgtrigger uninstall Order:hide",
        "%pgtrigger install Order:hide",
        "%pgtrigger disable order:hide",
        "%pgtrigger enable order:hide",
        "%pgtrigger fsm Order.state",
        "%pgtrigger fsm Order:flow",
        "with pgtrigger.ignore('Order:hide'):\n    Order.objects.create().delete()",
        "%%pgwhatif --ignore Order.state\nOrder.objects.update(state='nope')",
    ],
)
def test_short_name_is_accepted_where_it_means_one_trigger(shell, cell):
    shell.run(SHORT.format(app=""))
    shell.run("Order.objects.create()")
    shell.run(cell)
    shell.run(SHORT.format(app=" --app shop"))
    error = shell.error(cell)
    name = ".state" if "fsm Order." in cell else ":hide" if ":hide" in cell else ":flow"
    for label in ("notebook.Order", "shop.Order"):
        assert f"{label}{name}" in str(error)


def test_frames_name_the_trigger_that_a_short_name_means(shell):
    shell.run(SHORT.format(app=""))
    shell.run("Order.objects.create()")
    assert "Ways around notebook.Order:hide: " in shell.run("%pgbypass Order:hide").caption
    frame = shell.run("%%pgwhatif --ignore Order:hide\nOrder.objects.all().delete()")
    assert "without notebook.Order:hide" in " ".join([frame.caption or "", *frame.notes])
