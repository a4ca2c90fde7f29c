"""Names and values of all kinds: installed, fired, read back, ignored, and uninstalled without a trace."""

from __future__ import annotations

import keyword

import pytest
from django.db import connection as default
from django.db import models
from hypothesis import HealthCheck, Phase, assume, example, given, settings
from hypothesis import strategies as st

from pgmagic import pgtrigger
from pgmagic.declare.model_registry import forget_label, redeclaring
from pgmagic.errors import DeclarationError
from tests.db.live import Live
from tests.recipes.conftest import rejected

MODULE = "named_cell"
# What has broken SQL before, here or elsewhere.
DIFFICULT = [
    "it's", "order", "Select", "user", "a b", " ", "a.b", "a:b", "{x}", "{meta.db_table}", "\\", "--",
    "/*", ";", "ä", "ß" * 31, "🐘", "x" * 63, "DROP TABLE x", "OLD", "new", "NULL", "\t\n", "\u2028", "e\u0301", "İ",
    "**", "pg_x", "public",
]  # fmt: skip
ONLY_IN_TEXTS = ["$$", "$body$", '"', "%", "%s", '"q"', "50%", "%%", "x" * 200, "ü" * 100, "*"]


def storable(text: str) -> bool:
    """Whether Postgres can store it: no NUL, and no half of a surrogate pair."""
    try:
        return "\x00" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False


def quotable(name: str) -> bool:
    return storable(name) and name != "*" and not set('"%$') & set(name) and len(name.encode()) <= 63


TEXT = st.one_of(st.sampled_from(DIFFICULT + ONLY_IN_TEXTS), st.text(min_size=1, max_size=70).filter(storable))
NAME = st.one_of(st.sampled_from(DIFFICULT), st.text(min_size=1, max_size=40)).filter(quotable)
IDENTIFIER = st.one_of(
    st.sampled_from(["Order", "user", "Käse", "select", "ß", "NEW", "ⅷ", "Größe_2", "x" * 40, "ñ" * 12]),
    st.from_regex(r"[^\W\d_]\w{0,20}", fullmatch=True),
).filter(
    lambda name: (
        name.isidentifier()
        and not keyword.iskeyword(name)
        and "__" not in name
        and not name.endswith("_")
        and len(name.encode()) < 30
    )
)


@pytest.mark.slow
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
@given(
    label=IDENTIFIER, model_name=IDENTIFIER, field_name=IDENTIFIER, table=st.one_of(st.none(), NAME), column=NAME,
    trigger_name=TEXT, value=TEXT, other=TEXT,
)  # fmt: skip
@example("Größe", "Käse", "Maß", None, "order", "it's 50% {x}", "o'k", "%s")
@example("live", "Order", "select", "user", "OLD", '"', '"%', "$body$")
def test_names_and_values(live, label, model_name, field_name, table, column, trigger_name, value, other):
    assume(value != other and column != "id" and field_name not in ("id", "pk", "objects", "Meta"))
    assume(not hasattr(models.Model, field_name))
    triggers = [
        pgtrigger.Protect(
            name=trigger_name,
            operation=pgtrigger.Delete | pgtrigger.Truncate | pgtrigger.UpdateOf(field_name),
        ),
        pgtrigger.FSM(name=trigger_name + "1", field=field_name, transitions=[(value, other)]),
        pgtrigger.SoftDelete(name=trigger_name + "2", field=field_name, value=other),
        pgtrigger.ReadOnly(
            name=trigger_name + "3", fields=[field_name], condition=pgtrigger.Q((f"old__{field_name}", other))
        ),
    ]
    meta = {"triggers": triggers, **({} if table is None else {"db_table": table})}
    body = {
        "__module__": MODULE,
        "Meta": type("Meta", (), meta),
        field_name: models.TextField(db_column=column),
    }
    try:
        with redeclaring(label, MODULE) as declaration:
            with declaration.collecting():
                model = type(model_name, (models.Model,), body)
            applied = live.apply(model)
        assert applied.error is None, applied.error
        assert {outcome.step.action for outcome in live.apply(model).outcomes} == {"unchanged"}
        uris = [trigger.get_uri(model) for trigger in triggers]
        with pgtrigger.ignore():
            row = model.objects.create(**{field_name: value})
        assert getattr(model.objects.get(), field_name) == value
        with rejected("Cannot delete or truncate or update"), pgtrigger.ignore(*uris[1:]):
            row.delete()
        with pgtrigger.ignore(uris[0], uris[3]):
            with rejected("Invalid transition"), pgtrigger.ignore(uris[2]):
                model.objects.update(**{field_name: value + other})
            # It is deleted softly, which is a legal step.
            row.delete()
            assert getattr(model.objects.get(), field_name) == other
        with rejected("Cannot update rows"), pgtrigger.ignore(uris[0], uris[1]):
            model.objects.update(**{field_name: value})
        for trigger in triggers:
            assert trigger.get_installation_status(model) == ("INSTALLED", True)
            trigger.uninstall(model)
            assert trigger.get_installation_status(model) == ("UNINSTALLED", None)
        with default.cursor() as cursor:
            cursor.execute(
                "SELECT proname::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace UNION ALL "
                "SELECT tgname FROM pg_trigger JOIN pg_class AS c ON c.oid = tgrelid "
                "WHERE relnamespace = current_schema()::regnamespace"
            )
            assert cursor.fetchall() == []
    finally:
        if label != "live":
            forget_label(label)
        live.sql("DROP SCHEMA IF EXISTS " + live.schema + " CASCADE; CREATE SCHEMA " + live.schema)


@pytest.mark.parametrize(
    ("meta", "fields", "sentence"),
    [
        ({"db_table": 'a"b'}, {}, "The db_table of Post is 'a\"b': Django cannot quote a name with a quote"),
        ({"db_table": "50%"}, {}, "The db_table of Post is '50%': Django cannot quote a name with a quote"),
        ({}, {"db_column": 'a"b'}, "The db_column of text of Post is 'a\"b': Django cannot quote"),
        ({}, {"db_column": "$1"}, "The db_column of text of Post is '$1'"),
        ({}, {"db_column": "50%"}, "The db_column of text of Post is '50%'"),
        (
            {"db_table": "ü" * 32},
            {},
            f"The db_table of Post is {'ü' * 32!r}: Postgres keeps 63 bytes of a name, and ",
        ),
        ({}, {"db_column": "ü" * 32}, "The db_column of text of Post is "),
        ({"db_table": "a\x00b"}, {}, "The db_table of Post is 'a\\x00b'"),
        (
            {"db_table": "pgmagic_model"},
            {},
            "The db_table of Post is 'pgmagic_model': names that begin with pgmagic_ are",
        ),
        (
            {},
            {"db_column": "pgmagic_position"},
            "The db_column of text of Post is 'pgmagic_position': names that begin",
        ),
        ({"db_table": "*"}, {}, "The db_table of Post is '*': Django reads it as all columns"),
        ({"db_table": "\ud800"}, {}, "The db_table of Post is '\\ud800'"),
    ],
)
def test_impossible_names_are_refused_at_declaration(live: Live, meta, fields, sentence):
    triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)]
    with pytest.raises(DeclarationError) as raised:
        live.declare("Post", triggers, meta=meta, text=models.TextField(**fields))
    assert str(raised.value).startswith(sentence)
    assert live.sql("SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace") == [(0,)]


@pytest.mark.parametrize("name", ["", None, 3, "a\x00", "\udfff"])
def test_impossible_names_of_triggers_are_refused(name):
    with pytest.raises(DeclarationError, match="name"):
        pgtrigger.Protect(name=name, operation=pgtrigger.Delete)
