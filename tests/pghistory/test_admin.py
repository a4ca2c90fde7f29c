"""The admin pages, in a project of their own, asked by Django's test client."""

from __future__ import annotations

import pytest

from tests.project_support import Project, project

__all__ = ["project"]

pytestmark = pytest.mark.slow

MODELS = """
class Author(models.Model):
    name = models.TextField()

@pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())
class Post(models.Model):
    title = models.TextField()
    author = models.ForeignKey(Author, models.CASCADE)

@pghistory.track(pghistory.InsertEvent(), context_field=pghistory.ContextJSONField())
class Note(models.Model):
    text = models.TextField()

@pghistory.track(pghistory.InsertEvent(), context_field=None, obj_field=None)
class Bare(models.Model):
    text = models.TextField()
"""
ADMIN = """
from django.contrib import admin
from pgmagic.pghistory.admin import EventModelAdmin, EventsAdmin
from shop import models

class Mine(EventsAdmin):
    pass

admin.site.register([models.Post, models.Note, models.Bare])
for event_model in (models.PostEvent, models.NoteEvent, models.BareEvent):
    admin.site.register(event_model, EventModelAdmin)
"""
URLS = """
from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
"""
SETTINGS = """
INSTALLED_APPS = [
    "pgmagic.pghistory.admin", "django.contrib.admin", "django.contrib.sessions", "django.contrib.messages",
    *INSTALLED_APPS,
]
ROOT_URLCONF = "urls"
ALLOWED_HOSTS = ["*"]
LOGGING_CONFIG = None
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "pgmagic.pghistory.middleware.HistoryMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
    "OPTIONS": {"context_processors": [
        "django.template.context_processors.request", "django.contrib.auth.context_processors.auth",
        "django.contrib.messages.context_processors.messages",
    ]},
}]
"""
SCRIPT = r"""
import logging
import re
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from pgmagic import pghistory
from pgmagic.pghistory.admin import EventsAdmin, config
from shop.admin import Mine
from shop.models import Author, Bare, Note, Post, PostEvent

logging.disable(logging.CRITICAL)
call_command("makemigrations", "shop", verbosity=0)
call_command("makemigrations", check=True, verbosity=0)
call_command("migrate", verbosity=0)

root = User.objects.create_superuser("root")
staff = User.objects.create_user("staff", is_staff=True)
client = Client()
client.force_login(root)
author = Author.objects.create(name="A")
with pghistory.context(user=root.pk, url="/x/<script>alert(1)</script>"):
    post = Post.objects.create(title="<b>one</b>", author=author)
    Post.objects.update(title="two & three")
    gone = Post.objects.create(title="gone", author=author)
    key = gone.pk
    gone.delete()
    note = Note.objects.create(text="n")
    bare = Bare.objects.create(text="b")

def page(url, user=root, status=200):
    client.force_login(user)
    answer = client.get(url)
    assert answer.status_code == status, (url, answer.status_code, answer.get("Location"))
    return answer.content.decode()

def rows(url, **given):
    return len(re.findall(r'<th class="field-', page(url, **given)))

ALL, POSTS = "/admin/pghistory/events/", "/admin/shop/postevent/"

def test_lists_show_events_and_escape():
    assert rows(ALL) == 6
    assert rows(POSTS) == 4
    text = page(POSTS) + page(ALL)
    assert "<b>one" not in text and "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text

def test_newest_event_comes_first():
    ids = [int(found) for found in re.findall(r"/admin/shop/postevent/(\d+)/change/", page(POSTS))]
    assert ids == sorted(ids, reverse=True) and len(ids) == 4

def test_filters_narrow_the_lists():
    assert rows(ALL + "?label=insert") == 4
    assert rows(ALL + "?event_model=shop.postevent") == 4
    assert rows(ALL + "?event_model=shop.nothing") == 0
    assert rows(ALL + f"?obj=shop.Post:{post.pk}") == 2
    assert rows(ALL + f"?method=tracks&obj=shop.Post:{key}") == 2
    assert rows(ALL + f"?method=references&obj=shop.Author:{author.pk}") == 4
    assert rows(ALL + f"?obj=shop.Author:{author.pk}") == 0
    for nonsense in ("nothing", "shop.Post:x", "shop.Nothing:1", "%00", ":"):
        assert rows(ALL + f"?obj={nonsense}") == 0, nonsense
    assert rows(POSTS + f"?obj=shop.Post:{post.pk}") == 2
    assert rows(POSTS + f"?obj=shop.Note:{note.pk}") == 0
    assert rows("/admin/shop/bareevent/?obj=shop.Bare:%s" % bare.pk) == 1
    assert rows(ALL + "?label=insert&back=/admin/shop/") == 4
    assert rows(POSTS + "?back=/admin/shop/") == 4

def test_pages_show_events_of_deleted_objects():
    events = PostEvent.objects.order_by("pgh_id")
    for event in events:
        text = page(f"{POSTS}{event.pk}/change/") + page(f"{ALL}shop.PostEvent_3A{event.pk}/change/")
        assert "<script>alert" not in text and "<b>one" not in text
        assert f"shop.Post {event.pgh_obj_id}" in text
    assert "&lt;b&gt;one&lt;/b&gt; → two &amp; three" in page(f"{ALL}shop.PostEvent_3A{events[1].pk}/change/")
    for name, pk in (("noteevent", note.events.get().pk), ("bareevent", Bare.pgh_event_model.objects.get().pk)):
        page(f"/admin/shop/{name}/{pk}/change/")
    other = Author.objects.create(name="Z")
    lost, author_key = Post.objects.create(title="lost", author=other), other.pk
    event_key = lost.events.get().pk
    other.delete()
    assert f">{author_key}<" in page(f"{POSTS}{event_key}/change/")
    page(f"{POSTS}{events[0].pk}0000/change/", status=302)

def test_nobody_changes_events():
    event = PostEvent.objects.order_by("pgh_id")[0]
    slug = f"shop.PostEvent_3A{event.pk}"
    for url in (f"{POSTS}add/", f"{POSTS}{event.pk}/delete/", f"{ALL}add/", f"{ALL}{slug}/delete/"):
        page(url, status=403)
    assert client.post(f"{POSTS}{event.pk}/change/", {"title": "x"}).status_code == 403
    assert client.post(POSTS, {"action": "delete_selected", "_selected_action": [event.pk]}).status_code in (200, 302)
    assert PostEvent.objects.filter(pk=event.pk).exists()
    assert "delete_selected" not in page(POSTS)

def test_users_without_permission_see_nothing():
    for url in (ALL, POSTS, f"{POSTS}{PostEvent.objects.first().pk}/change/"):
        page(url, user=staff, status=403)
    staff.user_permissions.add(Permission.objects.get(codename="view_post"))
    assert "historylink" in page(f"/admin/shop/post/{post.pk}/change/", user=staff)
    assert "postevent" not in page(f"/admin/shop/post/{post.pk}/change/", user=staff)
    staff.user_permissions.add(Permission.objects.get(codename="view_postevent"))
    assert f"{POSTS}?obj=shop.Post%3A{post.pk}" in page(f"/admin/shop/post/{post.pk}/change/", user=staff)
    assert rows(POSTS, user=staff) >= 4
    page(ALL, user=staff, status=403)

def test_page_of_an_object_links_to_its_events():
    text = page(f"/admin/shop/post/{post.pk}/change/")
    links = re.findall(r'href="([^"]*)" class="historylink"', text)
    assert links == [
        f"{POSTS}?obj=shop.Post%3A{post.pk}", f"{ALL}?method=tracks&amp;obj=shop.Post%3A{post.pk}",
        f"/admin/shop/post/{post.pk}/history/",
    ], links
    for link in links:
        page(link.replace("&amp;", "&"))
    assert "obj=" not in page("/admin/auth/user/%s/change/" % root.pk)
    page("/admin/shop/post/add/")

def test_settings_configure_the_list():
    with override_settings(PGHISTORY_ADMIN_ALL_EVENTS=False):
        assert rows(ALL) == 0
        assert rows(ALL + "?label=update") == 1
        page(f"{ALL}shop.PostEvent_3A{PostEvent.objects.first().pk}/change/")
    with override_settings(PGHISTORY_ADMIN_LIST_DISPLAY=["pgh_label"], PGHISTORY_ADMIN_ORDERING="pgh_id"):
        assert "Pgh obj model" not in page(ALL)
    with override_settings(PGHISTORY_ADMIN_QUERYSET=pghistory.models.Events.objects.across("shop.NoteEvent")):
        assert rows(ALL) == 1

def test_settings_name_another_page():
    with override_settings(PGHISTORY_ADMIN_MODEL="pghistory.MiddlewareEvents"):
        assert config.model() is pghistory.models.MiddlewareEvents
        assert config.queryset().filter(user=root.pk).exists()
    with override_settings(PGHISTORY_ADMIN_CLASS="shop.admin.Mine"):
        assert config.admin_class() is Mine
    assert config.admin_class() is EventsAdmin

def test_count_stops_at_the_limit():
    from pgmagic.pghistory.admin import counting
    counting.LIMIT = 2
    try:
        assert "2+ " in page(POSTS) and "2+ " in page(ALL)
        with CaptureQueriesContext(connection, ) as queries:
            page(POSTS)
        counts = [query["sql"] for query in queries if "COUNT(" in query["sql"]]
        assert counts and all("LIMIT 3" in sql for sql in counts), counts
    finally:
        counting.LIMIT = 10_000

def test_middleware_records_who_changed_an_object_in_the_admin():
    author = Author.objects.create(name="B")
    client.force_login(root)
    client.post("/admin/shop/post/add/", {"title": "by hand", "author": author.pk})
    event = PostEvent.objects.get(title="by hand")
    assert event.pgh_context.metadata == {"user": root.pk, "url": "/admin/shop/post/add/"}

import pgmagic.pghistory.models
pghistory.models = pgmagic.pghistory.models
import traceback
for name, check in [(name, found) for name, found in globals().items() if name.startswith("test_")]:
    try:
        check()
    except Exception:
        print("FAILED", name)
        traceback.print_exc()
    else:
        print("passed", name)
"""


def test_pages(project: Project) -> None:
    project.models(MODELS)
    project.write("shop/admin.py", ADMIN)
    project.write("urls.py", URLS)
    with (project.folder / "project_settings.py").open("a", encoding="utf-8") as file:
        file.write(SETTINGS)
    said = project.python(SCRIPT)
    assert "FAILED" not in said, said
    assert said.count("passed") == SCRIPT.count("\ndef test_")
