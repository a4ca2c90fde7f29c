"""What the server was last told of this task's state, for each connection.

What holds in a block - which triggers are ignored, which context is open, which schemas names resolve in - lives in a
context variable; the server reads it from settings of the database session. It is told when a block is entered and
left, and again before a statement or a COMMIT whenever this task's state differs from what the connection was last
told: two async tasks can share a connection, and a rollback takes a setting back with it. No statement is rewritten.

Outside of a transaction a setting is told to the session, where it lasts. Inside of one it is told for the rest of
the transaction: whether that is committed or rolled back, afterwards the server has what lasts, and nothing that was
set inside can outlive it. Behind a transaction-mode pooler nothing may last: `pooled.py`.

Source: https://www.postgresql.org/docs/current/functions-admin.html#FUNCTIONS-ADMIN-SET (set_config)
        https://www.postgresql.org/docs/current/sql-set.html
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import OperationalError, sql
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, TransactionStatus

# Statements after which a session's settings may be others than those that it was told.
_FORGETTING = ("ROLLBACK", "ABORT", "COMMIT", "END", "RESET", "DISCARD", "PREPARE")
_LONGEST = max(map(len, _FORGETTING))

Assign = Callable[[str, str, bool], sql.Composable]


def assign_setting(name: str, value: str, local: bool) -> sql.Composable:
    """Return the statement that tells a setting; local: for the rest of the transaction."""
    return sql.SQL("SELECT set_config({}, {}, {})").format(name, value, local)


@dataclass(frozen=True)
class Carried:
    """A part of this task's state that the server reads from a setting.

    value: its present value for a database; the empty text where no block is open. assign: the statement that tells it.
    """

    name: str
    value: Callable[[str], str]
    assign: Assign = assign_setting


_carried: list[Carried] = []


def carry(*carried: Carried) -> None:
    """Carry a part of this task's state to every database session from now on."""
    _carried.extend(carried)


@dataclass
class Memory:
    """What one server session was told; it goes with the psycopg connection, which a pool hands on.

    told: what it has now, if `known`. lasting: what it has when no transaction is open, if `lasting_known`.
    """

    told: dict[str, str] = field(default_factory=dict)
    lasting: dict[str, str] = field(default_factory=dict)
    known: bool = True
    lasting_known: bool = True

    def forget(self) -> None:
        """Take nothing for granted."""
        self.known = self.lasting_known = False

    def transaction_ended(self) -> None:
        """Note that whatever was told inside of a transaction went with it."""
        self.told = dict(self.lasting)
        # Of what nothing lasts, nothing can be unknown.
        self.known = self.lasting_known = self.lasting_known or not self.lasting

    def differs(self, name: str, value: str) -> bool:
        """Return whether the server may have another value than this one."""
        if self.known:
            # A server that was never told a setting has none, which reads like an empty one.
            return value != self.told.get(name, "")
        return bool(value) or name in self.told or name in self.lasting

    @property
    def is_empty(self) -> bool:
        """Whether the server has nothing of ours, and nothing can come back to it with a savepoint."""
        return not (self.told or self.lasting) and self.known and self.lasting_known

    @property
    def is_settled(self) -> bool:
        """Whether the server has, where no transaction is open, what it was told last."""
        return self.lasting_known and self.told == self.lasting

    def is_being_told(self, names: Iterable[str], lasts: bool) -> None:
        """Note what an interrupt may keep us from knowing: whether the server has it."""
        self.known = False
        self.lasting_known = self.lasting_known and not lasts
        for name in names:
            self.told.setdefault(name, "")
            if lasts:
                self.lasting.setdefault(name, "")

    def was_told(self, name: str, value: str, lasts: bool) -> None:
        """Note a value, and whether it stays when the transaction ends."""
        self.told[name] = value
        if lasts:
            self.lasting[name] = value

    def drop_empty(self) -> None:
        """Forget what is empty where no transaction is open: a setting that was never told reads alike."""
        self.lasting = {name: value for name, value in self.lasting.items() if value}
        self.told = dict(self.lasting)


_memories: WeakKeyDictionary[Any, Memory] = WeakKeyDictionary()


class ServerSession:
    """An execute wrapper that tells one connection's server what it does not know yet."""

    def __init__(self, connection: BaseDatabaseWrapper) -> None:
        self.connection = connection
        self.raw: Any = connection.connection
        self.memory = _memories.setdefault(self.raw, Memory())
        # A statement of Django's is under way, which is told already.
        self.is_executing = False

    def __call__(
        self, execute: Callable[..., Any], statement: Any, params: Any, many: bool, context: dict[str, Any]
    ) -> Any:
        """Tell the server, then execute the statement."""
        if self.is_quiet:
            self.is_executing = True
            try:
                return execute(statement, params, many, context)
            finally:
                self.is_executing = False
        self.tell()
        self.is_executing = True
        try:
            result = execute(statement, params, many, context)
        except BaseException:
            self.notice(statement, context["cursor"])
            raise
        finally:
            self.is_executing = False
        if self.notice(statement, context["cursor"]):
            # At once: a cursor that somebody makes of psycopg's classes by hand does not come by here.
            self.tell()
        return result

    @property
    def is_quiet(self) -> bool:
        """Whether there is nothing to tell, and nothing that a statement could take from the server: the usual case."""
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
        # A watched cell has commands of its own under way, whose answer it takes whenever somebody asks.
        settle = getattr(self.raw.lock, "settle", None)
        if settle is not None:
            settle()
        return int(self.raw.pgconn.transaction_status)

    def tell(self) -> None:
        """Tell the server the settings whose values differ from what it was last told.

        In a transaction in error nothing can be told; the next statement behind its rollback tells it.
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
        self._tell(changed, lasts=status == TransactionStatus.IDLE)

    def changed(self) -> list[tuple[Carried, str]]:
        """Return what has other values than those that the server was told."""
        alias, differs = self.connection.alias, self.memory.differs
        return [
            (part, value)
            for part, value in [(part, part.value(alias)) for part in _carried]
            if differs(part.name, value)
        ]

    def _tell(self, changed: list[tuple[Carried, str]], *, lasts: bool) -> None:
        memory = self.memory
        statements = [part.assign(part.name, value, not lasts) for part, value in changed]
        memory.is_being_told([part.name for part, _ in changed], lasts)
        self.execute_at_once(sql.SQL("; ").join(statements))
        for part, value in changed:
            memory.was_told(part.name, value, lasts)
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
        """Take nothing for granted about the server's settings."""
        self.memory.forget()

    def notice(self, statement: Any, cursor: Any) -> bool:
        """Return whether an executed statement may have changed the session's settings, and note it."""
        found = _forgets(statement, cursor)
        if found:
            if isinstance(statement, str) and statement.startswith("ROLLBACK TO "):
                # Django's own: what lasts is what it was.
                self.memory.known = False
            else:
                self.forget()
        return found

    def before_end(self) -> None:
        """Tell deferred triggers, which fire at COMMIT, what is true now."""
        if self.status == TransactionStatus.INTRANS:
            self.tell()

    def after_end(self) -> None:
        """Tell the server behind a transaction at once: its end took away what was told inside."""
        memory = self.memory
        if self.status != TransactionStatus.IDLE:
            # Interrupted: it may not have ended.
            memory.known = False
        elif not (memory.is_settled and memory.known):
            memory.transaction_ended()
            tell_quietly(self)

    def after_block(self) -> None:
        """Tell the server behind a block of psycopg's, which may have rolled back to its savepoint."""
        if self.status == TransactionStatus.IDLE:
            self.after_end()
        else:
            self.memory.known = False
            tell_quietly(self)

    def leave(self) -> None:
        """Take from the server what the next user of the connection must not find; it goes back to a pool."""
        memory = self.memory
        if not (any(memory.told.values()) or any(memory.lasting.values())):
            return
        memory.forget()
        if self.status != TransactionStatus.IDLE:
            self.raw.rollback()
        names = {*memory.told, *memory.lasting}
        self._tell([(part, "") for part in _carried if part.name in names], lasts=True)


def _forgets(statement: Any, cursor: Any) -> bool:
    """Return whether a session's settings may be others behind a statement that was executed."""
    text = (statement if isinstance(statement, str) else _text(statement, cursor)).lstrip()
    if ";" in text:
        # Several statements, perhaps; being told again costs little.
        upper = text.upper()
        return any(word in upper for word in _FORGETTING)
    if not text.startswith(("-", "/")):
        return text[:_LONGEST].upper().startswith(_FORGETTING)
    # Behind a comment: the server says what it was.
    return (cursor.statusmessage or "").startswith(_FORGETTING)


def _text(statement: Any, cursor: Any) -> str:
    """Return a statement that psycopg takes, and that is no text: bytes, or composed of typed fragments."""
    if isinstance(statement, bytes):
        return statement.decode("latin-1")
    if isinstance(statement, sql.Composable):
        return statement.as_string(cursor)
    # A template string of Python 3.14's: its texts.
    return "".join(getattr(statement, "strings", ()))


def tell_quietly(session: ServerSession) -> None:
    """Tell a server that may be gone: then the next statement meets that, and not the end of a block."""
    try:
        session.tell()
    except Error:
        session.forget()


def sessions(aliases: Iterable[str] | None = None) -> Iterator[ServerSession]:
    """Iterate over the sessions of the connections that this thread holds open, of the given databases or of all."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is None or (aliases is not None and connection.alias not in aliases):
            continue
        found = session_of(connection)
        if found is not None and not found.raw.closed:
            yield found


def session_of(connection: BaseDatabaseWrapper) -> ServerSession | None:
    """Return the session that is attached to a connection."""
    return next(
        (wrapper for wrapper in connection.execute_wrappers if isinstance(wrapper, ServerSession)), None
    )


def tell_open_connections(aliases: Iterable[str] | None = None) -> None:
    """Tell the server of each connection that this thread holds open, of the given databases or of all."""
    for session in sessions(aliases):
        tell_quietly(session)
