from __future__ import annotations

from typing import Any

import pytest
from django.db import models

from pgmagic import pghistory
from pgmagic.declare.event_fields import mirror
from pgmagic.errors import DeclarationError
from tests.history_support import declared_here, declaring, model, settings_with  # noqa: F401

pytestmark = pytest.mark.usefixtures("declared_here")


def test_hierarchy_is_built_in_then_settings_then_arguments(settings_with: Any) -> None:  # noqa: F811
    assert pghistory.Field().kwargs["unique"] is False
    assert "null" not in pghistory.Field().kwargs
    with settings_with(
        PGHISTORY_FIELD=pghistory.Field(null=True, unique=pghistory.DEFAULT),
        PGHISTORY_RELATED_FIELD=pghistory.RelatedField(related_name="r"),
        PGHISTORY_FOREIGN_KEY_FIELD=pghistory.ForeignKey(db_index=False, db_constraint=True),
    ):
        assert pghistory.Field().kwargs["null"] is True
        assert "unique" not in pghistory.Field().kwargs
        assert pghistory.Field(null=False).kwargs["null"] is False
        assert "null" not in pghistory.Field(null=pghistory.DEFAULT).kwargs
        key = pghistory.ForeignKey(db_constraint=False).kwargs
        assert (key["related_name"], key["db_index"], key["db_constraint"], key["null"]) == (
            "r",
            False,
            False,
            True,
        )
        assert "db_index" not in pghistory.ForeignKey(db_index=pghistory.DEFAULT).kwargs
        assert "related_name" not in pghistory.ObjForeignKey().kwargs
        assert pghistory.ContextForeignKey().kwargs["related_name"] == "r"
    assert "null" not in pghistory.Field().kwargs


@pytest.mark.parametrize(
    ("made", "kwargs"),
    [
        (pghistory.ContextJSONField(), {"null": True}),
        (pghistory.ContextUUIDField(null=False), {"null": False}),
        (
            pghistory.ContextForeignKey(null=False),
            {"null": False, "related_name": "+", "db_constraint": False},
        ),
        (pghistory.ObjForeignKey(related_name="h"), {"related_name": "h", "on_delete": models.DO_NOTHING}),
    ],
)
def test_configuration_objects_say_what_a_field_is_made_with(made: Any, kwargs: dict[str, Any]) -> None:
    assert kwargs.items() <= made.kwargs.items()


SOURCES: dict[str, tuple[models.Field[Any, Any], type, dict[str, Any]]] = {
    "small": (models.SmallAutoField(primary_key=True), models.SmallIntegerField, {}),
    "auto": (models.AutoField(primary_key=True), models.IntegerField, {}),
    "big": (models.BigAutoField(primary_key=True), models.BigIntegerField, {}),
    "slug": (models.SlugField(unique=True, max_length=9), models.SlugField, {"max_length": 9, "db_index": False}),
    "now": (models.DateTimeField(auto_now=True), models.DateTimeField, {}),
    "added": (models.DateField(auto_now_add=True, null=True), models.DateField, {"null": True}),
    "choice": (models.CharField(max_length=1, choices=[("a", "A")], default="a"), models.CharField,
               {"max_length": 1, "choices": [("a", "A")], "default": "a"}),
    "image": (models.ImageField(upload_to="i", width_field="w", height_field="h"), models.ImageField,
              {"upload_to": "i"}),
    "file": (models.FileField(upload_to="%Y", unique=True, max_length=200), models.FileField,
             {"upload_to": "%Y", "max_length": 200}),
    "column": (models.DecimalField(max_digits=5, decimal_places=2, db_column="c%d"), models.DecimalField,
               {"max_digits": 5, "decimal_places": 2, "db_column": "c%d"}),
    "date": (models.DateField(unique_for_date="now"), models.DateField, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", SOURCES)
def test_a_mirror_records_and_does_nothing_else(name: str) -> None:
    source, kind, kwargs = SOURCES[name]
    source = source.clone()
    source.set_attributes_from_name(name)
    source.model = models.Model
    made = mirror(source)
    assert type(made) is kind
    found = made.deconstruct()[3]
    # SlugField alone names db_index where it is not the default.
    assert found == kwargs


def test_relations_are_mirrored_without_constraint_and_reverse_side() -> None:
    with declaring():
        author = model("Author", code=models.CharField(max_length=5, unique=True))
        post = model(
            "Post",
            key=models.ForeignKey(author, models.CASCADE, null=True, related_name="posts"),
            code=models.ForeignKey(author, models.CASCADE, to_field="code", related_name="+", db_column="cc"),
            one=models.OneToOneField(author, models.CASCADE, related_name="+"),
            parent=models.ForeignKey("self", models.CASCADE, null=True),
            later=models.ForeignKey("hist.Later", models.CASCADE, db_index=False),
        )
        event = pghistory.create_event_model(post, abstract=False)
        later = model("Later")
    fields = {field.name: field for field in event._meta.local_fields}
    for name in ("key", "code", "one", "parent", "later"):
        field = fields[name]
        assert type(field) is models.ForeignKey
        assert not field.db_constraint
        assert not field.unique
        assert field.remote_field.on_delete is models.DO_NOTHING
        assert field.remote_field.hidden
    assert (fields["code"].column, fields["code"].target_field.name) == ("cc", "code")
    assert (fields["parent"].related_model, fields["later"].related_model) == (post, later)
    assert (fields["key"].db_index, fields["later"].db_index) == (True, False)
    assert author().posts.model is post


def test_arguments_of_a_kind_of_field_can_be_left_out_by_a_setting(settings_with: Any) -> None:  # noqa: F811
    field = models.CharField(max_length=3, default="x", help_text="h")
    field.set_attributes_from_name("a")
    with settings_with(PGHISTORY_EXCLUDE_FIELD_KWARGS={"django.db.models.CharField": ["default", "help_text"]}):
        assert mirror(field).deconstruct()[3] == {"max_length": 3}


def test_a_field_that_cannot_be_mirrored_is_named() -> None:
    class Odd(models.IntegerField):
        def __init__(self, needed: int) -> None:
            super().__init__()

    with pytest.raises(DeclarationError, match="The field 'odd' of Thing cannot be mirrored"), declaring():
        pghistory.track()(model("Thing", odd=Odd(1)))
    with declaring():
        tracked = pghistory.track(exclude=["odd"])(model("Thing", odd=Odd(1)))
        assert not hasattr(tracked.pgh_event_model, "odd")
        again = pghistory.track(attrs={"odd": models.IntegerField(null=True)})(model("Thing", odd=Odd(1)))
    assert again.pgh_event_model._meta.get_field("odd").null
