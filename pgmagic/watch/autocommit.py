"""One transaction in which Django's connection behaves as it does in autocommit.

Django must not know of the outer transaction: in a block of its own, `save()` would mark the whole block as broken at
the first rejection, `atomic(durable=True)` would refuse to start, and a row could not be locked only inside `atomic`.
So the connection stays in autocommit, and one savepoint stands for what is a transaction in an ordinary cell: it is
renewed before each statement, or before the first one of the user's outermost `atomic` block. Renewing it is the
COMMIT of an ordinary cell, rolling back to it is the ROLLBACK.

Source: https://www.postgresql.org/docs/current/sql-savepoint.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from django.db import ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from pgmagic.db.driver_private import replace_lock
from pgmagic.db.runtime.session_settings import ServerSession
from pgmagic.errors import CellError, DatabaseUnavailableError

_SET = b"SAVEPOINT pgmagic_cell"
_RENEW = b"RELEASE SAVEPOINT pgmagic_cell; SAVEPOINT pgmagic_cell"
RENEWAL = f"\n;{_RENEW.decode()}"
"""To be appended to a statement, on a line of its own: what the server shows of an error is the statement's line."""
_UNDO = b"ROLLBACK TO SAVEPOINT pgmagic_cell"

LOST = "The database connection was lost while the cell ran: nothing of it was kept."

Hook = tuple[set[str], Callable[[], Any], bool]


class EmulatedAutocommit:
    """A connection's savepoint that stands for a transaction, and whether the user's own transaction is under way.

    before_undo: called before a transaction of the user's that is not in error is rolled back.
    on_undo: called after everything since the savepoint was rolled back.
    hooks: what `transaction.on_commit` was given, to be run once the cell is committed.
    """

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.raw: Any = connection.connection
        self.before_undo: Callable[[], None] = lambda: None
        self.on_undo: Callable[[], None] = lambda: None
        self.hooks: list[Hook] = []
        self.autocommit = True
        self.in_block = False
        # How many blocks of psycopg's own, `raw.transaction()`, the cell is in.
        self.raw_blocks = 0
        self._is_set = False
        # The savepoint was renewed behind the last statement; and the server has not answered yet. Nothing that is to
        # outlive a rejected statement may be written between.
        self.is_new = False
        self._is_waiting = False

    @property
    def status(self) -> TransactionStatus:
        """The state of the real transaction."""
        self.settle()
        return TransactionStatus(self.raw.info.transaction_status)

    @property
    def is_between(self) -> bool:
        """Whether no transaction of the user's has begun: each statement is one by itself."""
        return not (self.in_block or self.raw_blocks)

    def before_statement(self) -> None:
        """Renew the savepoint; to be called unless a transaction of the user's has begun."""
        if not self.is_new:
            self._execute(_RENEW if self._is_set else _SET)
        self._is_set = True
        self.is_new = False
        self.in_block = not self.autocommit

    def renew_ahead(self) -> bool:
        """Have the savepoint renewed behind a statement, without waiting for the server; return whether that is done.

        While Python prepares the next statement, the server has the time to: a round trip less for each.
        """
        self.is_new = self.is_new or (self.is_between and self._is_set and self._send(_RENEW))
        return self.is_new

    def renew_now(self) -> bool:
        """Have the savepoint renewed behind a statement, and wait for that; return whether that is done."""
        if self.is_between and self._is_set and not self.is_new:
            self._execute(_RENEW)
            self.is_new = True
        return self.is_new

    def settle(self) -> None:
        """Take the server's answer to the renewal of the savepoint; everybody else's next command comes behind it."""
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
        """Close the connection if a command is unfinished, a COPY say, behind which no ROLLBACK would get through.

        Returns:
            Whether it did. The lock that the command holds is given up with the connection.
        """
        self.settle()
        if self.raw.closed or self.raw.pgconn.transaction_status != TransactionStatus.ACTIVE:
            return False
        self.raw.close()
        self.raw.lock.inner = threading.Lock()
        return True

    def _send(self, command: bytes) -> bool:
        try:
            self.raw.pgconn.send_query(command)
            self.raw.pgconn.flush()
        except psycopg.OperationalError:
            # A connection in pipeline mode, say: the savepoint is renewed before the next statement.
            return False
        self._is_waiting = True
        return True

    def after_error(self) -> None:
        """Roll the failed statement back, unless the user's own transaction has to end first."""
        if self.is_between:
            self.undo()

    def undo(self) -> None:
        """Roll back to the savepoint, which stays."""
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
            "_set_autocommit": self._set_autocommit,
            "_commit": self._commit,
            "_rollback": self._rollback,
            "on_commit": self._on_commit,
            "run_and_clear_commit_hooks": self._keep_hooks,
        }
        before = {name: vars(self.connection).get(name) for name in own}
        vars(self.connection).update(own)
        lock = _Settling(self.raw.lock, self.settle)
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
            CellError: one is.
        """
        if self.connection.in_atomic_block or not self.autocommit:
            raise CellError(
                "The cell left a transaction open - an atomic block inside a generator, or set_autocommit(False) - "
                "so nothing of it was kept: close it in the same cell."
            )

    def _execute(self, command: bytes) -> None:
        # Straight to libpq: this happens before every statement, and a cursor would take twice the time.
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

    def _set_autocommit(self, autocommit: bool) -> None:
        if autocommit and self.in_block:
            raise ProgrammingError("can't change 'autocommit' now: a transaction is in progress")
        self.autocommit = autocommit

    def _commit(self) -> None:
        if self.in_block and self.status == TransactionStatus.INERROR:
            # What Postgres makes of the COMMIT of a transaction in error.
            self.undo()
        self.in_block = False

    def _rollback(self) -> None:
        if self.in_block:
            self.undo()
        self.in_block = False

    def _on_commit(self, func: Callable[[], Any], robust: bool = False) -> None:
        connection: Any = self.connection
        if not callable(func):
            raise TypeError("on_commit()'s callback must be a callable.")
        if connection.in_atomic_block:
            connection.run_on_commit.append((set(connection.savepoint_ids), func, robust))
        else:
            self.hooks.append((set(), func, robust))

    def _keep_hooks(self) -> None:
        connection: Any = self.connection
        self.hooks += connection.run_on_commit
        connection.run_on_commit = []


class _Settling:
    """The lock of a psycopg connection: whoever takes it finds no command of ours under way.

    Whatever psycopg sends, also for a server-side cursor or past Django, it sends under this lock.
    """

    def __init__(self, lock: Any, settle: Callable[[], None]) -> None:
        self.inner = lock
        self.settle = settle
        # Those taken: an abandoned COPY gives back the one that it took, long after another has come in its place.
        self._taken: list[Any] = []

    def __enter__(self) -> None:
        self.inner.acquire()
        self._taken.append(self.inner)
        try:
            self.settle()
        except BaseException:
            self._taken.pop().release()
            raise

    def __exit__(self, *error: object) -> None:
        self._taken.pop().release()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def forget_settings(connection: BaseDatabaseWrapper) -> None:
    """Take nothing for granted about the session's settings: a rollback has taken them back."""
    for wrapper in connection.execute_wrappers:
        if isinstance(wrapper, ServerSession):
            wrapper.forget()


def reset_transaction_state(connection: Any) -> None:
    """Let Django take the connection for one in autocommit, outside of every block."""
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.closed_in_transaction = False
    connection.autocommit = True
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
