"""Rows that are marked instead of deleted, behind one manager that hides them and one that shows all."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from pgmagic import pgtrigger
from tests.recipes.conftest import raw


def test_soft_delete_with_two_managers(cell):
    class Present(models.Manager):
        """The rows that nobody deleted."""

        def get_queryset(self):
            return super().get_queryset().filter(is_active=True)

    with cell():

        class Page(models.Model):
            title = models.TextField()
            is_active = models.BooleanField(default=True)

            objects = Present()
            all_objects = models.Manager()

            class Meta:
                # What the admin, relations and `refresh_from_db` use: nothing is hidden from these.
                base_manager_name = "all_objects"
                triggers = [pgtrigger.SoftDelete(name="soft_delete", field="is_active", value=False)]

    pages = Page.objects.bulk_create([Page(title=title) for title in "abcd"])
    pages[0].delete()
    Page.objects.filter(title="b").delete()
    raw("DELETE FROM blog_page WHERE title = 'c'")
    assert [page.title for page in Page.objects.all()] == ["d"]
    assert "".join(Page.all_objects.order_by("pk").values_list("title", flat=True)) == "abcd"

    # Gone for good, on purpose.
    with pgtrigger.ignore("blog.Page:soft_delete"):
        Page.all_objects.filter(is_active=False).delete()
    assert Page.all_objects.count() == 1


def test_soft_delete_with_the_time_of_the_delete(cell):
    with cell():

        class Page(models.Model):
            title = models.TextField()
            deleted_at = models.DateTimeField(null=True, db_column="Deleted at")

            class Meta:
                triggers = [
                    pgtrigger.SoftDelete(
                        name="soft_delete",
                        field="deleted_at",
                        value=Now(),
                        # Whoever deletes it again leaves the first time alone.
                        condition=pgtrigger.Q(old__deleted_at__isnull=True),
                    ),
                ]

    page = Page.objects.create(title="a")
    Page.objects.filter(pk=page.pk).delete()
    page.refresh_from_db()
    assert page.deleted_at is not None
    page.delete()
    assert not Page.objects.exists()


def test_soft_delete_leaves_the_rows_that_refer_to_it(cell):
    """Django's cascade deletes the rows that refer to a page before the page itself: so they need a trigger, too."""
    with cell():

        class Page(models.Model):
            state = models.CharField(max_length=10, default="there")

            class Meta:
                triggers = [pgtrigger.SoftDelete(name="soft_delete", field="state", value="o'ver")]

        class Remark(models.Model):
            page = models.ForeignKey(Page, models.CASCADE)
            state = models.CharField(max_length=10, default="there")

            class Meta:
                triggers = [pgtrigger.SoftDelete(name="soft_delete", field="state", value="o'ver")]

    page = Page.objects.create()
    Remark.objects.create(page=page)
    page.delete()
    assert [*Page.objects.values_list("state"), *Remark.objects.values_list("state")] == [("o'ver",)] * 2
