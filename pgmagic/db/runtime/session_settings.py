"""The settings by which each database session knows the state of this task.

What holds in a block - which triggers are ignored, which context is open, in which schemas names resolve - is kept in a
context variable; the server reads it from settings of the database session. The settings are sent when a block is
entered and left, and again before a statement or a COMMIT whenever this task's state differs from what was last sent on
the connection: two async tasks can share a connection, and a rollback takes a setting back. No statement is rewritten.

Outside a transaction a setting is made for the session, and lasts. Inside a transaction it is made for the rest of the
transaction: after its COMMIT or ROLLBACK the server has the lasting settings again, and nothing that was set inside can
outlive it. With a pooler in transaction mode nothing may last: see `pooled.py`.

Source: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET (set_config)
        https://www.postgresql.org/docs/current/sql-set.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias
from weakref import WeakKeyDictionary

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import OperationalError, sql
from psycopg.abc import AdaptContext
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

from pgmagic.db.driver import DriverConnection, driver_connection

# Statements after which the settings of a session may differ from those that were sent.
_FORGETTING = ("ROLLBACK", "ABORT", "COMMIT", "END", "RESET", "DISCARD", "PREPARE")
_LONGEST = max(map(len, _FORGETTING))

Assign = Callable[[str, str, bool], sql.Composable]
Execute: TypeAlias = Callable[..., object]
"""What Django gives an execute wrapper to call."""


class StatusCursor(AdaptContext, Protocol):
    """A cursor that knows the status of its last statement: of Django's, or of psycopg's own."""

    @property
    def statusmessage(self) -> str | None:
        """The command tag, such as `INSERT 0 1`."""


def assign_setting(name: str, value: str, local: bool) -> sql.Composable:
    """Return the statement that makes a setting; local: for the rest of the transaction."""
    return sql.SQL("SELECT set_config({}, {}, {})").format(name, value, local)


@dataclass(frozen=True)
class Carried:
    """A part of this task's state that the server reads from a setting.

    value: its present value for a database; an empty text if no block is open. assign: the statement that makes it.
    """

    name: str
    value: Callable[[str], str]
    assign: Assign = assign_setting


_carried: list[Carried] = []


def carry(*carried: Carried) -> None:
    """Send a part of this task's state to every database session from now on."""
    _carried.extend(carried)


@dataclass
class Memory:
    """The settings that were sent to one server session; kept for a psycopg connection, which a pool hands on.

    sent: the settings that it has now, if `known`. lasting: those that it has when no transaction is open, if
    `lasting_known`.
    """

    sent: dict[str, str] = field(default_factory=dict)
    lasting: dict[str, str] = field(default_factory=dict)
    known: bool = True
    lasting_known: bool = True

    def forget(self) -> None:
        """Send every setting again before the next statement."""
        self.known = self.lasting_known = False

    def transaction_ended(self) -> None:
        """Note that the settings of a transaction ended with it."""
        self.sent = dict(self.lasting)
        # Settings that end with the transaction cannot be left in an unknown state.
        self.known = self.lasting_known = self.lasting_known or not self.lasting

    def differs(self, name: str, value: str) -> bool:
        """Return whether the server may have another value than this one."""
        if self.known:
            # A setting that was never made reads as empty.
            return value != self.sent.get(name, "")
        return bool(value) or name in self.sent or name in self.lasting

    @property
    def is_empty(self) -> bool:
        """Whether the server has no setting of pgmagic's, and a savepoint can bring none back."""
        return not (self.sent or self.lasting) and self.known and self.lasting_known

    @property
    def is_settled(self) -> bool:
        """Whether the server keeps what was last sent when no transaction is open."""
        return self.lasting_known and self.sent == self.lasting

    def note_sending(self, names: Iterable[str], lasts: bool) -> None:
        """Note that settings are being sent: after an interrupt it is not known whether the server has them."""
        self.known = False
        self.lasting_known = self.lasting_known and not lasts
        for name in names:
            self.sent.setdefault(name, "")
            if lasts:
                self.lasting.setdefault(name, "")

    def note_sent(self, name: str, value: str, lasts: bool) -> None:
        """Note a value that was sent, and whether it lasts when the transaction ends."""
        self.sent[name] = value
        if lasts:
            self.lasting[name] = value

    def drop_empty(self) -> None:
        """Forget empty settings when no transaction is open: a setting that was never made reads the same."""
        self.lasting = {name: value for name, value in self.lasting.items() if value}
        self.sent = dict(self.lasting)


_memories: WeakKeyDictionary[DriverConnection, Memory] = WeakKeyDictionary()


class ServerSession:
    """An execute wrapper that sends a connection's server the settings that it does not have yet."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.raw = driver_connection(connection)
        self.memory = _memories.setdefault(self.raw, Memory())
        # A statement of Django's is running; its settings were sent.
        self.is_executing = False

    def __call__(
        self, execute: Execute, statement: object, params: object, many: bool, context: Mapping[str, Any]
    ) -> object:
        """Send the settings, then execute the statement."""
        if self.is_quiet:
            self.is_executing = True
            try:
                return execute(statement, params, many, context)
            finally:
                self.is_executing = False
        self.send()
        self.is_executing = True
        try:
            result = execute(statement, params, many, context)
        except BaseException:
            self.notice(statement, context["cursor"])
            raise
        finally:
            self.is_executing = False
        if self.notice(statement, context["cursor"]):
            # At once: a cursor that somebody makes of psycopg's classes by hand is not seen here.
            self.send()
        return result

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to send, and no setting that a statement could take back: the usual case."""
        if not self.memory.is_empty:
            return False
        alias = self.connection.alias
        for part in _carried:  # noqa: SIM110 - twice as fast as `any`, at every statement
            if part.value(alias):
                return False
        return True

    @property
    def status(self) -> int:
        """The state of the transaction on the server, as libpq knows it."""
        # A watched cell may have a command running, whose answer it takes here.
        settle = getattr(self.raw.lock, "settle", None)
        if settle is not None:
            settle()
        return int(self.raw.pgconn.transaction_status)

    def send(self) -> None:
        """Send the settings whose values differ from those that were last sent.

        In a transaction in error nothing can be sent; the next statement after its rollback does.
        """
        memory, status = self.memory, self.status
        if status == TransactionStatus.IDLE and not memory.is_settled:
            memory.transaction_ended()
        changed = self.changed()
        if not changed:
            return
        if status not in (TransactionStatus.IDLE, TransactionStatus.INTRANS):
            # In error, or in the middle of a COPY.
            memory.known = False
            return
        self._send(changed, lasts=status == TransactionStatus.IDLE)

    def changed(self) -> list[tuple[Carried, str]]:
        """Return the settings whose values differ from those that were sent."""
        alias, differs = self.connection.alias, self.memory.differs
        return [
            (part, value)
            for part, value in [(part, part.value(alias)) for part in _carried]
            if differs(part.name, value)
        ]

    def _send(self, changed: list[tuple[Carried, str]], *, lasts: bool) -> None:
        memory = self.memory
        statements = [part.assign(part.name, value, not lasts) for part, value in changed]
        memory.note_sending([part.name for part, _ in changed], lasts)
        self.execute_at_once(sql.SQL("; ").join(statements))
        for part, value in changed:
            memory.note_sent(part.name, value, lasts)
        memory.known = True
        if lasts:
            memory.lasting_known = True
            memory.drop_empty()

    def execute_at_once(self, statement: sql.Composable) -> None:
        """Execute statements without a cursor, and without the BEGIN that psycopg would put before them."""
        with self.connection.wrap_database_errors, self.raw.lock:
            result = self.raw.pgconn.exec_(statement.as_bytes(self.raw))
            if result.status in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
                return
            if self.raw.pgconn.status != ConnStatus.OK:
                raise OperationalError(self.raw.pgconn.get_error_message())
            raise error_from_result(result, encoding=self.raw.info.encoding)

    def forget(self) -> None:
        """Send every setting again: it is not known which ones the server has."""
        self.memory.forget()

    def notice(self, statement: object, cursor: StatusCursor) -> bool:
        """Return whether an executed statement may have changed the session's settings, and note it."""
        found = forgets(statement, cursor)
        if found:
            if isinstance(statement, str) and statement.startswith("ROLLBACK TO "):
                # Django's own: what lasts did not change.
                self.memory.known = False
            else:
                self.forget()
        return found

    def before_end(self) -> None:
        """Send the settings to deferred triggers, which fire at COMMIT."""
        if self.status == TransactionStatus.INTRANS:
            self.send()

    def after_end(self) -> None:
        """Send the settings at once after a transaction, whose end took back those that were made inside."""
        memory = self.memory
        if self.status != TransactionStatus.IDLE:
            # Interrupted: it may not have ended.
            memory.known = False
        elif not (memory.is_settled and memory.known):
            memory.transaction_ended()
            send_quietly(self)

    def after_block(self) -> None:
        """Send the settings after a block of psycopg's, which may have rolled back to its savepoint."""
        if self.status == TransactionStatus.IDLE:
            self.after_end()
        else:
            self.memory.known = False
            send_quietly(self)

    def leave(self) -> None:
        """Empty the settings before the connection goes back to a pool, where another user gets it."""
        memory = self.memory
        if not (any(memory.sent.values()) or any(memory.lasting.values())):
            return
        memory.forget()
        if self.status != TransactionStatus.IDLE:
            self.raw.rollback()
        names = {*memory.sent, *memory.lasting}
        self._send([(part, "") for part in _carried if part.name in names], lasts=True)


def forgets(statement: object, cursor: StatusCursor) -> bool:
    """Return whether a statement that was executed may have changed the settings of the session."""
    text = (statement if isinstance(statement, str) else text_of_query(statement, cursor)).lstrip()
    if ";" in text:
        # Perhaps several statements; sending the settings again costs little.
        upper = text.upper()
        return any(word in upper for word in _FORGETTING)
    if not text.startswith(("-", "/")):
        return text[:_LONGEST].upper().startswith(_FORGETTING)
    # After a comment: the server says which statement it was.
    return (cursor.statusmessage or "").startswith(_FORGETTING)


def text_of_query(statement: object, cursor: StatusCursor) -> str:
    """Return the text of a statement that psycopg takes as bytes, as typed fragments or as a template string."""
    if isinstance(statement, bytes):
        return statement.decode("latin-1")
    if isinstance(statement, sql.Composable):
        return statement.as_string(cursor)
    # A template string, new in Python 3.14.
    return "".join(getattr(statement, "strings", ()))


def send_quietly(session: ServerSession) -> None:
    """Send the settings; if the connection is lost, the next statement raises the error, not the end of a block."""
    try:
        session.send()
    except Error:
        session.forget()


def sessions(aliases: Iterable[str] | None = None) -> Iterator[ServerSession]:
    """Iterate over the sessions of the open connections of this thread, to the given databases or to all."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is None or (aliases is not None and connection.alias not in aliases):
            continue
        found = session_of(connection)
        if found is not None and not found.raw.closed:
            yield found


def session_of(connection: BaseDatabaseWrapper) -> ServerSession | None:
    """Return the session that is attached to a connection."""
    return next((wrapper for wrapper in connection.execute_wrappers if isinstance(wrapper, ServerSession)), None)


def send_to_open_connections(aliases: Iterable[str] | None = None) -> None:
    """Send the settings on each open connection of this thread, to the given databases or to all."""
    for session in sessions(aliases):
        send_quietly(session)
