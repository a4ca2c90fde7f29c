"""Cursors of psycopg itself: those of the user's code, `connection.connection.cursor()`, and pgmagic's own.

Source: https://www.psycopg.org/psycopg3/docs/advanced/typing.html (cursor_factory)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

import psycopg
from psycopg.pq import ExecStatus

from pgmagic.db.driver import DriverConnection, DriverCursor

if TYPE_CHECKING:
    from psycopg.abc import Params, Query
    from psycopg.rows import TupleRow

    class OwnCursor(psycopg.Cursor[TupleRow]):
        """A cursor for SQL that pgmagic composes: it also takes text that is not a literal."""

        def execute(  # noqa: D102
            self,
            query: Query | str,
            params: Params | None = None,
            *,
            prepare: bool | None = None,
            binary: bool | None = None,
        ) -> Self: ...


Finish = Callable[[DriverCursor, bool], None]
Transactions = Callable[[str | None, bool], AbstractContextManager[psycopg.Transaction]]


class Guard(Protocol):
    """What guards statements that do not pass through Django.

    is_guarding: a statement is under way; what it makes psycopg execute is a part of it.
    """

    is_guarding: bool

    def guarded_past_django(self, statement: Query) -> AbstractContextManager[Finish | None]:
        """Return a block for the execution of a statement."""

    def note_copy(self, cursor: DriverCursor, *, writes: bool) -> None:
        """Correct what was noted of a COPY, which has no rows in its answer."""

    def block_past_django(self) -> AbstractContextManager[None]:
        """Return a block that stands for a transaction of the user's."""


def unwatched(raw: DriverConnection) -> OwnCursor:
    """Return a cursor for pgmagic's own statements, which are not recorded."""
    return cast("OwnCursor", psycopg.Cursor(raw))


@contextmanager
def watched_cursors(raw: DriverConnection, guard: Guard) -> Iterator[None]:
    """Let every cursor that a psycopg connection makes inside the block pass through the guard.

    Django's cursors are among them, and guarded already. pgmagic's own come from `unwatched`.
    """
    factories = {name: getattr(raw, name) for name in ("cursor_factory", "server_cursor_factory")}
    transaction: Transactions = raw.transaction
    for name, factory in factories.items():
        setattr(raw, name, _watched(factory, guard))
    raw.transaction = _watched_transaction(transaction, guard)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        raw.transaction = transaction  # type: ignore[method-assign, assignment]
        for name, factory in factories.items():
            setattr(raw, name, factory)


def is_copied_in(cursor: DriverCursor) -> bool:
    """Return whether the COPY that a psycopg cursor has begun writes rows."""
    return cursor.pgresult is None or cursor.pgresult.status == ExecStatus.COPY_IN


def _watched_transaction(transaction: Transactions, guard: Guard) -> Transactions:
    @contextmanager
    def watched(savepoint_name: str | None = None, force_rollback: bool = False) -> Iterator[psycopg.Transaction]:
        block = transaction(savepoint_name, force_rollback)
        try:
            with guard.block_past_django():
                with block as entered:
                    try:
                        yield entered
                    except psycopg.Rollback as rollback:
                        # psycopg ends this exception at the block; the guard has to know all the same that the rows
                        # are gone.
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
    """Lets the guard know that a block was rolled back without an exception."""


def _watched(base: type[Any], guard: Guard) -> type[DriverCursor]:
    """Return a class of cursors whose statements pass through the guard."""

    class Watched(base):  # type: ignore[misc]
        def execute(self, query: Query, params: Params | None = None, **options: object) -> Self:
            if guard.is_guarding:
                super().execute(query, params, **options)
                return self
            with guard.guarded_past_django(query) as finish:
                super().execute(query, params, **options)
                if finish is not None:
                    finish(self, False)
            return self

        def executemany(self, query: Query, params_seq: Iterable[Params], **options: object) -> None:
            with guard.guarded_past_django(query) as finish:
                super().executemany(query, params_seq, **options)
                if finish is not None:
                    finish(self, True)

        def stream(self, query: Query, params: Params | None = None, **options: object) -> Iterator[TupleRow]:
            with guard.guarded_past_django(query) as finish:
                yield from super().stream(query, params, **options)
                if finish is not None:
                    finish(self, False)

        @contextmanager
        def copy(self, statement: Query, params: Params | None = None, **options: object) -> Iterator[psycopg.Copy]:
            with guard.guarded_past_django(statement) as finish:
                with super().copy(statement, params, **options) as copy:
                    writes = is_copied_in(self)
                    yield copy
                if finish is not None:
                    finish(self, False)
                    guard.note_copy(self, writes=writes)

    return Watched
