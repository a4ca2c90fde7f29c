"""Compatibility: what projects import from django-pghistory's module of this name, its private names included.

New code opens a context with `pghistory.context`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from pgmagic.db.runtime.context import Context, Metadata, context, open_context, replace_context

__all__ = ["Context", "context"]


class _Tracker:
    """The context that is open in this thread or async task, as an attribute that exists while one is open.

    Setting it opens a context whose id is known, as a worker does that goes on with the context of a request; it lasts
    until it is deleted.
    """

    @property
    def value(self) -> Context:
        opened = open_context()
        if opened is None:
            raise AttributeError("No context is open: `with pghistory.context(...)` opens one.")
        return opened

    @value.setter
    def value(self, given: Any) -> None:
        replace_context(Context(uuid.UUID(str(given.id)), Metadata(given.metadata)))

    @value.deleter
    def value(self) -> None:
        # Raises AttributeError without one, as an attribute does.
        _ = self.value
        replace_context(None)


_tracker = _Tracker()


def _inject_history_context(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
    """Execute a statement as it is: every connection carries the open context already.

    Projects put upstream's function of this name around statements, by `connection.execute_wrapper`, or look for it.
    """
    return execute(sql, params, many, context)
