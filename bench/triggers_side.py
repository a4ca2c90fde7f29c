"""One side of `triggers.py`: the same models and triggers with pgmagic, with upstream, or written by hand."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext, redirect_stdout
from pathlib import Path
from typing import Any

import child
from child import SIDE, case, timed
from django.db import connection, models

ROWS = 20_000
MODELS = 20
KINDS = 10

_models: dict[str, Any] = {}


def execute(*statements: str) -> None:
    """Execute SQL through Django."""
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def new_model(name: str, triggers: list[Any]) -> Any:
    """Return a model of eight columns with triggers, and its table."""
    fields = {f"n{number}": models.IntegerField(default=0) for number in range(4)}
    model = type(
        name,
        (models.Model,),
        {
            "__module__": "bench",
            "Meta": type("Meta", (), {"app_label": "bench"}),
            "title": models.CharField(max_length=50, default="a"),
            "status": models.CharField(max_length=20, default="draft"),
            "body": models.TextField(default=""),
            **fields,
        },
    )
    execute(
        f"CREATE TABLE {model._meta.db_table} (id bigserial PRIMARY KEY, n0 int NOT NULL, n1 int NOT NULL, "
        f"n2 int NOT NULL, n3 int NOT NULL, title varchar(50) NOT NULL, status varchar(20) NOT NULL, "
        f"body text NOT NULL)"
    )
    _models[name] = model
    if triggers:
        # Not by Meta, which upstream reads only of the models of installed apps.
        child.package("pgtrigger").register(*triggers)(model)
    return model


def fill(table: str) -> None:
    """Fill a table anew, so that every run finds the same."""
    execute(
        f"TRUNCATE {table} RESTART IDENTITY",
        f"INSERT INTO {table} (n0, n1, n2, n3, title, status, body) "
        f"SELECT i, i, i, i, 'title ' || i, 'draft', repeat('x', 100) FROM generate_series(1, {ROWS}) AS i",
        f"ANALYZE {table}",
    )


@case
def update(table: str) -> float:
    """Update every row of a table in one statement; every change is allowed."""
    fill(table)
    with timed() as timer:
        execute(f"UPDATE {table} SET status = 'published', n0 = n0 + 1")
    return timer.seconds


def declare_with_package() -> None:
    """Declare and install what the cases need."""
    child.configure("pgtrigger")
    pgtrigger = child.package("pgtrigger")
    q, f = pgtrigger.Q, pgtrigger.F
    hot = [
        new_model("Protected", [
            pgtrigger.Protect(name="protect", operation=pgtrigger.Update, condition=q(new__n0__lt=0)),
        ]),
        new_model("Fixed", [pgtrigger.ReadOnly(name="fixed", fields=["title", "body"])]),
        new_model("Stated", [
            pgtrigger.FSM(name="fsm", field="status", transitions=[("draft", "published"), ("published", "inactive")]),
        ]),
    ]  # fmt: skip

    def triggers() -> list[Any]:
        return [
            pgtrigger.Protect(name="t0", operation=pgtrigger.Delete),
            pgtrigger.Protect(name="t1", operation=pgtrigger.Update, condition=q(old__n0__lt=0, new__n1__gt=5)),
            pgtrigger.ReadOnly(name="t2", fields=["title"]),
            pgtrigger.ReadOnly(name="t3", fields=["n0", "n1", "n2"]),
            pgtrigger.FSM(name="t4", field="status", transitions=[("draft", "published"), ("published", "inactive")]),
            pgtrigger.SoftDelete(name="t5", field="n0", value=1),
            pgtrigger.Trigger(
                name="t6", when=pgtrigger.Before, operation=pgtrigger.Update,
                condition=pgtrigger.AnyChange("title"), func="NEW.n0 = OLD.n0 + 1; RETURN NEW;",
            ),
            pgtrigger.Trigger(
                name="t7", when=pgtrigger.Before, operation=pgtrigger.Insert | pgtrigger.Update,
                func=pgtrigger.Func("NEW.{columns.n1} = NEW.{columns.n2}; RETURN NEW;"),
            ),
            pgtrigger.Protect(
                name="t8", operation=pgtrigger.Update,
                condition=q(old__status="inactive") & q(new__title__df=f("old__title")),
            ),
            pgtrigger.Trigger(
                name="t9", when=pgtrigger.After, operation=pgtrigger.Insert, timing=pgtrigger.Deferred,
                func="RETURN NULL;",
            ),
        ]  # fmt: skip

    install_some([f"bench.{model.__name__}" for model in hot])
    for number in range(MODELS):
        new_model(f"Many{number}", triggers())


def install_some(labels: list[str]) -> None:
    """Install the triggers of some models, one by one."""
    for model, trigger in child.package("pgtrigger").registered():
        if model._meta.label in labels:
            trigger.install(model)


def many_uris() -> list[str]:
    """Return the URIs of the 200 triggers."""
    found = [
        trigger.get_uri(model)
        for model, trigger in child.package("pgtrigger").registered()
        if model.__name__.startswith("Many")
    ]
    assert len(found) == MODELS * KINDS
    return found


def install_many() -> None:
    """Install the 200 triggers as a user does."""
    child.package("pgtrigger").install(*many_uris())


@case
def install() -> float:
    """Install 200 triggers where none is; check that they are there."""
    drop_many()
    with timed() as timer:
        install_many()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_trigger WHERE tgrelid::regclass::text LIKE 'bench_many%' AND NOT tgisinternal"
        )
        assert cursor.fetchone()[0] == MODELS * KINDS
    return timer.seconds


def drop_many() -> None:
    """Drop the 200 triggers and their functions, whoever made them."""
    execute("""
        DO $$ DECLARE found record; BEGIN
          FOR found IN SELECT tgname, tgrelid::regclass AS relation, tgfoid::regprocedure AS function FROM pg_trigger
              WHERE tgrelid::regclass::text LIKE 'bench_many%' AND NOT tgisinternal LOOP
            EXECUTE format('DROP TRIGGER %I ON %s', found.tgname, found.relation);
            EXECUTE format('DROP FUNCTION IF EXISTS %s', found.function);
          END LOOP;
        END $$""")


@case
def install_again() -> float:
    """Install 200 triggers that are installed."""
    with timed() as timer:
        install_many()
    return timer.seconds


@case
def singles(ignoring: bool) -> float:
    """Update 2,000 rows one by one with the ORM, with or without `ignore` around them."""
    model = _models["Fixed"]
    fill("bench_fixed")
    block = child.package("pgtrigger").ignore("bench.Fixed:fixed") if ignoring else nullcontext()
    with timed() as timer, block:
        for pk in range(1, 2001):
            model.objects.filter(pk=pk).update(n0=pk)
    return timer.seconds


def declare_by_hand() -> None:
    """Make what the cases of whole-table updates need, as one would write it without a package."""
    child.configure()
    for name in ("Protected", "Fixed", "Stated"):
        new_model(name, [])
    raising = "RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$"
    execute(
        f"CREATE FUNCTION refuse() {raising}",
        "CREATE TRIGGER protect BEFORE UPDATE ON bench_protected FOR EACH ROW "
        "WHEN (NEW.n0 < 0) EXECUTE FUNCTION refuse()",
        "CREATE TRIGGER fixed BEFORE UPDATE ON bench_fixed FOR EACH ROW WHEN (OLD.title IS DISTINCT FROM NEW.title "
        "OR OLD.body IS DISTINCT FROM NEW.body) EXECUTE FUNCTION refuse()",
        "CREATE TRIGGER fsm BEFORE UPDATE ON bench_stated FOR EACH ROW WHEN (OLD.status <> NEW.status AND NOT "
        "(OLD.status = 'draft' AND NEW.status = 'published' OR OLD.status = 'published' AND NEW.status = 'inactive')) "
        "EXECUTE FUNCTION refuse()",
    )


def load_notebook() -> None:
    """Load pgmagic into a shell, and run a cell of ten models."""
    from IPython.core.interactiveshell import InteractiveShell
    from psycopg import conninfo

    os.environ["PGMAGIC_DATABASE_URL"] = conninfo.make_conninfo(**json.loads(os.environ["BENCH_DATABASE"]))
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "pgmagic")
    source = "%%pgtrigger\n" + "\n".join(
        f"class Post{number}(models.Model):\n"
        f"    title = models.TextField()\n"
        f"    status = models.CharField(max_length=20)\n"
        f"    class Meta:\n"
        f"        triggers = [pgtrigger.Protect(name='keep', operation=pgtrigger.Delete),\n"
        f"                    pgtrigger.ReadOnly(name='fixed', fields=['title'])]\n"
        for number in range(10)
    )

    @case
    def cell() -> float:
        # The table is rendered, but not shown.
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), timed() as timer:
            result = shell.run_cell(source)
        result.raise_error()
        return timer.seconds


if __name__ == "__main__":
    {"notebook": load_notebook, "plain": declare_by_hand}.get(SIDE, declare_with_package)()
    child.serve()
