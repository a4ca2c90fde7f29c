"""State machines, and rows that are frozen in a state."""

from __future__ import annotations

from django.db import models

from pgmagic import pgtrigger
from tests.recipes.conftest import copy, raw, rejected


def test_state_machine(cell):
    with cell():

        class Post(models.Model):
            class Status(models.TextChoices):
                DRAFT = "draft"
                REVIEW = "in review"
                PUBLISHED = "published"

            status = models.CharField(max_length=20, choices=Status, default=Status.DRAFT)
            title = models.TextField(default="")

            class Meta:
                triggers = [
                    pgtrigger.FSM(
                        name="status",
                        field="status",
                        transitions=[
                            ("draft", "in review"),
                            ("in review", "draft"),
                            ("in review", "published"),
                        ],
                    ),
                ]

    post = Post.objects.create()
    Post.objects.bulk_create([Post(), Post(status=Post.Status.REVIEW)])
    for change in (
        lambda: Post.objects.filter(pk=post.pk).update(status="published"),
        lambda: Post.objects.update(status="published"),
        lambda: Post.objects.bulk_update([Post(pk=post.pk, status="published")], ["status"]),
        lambda: raw("UPDATE blog_post SET status = 'published' WHERE status = 'draft'"),
    ):
        with rejected(
            '^pgtrigger: Invalid transition of field "status" from "draft" to "published" on table blog_post'
        ):
            change()
    Post.objects.filter(status="draft").update(status=Post.Status.REVIEW)
    raw("UPDATE blog_post SET status = 'published', title = 'a'")
    Post.objects.update(title="b", status="published")
    post.refresh_from_db()
    post.status = Post.Status.DRAFT
    with rejected('from "published" to "draft"'):
        post.save()


def test_state_machine_with_first_states_and_conditions(cell):
    with cell():

        class Order(models.Model):
            state = models.IntegerField(null=True)
            paid = models.BooleanField(default=False)

            class Meta:
                triggers = [
                    pgtrigger.FSM(
                        name="state",
                        field="state",
                        initial=[None, 1],
                        transitions=[(None, 1), (1, 2, pgtrigger.Q(new__paid=True)), (2, None)],
                    ),
                ]

    order, _ = Order.objects.bulk_create([Order(state=1), Order()])
    for create in (
        lambda: Order.objects.create(state=2, paid=True),
        lambda: Order.objects.bulk_create([Order(), Order(state=2)]),
        lambda: copy(Order, ["state", "paid"], [(2, True)]),
    ):
        with rejected("Invalid"):
            create()
    with rejected('from "1" to "2"'):
        Order.objects.filter(state=1).update(state=2)
    order.state, order.paid = 2, True
    order.save()
    Order.objects.filter(state=2).update(state=None)
    with rejected('from "NULL" to "2"'):
        Order.objects.update(state=2, paid=True)


def test_published_posts_are_frozen(cell):
    with cell():

        class Post(models.Model):
            status = models.CharField(max_length=20, default="draft")
            text = models.TextField(default="")

            class Meta:
                triggers = [
                    pgtrigger.Protect(
                        name="freeze",
                        operation=pgtrigger.Update | pgtrigger.Delete,
                        condition=pgtrigger.Q(old__status="published"),
                    ),
                ]

    post, draft = Post.objects.bulk_create([Post(), Post()])
    post.text, post.status = "final", "published"
    post.save()
    post.text = "changed"
    for change in (
        post.save,
        post.delete,
        Post.objects.all().delete,
        lambda: Post.objects.update(text="changed"),
        lambda: Post.objects.bulk_update([post, draft], ["text"]),
        lambda: raw("UPDATE blog_post SET status = 'draft'"),
    ):
        with rejected("Cannot update or delete rows from blog_post table"):
            change()
    draft.text = "still open"
    draft.save()
    draft.delete()
    assert Post.objects.get().text == "final"


def test_published_posts_are_frozen_except_into_inactive(cell):
    with cell():

        class Post(models.Model):
            status = models.CharField(max_length=20, default="draft")
            text = models.TextField(default="")

            class Meta:
                triggers = [
                    pgtrigger.Protect(
                        name="freeze",
                        operation=pgtrigger.Update,
                        condition=pgtrigger.Q(old__status="published")
                        & (pgtrigger.AnyChange(exclude=["status"]) | ~pgtrigger.Q(new__status="inactive")),
                    ),
                ]

    posts = Post.objects.bulk_create([Post(status="published", text="a"), Post(status="published", text="b")])
    for change in (
        lambda: Post.objects.update(text="changed"),
        lambda: Post.objects.update(status="draft"),
        lambda: Post.objects.update(status="inactive", text="changed"),
        lambda: raw("UPDATE blog_post SET status = 'inactive', text = text || '!' WHERE text = 'b'"),
        posts[0].save,
    ):
        with rejected("Cannot update rows from blog_post table"):
            change()
    posts[0].status = "inactive"
    posts[0].save()
    raw("UPDATE blog_post SET status = 'inactive'")
    assert list(Post.objects.order_by("pk").values_list("status", "text")) == [
        ("inactive", "a"),
        ("inactive", "b"),
    ]
