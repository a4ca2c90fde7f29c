"""The configuration of the app, whose label is that of the models."""

from django.apps import AppConfig


class TrackedConfig(AppConfig):
    """An app without migrations: its tables are made by hand."""

    name = "tracked"
    label = "bench"
