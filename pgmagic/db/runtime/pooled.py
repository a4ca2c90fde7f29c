"""A session that is reached through a pooler in transaction mode, which may change it with every transaction.

So no setting may last on the server, and none outlives its transaction. In a transaction the settings are sent before
the first statement that needs them, for the rest of the transaction. In autocommit a statement and its settings become
one transaction: only so both surely reach the same server session.

Source: https://www.pgbouncer.org/features.html
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, LiteralString

from psycopg import errors, sql
from psycopg.pq import TransactionStatus

from pgmagic.db.runtime.session_settings import Carried, Execute, ServerSession

# Statements by which the user begins or ends a transaction.
_TRANSACTION_WORDS = ("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT")


class PooledSession(ServerSession):
    """Sends every transaction its settings. In autocommit, psycopg's own cursors and COPY run without them."""

    def __call__(
        self, execute: Execute, statement: object, params: object, many: bool, context: Mapping[str, Any]
    ) -> object:
        """Execute the statement in a transaction that has the settings."""
        if self.is_quiet or self.status != TransactionStatus.IDLE:
            return super().__call__(execute, statement, params, many, context)
        self.memory.transaction_ended()
        needed = self.changed()
        begin = statement.lstrip()[:8].upper() if isinstance(statement, str) else ""
        if not needed or begin.startswith(_TRANSACTION_WORDS):
            return super().__call__(execute, statement, params, many, context)
        if self.raw.autocommit:
            return self._execute_alone(needed, lambda: execute(statement, params, many, context), context)
        # psycopg begins the transaction here, not before the next statement: its BEGIN has the isolation level.
        with self.connection.wrap_database_errors, self.raw.cursor() as cursor:
            cursor.execute(sql.SQL("; ").join(_assignments(needed)))
        self._note(needed)
        return super().__call__(execute, statement, params, many, context)

    def _execute_alone(
        self, needed: list[tuple[Carried, str]], execute: Callable[[], object], context: Mapping[str, Any]
    ) -> object:
        """Execute a statement in a transaction of its own, which has the settings."""
        try:
            self.execute_at_once(sql.SQL("; ").join([sql.SQL("BEGIN"), *_assignments(needed)]))
            self._note(needed)
            result = execute()
        except BaseException as error:
            self._end("ROLLBACK")
            if isinstance(error.__cause__, errors.ActiveSqlTransaction):
                # VACUUM, CREATE INDEX CONCURRENTLY and the like refuse before they do anything, and fire no triggers.
                return execute()
            raise
        if (context["cursor"].statusmessage or "") not in ("BEGIN", "START TRANSACTION"):
            self._end("COMMIT")
        return result

    def _note(self, sent: list[tuple[Carried, str]]) -> None:
        for part, value in sent:
            self.memory.note_sent(part.name, value, lasts=False)

    def _end(self, command: LiteralString) -> None:
        if not self.raw.closed and self.status != TransactionStatus.IDLE:
            self.execute_at_once(sql.SQL(command))
        self.memory.transaction_ended()

    def send(self) -> None:
        """Send the settings if a transaction is open; otherwise the next statement does."""
        if self.status == TransactionStatus.INTRANS:
            super().send()
        elif self.status == TransactionStatus.IDLE:
            self.memory.transaction_ended()
        else:
            self.memory.known = False


def _assignments(settings: list[tuple[Carried, str]]) -> list[sql.Composable]:
    return [part.assign(part.name, value, True) for part, value in settings]
