"""Statements that go past Django's cursors: those of `connection.connection`, the connection of psycopg itself.

Source: https://www.psycopg.org/psycopg3/docs/advanced/typing.html (cursor_factory)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import psycopg
from psycopg.pq import ExecStatus

Finish = Callable[[Any, bool], None]


class Guard(Protocol):
    """Who guards what goes past Django.

    is_guarding: a statement is under way; what it makes psycopg execute is a part of it.
    """

    is_guarding: bool

    def guarded_past_django(self, statement: Any) -> AbstractContextManager[Finish | None]:
        """Return a block for the execution of a statement."""

    def note_copy(self, cursor: Any, *, writes: bool) -> None:
        """Correct what was noted of a COPY, which has no rows in its answer."""

    def block_past_django(self) -> AbstractContextManager[None]:
        """Return a block that stands for a transaction of the user's."""


@contextmanager
def watched_cursors(raw: Any, guard: Guard) -> Iterator[None]:
    """Let every cursor that a psycopg connection makes inside the block pass through the guard.

    Those of Django's are among them, and guarded already. pgmagic's own come from `unwatched`.
    """
    factories = {name: getattr(raw, name) for name in ("cursor_factory", "server_cursor_factory")}
    transaction = raw.transaction
    for name, factory in factories.items():
        setattr(raw, name, _watched(factory, guard))
    raw.transaction = _watched_transaction(transaction, guard)
    try:
        yield
    finally:
        raw.transaction = transaction
        for name, factory in factories.items():
            setattr(raw, name, factory)


def unwatched(raw: Any) -> Any:
    """Return a cursor for statements of pgmagic's own."""
    return psycopg.Cursor(raw)


def is_copied_in(cursor: Any) -> bool:
    """Return whether the COPY that a psycopg cursor has begun writes rows."""
    return cursor.pgresult is None or cursor.pgresult.status == ExecStatus.COPY_IN


def _watched_transaction(transaction: Callable[..., Any], guard: Guard) -> Callable[..., Any]:
    @contextmanager
    def watched(savepoint_name: str | None = None, force_rollback: bool = False) -> Iterator[Any]:
        block = transaction(savepoint_name, force_rollback)
        try:
            with guard.block_past_django():
                with block as entered:
                    try:
                        yield entered
                    except psycopg.Rollback as rollback:
                        # psycopg keeps it from going on; that the rows are gone has to be known all the same.
                        if rollback.transaction not in (None, block):
                            raise
                        force_rollback = True
                        raise
                if force_rollback:
                    raise _RolledBack
        except _RolledBack:
            pass

    return watched


class _RolledBack(Exception):  # noqa: N818 - it leaves a block, and is no error
    """Tells the guard that a block was rolled back without an exception."""


def _watched(base: Any, guard: Guard) -> type[Any]:
    """Return a class of cursors whose statements pass through the guard."""

    class Watched(base):  # type: ignore[misc]
        def execute(self, query: Any, params: Any = None, **options: Any) -> Any:
            if guard.is_guarding:
                super().execute(query, params, **options)
                return self
            with guard.guarded_past_django(query) as finish:
                super().execute(query, params, **options)
                if finish is not None:
                    finish(self, False)
            return self

        def executemany(self, query: Any, params_seq: Any, **options: Any) -> None:
            with guard.guarded_past_django(query) as finish:
                super().executemany(query, params_seq, **options)
                if finish is not None:
                    finish(self, True)

        def stream(self, query: Any, params: Any = None, **options: Any) -> Iterator[Any]:
            with guard.guarded_past_django(query) as finish:
                yield from super().stream(query, params, **options)
                if finish is not None:
                    finish(self, False)

        @contextmanager
        def copy(self, statement: Any, params: Any = None, **options: Any) -> Iterator[Any]:
            with guard.guarded_past_django(statement) as finish:
                with super().copy(statement, params, **options) as copy:
                    writes = is_copied_in(self)
                    yield copy
                if finish is not None:
                    finish(self, False)
                    guard.note_copy(self, writes=writes)

    return Watched
