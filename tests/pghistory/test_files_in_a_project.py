"""Tracked files: fields of files, and of images, as in a project."""

from __future__ import annotations

import pytest

from tests.project_support import Project, project  # noqa: F401

pytestmark = pytest.mark.slow

MODELS = """
from django.core.files.storage import FileSystemStorage

def storage():
    return FileSystemStorage("media")

def place(instance, name):
    return f"by_name/{name}"

@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
class Doc(models.Model):
    plain = models.FileField(upload_to="docs/%Y", unique=True, null=True)
    placed = models.FileField(upload_to=place, storage=storage, max_length=300)
    image = models.ImageField(upload_to="images", null=True)
    sized = models.ImageField(width_field="width", height_field="height", null=True)
    width = models.IntegerField(null=True)
    height = models.IntegerField(null=True)
"""
USE = """
from pathlib import Path
from django.core.files.base import ContentFile
from shop.models import Doc
doc = Doc.objects.create(plain="docs/a.txt", placed="b.txt", image="images/none.png")
doc.placed.save("c.txt", ContentFile(b"c"))
Doc.objects.all().delete()
events = Doc.pgh_event_model.objects.order_by("pgh_id")
print([(event.pgh_label, str(event.plain), event.placed.name, event.image.name, event.sized.name) for event in events])
print(events[1].placed.read(), events[1].placed.storage.location == str(Path("media").resolve()))
"""


def test_tracked_files_pass_check_and_keep_their_upload_to_in_migrations(project: Project) -> None:  # noqa: F811
    project.models(MODELS)
    assert "no issues" in project.run("check")
    project.run("makemigrations", "shop")
    written = project.migration(1).partition("name='DocEvent'")[2]
    for field in (
        "('plain', models.FileField(null=True, upload_to='docs/%Y'))",
        "('placed', models.FileField(max_length=300, storage=shop.models.storage, upload_to=shop.models.place))",
        "('image', models.ImageField(null=True, upload_to='images'))",
    ):
        assert field in written
    assert "No changes" in project.run("makemigrations", "--check")


def test_events_record_the_path_of_a_file(project: Project) -> None:  # noqa: F811
    project.models(MODELS)
    project.run("makemigrations", "shop")
    project.run("migrate", "-v0")
    assert project.python(USE).splitlines() == [
        "[('insert', 'docs/a.txt', 'b.txt', 'images/none.png', ''), "
        "('update', 'docs/a.txt', 'by_name/c.txt', 'images/none.png', ''), "
        "('delete', 'docs/a.txt', 'by_name/c.txt', 'images/none.png', '')]",
        "b'c' True",
    ]
