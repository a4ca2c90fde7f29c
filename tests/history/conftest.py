"""The fixtures of `tests.history_support`, and those of a live schema."""

from tests.db.conftest import live  # noqa: F401
from tests.history_support import declared_here, history, history_schema, post, settings_with  # noqa: F401
