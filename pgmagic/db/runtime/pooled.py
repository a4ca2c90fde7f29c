"""A session behind a pooler in transaction mode, which may give every transaction another server session.

So nothing may last on the server, and nothing that was told outlives its transaction. In a transaction the settings
are told for the rest of it, before its first statement that needs them. In autocommit a statement and its settings are
made one transaction: that is the only way to be sure that both reach the same server session.

Source: https://www.pgbouncer.org/features.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, LiteralString

from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from pgmagic.db.runtime.session_settings import Carried, ServerSession

# What begins or ends a transaction of the user's own.
_TRANSACTION_WORDS = ("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT")


class PooledSession(ServerSession):
    """Tells every transaction what holds in it. In autocommit, psycopg's own cursors and COPY are not told."""

    def __call__(
        self, execute: Callable[..., Any], statement: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Execute the statement in a transaction that was told."""
        if self.is_quiet or self.status != TransactionStatus.IDLE:
            return super().__call__(execute, statement, params, many, context)
        self.memory.transaction_ended()
        needed = self.changed()
        if not needed or _is_transaction_control(statement):
            return super().__call__(execute, statement, params, many, context)
        if self.raw.autocommit:
            return self._execute_alone(needed, lambda: execute(statement, params, many, context), context)
        self._open_transaction(needed)
        return super().__call__(execute, statement, params, many, context)

    def _open_transaction(self, needed: list[tuple[Carried, str]]) -> None:
        """Tell the transaction that the next statement would begin; psycopg's own BEGIN knows its isolation level."""
        statements = [part.assign(part.name, value, True) for part, value in needed]
        with self.connection.wrap_database_errors, self.raw.cursor() as cursor:
            cursor.execute(sql.SQL("; ").join(statements))
        self._note(needed)

    def _execute_alone(
        self, needed: list[tuple[Carried, str]], execute: Callable[[], Any], context: dict[str, Any]
    ) -> Any:
        """Execute a statement in a transaction of its own, which is told what holds."""
        try:
            self._begin(needed)
            result = execute()
        except BaseException as error:
            self._end("ROLLBACK")
            if isinstance(error.__cause__, errors.ActiveSqlTransaction):
                # VACUUM, CREATE INDEX CONCURRENTLY and the like refuse before they do anything; none fires triggers.
                return execute()
            raise
        if (context["cursor"].statusmessage or "") not in ("BEGIN", "START TRANSACTION"):
            self._end("COMMIT")
        return result

    def _begin(self, needed: list[tuple[Carried, str]]) -> None:
        statements = [part.assign(part.name, value, True) for part, value in needed]
        self.execute_at_once(sql.SQL("; ").join([sql.SQL("BEGIN"), *statements]))
        self._note(needed)

    def _note(self, told: list[tuple[Carried, str]]) -> None:
        for part, value in told:
            self.memory.was_told(part.name, value, lasts=False)

    def _end(self, command: LiteralString) -> None:
        if not self.raw.closed and self.status != TransactionStatus.IDLE:
            self.execute_at_once(sql.SQL(command))
        self.memory.transaction_ended()

    def tell(self) -> None:
        """Tell a transaction that is open, or about to be opened by the statement that follows."""
        if self.status == TransactionStatus.INTRANS:
            super().tell()
        elif self.status == TransactionStatus.IDLE:
            self.memory.transaction_ended()
        else:
            self.memory.known = False


def _is_transaction_control(statement: Any) -> bool:
    return isinstance(statement, str) and statement.lstrip()[:8].upper().startswith(_TRANSACTION_WORDS)
