"""The state of a model as JSON: what goes in comes out, and nothing else can."""

from __future__ import annotations

import datetime
import decimal
import json
import uuid

import pytest
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.migrations.state import ModelState
from django.db.models.functions import Lower, Now
from django.test.utils import isolate_apps

from pgmagic.compile.model_state import dump_state, load_state
from pgmagic.errors import SchemaError


class Colour(models.TextChoices):
    RED = "r'd"


FIELDS = {
    "text": lambda: models.CharField(max_length=7, db_default="o'k"),
    "null": lambda: models.IntegerField(null=True, db_column="ü x"),
    "now": lambda: models.DateTimeField(db_default=Now()),
    "array": lambda: ArrayField(models.DecimalField(max_digits=4, decimal_places=2), size=3),
    "generated": lambda: models.GeneratedField(
        expression=Lower("text"), output_field=models.TextField(), db_persist=True
    ),
    "decimal": lambda: models.DecimalField(max_digits=4, decimal_places=2, db_default=decimal.Decimal("1.50")),
    "date": lambda: models.DateField(db_default=datetime.date(2020, 2, 29)),
    "uuid": lambda: models.UUIDField(db_default=uuid.UUID(int=7)),
    "colour": lambda: models.CharField(max_length=9, db_default=Colour.RED),
    "unique": lambda: models.IntegerField(unique=True, db_index=True),
}


def declare(**attributes):
    with isolate_apps("django.contrib.auth"):
        return type("Post", (models.Model,), {"__module__": "django.contrib.auth.models", **attributes})


@pytest.mark.parametrize("name", FIELDS)
def test_field_survives(name):
    model = declare(**{"text": FIELDS["text"](), name: FIELDS[name]()})
    loaded = load_state(dump_state(model)).fields[name]
    declared = ModelState.from_model(model).fields[name]
    assert loaded.deconstruct()[1:3] == declared.deconstruct()[1:3]
    assert repr(loaded.deconstruct()[3]).replace(repr(Colour.RED), repr(Colour.RED.value)) == repr(
        declared.deconstruct()[3]
    ).replace(repr(Colour.RED), repr(Colour.RED.value))


def test_options_survive():
    class Meta:
        constraints = [models.CheckConstraint(condition=models.Q(n__gt=1) | ~models.Q(n=models.F("n")), name="c")]
        indexes = [models.Index(fields=["-n"], name="i", condition=models.Q(n__in=[1, 2]))]
        unique_together = [("n", "id")]
        db_table = "a_b"

    model = declare(n=models.IntegerField(), Meta=Meta)
    loaded = load_state(dump_state(model)).options
    declared = ModelState.from_model(model).options
    assert set(loaded) == {"constraints", "indexes", "unique_together", "db_table"}
    assert [c.deconstruct() for c in loaded["constraints"]] == [c.deconstruct() for c in declared["constraints"]]
    assert [i.deconstruct() for i in loaded["indexes"]] == [i.deconstruct() for i in declared["indexes"]]
    assert {tuple(pair) for pair in loaded["unique_together"]} == {("n", "id")}


def test_arguments_that_only_matter_to_python_are_left_out():
    plain = declare(n=models.IntegerField())
    decorated = declare(
        n=models.IntegerField(
            default=lambda: 3,
            choices=[(1, "one")],
            help_text="h",
            verbose_name="v",
            validators=[print],
            editable=False,
        )
    )
    assert dump_state(plain) == dump_state(decorated)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("os.system", "not a field, index, constraint or expression"),
        ("subprocess.Popen", "not a field, index, constraint or expression"),
        ("nowhere.Gone", "does not exist any more"),
    ],
)
def test_state_constructs_only_parts_of_models(path, sentence):
    text = json.dumps(
        {
            "app": "notebook",
            "name": "Post",
            "fields": [["n", {"make": path, "args": ["true"], "kwargs": []}]],
            "options": {},
            "bases": [],
        }
    )
    with pytest.raises(SchemaError, match=sentence):
        load_state(text)
