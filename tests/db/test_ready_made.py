"""Ready-made triggers on a live table: through the ORM, bulk calls, raw SQL and another session alike."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import uuid

import psycopg
import pytest
from django.db import IntegrityError, InternalError, ProgrammingError, models, transaction
from django.db.models.functions import Now

from pgmagic import pgtrigger
from pgmagic.errors import TriggerError

TEXT = {
    "title": models.CharField(max_length=50),
    "body": models.TextField(default="", db_column="Body"),
}


def fields(**more):
    return {name: field.clone() for name, field in TEXT.items()} | more


def rejection(work) -> psycopg.Error:
    """The database's error for what must be rejected."""
    with pytest.raises(TriggerError) as raised, transaction.atomic():
        work()
    assert isinstance(raised.value, InternalError)
    assert isinstance(raised.value, ProgrammingError)
    cause = raised.value.__cause__
    assert isinstance(cause, psycopg.errors.RaiseException)
    assert str(raised.value).startswith(cause.diag.message_primary)
    return cause


ALL = pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate
TRUNCATE = 'TRUNCATE "live_post"'


def ways(live, model):
    """Each way to write to a table, by the operation."""
    post = model(pk=1000, title="a")
    return {
        "insert": [
            lambda: model.objects.create(title="b"),
            lambda: model.objects.bulk_create([model(title="b"), model(title="c")]),
            lambda: live.sql('INSERT INTO live_post (title, "Body") SELECT %s, %s', ["b", ""]),
            lambda: live.sql("INSERT INTO live_post (title, \"Body\") VALUES ('50%%', %s)", [""]),
        ],
        "update": [
            lambda: post.save(force_update=True),
            lambda: model.objects.update(title="b"),
            lambda: model.objects.bulk_update([model(pk=1000, title="c")], ["title"]),
            lambda: live.sql("UPDATE live_post SET title = 'd'"),
        ],
        "delete": [
            post.delete,
            lambda: model.objects.all().delete(),
            lambda: model.objects.all()._raw_delete("default"),
            lambda: live.sql("DELETE FROM live_post"),
        ],
        "truncate": [lambda: live.sql(TRUNCATE), lambda: live.sql(f"{TRUNCATE} CASCADE")],
    }  # fmt: skip


@pytest.mark.parametrize("operation", ["insert", "update", "delete", "truncate"])
def test_protect_rejects_every_way_to_write(live, operation):
    trigger = pgtrigger.Protect(name="keep", operation=getattr(pgtrigger, operation.title()))
    model = live.declare("Post", [trigger], **fields())
    if operation != "insert":
        model.objects.create(pk=1000, title="a")
    for name, writes in ways(live, model).items():
        for write in writes:
            if name == operation:
                error = rejection(write)
                assert error.diag.message_primary == f"pgtrigger: Cannot {operation} rows from live_post table"
            elif operation != "insert":
                with transaction.atomic():
                    write()
                    transaction.set_rollback(True)


def test_protect_names_several_operations_as_they_are_joined(live):
    model = live.declare(
        "Post", [pgtrigger.Protect(name="keep", operation=pgtrigger.Update | pgtrigger.Truncate)], **fields()
    )
    model.objects.create(title="a")
    text = "pgtrigger: Cannot update or truncate rows from live_post table"
    assert rejection(lambda: live.sql(TRUNCATE)).diag.message_primary == text
    assert rejection(lambda: model.objects.update(title="b")).diag.message_primary == text


def test_copy_is_rejected(live):
    live.declare("Post", [pgtrigger.Protect(name="keep", operation=pgtrigger.Insert)], **fields())
    with (
        pytest.raises(psycopg.errors.RaiseException, match="Cannot insert rows from live_post"),
        live.other().cursor() as cursor,
        cursor.copy(f'COPY {live.schema}.live_post (title, "Body") FROM STDIN') as copy,
    ):
        copy.write_row(("a", "b"))  # fmt: skip


@pytest.mark.parametrize("path", ["pg_catalog", "", "pg_temp, public"])
def test_triggers_work_in_a_session_with_another_search_path(live, path):
    triggers = [
        pgtrigger.Protect(name="keep", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__title="kept")),
        pgtrigger.ReadOnly(name="fixed", fields=["body"]),
        pgtrigger.FSM(name="life", field="title", transitions=[("kept", "a"), ("a", "b")]),
        pgtrigger.SoftDelete(
            name="soft", field="body", value="gone", condition=pgtrigger.Q(old__title="a")
        ),
        pgtrigger.Trigger(
            name="by_hand", when=pgtrigger.After, operation=pgtrigger.Insert,
            func="PERFORM count(*) FROM live_post; RETURN NULL;",
        ),
    ]  # fmt: skip
    live.declare("Post", triggers, **fields())
    session, table = live.other(search_path=path), f'"{live.schema}".live_post'
    session.execute(f"""INSERT INTO {table} (title, "Body") VALUES ('kept', 'x')""")
    for statement, words in [
        (f"DELETE FROM {table}", "Cannot delete"),
        (f"""UPDATE {table} SET "Body" = 'y'""", "Cannot update"),
        (f"UPDATE {table} SET title = 'b'", 'Invalid transition of field "title" from "kept" to "b"'),
    ]:
        with pytest.raises(psycopg.errors.RaiseException, match=words):
            session.execute(statement)
    session.execute(f"ALTER TABLE {table} DISABLE TRIGGER {one_name(live, 'fixed')}")
    session.execute(f"UPDATE {table} SET title = 'a'")
    assert session.execute(f"DELETE FROM {table}").rowcount == 0
    assert session.execute(f'SELECT title, "Body" FROM {table}').fetchall() == [("a", "gone")]


def one_name(live, name):
    [[found]] = live.sql(
        "SELECT quote_ident(tgname) FROM pg_trigger WHERE tgname LIKE %s AND tgrelid = 'live_post'::regclass",
        [f"pgtrigger\\_{name}\\_%"],
    )
    return found


def test_protect_says_which_row(live):
    model = live.declare(
        "Post", [pgtrigger.Protect(name="keep", operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete)],
        **fields(number=models.IntegerField(null=True)),
    )  # fmt: skip
    with pgtrigger.ignore("live.Post:keep"):
        model.objects.create(pk=7, title="o'k", number=None)
    deleted = rejection(lambda: model.objects.all().delete()).diag
    assert (deleted.schema_name, deleted.table_name, deleted.constraint_name, deleted.column_name) == (
        live.schema, "live_post", "live.Post:keep", None,
    )  # fmt: skip
    old = {"id": 7, "title": "o'k", "Body": "", "number": None}
    assert json.loads(deleted.message_detail) == {
        "operation": "delete",
        "key": {"id": 7},
        "old": old,
        "new": None,
    }
    updated = rejection(lambda: model.objects.update(number=3)).diag
    assert json.loads(updated.message_detail) == {
        "operation": "update", "key": {"id": 7}, "old": {"number": None}, "new": {"number": 3},
    }  # fmt: skip
    inserted = rejection(lambda: model.objects.create(pk=8, title="b")).diag
    assert json.loads(inserted.message_detail) == {
        "operation": "insert", "key": {"id": 8}, "old": None,
        "new": {"id": 8, "title": "b", "Body": "", "number": None},
    }  # fmt: skip


def test_protect_from_truncate_names_no_row(live):
    live.declare("Post", [pgtrigger.Protect(name="keep", operation=pgtrigger.Truncate)], **fields())
    diag = rejection(lambda: live.sql(TRUNCATE)).diag
    assert (diag.table_name, diag.constraint_name) == ("live_post", "live.Post:keep")
    assert json.loads(diag.message_detail) == {"operation": "truncate", "key": None, "old": None, "new": None}


def test_conditional_protect_lets_others_pass(live):
    trigger = pgtrigger.Protect(name="keep", operation=pgtrigger.Delete, condition=pgtrigger.Q(old__title="o'k"))
    model = live.declare("Post", [trigger], **fields())
    kept, other = model.objects.create(title="o'k"), model.objects.create(title="OLD.title")
    other.delete()
    rejection(kept.delete)
    assert list(model.objects.all()) == [kept]


def test_protect_from_update_of_a_column(live):
    model = live.declare("Post", [pgtrigger.Protect(name="keep", operation=pgtrigger.UpdateOf("body"))], **fields())
    model.objects.create(title="a")
    model.objects.update(title="b")
    rejection(lambda: model.objects.update(body="c"))


NULLABLE = {"a": models.IntegerField(null=True), "b": models.IntegerField(null=True, db_column="order")}


@pytest.mark.parametrize(
    ("trigger", "rejected", "allowed"),
    [
        (
            pgtrigger.ReadOnly(name="t", fields=["a"]),
            [{"a": 2}, {"a": None}],
            [{"a": 1}, {"b": 2}, {"b": None}],
        ),
        (
            pgtrigger.ReadOnly(name="t", fields=["a", "b"]),
            [{"a": 2}, {"b": 3}, {"b": 3, "a": 1}],
            [{"a": 1, "b": None}],
        ),
        (pgtrigger.ReadOnly(name="t", exclude=["a"]), [{"b": 3}, {"id": 3}], [{"a": 2}, {"a": None}]),
        (pgtrigger.ReadOnly(name="t"), [{"a": 2}, {"b": 3}, {"id": 9}], [{"a": 1, "b": None, "id": 1}]),
        (
            pgtrigger.ReadOnly(name="t", fields=["a"], condition=pgtrigger.Q(new__b__isnull=True)),
            [{"a": 2}],
            [{"a": 2, "b": 1}],
        ),
    ],
)
def test_read_only_rejects_changes_of_its_fields(live, trigger, rejected, allowed):
    model = live.declare("Post", [trigger], **{name: field.clone() for name, field in NULLABLE.items()})
    model.objects.create(pk=1, a=1, b=None)
    for change in allowed:
        with transaction.atomic():
            assert model.objects.update(**change) == 1
            transaction.set_rollback(True)
    for change in rejected:
        error = rejection(lambda change=change: model.objects.update(**change))
        assert error.diag.message_primary == "pgtrigger: Cannot update rows from live_post table"


def test_read_only_names_the_changed_field(live):
    model = live.declare("Post", [pgtrigger.ReadOnly(name="t", fields=["b"])], **NULLABLE)
    model.objects.create(pk=1, a=1, b=None)
    diag = rejection(lambda: model.objects.update(b=5, a=3)).diag
    assert (diag.column_name, diag.constraint_name, diag.message_hint) == (
        "order", "live.Post:t", "These fields are read-only: b.",
    )  # fmt: skip
    assert json.loads(diag.message_detail) == {
        "operation": "update", "key": {"id": 1}, "old": {"order": None}, "new": {"order": 5},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "stored"),
    [
        (models.BooleanField(default=True), False, False),
        (models.CharField(max_length=20, db_column="My State"), "o'k", "o'k"),
        (models.CharField(max_length=20), "50% \\ {x} $$ OLD.id", "50% \\ {x} $$ OLD.id"),
        (models.IntegerField(default=3, null=True, db_column="order"), None, None),
        (models.IntegerField(default=3), 0, 0),
        (models.UUIDField(null=True), uuid.UUID(int=5), uuid.UUID(int=5)),
        (models.JSONField(default=dict), {"gone": ["o'k"]}, {"gone": ["o'k"]}),
        (models.DateField(null=True), dt.date(2020, 1, 2), dt.date(2020, 1, 2)),
        (models.CharField(max_length=60), models.functions.Concat("title", models.Value("'s")), "a's"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_soft_delete_writes_its_value(live, field, value, stored):
    model = live.declare("Post", [pgtrigger.SoftDelete(name="soft", field="state", value=value)],
                         title=models.TextField(), state=field.clone())  # fmt: skip
    posts = [model.objects.create(title="a") for _ in range(3)]
    posts[0].delete()
    model.objects.filter(pk=posts[1].pk).delete()
    assert [post.state for post in model.objects.order_by("pk")][:2] == [stored] * 2
    assert model.objects.get(pk=posts[2].pk).state == model(title="a").state


def test_soft_delete_takes_the_time_of_the_delete(live):
    model = live.declare("Post", [pgtrigger.SoftDelete(name="soft", field="gone", value=Now())],
                         gone=models.DateTimeField(null=True))  # fmt: skip
    model.objects.create().delete()
    [[recent]] = live.sql("SELECT now() - gone < interval '1 minute' FROM live_post")
    assert recent


def test_soft_delete_of_a_composite_key(live):
    model = live.declare("Seat", [pgtrigger.SoftDelete(name="soft", field="good")],
        pk=models.CompositePrimaryKey("row", "number"), row=models.IntegerField(db_column="Row"),
        number=models.IntegerField(), good=models.BooleanField(default=True),
    )  # fmt: skip
    for number in (1, 2):
        model.objects.create(row=1, number=number)
    model.objects.filter(pk=(1, 2)).delete()
    assert list(model.objects.order_by("number").values_list("number", "good")) == [(1, True), (2, False)]


def fsm(transitions, **more):
    return pgtrigger.FSM(name="life", field="state", transitions=transitions, **more)


STATES = ["draft", "o'k", "a:b", "a,b", " x", "{y}", "\\", "50%", '"q"', "", "OLD.state", "$$", "null"]


def test_fsm_allows_the_listed_steps_only_whatever_the_states_hold(live):
    listed = list(itertools.pairwise(STATES))
    model = live.declare("Post", [fsm(listed)], state=models.CharField(max_length=20))
    with pgtrigger.ignore("live.Post:life"):
        for state in STATES:
            model.objects.create(state=state)
    for old in STATES:
        for new in STATES:
            if (old, new) in listed or old == new:
                with transaction.atomic():
                    assert model.objects.filter(state=old).update(state=new) == 1
                    transaction.set_rollback(True)
            else:
                error = rejection(lambda old=old, new=new: model.objects.filter(state=old).update(state=new))
                text = f'pgtrigger: Invalid transition of field "state" from "{old}" to "{new}" on table live_post'
                assert error.diag.message_primary == text


@pytest.mark.parametrize(
    ("field", "transitions", "start", "allowed", "rejected", "message"),
    [
        (models.IntegerField(null=True), [(None, 1), (1, None), (1, 2)], None, 1, 2, 'from "NULL" to "2"'),
        (models.IntegerField(null=True), [(None, 1), (1, None), (1, 2)], 2, None, 1, 'from "2" to "1"'),
        (models.IntegerField(null=True), [(1, 2)], 1, 2, None, 'from "1" to "NULL"'),
        (models.BooleanField(null=True), [(False, True)], False, True, None, 'from "false" to "NULL"'),
        (
            models.UUIDField(),
            [(uuid.UUID(int=1), uuid.UUID(int=2))],
            uuid.UUID(int=1),
            uuid.UUID(int=2),
            uuid.UUID(int=3),
            f'to "{uuid.UUID(int=3)}"',
        ),
        (models.DateField(), [(dt.date(2020, 1, 1), "2020-01-02")], dt.date(2020, 1, 1), dt.date(2020, 1, 2),
         dt.date(2020, 1, 3), 'from "2020-01-01" to "2020-01-03"'),
        (models.JSONField(null=True), [({"a": 1}, [1])], {"a": 1}, [1], [2], 'from "{"a": 1}" to "[2]"'),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_fsm_takes_any_type_of_field(live, field, transitions, start, allowed, rejected, message):
    model = live.declare("Post", [fsm(transitions)], state=field.clone())
    model.objects.create(state=start)
    if (start, allowed) in transitions or start != 2:
        with transaction.atomic():
            model.objects.update(state=allowed)
            transaction.set_rollback(True)
    else:
        rejection(lambda: model.objects.update(state=allowed))
    assert message in rejection(lambda: model.objects.update(state=rejected)).diag.message_primary


def test_fsm_names_the_next_states(live):
    model = live.declare("Post", [fsm([("a", "b"), ("a", "o'k"), ("b", None), (None, "a")])],
                         state=models.CharField(max_length=9, null=True, db_column="State"))  # fmt: skip
    hints = {}
    for start, target in (("a", "x"), ("b", "a"), (None, "b"), ("o'k", "a")):
        model.objects.all().delete()
        model.objects.create(pk=3, state=start)
        diag = rejection(lambda target=target: model.objects.update(state=target)).diag
        hints[start] = diag.message_hint
        assert (diag.column_name, diag.constraint_name) == ("State", "live.Post:life")
        assert json.loads(diag.message_detail) == {
            "operation": "update", "key": {"id": 3}, "old": {"State": start}, "new": {"State": target},
        }  # fmt: skip
    assert hints == {
        "a": 'From "a" it may go to "b", "o\'k".',
        "b": 'From "b" it may go to "NULL".',
        None: 'From "NULL" it may go to "a".',
        "o'k": "No transition leaves this state.",
    }


def test_fsm_with_a_condition_binds_the_others_only(live):
    model = live.declare("Post", [fsm([("a", "b")], condition=pgtrigger.Q(new__free=False))],
                         state=models.CharField(max_length=9), free=models.BooleanField(default=False))  # fmt: skip
    model.objects.create(state="a")
    rejection(lambda: model.objects.update(state="c"))
    model.objects.update(state="c", free=True)


class Kind(models.TextChoices):
    """States as an enumeration."""

    OPEN = "o'pen"
    SHUT = "shut"


def test_fsm_takes_the_members_of_choices(live):
    model = live.declare(
        "Post", [fsm([(Kind.OPEN, Kind.SHUT)])], state=models.CharField(max_length=9, choices=Kind.choices)
    )
    model.objects.create(state=Kind.OPEN)
    model.objects.update(state=Kind.SHUT)
    error = rejection(lambda: model.objects.update(state=Kind.OPEN))
    assert 'from "shut" to "o\'pen"' in error.diag.message_primary


HOSTILE = [
    "it's",
    '"q"',
    "a:b",
    "50% %s",
    "{x}",
    "$do$",
    "$body$",
    "\\",
    "é" * 40,
    "*",
    "-- x",
    "; DROP TABLE x",
]


def test_hostile_trigger_names_install_fire_and_go(live):
    triggers = [
        pgtrigger.Protect(name=name, operation=pgtrigger.Delete, condition=pgtrigger.Q(old__title=name))
        for name in HOSTILE
    ]
    model = live.declare("Post", triggers, **fields())
    for name in HOSTILE:
        post = model.objects.create(title=name)
        assert rejection(post.delete).diag.constraint_name == f"live.Post:{name}"
        with pgtrigger.ignore(f"live.Post:{name}"):
            post.delete()
    assert {step.step.action for step in live.apply(model).outcomes} == {"unchanged"}
    for trigger in triggers:
        assert trigger.get_installation_status(model) == ("INSTALLED", True)
        trigger.uninstall(model)
        assert trigger.get_installation_status(model) == ("UNINSTALLED", None)
    assert live.sql("SELECT proname FROM pg_proc WHERE pronamespace = current_schema()::regnamespace") == []


def test_hostile_tables_and_columns(live):
    model = live.declare("Post", [
        pgtrigger.ReadOnly(name="fixed", fields=["order"]),
        pgtrigger.Protect(name="keep", operation=pgtrigger.Delete | pgtrigger.Truncate),
        pgtrigger.FSM(name="life", field="state", transitions=[("a", "b")]),
    ], meta={"db_table": "My o'k; {table} --"}, order=models.IntegerField(db_column="select"),
        state=models.TextField(db_column="It's {x}; --"))  # fmt: skip
    model.objects.create(order=1, state="a")
    error = rejection(lambda: model.objects.all().delete())
    assert error.diag.message_primary == "pgtrigger: Cannot delete or truncate rows from My o'k; {table} -- table"
    assert rejection(lambda: model.objects.update(order=2)).diag.column_name == "select"
    assert rejection(lambda: model.objects.update(state="c")).diag.column_name == "It's {x}; --"
    assert {step.step.action for step in live.apply(model).outcomes} == {"unchanged"}


def test_body_keeps_its_literals(live):
    text = "OLD.title\n\n  50% {} $body$ 'q' \\ "
    quoted = text.replace("'", "''")
    trigger = pgtrigger.Trigger(name="t", when=pgtrigger.Before, operation=pgtrigger.Insert,
                                func=f"NEW.title := '{quoted}';\n\nRETURN NEW;")  # fmt: skip
    model = live.declare("Post", [trigger], **fields())
    assert model.objects.create(title="a").pk
    assert model.objects.get().title == text


def test_deferred_trigger_rejects_at_commit(live):
    trigger = pgtrigger.Trigger(
        name="late", when=pgtrigger.After, operation=pgtrigger.Insert, timing=pgtrigger.Deferred,
        func="RAISE EXCEPTION 'too late'; RETURN NULL;",
    )  # fmt: skip
    model = live.declare("Post", [trigger], **fields())
    with pytest.raises(TriggerError, match="too late"), transaction.atomic():  # noqa: PT012
        model.objects.create(title="a")
        assert model.objects.count() == 1
    assert model.objects.count() == 0
    with pgtrigger.ignore("live.Post:late"):
        model.objects.create(title="b")
    assert model.objects.count() == 1


def test_other_errors_stay_what_they_are(live):
    model = live.declare("Post", [], title=models.TextField(unique=True))
    model.objects.create(title="a")
    with pytest.raises(IntegrityError), transaction.atomic():
        model.objects.create(title="a")
    with pytest.raises(ProgrammingError) as raised, transaction.atomic():
        live.sql("SELEC 1")
    assert not isinstance(raised.value, InternalError)
