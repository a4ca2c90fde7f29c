"""The fixtures of `tests.history_support`."""

from tests.history_support import declared_here, history, history_schema, post, settings_with  # noqa: F401
