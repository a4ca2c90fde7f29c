"""What other packages get wrong, observed by running them; the names of the tests say what is right."""

from __future__ import annotations

import json

import pytest
from django.db import models, transaction
from django.db.models.functions import Lower

from pgmagic import pgtrigger
from pgmagic.errors import (
    ConditionError,
    DeclarationError,
    TriggerError,
)
from tests.recipes.conftest import rejected

Q, F = pgtrigger.Q, pgtrigger.F


def protect(condition=None, operation=pgtrigger.Update, **more):
    return pgtrigger.Protect(name="keep", operation=operation, condition=condition, **more)


def columns(**fields):
    return {"n": models.IntegerField(default=0), **fields}


# Line 3


@pytest.mark.parametrize("transitions", [[("a", 1.5)], [(1, "b")], [(1, [2])], [(object(), 1)]])
def test_bad_state_machine_fails_at_declaration(live, transitions):
    with pytest.raises(DeclarationError, match='The FSM "life" lists a state that is not a value of'):
        live.declare("Post", [pgtrigger.FSM(name="life", field="n", transitions=transitions)], **columns())


def test_state_machine_of_a_users_own_field(live):
    class Level:
        def __init__(self, name):
            self.name = name

        def __eq__(self, other):
            return isinstance(other, Level) and other.name == self.name

        def __hash__(self):
            return hash(self.name)

    class LevelField(models.IntegerField):
        def get_prep_value(self, value):
            return {"low": 1, "high": 2}[value.name] if isinstance(value, Level) else super().get_prep_value(value)

        def from_db_value(self, value, *_args):
            return Level({1: "low", 2: "high"}.get(value, "?"))

    model = live.declare(
        "Post",
        [pgtrigger.FSM(name="life", field="level", transitions=[(Level("low"), Level("high"))])],
        level=LevelField(),
    )
    model.objects.create(level=Level("low"))
    model.objects.update(level=Level("high"))
    with rejected('from "2" to "1"'):
        model.objects.update(level=Level("low"))


def test_state_machine_over_an_array_and_a_generated_copy(live):
    array = pytest.importorskip("django.contrib.postgres.fields").ArrayField(models.IntegerField())
    model = live.declare("Post", [pgtrigger.FSM(name="life", field="a", transitions=[([1], [1, 2])])], a=array)
    model.objects.create(a=[1])
    with rejected(r'from "\{1\}" to "\{2\}"'):
        model.objects.update(a=[2])
    model.objects.update(a=[1, 2])


# Line 4


def test_raw_condition_is_one_operand(live):
    condition = pgtrigger.Condition("(OLD.n = 1) OR (OLD.n = 2)") & Q(new__n=9)
    model = live.declare("Post", [protect(condition)], **columns())
    model.objects.create(n=1)
    with rejected("Cannot update"):
        model.objects.update(n=9)
    model.objects.update(n=2)
    with pgtrigger.ignore("live.Post:keep"):
        model.objects.update(n=9)
    for negated in (
        ~condition,
        ~(pgtrigger.Condition("OLD.n = 9 OR OLD.n = 8 -- why")),
        pgtrigger.Condition("false OR false"),
    ):
        live.declare("Post", [protect(negated)], **columns())


# Line 5


def test_condition_through_a_relation_is_refused_and_nothing_installed(live):
    author = live.declare("Author", n=models.IntegerField(), name=models.TextField())
    for condition in (
        Q(old__author__n=1),
        Q(new__n=F("old__author__n")),
        ~Q(old__author__name__startswith="a") | Q(new__n=1),
    ):
        with pytest.raises(ConditionError, match=r"A trigger sees only the row itself: 'author__.*' would need a join"):
            live.declare("Post", [protect(condition)], author=models.ForeignKey(author, models.CASCADE), **columns())
    assert live.sql("SELECT to_regclass('live_post')") == [(None,)]


# Line 6


RESERVED = {
    "order": models.IntegerField(default=0),
    "user": models.TextField(default="", db_column="From"),
    "select": models.TextField(default="", db_column="it's {x}"),
    "end": models.BooleanField(default=True),
}


def reserved():
    return {name: field.clone() for name, field in RESERVED.items()}


@pytest.mark.parametrize(
    ("trigger", "change"),
    [
        (protect(Q(old__user="a")), {"order": 1}),
        (protect(Q(new__order__gt=F("old__order"))), {"order": 1}),
        (protect(Q(new__select=Lower(F("old__user")))), {"select": "a"}),
        (protect(pgtrigger.AnyChange("select")), {"select": "x"}),
        (protect(pgtrigger.AllChange("order", "user")), {"order": 5, "user": "b"}),
        (protect(operation=pgtrigger.UpdateOf("user")), {"user": "a"}),
        (protect(operation=pgtrigger.UpdateOf("select", "order") | pgtrigger.Delete), {"select": "a"}),
        (pgtrigger.ReadOnly(name="keep", fields=["select"]), {"select": "b"}),
        (pgtrigger.ReadOnly(name="keep", exclude=["order", "id"]), {"end": False}),
        (pgtrigger.FSM(name="keep", field="user", transitions=[("a", "c")]), {"user": "b"}),
        (pgtrigger.FSM(name="keep", field="order", transitions=[(0, 2)]), {"order": 1}),
    ],
    ids=repr,
)
def test_columns_of_other_names_and_reserved_words(live, trigger, change):
    model = live.declare("Post", [trigger], meta={"db_table": "Select"}, **reserved())
    model.objects.create(user="a")
    with rejected(" Select"):
        model.objects.update(**change)
    with pgtrigger.ignore("live.Post:keep"):
        assert model.objects.update(**change) == 1


def test_update_of_a_foreign_key_and_of_the_key(live):
    author = live.declare("Author", name=models.TextField())
    ann, bob = author.objects.create(name="ann"), author.objects.create(name="bob")
    for name in ("author", "author_id"):
        model = live.declare(
            "Post", [protect(operation=pgtrigger.UpdateOf(name))],
            author=models.ForeignKey(author, models.CASCADE, db_column="By"), **columns(),
        )  # fmt: skip
        model.objects.all().delete()
        model.objects.create(author=ann)
        model.objects.update(n=1)
        with rejected("Cannot update"):
            model.objects.update(author=bob)
    model = live.declare("Author", [protect(operation=pgtrigger.UpdateOf("pk"))], name=models.TextField())
    with rejected("Cannot update"):
        model.objects.filter(pk=ann.pk).update(id=99)


# Line 7


@pytest.mark.parametrize("value", ["o'k", "\\'", "%s 50%", "{x}", '"', "$$", "", "'; DROP TABLE live_post; --"])
def test_soft_delete_escapes_its_value(live, value):
    model = live.declare(
        "Post",
        [pgtrigger.SoftDelete(name="soft", field="select", value=value)],
        meta={"db_table": "Order"},
        **reserved(),
    )
    model.objects.create().delete()
    assert [post.select for post in model.objects.all()] == [value]


# Line 8


def test_row_names_in_literals_and_braces_in_bodies_survive(live):
    record = live.declare("Record", text=models.TextField())
    trigger = pgtrigger.Trigger(
        name="t", when=pgtrigger.Before, operation=pgtrigger.Update,
        condition=Q(old__text="OLD.text = NEW.text") | pgtrigger.Condition("NEW.text = 'OLD.\"text\"'"),
        declare=[("found", "jsonb := '{}'"), ("names", "text[] = '{OLD.a, NEW.b}'")],
        func=pgtrigger.Func(
            "found = '{\"a\": {}}'::jsonb || jsonb_build_object('{text}', '{{2}}');"
            "INSERT INTO live_record (text) VALUES (found::text || names::text || '{columns.text}' || 'OLD.text');"
            "RETURN NEW;"
        ),
    )  # fmt: skip
    model = live.declare("Post", [trigger], text=models.TextField())
    model.objects.create(text="OLD.text = NEW.text")
    model.objects.update(text='OLD."text"')
    model.objects.update(text='OLD."text"')
    model.objects.update(text="")
    model.objects.update(text="")
    found = [json.loads(text.partition("}{")[0] + "}") for text in record.objects.values_list("text", flat=True)]
    assert found == [{"a": {}, "{text}": "{{2}}"}] * 2
    assert record.objects.filter(text__endswith="{OLD.a,NEW.b}textOLD.text").count() == 2


# Line 11


def test_trigger_that_cannot_be_ignored_says_so(live):
    class Always(pgtrigger.Protect):
        ignorable = False

    model = live.declare("Post", [Always(name="keep", operation=pgtrigger.Delete)], **columns())
    post = model.objects.create()
    with (
        pytest.raises(DeclarationError, match=r"live\.Post:keep cannot be ignored: its class has `ignorable = False`"),
        pgtrigger.ignore("live.Post:keep"),
    ):
        pass
    with rejected("Cannot delete"), pgtrigger.ignore():
        post.delete()


# Line 13


@pytest.mark.parametrize("level", [pgtrigger.Row, pgtrigger.Statement])
@pytest.mark.parametrize(
    "operation",
    [
        pgtrigger.Truncate,
        pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate,
        pgtrigger.Truncate | pgtrigger.Insert,
        pgtrigger.UpdateOf("n") | pgtrigger.Truncate,
    ],
    ids=str,
)
def test_truncate_alone_and_combined_at_any_level(live, operation, level):
    trigger = protect(operation=operation, level=level)
    model = live.declare("Post", [trigger], **columns())
    words = " or ".join(str(single).lower() for single in operation)
    with rejected(f"^pgtrigger: Cannot {words} rows from live_post table"):
        live.sql("TRUNCATE live_post")
    with pgtrigger.ignore("live.Post:keep"):
        live.sql("TRUNCATE live_post")
        model.objects.create(n=1)
    if len(list(operation)) > 1:
        with rejected("Cannot"):
            model.objects.update(n=2) if "UPDATE" in str(operation) else model.objects.create(n=1)
    trigger.uninstall(model)
    live.sql("TRUNCATE live_post")
    assert live.sql("SELECT count(*) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace") == [(0,)]


def test_names_up_to_postgres_own_limit_stay_apart(live):
    long = "ü" * 100
    triggers = [
        pgtrigger.Protect(name=f"{long}{number}", operation=pgtrigger.Delete, condition=Q(old__n=number))
        for number in range(3)
    ]
    model = live.declare("Post", triggers, **columns())
    names = {trigger.get_pgid(model) for trigger in triggers}
    assert len(names) == 3
    assert all(len(name.encode()) <= 63 for name in names)
    for number in range(3):
        post = model.objects.create(n=number)
        with rejected("Cannot delete"), pgtrigger.ignore(f"live.Post:{long}{(number + 1) % 3}"):
            post.delete()
        with pgtrigger.ignore(f"live.Post:{long}{number}"):
            post.delete()


# Also untested elsewhere


def changed(kind, *names, **more):
    return getattr(pgtrigger, kind)(*names, **more)


@pytest.mark.parametrize(
    ("condition", "fires"),
    [
        # Which of: nothing changes, a changes, b changes, both change.
        (changed("AnyChange", "a", "b"), [0, 1, 1, 1]),
        (changed("AllChange", "a", "b"), [0, 0, 0, 1]),
        (changed("AnyDontChange", "a", "b"), [1, 1, 1, 0]),
        (changed("AllDontChange", "a", "b"), [1, 0, 0, 0]),
        (~changed("AnyChange", "a", "b"), [1, 0, 0, 0]),
        (~changed("AllChange", "a", "b"), [1, 1, 1, 0]),
        (~changed("AnyDontChange", "a", "b"), [0, 0, 0, 1]),
        (~changed("AllDontChange", "a", "b"), [0, 1, 1, 1]),
        (changed("AnyChange", exclude=["a"]), [0, 0, 1, 1]),
        (changed("AnyChange", exclude=["b", "id"]), [0, 1, 0, 1]),
        (changed("AllChange", exclude=["id", "b", "at"]), [0, 1, 0, 1]),
        (changed("AllDontChange", exclude=["a"]), [1, 1, 0, 0]),
        (changed("AnyChange", exclude_auto=True), [0, 1, 1, 1]),
        (changed("AnyChange", "a") | changed("AllChange", "b"), [0, 1, 1, 1]),
        (changed("AnyChange", "a") & ~changed("AnyChange", "b"), [0, 1, 0, 0]),
        (changed("AnyChange", "a") & Q(new__b__isnull=True), [0, 0, 0, 1]),
        (Q(new__b__isnull=True) | changed("AllChange", "a"), [0, 1, 1, 1]),
    ],
    ids=repr,
)
def test_change_conditions(live, condition, fires):
    model = live.declare(
        "Post", [protect(condition)], a=models.IntegerField(null=True), b=models.IntegerField(null=True, db_column="B"),
        at=models.DateTimeField(auto_now=True),
    )  # fmt: skip
    model.objects.create(a=None, b=1)
    found = []
    for change in ({"a": None}, {"a": 1}, {"b": None}, {"a": 1, "b": None}):
        try:
            with transaction.atomic():
                model.objects.update(**change)
                transaction.set_rollback(True)
            found.append(0)
        except TriggerError:
            found.append(1)
    assert found == fires


def test_function_edited_by_hand_is_outdated_and_mended(live):
    trigger = protect(operation=pgtrigger.Delete)
    model = live.declare("Post", [trigger], **columns())
    name = trigger.get_pgid(model)
    edits = [
        f'CREATE OR REPLACE FUNCTION "{name}"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$',
        f'ALTER FUNCTION "{name}"() SET search_path = pg_catalog',
        f'CREATE OR REPLACE TRIGGER "{name}" BEFORE INSERT ON live_post FOR EACH ROW EXECUTE FUNCTION "{name}"()',
        f'DROP TRIGGER "{name}" ON live_post',
    ]
    for edit in edits:
        live.sql(edit)
        status = trigger.get_installation_status(model)
        assert status == (("UNINSTALLED", None) if edit.startswith("DROP") else ("OUTDATED", True)), edit
        trigger.install(model)
        assert trigger.get_installation_status(model) == ("INSTALLED", True)
        post = model.objects.create()
        with rejected("Cannot delete"):
            post.delete()


def test_instead_of_on_a_view(live):
    post = live.declare("Post", **columns(title=models.TextField()))
    live.sql('CREATE VIEW live_headline AS SELECT id, upper(title) AS "Title" FROM live_post')
    headline = live.declare(
        "Headline",
        [
            pgtrigger.Trigger(
                name="write", when=pgtrigger.InsteadOf, operation=pgtrigger.Update | pgtrigger.Insert,
                func=pgtrigger.Func(
                    'IF TG_OP = \'INSERT\' THEN INSERT INTO live_post (title, n) VALUES (NEW."{columns.title}", 1)'
                    " RETURNING id INTO NEW.id;"
                    ' ELSE UPDATE live_post SET title = NEW."{columns.title}" WHERE id = OLD.id; END IF; RETURN NEW;'
                ),
            ),
            protect(operation=pgtrigger.Delete, when=pgtrigger.InsteadOf),
        ],
        meta={"managed": False}, title=models.TextField(db_column="Title"),
    )  # fmt: skip
    made = headline.objects.create(title="a")
    assert headline.objects.get(pk=made.pk).title == "A"
    assert headline.objects.update(title="b") == 1
    assert post.objects.get().title == "b"
    with rejected("Cannot delete rows from live_headline table"):
        headline.objects.all().delete()
    with pgtrigger.ignore("live.Headline:write"):
        assert headline.objects.filter(pk=made.pk).update(title="c") == 0
    assert post.objects.get().title == "b"


def test_generated_columns(live):
    def doubled():
        return models.GeneratedField(
            expression=models.F("n") * 2,
            output_field=models.IntegerField(),
            db_persist=True,
            db_column="Twice",
        )

    after = protect(Q(old__twice__gt=4), operation=pgtrigger.Delete)
    changes = pgtrigger.ReadOnly(name="fixed", fields=["m"])
    everything = pgtrigger.Protect(name="vain", operation=pgtrigger.Update, condition=~pgtrigger.AnyChange())
    model = live.declare(
        "Post", [after, changes, everything], m=models.IntegerField(default=0), twice=doubled(), **columns()
    )
    model.objects.create(n=2).delete()
    post = model.objects.create(n=3)
    with rejected("Cannot delete"):
        post.delete()
    with rejected("Cannot update"):
        model.objects.update(n=3)
    model.objects.update(n=4)
    late = pgtrigger.Trigger(
        name="late", when=pgtrigger.After, operation=pgtrigger.Update,
        condition=pgtrigger.AnyChange("twice"), func="RAISE EXCEPTION 'twice is %', NEW.\"Twice\";",
    )  # fmt: skip
    late.install(model)
    with rejected("twice is 12"):
        model.objects.update(n=6)
    # What Postgres refuses is reported in one line, and nothing is kept.
    early = protect(pgtrigger.AnyChange("twice"), operation=pgtrigger.Update)
    _, applied = live.try_declare("Post", [early], twice=doubled(), **columns())
    assert "BEFORE trigger's WHEN condition cannot reference NEW generated columns" in str(applied.error)
    assert {outcome.status for outcome in applied.outcomes} <= {"failed", "rolled back", "skipped"}
