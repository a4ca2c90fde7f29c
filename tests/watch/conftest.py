"""A schema in which models are declared and installed, and its two tables."""

from tests.db.conftest import execute, live  # noqa: F401
