"""A schema in which models are declared and installed."""

from tests.db.conftest import live  # noqa: F401
