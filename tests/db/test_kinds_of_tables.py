"""Triggers on other than plain tables of plain models: partitions, views, proxies, inheritance, other schemas."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import models

from pgmagic import pgtrigger
from pgmagic.db import backend
from pgmagic.db.catalog import read_catalog
from pgmagic.db.changes import carry_out
from pgmagic.db.inspection import compare, list_database
from pgmagic.db.installation import installing
from pgmagic.declare import registry
from pgmagic.declare.model_registry import redeclaring
from pgmagic.errors import InstallationError, TriggerError

INSTALLED, DISABLED = ("INSTALLED", True), ("INSTALLED", False)


@pytest.fixture(autouse=True)
def only_what_the_test_registers():
    before = dict(registry._registry)
    registry._registry.clear()
    yield
    registry._registry.clear()
    registry._registry.update(before)


def keep(name="keep", operation=pgtrigger.Delete, **changes):
    return pgtrigger.Protect(name=name, operation=operation, **changes)


# Partitioned tables.


@pytest.fixture
def measure(live):
    """A model on a partitioned table with two partitions, one of them partitioned again."""
    live.sql(
        "CREATE TABLE measure (id int, at int) PARTITION BY RANGE (at);"
        "CREATE TABLE early PARTITION OF measure FOR VALUES FROM (0) TO (10);"
        "CREATE TABLE late PARTITION OF measure FOR VALUES FROM (10) TO (20) PARTITION BY RANGE (at);"
        "CREATE TABLE latest PARTITION OF late FOR VALUES FROM (10) TO (20);"
        "INSERT INTO measure VALUES (1, 1), (2, 11)"
    )
    return live.declare(
        "Measure",
        meta={"managed": False, "db_table": "measure"},
        id=models.IntegerField(primary_key=True),
        at=models.IntegerField(),
    )


def raising(timing, message="no"):
    return pgtrigger.Trigger(
        name="keep",
        when=pgtrigger.After,
        operation=pgtrigger.Delete,
        timing=timing,
        func=f"RAISE '{message}'; RETURN NULL;",
    )


TRIGGERS = {
    "row": keep(),
    "statement": keep(level=pgtrigger.Statement),
    "deferred": raising(pgtrigger.Deferred),
    "conditional": keep(condition=pgtrigger.Q(old__at__gte=0)),
}


@pytest.mark.parametrize("kind", TRIGGERS)
def test_partitioned_table_has_one_trigger_for_all_partitions(live, measure, kind):
    trigger = TRIGGERS[kind]
    trigger.register(measure)
    pgtrigger.install()
    assert trigger.get_installation_status(measure) == INSTALLED
    assert len(read_catalog(live.connection).triggers) == 1
    assert [(row.table, row.state, row.drift) for row in here(live)] == [("measure", "INSTALLED", None)]
    for table in ("measure", *(("early", "late", "latest") if kind != "statement" else ())):
        with pytest.raises(TriggerError):
            live.sql(f"DELETE FROM {table}")
    steps = carry_out(installing())
    assert {outcome.step.action for outcome in steps} == {"unchanged"}
    pgtrigger.uninstall()
    assert read_catalog(live.connection).triggers == ()
    live.sql("DELETE FROM measure")


def here(live):
    """What is listed of the test's own schema."""
    return [row for row in list_database() if "." not in row.table]


@pytest.mark.parametrize("kind", ["row", "deferred", "conditional"])
def test_disabling_a_partitioned_table_reaches_every_partition_also_a_new_one(live, measure, kind):
    trigger = TRIGGERS[kind]
    trigger.install(measure)
    trigger.disable(measure)
    assert trigger.get_installation_status(measure) == DISABLED
    live.sql("CREATE TABLE other PARTITION OF measure FOR VALUES FROM (20) TO (30); INSERT INTO other VALUES (3, 21)")
    for table in ("early", "latest", "other"):
        live.sql(f"DELETE FROM {table}")
    live.sql("INSERT INTO measure VALUES (1, 1), (2, 11), (3, 21)")
    trigger.enable(measure)
    for table in ("early", "latest", "other"):
        with pytest.raises(TriggerError):
            live.sql(f"DELETE FROM {table}")


@pytest.mark.parametrize("kind", ["row", "deferred", "conditional"])
def test_replacing_keeps_a_partitioned_trigger_disabled_everywhere(live, measure, kind):
    trigger = TRIGGERS[kind]
    trigger.install(measure)
    trigger.disable(measure)
    other = keep(condition=pgtrigger.Q(old__at__gt=-1))
    changed = raising(pgtrigger.Immediate, "no!") if kind == "deferred" else other
    changed.install(measure)
    assert changed.get_installation_status(measure) == DISABLED
    assert read_catalog(live.connection).triggers[0].apart == ()
    live.sql("DELETE FROM early; DELETE FROM latest")
    changed.enable(measure)
    live.sql("INSERT INTO measure VALUES (2, 11)")
    with pytest.raises(TriggerError):
        live.sql("DELETE FROM latest")


def test_trigger_disabled_on_one_partition_is_reported_and_repaired(live, measure):
    trigger = keep()
    trigger.register(measure)
    pgtrigger.install()
    live.sql(f'ALTER TABLE latest DISABLE TRIGGER "{trigger.get_pgid(measure)}"')
    [row] = here(live)
    assert (row.state, row.enabled) == INSTALLED
    assert row.drift == f"disabled on {live.schema}.latest"
    live.sql("DELETE FROM latest")
    trigger.enable(measure)
    assert [row.drift for row in here(live)] == [None]
    live.sql("INSERT INTO measure VALUES (2, 11)")
    with pytest.raises(TriggerError):
        live.sql("DELETE FROM latest")


# Views and foreign tables.


def test_instead_of_trigger_makes_a_view_writable(live):
    post = live.declare("Post", title=models.TextField())
    live.sql("CREATE VIEW titles AS SELECT id, title FROM live_post")
    trigger = pgtrigger.Trigger(
        name="write", when=pgtrigger.InsteadOf, operation=pgtrigger.Insert | pgtrigger.Update,
        func="INSERT INTO live_post (title) VALUES (upper(NEW.title)); RETURN NEW;",
    )  # fmt: skip
    view = live.declare("Title", [trigger], meta={"managed": False, "db_table": "titles"}, title=models.TextField())
    assert trigger.get_installation_status(view) == INSTALLED
    view.objects.create(title="a")
    assert list(post.objects.values_list("title", flat=True)) == ["A"]
    [row] = [row for row in here(live) if row.name == "live.Title:write"]
    assert (row.table, row.fires, row.state) == ("titles", "INSTEAD OF INSERT OR UPDATE · ROW", "INSTALLED")
    trigger.uninstall(view)
    assert read_catalog(live.connection).triggers == ()


def test_row_level_trigger_on_a_view_is_refused_with_the_reason(live):
    live.declare("Post", title=models.TextField())
    live.sql("CREATE VIEW titles AS SELECT id, title FROM live_post")
    _, applied = live.try_declare(
        "Title", [keep()], meta={"managed": False, "db_table": "titles"}, title=models.TextField()
    )
    assert "Views cannot have row-level BEFORE or AFTER triggers." in str(applied.error)


# Models without a table of their own.


def declared(live, body, label="live"):
    """The models of a cell, installed with their triggers."""
    with redeclaring(label, "live_cell") as declaration:
        with declaration.collecting():
            made = body()
        applied = live.apply(*(model for model in declaration.models if not model._meta.auto_created))
    assert applied.error is None, applied.error
    return made


def test_proxy_of_a_third_partys_model(live):
    with live.connection.schema_editor() as editor:
        for model in (ContentType, Permission, Group, User):
            editor.create_model(model)

    def body():
        class Account(User):
            __module__ = "live_cell"

            class Meta:
                proxy = True
                triggers = [keep(condition=pgtrigger.Q(old__is_superuser=True))]

        return Account

    account = declared(live, body)
    root = User.objects.create(username="root", is_superuser=True)
    User.objects.create(username="ann")
    for delete in (root.delete, User.objects.all().delete, account.objects.all().delete):
        with pytest.raises(TriggerError, match="Cannot delete rows from auth_user table"):
            delete()
    User.objects.filter(username="ann").delete()
    assert registry.registered("live.Account:keep")[0][1].get_installation_status(account) == INSTALLED


def test_proxy_of_a_many_to_many_table(live):
    def body():
        class Tag(models.Model):
            __module__ = "live_cell"
            name = models.TextField()

        class Post(models.Model):
            __module__ = "live_cell"
            tags = models.ManyToManyField(Tag)

        class Tagging(Post.tags.through):
            __module__ = "live_cell"

            class Meta:
                proxy = True
                triggers = [keep()]

        return Tag, Post, Tagging

    tag, post, tagging = declared(live, body)
    first = post.objects.create()
    first.tags.add(tag.objects.create(name="a"))
    with pytest.raises(TriggerError, match="Cannot delete rows from live_post_tags table"):
        first.tags.clear()
    assert registry.registered("live.Tagging:keep")[0][1].get_installation_status(tagging) == INSTALLED


def test_each_child_has_the_triggers_of_its_abstract_base(live):
    def body():
        class Kept(models.Model):
            __module__ = "live_cell"

            class Meta:
                abstract = True
                triggers = [keep()]

        class Post(Kept):
            __module__ = "live_cell"
            title = models.TextField()

        class Note(Kept):
            __module__ = "live_cell"
            text = models.TextField()

            class Meta(Kept.Meta):
                triggers = [*Kept.Meta.triggers, keep("frozen", pgtrigger.Update)]

        return Post, Note

    post, note = declared(live, body)
    assert sorted(trigger.get_uri(model) for model, trigger in registry.registered()) == [
        "live.Note:frozen", "live.Note:keep", "live.Post:keep",
    ]  # fmt: skip
    for model in (post, note):
        with pytest.raises(TriggerError):
            model.objects.create().delete()
    pgtrigger.disable("live.Post:keep")
    post.objects.all().delete()
    with pytest.raises(TriggerError):
        note.objects.all().delete()


def test_multi_table_inheritance_fires_on_the_table_of_each_class(live):
    def body():
        class Place(models.Model):
            __module__ = "live_cell"
            name = models.TextField()

            class Meta:
                triggers = [keep("place", pgtrigger.Update, condition=pgtrigger.AnyChange("name"))]

        class Cafe(Place):
            __module__ = "live_cell"
            seats = models.IntegerField(default=1)

            class Meta:
                triggers = [keep("cafe", pgtrigger.Update, condition=pgtrigger.AnyChange("seats"))]

        return Place, Cafe

    place, cafe = declared(live, body)
    assert cafe._meta.db_table != place._meta.db_table
    cafe.objects.create(name="a")
    with pytest.raises(TriggerError, match="live_place"):
        cafe.objects.update(name="b")
    with pytest.raises(TriggerError, match="live_cafe"):
        cafe.objects.update(seats=2)
    assert {row.table for row in here(live)} >= {"live_place", "live_cafe"}


# Schemas.


@pytest.fixture(params=["Other", "it's %s", 'a"b', "schéma ☃", "select", "x.y"], ids=str)
def schemas(request, live, monkeypatch):
    """A second schema with a difficult name, in front of the test's own; compiled as in a project."""
    monkeypatch.setattr(backend.choice, "schema", None)
    name = f"{live.schema}_{request.param}"
    quoted = '"' + name.replace('"', '""') + '"'
    live.connection.connection.execute(f"CREATE SCHEMA {quoted}".encode())
    yield name, quoted
    live.sql(f'SET search_path TO "{live.schema}"')
    live.connection.connection.execute(f"DROP SCHEMA {quoted} CASCADE".encode())


def path(live, *quoted):
    live.connection.connection.execute(("SET search_path TO " + ", ".join(quoted)).encode())


def places(live):
    rows = live.sql(
        "SELECT n.nspname::text, pn.nspname::text FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid "
        "JOIN pg_namespace AS n ON n.oid = c.relnamespace JOIN pg_proc AS p ON p.oid = t.tgfoid "
        "JOIN pg_namespace AS pn ON pn.oid = p.pronamespace "
        "WHERE c.relname = 'live_post' AND NOT t.tgisinternal AND left(n.nspname, length(%s)) = %s ORDER BY 1, 2",
        [live.schema, live.schema],
    )  # fmt: skip
    return [tuple(row) for row in rows]


def test_first_table_along_the_search_path_is_meant(live, schemas):
    name, quoted = schemas
    own = f'"{live.schema}"'
    trigger = keep()
    post = live.declare("Post", [], title=models.TextField())
    trigger.register(post)
    live.connection.connection.execute(f"CREATE TABLE {quoted}.live_post (LIKE live_post)".encode())
    path(live, quoted, own)
    assert trigger.get_installation_status(post) == ("UNINSTALLED", None)
    pgtrigger.install()
    assert places(live) == [(name, name)]
    path(live, own, quoted)
    assert trigger.get_installation_status(post) == ("UNINSTALLED", None)
    pgtrigger.install()
    assert sorted(places(live)) == sorted([(live.schema, live.schema), (name, name)])
    trigger.unregister(post)
    assert [entry[0] for entry in pgtrigger.prunable()] == ["live_post"]
    pgtrigger.prune()
    assert places(live) == [(name, name)], "the hidden table is another session's"
    path(live, quoted)
    assert {row.state for row in list_database() if row.table == "live_post"} == {"PRUNE"}
    pgtrigger.prune()
    assert places(live) == []


def test_table_of_a_later_schema_gets_its_trigger_there(live, schemas):
    name, quoted = schemas
    trigger = keep()
    post = live.declare("Post", [], title=models.TextField())
    path(live, quoted, f'"{live.schema}"')
    trigger.register(post)
    pgtrigger.install()
    assert places(live) == [(live.schema, name)]
    assert trigger.get_installation_status(post) == INSTALLED
    path(live, f'"{live.schema}"', quoted)
    assert trigger.get_installation_status(post) == INSTALLED, "where the function lives makes no difference"
    assert compare() == []
    trigger.unregister(post)
    changed = keep(condition=pgtrigger.Q(old__title="a"))
    changed.register(post)
    pgtrigger.install()
    assert changed.get_installation_status(post) == INSTALLED
    live.connection.connection.execute(f"DROP SCHEMA {quoted} CASCADE; CREATE SCHEMA {quoted}".encode())
    assert changed.get_installation_status(post)[0] in ("INSTALLED", "UNINSTALLED")


def test_changed_function_is_created_in_the_sessions_schema(live, schemas):
    name, quoted = schemas

    def by_hand(body):
        return pgtrigger.Trigger(name="t", when=pgtrigger.Before, operation=pgtrigger.Insert, func=body)

    post = live.declare("Post", [], title=models.TextField())
    path(live, quoted, f'"{live.schema}"')
    by_hand("NEW.title = 'a'; RETURN NEW;").install(post)
    assert places(live) == [(live.schema, name)]
    path(live, f'"{live.schema}"', quoted)
    changed = by_hand("NEW.title = 'b'; RETURN NEW;")
    assert changed.get_installation_status(post)[0] == "OUTDATED"
    changed.install(post)
    assert changed.get_installation_status(post) == INSTALLED
    assert places(live) == [(live.schema, live.schema)]
    post.objects.create(title="x")
    assert post.objects.get().title == "b"


def test_unmanaged_model_of_a_notebook_may_live_in_another_schema(live, connection):
    """As in `%pgconnect URL`: the tables of the rule are there already, in public."""
    other = f"{live.schema}_there"
    live.sql(f'CREATE SCHEMA "{other}"; CREATE TABLE "{other}".orders (id int PRIMARY KEY, total int)')
    try:
        live.sql(f'SET search_path TO "{live.schema}", "{other}"')
        trigger = keep(operation=pgtrigger.Update, condition=pgtrigger.Q(new__total__lt=0))
        order = live.declare(
            "Order", [trigger], meta={"managed": False, "db_table": "orders"}, total=models.IntegerField()
        )
        assert trigger.get_installation_status(order) == INSTALLED
        order.objects.create(id=1, total=3)
        with pytest.raises(TriggerError):
            order.objects.update(total=-1)
        live.other().execute(f'UPDATE "{other}".orders SET total = 4')
        found = live.sql(
            "SELECT pronamespace::regnamespace::text FROM pg_proc WHERE proname = %s",
            [trigger.get_pgid(order)],
        )
        assert found == [(live.schema,)], "what pgmagic makes lies in the notebook's schema"
        registry.registered("live.Order:keep")[0][1].unregister(order)
        assert len(pgtrigger.prunable()) == 1
        pgtrigger.prune()
        assert read_catalog(live.connection).triggers == ()
    finally:
        live.sql(f'SET search_path TO "{live.schema}"; DROP SCHEMA "{other}" CASCADE')


def test_missing_table_is_named(live):
    trigger = keep()
    model = live.declare("Order", meta={"managed": False, "db_table": "nowhere"}, total=models.IntegerField())
    with pytest.raises(InstallationError, match='relation "nowhere" does not exist'):
        trigger.install(model)
    assert trigger.get_installation_status(model) == ("UNINSTALLED", None)
