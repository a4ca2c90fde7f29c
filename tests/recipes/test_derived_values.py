"""Columns that the database keeps: a version, a copy of another column, a search vector."""

from __future__ import annotations

from django.contrib.postgres import search
from django.db import models

from pgmagic import pgtrigger
from tests.recipes.conftest import copy, raw, rejected


def test_versioned_rows(cell):
    with cell():

        class Document(models.Model):
            version = models.IntegerField(default=0)
            text = models.TextField(null=True)
            read = models.IntegerField(default=0)

            class Meta:
                triggers = [
                    # Nobody writes the version by hand …
                    pgtrigger.ReadOnly(name="keep_version", fields=["version"]),
                    # … and it counts real changes only. It fires behind the other one: in the order of their names.
                    pgtrigger.Trigger(
                        name="next_version",
                        when=pgtrigger.Before,
                        operation=pgtrigger.Update,
                        condition=pgtrigger.AnyChange(exclude=["read"]),
                        func="NEW.version = NEW.version + 1; RETURN NEW;",
                    ),
                ]

    document = Document.objects.create(text="a")

    def version():
        return Document.objects.get().version

    document.text = "b"
    document.save()
    assert version() == 1
    document.refresh_from_db()
    document.save()
    Document.objects.update(text="b")
    Document.objects.update(read=models.F("read") + 1)
    raw("UPDATE blog_document SET text = text, version = version")
    assert version() == 1
    Document.objects.update(text=None)
    document.text = "c"
    Document.objects.bulk_update([document], ["text"])
    raw("UPDATE blog_document SET text = NULL, read = 0")
    assert version() == 4
    for change in (
        document.save,  # It still holds an older version: whoever saves it would lose the others' changes.
        lambda: Document.objects.update(version=7),
        lambda: raw("UPDATE blog_document SET version = version + 1"),
    ):
        with rejected("Cannot update rows from blog_document table"):
            change()
    assert version() == 4


def test_mirrored_field(cell):
    with cell():

        class Word(models.Model):
            written = models.TextField(db_column="As written")
            searched = models.TextField(editable=False)

            class Meta:
                triggers = [
                    pgtrigger.Trigger(
                        name="mirror",
                        when=pgtrigger.Before,
                        operation=pgtrigger.Insert | pgtrigger.UpdateOf("written", "searched"),
                        func=pgtrigger.Func('NEW.{columns.searched} = lower(NEW."{columns.written}"); RETURN NEW;'),
                    ),
                ]

    def pairs():
        return list(Word.objects.order_by("pk").values_list("written", "searched"))

    Word.objects.create(written="A", searched="ignored")
    Word.objects.bulk_create([Word(written="B"), Word(written="C")])
    copy(Word, ["As written", "searched"], [("D", "")])
    raw('INSERT INTO blog_word ("As written") VALUES (%s)', "50%")
    assert pairs() == [("A", "a"), ("B", "b"), ("C", "c"), ("D", "d"), ("50%", "50%")]
    Word.objects.filter(written__in=["A", "B"]).update(written="X")
    Word.objects.filter(written="C").update(searched="something else")
    assert pairs()[:3] == [("X", "x"), ("X", "x"), ("C", "c")]


def test_search_vector(cell):
    with cell():

        class Post(models.Model):
            title = models.TextField()
            body = models.TextField(null=True, db_column="Body")
            vector = search.SearchVectorField(null=True, db_column="Vector")

            class Meta:
                triggers = [
                    pgtrigger.UpdateSearchVector(
                        name="search", vector_field="vector", document_fields=["title", "body"]
                    ),
                ]

    def found(words):
        query = search.SearchQuery(words, config="english")
        return list(Post.objects.filter(vector=query).order_by("pk").values_list("title", flat=True))

    Post.objects.create(title="Running shoes", body="for long distances")
    Post.objects.bulk_create([Post(title="Slippers", body="who runs in these?"), Post(title="Hats", body=None)])
    assert found("run") == ["Running shoes", "Slippers"]
    assert found("hat") == ["Hats"]
    Post.objects.filter(title="Hats").update(body="to be worn while you run")
    raw("UPDATE blog_post SET \"Body\" = 'warm' WHERE title = 'Slippers'")
    copy(Post, ["title", "Body"], [("Socks", "made to run")])
    assert found("run") == ["Running shoes", "Hats", "Socks"]
