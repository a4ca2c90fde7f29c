"""Models that are declared but never installed."""

from __future__ import annotations

from django.db import models


class Shelf(models.Model):
    """What a book stands on."""

    label = models.TextField()

    class Meta:
        app_label = "rooms"


class Book(models.Model):
    """A table with one field of each kind that conditions treat differently."""

    title = models.CharField(max_length=100)
    isbn = models.CharField(max_length=20, db_column="Isbn No")
    pages = models.IntegerField(null=True)
    price = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    printed = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    length = models.DurationField(null=True)
    code = models.UUIDField(null=True)
    data = models.JSONField(null=True)
    raw = models.BinaryField(null=True)
    good = models.BooleanField(default=True)
    ratio = models.FloatField(null=True)
    order = models.IntegerField(default=0)
    shelf = models.ForeignKey(Shelf, models.CASCADE, null=True)
    created = models.DateTimeField(auto_now_add=True)
    updated = models.DateTimeField(auto_now=True)
    doubled = models.GeneratedField(
        expression=models.F("order") * 2, output_field=models.IntegerField(), db_persist=True
    )
    readers = models.ManyToManyField(Shelf, related_name="read")

    class Meta:
        app_label = "rooms"


class Novel(Book):
    """A child with a table of its own."""

    plot = models.TextField()

    class Meta:
        app_label = "rooms"
