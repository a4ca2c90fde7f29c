"""UpdateSearchVector on a live table."""

from __future__ import annotations

from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db import models

from pgmagic import pgtrigger

FIELDS = {
    "title": models.TextField(null=True),
    "body": models.TextField(default="", db_column="the Body"),
    "data": models.JSONField(null=True),
    "vector": SearchVectorField(null=True, db_column="Vector"),
}


def declared(live, **changes):
    arguments = {"name": "search", "vector_field": "vector", "document_fields": ["title", "body"], **changes}
    return live.declare("Post", [pgtrigger.UpdateSearchVector(**arguments)], **FIELDS)


def found(model, words, config="english"):
    return list(model.objects.filter(vector=SearchQuery(words, config=config)).values_list("title", flat=True))


def test_vector_follows_its_fields(live):
    model = declared(live)
    model.objects.bulk_create([model(title="Running dogs", body="o'k"), model(title=None, body="the cats")])
    assert found(model, "run") == ["Running dogs"]
    assert found(model, "cat") == [None]
    model.objects.filter(title=None).update(body="a bird")
    assert found(model, "cat") == []
    live.sql("UPDATE live_post SET title = 'fish' WHERE title IS NULL")
    assert found(model, "fish & bird") == ["fish"]


def test_vector_has_the_text_in_the_order_of_the_fields(live):
    """As Postgres's own `tsvector_update_trigger` makes it: positions go on from field to field."""
    model = declared(live)
    model.objects.create(title="a dog of the", body="cat")
    [(same,)] = live.sql("""SELECT "Vector" = to_tsvector('pg_catalog.english', 'a dog of the cat') FROM live_post""")
    assert same


def test_configuration_and_fields_of_other_types(live):
    model = declared(live, config_name="simple", document_fields=["data"])
    model.objects.create(title="x", data={"word": "Running %"})
    assert found(model, "running", config="simple") == ["x"]
    other = live.other(search_path="")
    other.execute(f"""UPDATE "{live.schema}".live_post SET data = '["birds"]'""")
    assert found(model, "birds", config="simple") == ["x"]


def test_update_of_other_fields_leaves_the_vector(live):
    model = declared(live)
    model.objects.create(title="dog")
    with pgtrigger.ignore("live.Post:search"):
        model.objects.update(title="cat")
    model.objects.update(data={})
    assert found(model, "dog") == ["cat"]
    model.objects.update(title="cat")
    assert found(model, "dog") == []
