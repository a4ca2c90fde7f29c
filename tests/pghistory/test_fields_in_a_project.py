"""Fields of a tracked model that migrations rename, drop and add, with all that a history can have."""

from __future__ import annotations

import pytest

from tests.project_support import Project, project  # noqa: F401

pytestmark = pytest.mark.slow

FIRST = """
class Author(models.Model):
    name = models.TextField()

@pghistory.track(
    pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent(), hash_chain=True, append_only=True
)
class Item(models.Model):
    price = models.IntegerField(default=0)
    cost = models.IntegerField(default=0)
    note = models.TextField(default="")
    authors = models.ManyToManyField(Author)
    twice = models.GeneratedField(expression=models.F("price") * 2, output_field=models.IntegerField(), db_persist=True)

pghistory.track()(Item.authors.through)
"""
RENAMED = FIRST.replace("cost = ", "charge = ").replace(
    '    note = models.TextField(default="")\n',
    '    note = models.TextField(default="")\n    more = models.TextField(default="m")\n',
)
DROPPED = RENAMED.replace("    charge = models.IntegerField(default=0)\n", "")
MIGRATE = """
import importlib
from django.core.management import call_command
call_command("makemigrations", "shop", verbosity=0)
importlib.invalidate_caches()
call_command("makemigrations", check=True, verbosity=0)
call_command("migrate", verbosity=0)
"""
USE = """
import pgmagic
from shop.models import Author, Item
item = Item.objects.create(price=3)
item.authors.add(Author.objects.create(name="a"))
Item.objects.filter(pk=item.pk).update(price=4)
print(list(Item.pgh_event_model.objects.order_by("pgh_id").values_list("pgh_label", "twice", {field!r})[:2]))
print(Item.authors.through.pgh_event_model.objects.count(), list(pgmagic.verify(Item)["problem"]))
"""
SEALED = "the hash covers fields that no longer exist, so nothing can be said"


def test_event_model_follows_the_fields_of_its_model(project: Project) -> None:  # noqa: F811
    project.models(FIRST)
    said = project.python(MIGRATE + USE.format(field="cost"))
    assert said.splitlines()[-2:] == ["[('insert', 6, 0), ('update', 8, 0)]", "1 []"]
    # The events from before go under the field's new name; that it was another one does not break their chain.
    project.models(RENAMED)
    said = project.python(MIGRATE + USE.format(field="charge"), answer="y\ny\n")
    assert said.endswith("[('insert', 6, 0), ('update', 8, 0)]\n2 []\n")
    # The recorded values of a field are removed with it, and so is their proof.
    project.models(DROPPED)
    said = project.python(MIGRATE + USE.format(field="more"))
    assert said.splitlines()[-2:] == [
        "[('insert', 6, 'm'), ('update', 8, 'm')]",
        f"3 [{SEALED!r}, {SEALED!r}]",
    ]
