"""One transaction in which Django's connection behaves as it does in autocommit.

Django must not know of the outer transaction. In an `atomic` block, `save()` would mark the whole block as broken at
the first rejection, `atomic(durable=True)` would refuse to start, and `select_for_update()` would not be refused
outside of the user's own blocks. So the connection stays in autocommit, and one savepoint stands for the transaction of
an ordinary cell: it is renewed before each statement, or before the first statement of the user's outermost `atomic`
block. Renewing the savepoint is the COMMIT of an ordinary cell, rolling back to it is the ROLLBACK.

Source: https://www.postgresql.org/docs/current/sql-savepoint.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TypeAlias

import psycopg
from django.db import ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from pgmagic.db.driver import driver_connection
from pgmagic.db.driver_private import ConnectionLock, replace_lock
from pgmagic.db.runtime.session_settings import ServerSession
from pgmagic.errors import CellError, DatabaseUnavailableError

_SET = b"SAVEPOINT pgmagic_cell"
_RENEW = b"RELEASE SAVEPOINT pgmagic_cell; SAVEPOINT pgmagic_cell"
RENEWAL = f"\n;{_RENEW.decode()}"
"""To be appended to a statement, on a line of its own: the server shows the line in which an error is."""
_UNDO = b"ROLLBACK TO SAVEPOINT pgmagic_cell"

LOST = "The database connection was lost while the cell ran: nothing of it was kept."

Hook: TypeAlias = tuple[set[str], Callable[[], object], bool]
"""Savepoints, function and `robust`, as Django keeps a hook of `transaction.on_commit`."""


class EmulatedAutocommit:
    """A connection's savepoint that stands for a transaction, and whether the user's own transaction is under way.

    before_undo: called before a transaction of the user's that is not in error is rolled back.
    on_undo: called after everything since the savepoint was rolled back.
    hooks: the functions given to `transaction.on_commit`, to be run after the cell is committed.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.raw = driver_connection(connection)
        self.before_undo: Callable[[], None] = lambda: None
        self.on_undo: Callable[[], None] = lambda: None
        self.hooks: list[Hook] = []
        self.autocommit = True
        self.in_block = False
        # How many blocks of psycopg's own `transaction()` the cell is in.
        self.raw_blocks = 0
        self._is_set = False
        self._lock: _Settling | None = None
        # is_new: the savepoint was renewed after the last statement. Nothing that is to outlive a rejected statement
        # may be written in between. _is_waiting: the server has not answered to that yet.
        self.is_new = False
        self._is_waiting = False

    @property
    def status(self) -> TransactionStatus:
        """The state of the real transaction."""
        self.settle()
        return TransactionStatus(self.raw.info.transaction_status)

    @property
    def is_between(self) -> bool:
        """Whether no transaction of the user's has begun, so that each statement is a transaction by itself."""
        return not (self.in_block or self.raw_blocks)

    def before_statement(self) -> None:
        """Renew the savepoint. Not to be called in a transaction of the user's."""
        if not self.is_new:
            self._execute(_RENEW if self._is_set else _SET)
        self._is_set = True
        self.is_new = False
        self.in_block = not self.autocommit

    def renew_ahead(self) -> bool:
        """Renew the savepoint after a statement, without waiting for the server; return whether that is done.

        The server does it while Python prepares the next statement, which saves a round trip for each statement.
        """
        if self.is_between and self._is_set and not self.is_new:
            try:
                self.raw.pgconn.send_query(_RENEW)
                self.raw.pgconn.flush()
            except psycopg.OperationalError:
                # For example in pipeline mode: the savepoint is renewed before the next statement.
                return False
            self._is_waiting = self.is_new = True
        return self.is_new

    def renew_now(self) -> bool:
        """Renew the savepoint after a statement, and wait for the server; return whether that is done."""
        if self.is_between and self._is_set and not self.is_new:
            self._execute(_RENEW)
            self.is_new = True
        return self.is_new

    def settle(self) -> None:
        """Read the server's answer to the renewal of the savepoint, which every other command has to follow."""
        if not self._is_waiting:
            return
        self._is_waiting = False
        if self.raw.closed:
            return
        message = b""
        while (result := self.raw.pgconn.get_result()) is not None:
            message = message or result.error_message
        self._check(message)

    def abandon_unfinished(self) -> bool:
        """Close the connection if a command is unfinished, such as a COPY, after which ROLLBACK cannot be sent.

        Returns:
            Whether it was closed. The lock that the command holds is given up with the connection.
        """
        self.settle()
        if self.raw.closed or self.raw.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return False
        self.raw.close()
        if self._lock is not None:
            self._lock.inner = threading.Lock()
        return True

    def after_error(self) -> None:
        """Roll back the failed statement, unless the user's own transaction has to end first."""
        if self.is_between:
            self.undo()

    def undo(self) -> None:
        """Roll back to the savepoint, which is kept."""
        if not self._is_set or self.raw.closed:
            return
        if self.status == TransactionStatus.INTRANS:
            self.before_undo()
        self._execute(_UNDO)
        forget_settings(self.connection)
        self.on_undo()

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Let the connection behave like this inside the block."""
        own = {
            "_set_autocommit": self.set_autocommit,
            "_commit": self.commit,
            "_rollback": self.rollback,
            "on_commit": self.on_commit,
            "run_and_clear_commit_hooks": self.keep_hooks,
        }
        before = {name: vars(self.connection).get(name) for name in own}
        vars(self.connection).update(own)
        lock = self._lock = _Settling(self.raw.lock, self.settle)
        replace_lock(self.raw, lock)
        try:
            yield
        finally:
            replace_lock(self.raw, lock.inner)
            for name, value in before.items():
                if value is None:
                    del vars(self.connection)[name]
                else:
                    vars(self.connection)[name] = value

    def check_closed(self) -> None:
        """Check that no transaction of the user's own is left open.

        Raises:
            CellError: if one is open.
        """
        if self.connection.in_atomic_block or not self.autocommit:
            raise CellError(
                "The cell left a transaction open - an atomic block inside a generator, or set_autocommit(False) - "
                "so nothing of it was kept: close it in the same cell."
            )

    def _execute(self, command: bytes) -> None:
        # Sent by libpq: this happens before every statement, and a cursor would take twice the time.
        self.settle()
        self.is_new = False
        self._check(self.raw.pgconn.exec_(command).error_message)

    def _check(self, message: bytes) -> None:
        if self.raw.closed:
            raise DatabaseUnavailableError(LOST)
        if message:
            line = message.decode(errors="replace").splitlines()[0]
            raise CellError(f"The cell's transaction cannot go on ({line}): nothing of it was kept.")

    # What Django calls.

    def set_autocommit(self, autocommit: bool) -> None:
        """Note whether the user's statements are in autocommit."""
        if autocommit and self.in_block:
            raise ProgrammingError("can't change 'autocommit' now: a transaction is in progress")
        self.autocommit = autocommit

    def commit(self) -> None:
        """End the user's transaction."""
        if self.in_block and self.status == TransactionStatus.INERROR:
            # Postgres rolls back at the COMMIT of a transaction in error.
            self.undo()
        self.in_block = False

    def rollback(self) -> None:
        """Roll back the user's transaction."""
        if self.in_block:
            self.undo()
        self.in_block = False

    def on_commit(self, func: Callable[[], object], robust: bool = False) -> None:
        """Keep a hook until the cell is committed."""
        connection = self.connection
        if not callable(func):
            raise TypeError("on_commit()'s callback must be a callable.")
        if connection.in_atomic_block:
            # The stubs know hooks without their third part.
            hook: Hook = (set(connection.savepoint_ids), func, robust)
            connection.run_on_commit.append(hook)  # type: ignore[arg-type]
        else:
            self.hooks.append((set(), func, robust))

    def keep_hooks(self) -> None:
        """Keep the hooks of a transaction of the user's that is committed."""
        self.hooks += self.connection.run_on_commit  # type: ignore[arg-type]
        self.connection.run_on_commit = []


class _Settling:
    """The lock of a psycopg connection: a thread that has taken it finds no command of pgmagic's under way.

    psycopg sends everything under this lock, also for a server-side cursor or past Django.
    """

    def __init__(self, lock: ConnectionLock, settle: Callable[[], None]) -> None:
        self.inner = lock
        self.settle = settle
        # Those taken: an abandoned COPY gives back the lock that it took, long after another has come in its place.
        self._taken: list[ConnectionLock] = []

    def __enter__(self) -> None:
        self.inner.__enter__()
        self._taken.append(self.inner)
        try:
            self.settle()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._taken.pop().__exit__(kind, error, traceback)

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def forget_settings(connection: BaseDatabaseWrapper) -> None:
    """Assume nothing about the session's settings: a rollback has taken them back."""
    for wrapper in connection.execute_wrappers:
        if isinstance(wrapper, ServerSession):
            wrapper.forget()


def reset_transaction_state(connection: BaseDatabaseWrapper) -> None:
    """Let Django see the connection as in autocommit, outside of every block."""
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.closed_in_transaction = False
    connection.autocommit = True
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
