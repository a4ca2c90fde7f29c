"""`%%pgtrigger`: what a cell declares is installed wholly or not at all, and may be run again at any time."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading

import pytest
from django.apps import apps
from django.db import connection as default
from IPython.core.error import UsageError

from pgmagic.declare import registry
from pgmagic.errors import TriggerError
from tests.notebook.test_trigger_magic import here

POST = """%%pgtrigger
class Post(models.Model):
    title = models.CharField(max_length=20)
    class Meta:
        triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]
"""
PLAIN = """%%pgtrigger
class Post(models.Model):
    title = models.CharField(max_length=20)
"""
COMMENT = """%%pgtrigger
class Comment(models.Model):
    post = models.ForeignKey(Post, on_delete=models.CASCADE)
    text = models.TextField(default="")
"""


def steps(frame):
    return list(zip(frame["object"], frame["kind"], frame["action"], frame["status"], strict=True))


def world():
    """What a failed cell must leave as it was: the models, their relations, the triggers and the catalog."""
    with default.cursor() as cursor:
        cursor.execute(
            "WITH here AS (SELECT current_schema()::regnamespace AS oid) "
            "SELECT c.oid::text, relname::text, c.xmin::text FROM pg_class AS c JOIN here ON relnamespace = here.oid "
            "UNION ALL SELECT p.oid::text, proname, p.xmin::text FROM pg_proc AS p "
            "  JOIN here ON pronamespace = here.oid "
            "UNION ALL SELECT t.oid::text, tgname, t.xmin::text FROM pg_trigger AS t "
            "  JOIN pg_class AS c ON c.oid = tgrelid JOIN here ON relnamespace = here.oid ORDER BY 1, 2"
        )
        catalog = cursor.fetchall()
    found = list(apps.get_models(include_auto_created=True))
    return {
        "catalog": catalog,
        "models": found,
        "fields": {model: [field.name for field in model._meta.get_fields()] for model in found},
        "targets": {
            (model, field.name): field.related_model
            for model in found
            for field in model._meta.get_fields()
            if field.is_relation
        },
        "accessors": {
            (model, name): getattr(value, "rel", getattr(value, "related", None))
            for model in found
            for name, value in vars(model).items()
            if not name.startswith("_")
        },
        "labels": sorted(apps.app_configs),
        "pending": {key: len(value) for key, value in apps._pending_operations.items() if value},
        "triggers": registry.registered(),
    }


def test_cell_creates_table_and_trigger(shell):
    frame = shell.run(POST)
    assert steps(frame) == [
        ("notebook.Post", "table", "create", "done"),
        ("notebook.Post:keep", "function", "create", "done"),
        ("notebook.Post:keep", "trigger", "create", "done"),
    ]
    post = shell["Post"].objects.create(title="a")
    with pytest.raises(TriggerError, match="pgtrigger: Cannot delete rows from notebook_post table"):
        post.delete()


def test_unchanged_cell_changes_nothing(shell):
    shell.run(POST)
    before = world()["catalog"]
    assert set(shell.run(POST)["action"]) == {"unchanged"}
    assert world()["catalog"] == before


def test_result_is_the_cells_value_and_may_have_a_name(shell):
    frame = shell.run(POST.replace("%%pgtrigger", "%%pgtrigger -o done"))
    assert shell["done"] is frame
    assert shell["_"] is frame


def test_edited_trigger_is_replaced(shell):
    shell.run(POST)
    frame = shell.run(POST.replace("pgtrigger.Delete)", 'pgtrigger.Delete, condition=pgtrigger.Q(old__title="a"))'))
    assert [(kind, action) for _, kind, action, _ in steps(frame)] == [
        ("table", "unchanged"), ("function", "unchanged"), ("trigger", "replace"),
    ]  # fmt: skip
    shell["Post"].objects.create(title="b").delete()


def test_trigger_taken_out_of_the_cell_is_dropped(shell):
    shell.run(POST)
    frame = shell.run(PLAIN)
    assert [(kind, action) for _, kind, action, _ in steps(frame)] == [
        ("trigger", "drop"), ("function", "drop"), ("table", "unchanged"),
    ]  # fmt: skip
    shell["Post"].objects.create(title="a").delete()
    assert registry.registered() == []


@pytest.mark.parametrize("app", ["tutorial", "tut_2"])
def test_app_names_table_and_uri(shell, app):
    frame = shell.run(POST.replace("%%pgtrigger", f"%%pgtrigger --app {app}"))
    assert frame["object"][1] == f"{app}.Post:keep"
    assert shell["Post"]._meta.db_table == f"{app}_post"


def test_same_name_in_two_apps_is_two_models(shell):
    shell.run(POST)
    first = shell["Post"]
    shell.run(POST.replace("%%pgtrigger", "%%pgtrigger --app other"))
    assert shell["Post"] is not first
    assert apps.get_model("notebook", "Post") is first
    assert len(registry.registered()) == 2


def test_dry_run_plans_and_changes_nothing(shell):
    shell.run(PLAIN)
    post, before = shell["Post"], world()
    frame = shell.run(POST.replace("%%pgtrigger", "%%pgtrigger --dry-run") + "leftover = 3\n")
    assert steps(frame) == [
        ("notebook.Post", "table", "unchanged", "planned"),
        ("notebook.Post:keep", "function", "create", "planned"),
        ("notebook.Post:keep", "trigger", "create", "planned"),
    ]
    assert frame["elapsed_ms"].isna().all()
    assert world() == before
    assert shell["Post"] is post
    assert "leftover" not in shell.shell.user_ns


def test_sql_is_shown(shell, capsys):
    shell.run(POST.replace("%%pgtrigger", "%%pgtrigger --sql --dry-run"))
    shown = re.sub(r"\x1b\[\d+(;\d+)*m", "", capsys.readouterr().out)
    assert "CREATE TABLE" in shown
    assert "RAISE EXCEPTION" in shown


def test_names_of_a_cell_are_bound_and_its_code_runs_as_usual(shell):
    shell.run(PLAIN + "x = 1 + 1\n")
    assert shell["x"] == 2


def test_annotations_of_a_cell_are_evaluated_as_in_any_cell(shell):
    shell.run("%%pgtrigger\ndef f(a: int): ...\n")
    assert shell["f"].__annotations__ == {"a": int}


def test_ipythons_own_syntax_works_in_a_cell(shell):
    shell.run("%%pgtrigger\nx = !echo hello\n")
    assert list(shell["x"]) == ["hello"]


# Relations between cells


def test_parent_that_is_re_run_keeps_its_children(shell):
    shell.run(PLAIN)
    shell.run(COMMENT)
    former, comment = shell["Post"], shell["Comment"]
    shell.run(POST)
    post = shell["Post"]
    assert post is not former
    assert comment._meta.get_field("post").related_model is post
    one = post.objects.create(title="a")
    child = comment.objects.create(post=one, text="x")
    assert list(post.objects.filter(comment__id=child.id)) == [one]
    assert list(post.objects.filter(comment__text="x").values_list("comment__text")) == [("x",)]
    assert list(one.comment_set.all()) == [child]
    assert comment.objects.select_related("post").get().post == one
    assert isinstance(comment.objects.get().post, post)
    assert list(comment.objects.filter(post__title="a")) == [child]
    with pytest.raises(TriggerError):
        one.delete()
    assert comment.objects.count() == 1  # the cascade was rolled back with it
    with pytest.raises(ValueError, match="must be a"):
        comment(post=former(title="b"))


def test_delete_cascades_over_re_run_cells(shell):
    for cell in (PLAIN, COMMENT, PLAIN, COMMENT, PLAIN):
        shell.run(cell)
    post, comment = shell["Post"], shell["Comment"]
    one = post.objects.create(title="a")
    comment.objects.create(post=one)
    assert one.delete() == (2, {"notebook.Comment": 1, "notebook.Post": 1})
    assert [relation.related_model for relation in post._meta.related_objects] == [comment]


def test_parent_reaches_a_child_that_is_re_run(shell):
    shell.run(PLAIN)
    shell.run(COMMENT)
    shell.run(COMMENT)
    post, comment = shell["Post"], shell["Comment"]
    child = comment.objects.create(post=post.objects.create(title="a"))
    assert isinstance(post.objects.get().comment_set.get(), comment)
    assert list(post.objects.filter(comment=child))
    assert [field.related_model for field in post._meta.related_objects] == [comment]


def test_accessor_goes_with_the_relation_of_the_child(shell):
    shell.run(PLAIN)
    shell.run(COMMENT.replace("%%pgtrigger", "%%pgtrigger --dry-run"))
    assert not hasattr(shell["Post"], "comment_set")


def test_many_to_many_survives_a_re_run_of_either_side(shell):
    shell.run(PLAIN)
    tag = """%%pgtrigger
class Tag(models.Model):
    name = models.TextField()
    posts = models.ManyToManyField(Post)
"""
    shell.run(tag)
    for cell in (PLAIN, tag, PLAIN):
        assert set(shell.run(cell)["action"]) == {"unchanged"}
        post, model = shell["Post"], shell["Tag"]
        one, other = post.objects.create(title="a"), model.objects.create(name="t")
        other.posts.add(one)
        assert list(one.tag_set.all()) == [other]
        assert list(post.objects.filter(tag__name="t").values_list("pk", flat=True))[-1] == one.pk
        one.delete()
        assert other.posts.count() == 0


def test_relation_to_oneself_and_in_a_circle(shell):
    cell = """%%pgtrigger
class Node(models.Model):
    parent = models.ForeignKey("self", models.CASCADE, null=True)
    leaf = models.ForeignKey("Leaf", models.SET_NULL, null=True)
class Leaf(models.Model):
    node = models.ForeignKey(Node, models.CASCADE)
"""
    shell.run(cell)
    assert set(shell.run(cell)["action"]) == {"unchanged"}
    node, leaf = shell["Node"], shell["Leaf"]
    root = node.objects.create()
    child = node.objects.create(parent=root)
    child.leaf = leaf.objects.create(node=child)
    child.save()
    assert list(root.node_set.all()) == [child]
    root.delete()
    assert (node.objects.count(), leaf.objects.count()) == (0, 0)


def test_proxy_follows_its_model(shell):
    shell.run(PLAIN)
    proxy = """%%pgtrigger
class Shown(Post):
    class Meta:
        proxy = True
        triggers = [pgtrigger.Protect(name="shown", operation=pgtrigger.Delete)]
"""
    assert [kind for _, kind, _, _ in steps(shell.run(proxy))] == ["table", "function", "trigger"]
    shell.run(PLAIN)
    post, shown = shell["Post"], shell["Shown"]
    assert shown.__bases__ == (post,)
    assert shown._meta.concrete_model is post
    one = post.objects.create(title="a")
    assert isinstance(shown.objects.get(), shown)
    with pytest.raises(TriggerError):
        one.delete()
    assert set(shell.run(proxy)["action"]) == {"unchanged"}


def test_child_table_follows_its_parent(shell):
    shell.run(PLAIN)
    child = "%%pgtrigger\nclass Long(Post):\n    text = models.TextField()\n"
    shell.run(child)
    shell.run(PLAIN)
    post, long = shell["Post"], shell["Long"]
    one = long.objects.create(title="a", text="b")
    assert post.objects.get(pk=one.pk).long == one
    assert list(long.objects.filter(title="a")) == [one]
    assert isinstance(one, post)
    assert set(shell.run(child)["action"]) == {"unchanged"}
    post.objects.get().delete()
    assert long.objects.count() == 0


def test_class_declared_twice_counts_once(shell):
    both = """%%pgtrigger
class Post(models.Model):
    first = models.TextField()
    class Meta:
        triggers = [pgtrigger.Protect(name="first", operation=pgtrigger.Delete)]
class Post(models.Model):
    second = models.TextField()
    class Meta:
        triggers = [pgtrigger.Protect(name="second", operation=pgtrigger.Delete)]
"""
    frame = shell.run(both)
    assert [row[0] for row in steps(frame)] == [
        "notebook.Post",
        "notebook.Post:second",
        "notebook.Post:second",
    ]
    assert [field.name for field in shell["Post"]._meta.fields] == ["id", "second"]
    assert set(shell.run(both)["action"]) == {"unchanged"}


def test_other_names_of_a_former_class_are_bound_to_the_new_one(shell):
    shell.run(PLAIN)
    shell.run("Article = Post\nkept = [Post]")
    shell.run(PLAIN)
    assert shell["Article"] is shell["Post"]
    assert shell["kept"][0] is not shell["Post"]


def test_model_of_an_installed_app_gets_its_table_in_the_notebooks_schema(shell):
    cell = """%%pgtrigger
from django.contrib.auth.models import User
class Person(User):
    class Meta:
        proxy = True
        triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]
"""
    frame = shell.run(cell)
    assert ("auth.User", "table", "create", "done") in steps(frame)
    assert set(shell.run(cell)["action"]) == {"unchanged"}
    user = shell["User"].objects.create(username="ann")
    with pytest.raises(TriggerError):
        user.delete()


# Triggers registered elsewhere

REGISTER = """%%pgtrigger
pgtrigger.register(pgtrigger.Protect(name="late", operation=pgtrigger.Update))(Post)
"""


def test_trigger_registered_in_a_later_cell_survives_a_re_run_of_the_first(shell):
    shell.run(PLAIN)
    assert [row[:3] for row in steps(shell.run(REGISTER))] == [
        ("notebook.Post:late", "function", "create"), ("notebook.Post:late", "trigger", "create"),
    ]  # fmt: skip
    assert ("notebook.Post:late", "trigger", "unchanged", "done") in steps(shell.run(PLAIN))
    assert set(shell.run(REGISTER)["action"]) == {"unchanged"}
    shell["Post"].objects.create(title="a")
    with pytest.raises(TriggerError):
        shell["Post"].objects.update(title="b")


def test_trigger_declared_with_the_model_once_and_registered_later_stays(shell):
    late = POST.replace('"keep"', '"late"')
    shell.run(late)
    shell.run(PLAIN)
    shell.run(REGISTER)
    shell.run(PLAIN)
    shell["Post"].objects.create(title="a")
    with pytest.raises(TriggerError):
        shell["Post"].objects.update(title="b")


def test_ignore_reaches_a_re_run_trigger(shell):
    shell.run(POST)
    shell.run(POST)
    post = shell["Post"].objects.create(title="a")
    shell.run("with pgtrigger.ignore('notebook.Post:keep'):\n    Post.objects.all().delete()")
    assert shell["Post"].objects.count() == 0
    assert post.pk


# Models without fields of their own

BARE = """%%pgtrigger
class CannotDelete(models.Model):
    class Meta:
        triggers = [pgtrigger.Protect(name="protect_deletes", operation=pgtrigger.Delete)]
"""
TRACKED_BARE = BARE.replace("class CannotDelete", "@pghistory.track()\nclass CannotDelete")
ONLY_KEY = "CannotDelete has no fields of its own: its table holds the key id alone."


def test_model_without_fields_is_installed_and_noted_when_its_table_is_made(shell):
    frame = shell.run(BARE.replace("%%pgtrigger", "%%pgtrigger --dry-run"))
    assert frame.notes == [ONLY_KEY]
    frame = shell.run(BARE)
    assert [row[1:] for row in steps(frame)] == [(kind, "create", "done") for kind in ("table", "function", "trigger")]
    assert frame.notes == [ONLY_KEY]
    again = shell.run(BARE)
    assert set(again["action"]) == {"unchanged"}
    assert again.notes == []
    row = shell["CannotDelete"].objects.create()
    assert row.pk == 1
    with pytest.raises(TriggerError, match="Cannot delete rows from notebook_cannotdelete table"):
        row.delete()


def test_class_with_a_body_of_pass_is_installed_with_a_note(shell):
    frame = shell.run("%%pgtrigger\nclass Post(models.Model):\n    pass\nclass Long(Post): ...\n")
    assert frame.notes == [
        "Post has no fields of its own: its table holds the key id alone.",
        "Long has no fields of its own: its table holds the key post_ptr_id alone.",
    ]
    assert shell["Long"].objects.create().pk == 1


def test_models_with_fields_get_no_note(shell):
    proxy = "class Shown(Post):\n    class Meta:\n        proxy = True\n"
    many = "class Tag(models.Model):\n    posts = models.ManyToManyField(Post)\n"
    assert shell.run(POST + proxy + many).notes == []


def test_model_without_fields_evolves_when_it_gets_one_and_loses_it(shell):
    shell.run(BARE)
    shell["CannotDelete"].objects.create()
    filled = BARE.replace("    class Meta", "    title = models.TextField(default='x')\n    class Meta")
    frame = shell.run(filled)
    assert ("notebook.CannotDelete", "table", "alter", "done") in steps(frame)
    assert frame.notes == []
    assert list(shell["CannotDelete"].objects.values_list("pk", "title")) == [(1, "x")]
    frame = shell.run(BARE.replace("%%pgtrigger", "%%pgtrigger --allow-data-loss"))
    assert ("notebook.CannotDelete", "table", "alter", "done") in steps(frame)
    assert list(shell["CannotDelete"].objects.values_list()) == [(1,)]


def test_model_without_fields_is_tracked(shell):
    shell.run(BARE)
    shell["CannotDelete"].objects.create()
    shell.run(TRACKED_BARE)
    assert set(shell.run(TRACKED_BARE)["action"]) == {"unchanged"}
    model = shell["CannotDelete"]
    with default.cursor() as cursor:
        cursor.execute("INSERT INTO notebook_cannotdelete DEFAULT VALUES")
    model.objects.bulk_create([model(), model()])
    shell.run("import pgmagic")
    assert shell.run("list(pgmagic.history(CannotDelete)['id'])") == [2, 3, 4]
    assert shell.run("len(pgmagic.diff(CannotDelete))") == 0
    filled = TRACKED_BARE.replace("    class Meta", "    title = models.TextField(default='x')\n    class Meta")
    frame = shell.run(filled)
    assert ("notebook.CannotDeleteEvent.title", "column", "create", "done") in steps(frame)
    model.objects.filter(pk=2).update(id=20)
    assert shell.run("list(pgmagic.history(CannotDelete)['pgh_label'])") == ["insert"] * 3 + ["update"]


def test_model_without_fields_is_watched_and_tried_as_any_other(shell):
    shell.run(BARE)
    insert = "with connection.cursor() as cursor: cursor.execute('INSERT INTO notebook_cannotdelete DEFAULT VALUES')"
    shell.run("from django.db import connection")
    frame = shell.run(
        f"%%pgoutcome\n{insert}\nCannotDelete.objects.bulk_create([CannotDelete(), CannotDelete()])\n"
        "CannotDelete.objects.all().delete()"
    )
    assert list(zip(frame["verdict"], frame["rows"], strict=True)) == [("applied", 1), ("applied", 2), ("rejected", 0)]
    trace = shell.run(f"%%pgtrace\n{insert}\nCannotDelete.objects.all().delete()")
    assert list(zip(trace["step"], trace["trigger"], trace["row"], strict=True)) == [
        (2, "notebook.CannotDelete:protect_deletes", 1)
    ]
    ways = shell.run("%pgbypass notebook.CannotDelete:protect_deletes").set_index("way")["result"]
    assert (ways["delete()"], ways["raw SQL"], ways["TRUNCATE"]) == ("held", "held", "got through")


def test_every_way_to_insert_into_a_table_without_fields_is_tried(shell):
    shell.run(BARE.replace("pgtrigger.Delete", "pgtrigger.Insert"))
    ways = shell.run("%pgbypass notebook.CannotDelete:protect_deletes").set_index("way")["result"].to_dict()
    held = ("save()", "bulk_create()", "raw SQL", "a CTE", "INSERT … ON CONFLICT", "COPY", "MERGE")
    assert {ways[way] for way in held} == {"held"}
    assert ways["pgtrigger.ignore()"] == "got through"


# Cells that fail


def with_meta(triggers):
    return f"class T(models.Model):\n    a = models.TextField()\n    class Meta:\n        triggers = {triggers}\n"


FAILURES = {
    "exception": "raise ZeroDivisionError\n",
    "interrupt": "raise KeyboardInterrupt\n",
    "exit": "raise SystemExit\n",
    "unknown field": with_meta('[pgtrigger.ReadOnly(name="t", fields=["b"])]'),
    "no list": with_meta('pgtrigger.ReadOnly(name="t")'),
    "unresolved": 'class T(models.Model):\n    a = models.ForeignKey("Nowhere", models.CASCADE)\n',
    "unresolved through": 'class T(models.Model):\n    a = models.ManyToManyField(Post, through="Nowhere")\n',
    "bad sql": with_meta(
        '[pgtrigger.Trigger(name="t", when=pgtrigger.Before, operation=pgtrigger.Insert, func="nonsense")]'
    ),
}


DECLARES = (
    POST
    + """
class Child(models.Model):
    post = models.ForeignKey(Post, models.CASCADE)
    many = models.ManyToManyField(Post, related_name="children")
left = 1
"""
)


@pytest.mark.filterwarnings("ignore:To exit")
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("again", [True, False], ids=["re-run", "first run"])
def test_cell_that_fails_leaves_everything_as_it_was(shell, failure, again):
    for cell in (PLAIN, COMMENT, REGISTER) if again else ():
        shell.run(cell)
    before, names = world(), {name: value for name, value in shell.shell.user_ns.items() if name[0] != "_"}
    shell.error(DECLARES + FAILURES[failure])
    after = world()
    for key in before:
        assert after[key] == before[key], key
    kept = {name: value for name, value in shell.shell.user_ns.items() if name[0] != "_"}
    assert kept == names
    if again:
        post = shell["Post"].objects.create(title="a")
        shell["Comment"].objects.create(post=post)
        assert post.comment_set.count() == 1
        assert post.delete()[0] == 2
    assert {row[3] for row in steps(shell.run(DECLARES))} == {"done"}


def test_interrupt_while_waiting_for_the_database(shell):
    import psycopg

    from tests.db.live import conninfo

    shell.run(PLAIN)
    before = world()
    with (
        psycopg.connect(**conninfo(default)) as other,
        psycopg.connect(**conninfo(default), autocommit=True) as watcher,
    ):
        other.execute(f'LOCK "{default.connection.execute("SELECT current_schema()").fetchone()[0]}".notebook_post')
        pid = default.connection.info.backend_pid

        def interrupt():
            waits = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
            while not watcher.execute(waits, [pid]).fetchone():
                pass
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        assert isinstance(shell.error(POST), KeyboardInterrupt)
        thread.join()
    assert world() == before
    assert [row[2] for row in steps(shell.run(POST))] == ["unchanged", "create", "create"]


def test_refused_cell_shows_its_frame_and_one_line(shell, capsys):
    error = shell.error(DECLARES + FAILURES["bad sql"])
    assert isinstance(error, UsageError)
    assert str(error).startswith("Postgres refused to create the function notebook.T:t: ")
    assert str(error).partition("\n")[0].endswith(" Nothing of this cell was kept.")
    shown = capsys.readouterr()
    for word in ("failed", "rolled back"):
        assert word in shown.out
    assert "Traceback" not in shown.out + shown.err


RESTARTED = """
import os, sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "pgmagic")
shell.run_line_magic("pgconnect", "--schema " + os.environ["SCHEMA"])
for cell in eval(sys.stdin.read()):
    result = shell.run_cell(cell)
    result.raise_error()
    if result.result is not None:
        print("ACTIONS", *result.result["action"])
shell.run_line_magic("unload_ext", "pgmagic")
"""


@pytest.mark.slow
def test_restarted_kernel_finds_everything_unchanged(shell, schema):
    cells = [POST, COMMENT, REGISTER]
    for cell in cells:
        shell.run(cell)
    before = world()["catalog"]
    environment = {**os.environ, "SCHEMA": schema}
    environment.pop("DJANGO_SETTINGS_MODULE")
    done = subprocess.run(
        [sys.executable, "-c", RESTARTED],
        env=environment,
        input=repr(cells),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    actions = [set(line.split()[1:]) for line in done.stdout.splitlines() if "ACTIONS" in line]
    assert actions == [{"unchanged"}] * 3
    assert world()["catalog"] == before


APPEND_ONLY = """%%pgtrigger
@pghistory.track(append_only={})
class Post(models.Model):
    title = models.CharField(max_length=20)
"""


@pytest.mark.parametrize("kernel", ["same", "new"])
def test_trigger_that_append_only_no_longer_has_is_dropped_by_the_cell(shell, kernel):
    # Until then, append_only=True refused TRUNCATE.
    shell.run(APPEND_ONLY.format("'truncate'"))
    if kernel == "new":
        [(model, former)] = registry.registered("notebook.PostEvent:append_only_truncate")
        former.unregister(model)
    frame = shell.run(APPEND_ONLY.format("True"))
    assert ("notebook.PostEvent:append_only_truncate", "trigger", "drop", "done") in steps(frame)
    with default.cursor() as cursor:
        cursor.execute("TRUNCATE notebook_postevent")


def test_table_of_the_same_name_in_public_is_left_alone(shell, schema):
    with default.cursor() as cursor:
        cursor.execute("CREATE TABLE public.notebook_post (id bigint PRIMARY KEY, title varchar(20))")
    try:
        shell.run(POST)
        assert set(shell.run(POST)["action"]) == {"unchanged"}
        shell["Post"].objects.create(title="a")
        with default.cursor() as cursor:
            cursor.execute(
                "SELECT relnamespace::regnamespace::text FROM pg_class WHERE oid = 'notebook_post'::regclass"
            )
            assert cursor.fetchall() == [(schema,)]
            cursor.execute("SELECT count(*) FROM public.notebook_post")
            assert cursor.fetchall() == [(0,)]
    finally:
        with default.cursor() as cursor:
            cursor.execute("DROP TABLE public.notebook_post")


OWN_NAME = """%%pgtrigger
class Own(pgtrigger.Protect):
    def get_pgid(self, model):
        return {pgid}

class {model}(models.Model):
    title = models.TextField()
    class Meta:
        triggers = [Own(name={name!r}, operation=pgtrigger.Delete)]
"""


def test_name_in_postgres_that_a_subclass_chooses(shell):
    shell.run(OWN_NAME.format(model="Post", name="a", pgid="'My own \"ü\" %s'"))
    shell.run("Post.objects.create(title='a')")
    assert "Cannot delete" in str(shell.error("Post.objects.all().delete()"))
    # Another URI may take it over.
    shell.run(OWN_NAME.format(model="Post", name="b", pgid="'My own \"ü\" %s'"))
    assert "Cannot delete" in str(shell.error("Post.objects.all().delete()"))
    assert listed(shell) == [("notebook.Post:b", "INSTALLED")]
    shell.run("with pgtrigger.ignore('notebook.Post:b'): Post.objects.all().delete()")


def test_invalid_names_in_postgres_are_refused(shell):
    shell.run(OWN_NAME.format(model="Post", name="a", pgid="'mine'"))
    error = shell.error(OWN_NAME.format(model="Comment", name="a", pgid="'mine'"))
    assert "notebook.Comment:a and notebook.Post:a have the same name in Postgres, mine, and so" in str(error)
    error = shell.error(OWN_NAME.format(model="Comment", name="a", pgid="'ü' * 31"))
    assert "returned a name of 62 bytes: Postgres keeps 63, and needs 2 of them" in str(error)
    error = shell.error(OWN_NAME.format(model="Comment", name="a", pgid="None"))
    assert "The get_pgid of notebook.Comment:a returned None, which is not a name in Postgres." in str(error)
    assert listed(shell) == [("notebook.Post:a", "INSTALLED")]


def listed(shell):
    frame = here(shell.run("%pgtrigger ls"))
    return list(zip(frame["name"], frame["state"], strict=True))


def test_track_without_parentheses_works_as_track_with_them(shell):
    cell = "%%pgtrigger\n@pghistory.track{}\nclass Post(models.Model):\n    title = models.TextField()\n"
    bare = shell.run(cell.format(""))
    assert shell.run("Post.__name__, Post.objects.create(title='a').events.count()") == ("Post", 1)
    again = shell.run(cell.format("()"))
    assert list(again["object"]) == list(bare["object"])
    assert set(again["action"]) == {"unchanged"}


CHOICES = """%%pgtrigger{options}
class Task(models.Model):
    status = models.CharField(max_length=9, choices=[("open", "Open"), ("done", "Done")])
    size = models.IntegerField(null=True, choices=[(1, "Small"), (2, "Large")])
    class Meta:
        triggers = [{triggers}]
"""


@pytest.mark.parametrize("options", ["", " --dry-run"])
@pytest.mark.parametrize(
    ("triggers", "notes"),
    [
        (
            'pgtrigger.FSM(name="flow", field="status", transitions=[("open", "doen"), ("doen", "closed")])',
            [
                "The FSM \"flow\" has the state 'doen', 'closed', which the choices of Task.status do not have: "
                "they are 'open', 'done'."
            ],
        ),
        (
            'pgtrigger.SoftDelete(name="soft", field="status", value="gone")',
            [
                "The SoftDelete \"soft\" sets the value 'gone', which the choices of Task.status do not have: "
                "they are 'open', 'done'."
            ],
        ),
        ('pgtrigger.SoftDelete(name="soft", field="size", value=3)', ["they are 1, 2."]),
        ('pgtrigger.SoftDelete(name="soft", field="size", value=None)', []),
        ('pgtrigger.SoftDelete(name="soft", field="size", value=models.F("id"))', []),
        ('pgtrigger.FSM(name="flow", field="status", transitions=[("open", "done")])', []),
        ('pgtrigger.FSM(name="flow", field="size", transitions=[("1", 2), (None, 1)])', []),
    ],
)
def test_note_names_the_choices_if_a_trigger_names_another_value(shell, options, triggers, notes):
    frame = shell.run(CHOICES.format(options=options, triggers=triggers))
    assert len(frame.notes) == len(notes)
    assert all(found.endswith(expected) for found, expected in zip(frame.notes, notes, strict=True))


TRACKED = """%%pgtrigger
class Tag(models.Model):
    name = models.TextField()
@pghistory.track({trackers})
class Post(models.Model):
    title = models.TextField()
    tags = models.ManyToManyField(Tag)
"""
PROXY = """
@pghistory.track(pghistory.InsertEvent(), pghistory.DeleteEvent(), obj_field=None)
class PostTags(Post.tags.through):
    class Meta:
        proxy = True
"""
DELETES = "Deletes of Post leave no event: add pghistory.DeleteEvent() to its trackers if they should."
TAGS = (
    "Changes of Post.tags leave no event, since its rows are in another table: declare and track a class "
    "PostTags(Post.tags.through) with proxy = True in its Meta if they should."
)


@pytest.mark.parametrize(
    ("trackers", "more", "notes"),
    [
        ("", "", [DELETES, TAGS]),
        ("pghistory.Snapshot()", PROXY, [DELETES]),
        ("pghistory.InsertEvent(), pghistory.DeleteEvent()", "", [TAGS]),
        ("pghistory.BeforeUpdateOrDelete('was')", PROXY, []),
        ("pghistory.ManualEvent('read')", PROXY, []),
    ],
)
def test_note_says_once_what_a_history_leaves_out(shell, trackers, more, notes):
    cell = TRACKED.format(trackers=trackers) + more
    assert shell.run(cell).notes == notes
    assert shell.run(cell).notes == []
