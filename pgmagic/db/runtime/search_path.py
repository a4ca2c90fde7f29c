"""`schema`: where names resolve for what a block does.

The server keeps the session's own search_path in a setting of ours while a block is open, and gives it back from
there: so a rollback, which takes both settings back together, leaves neither without the other.

Source: https://www.postgresql.org/docs/current/ddl-schemas.html#DDL-SCHEMAS-PATH
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

from psycopg import sql

from pgmagic.db.runtime.blocks import Block, checked_aliases, without_innermost
from pgmagic.db.runtime.session_settings import Carried, carry, tell_open_connections
from pgmagic.errors import SchemaError

_PATH_SETTING = "search_path"
_OWN_PATH_SETTING = "pgmagic.own_search_path"

# The session's own path begins with a mark, since it may be empty, as a setting that nobody made is.
_ENTER = sql.SQL(
    "SELECT set_config({own}, coalesce(nullif(current_setting({own}, true), ''), '=' || current_setting({path})), "
    "{local}); SELECT set_config({path}, {value}, {local})"
)
_LEAVE = sql.SQL(
    "SELECT set_config({path}, CASE WHEN current_setting({own}, true) LIKE '=%' "
    "THEN substr(current_setting({own}, true), 2) ELSE current_setting({path}) END, {local}); "
    "SELECT set_config({own}, '', {local})"
)


@dataclass(frozen=True)
class _Entered:
    block: schema
    path: str
    databases: frozenset[str] | None


_open: ContextVar[tuple[_Entered, ...]] = ContextVar("pgmagic_schemas", default=())


def _value(alias: str) -> str:
    """Return the search_path of the open blocks, outermost first, or an empty text."""
    entered = _open.get()
    if not entered:
        return ""
    return ", ".join(found.path for found in entered if found.databases is None or alias in found.databases)


def _assign(name: str, value: str, local: bool) -> sql.Composable:
    statement = _ENTER if value else _LEAVE
    return statement.format(own=_OWN_PATH_SETTING, path=name, value=value, local=local)


carry(Carried(_PATH_SETTING, _value, _assign))


class schema(Block):  # noqa: N801 - upstream's name
    """Sets the search_path to schemas for what the block does on the databases (None: on all).

    A context manager (`with` or `async with`) and a decorator, also of async functions and generators. A block inside
    another adds its schemas behind the outer one's; without schemas it changes nothing. Afterwards the path is what it
    was before the outermost block, also where the block was left by an error or a transaction was rolled back.

    Raises:
        SchemaError: a name that no schema can have.
        UnknownDatabaseError: DATABASES does not have one of the databases.
    """

    def __init__(self, *schemas: str, databases: Iterable[str] | None = None) -> None:
        for name in schemas:
            if not isinstance(name, str) or not name or "\x00" in name:
                raise SchemaError(f"Expected the names of schemas, got {name!r}.")
        self.path = ", ".join(sql.Identifier(name).as_string() for name in schemas)
        self.databases = checked_aliases(databases)

    def __enter__(self) -> None:
        former = _open.get()
        if not self.path:
            return
        _open.set((*former, _Entered(self, self.path, self.databases)))
        try:
            tell_open_connections(self.databases)
        except BaseException:
            _open.set(former)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entered = without_innermost(_open.get(), self)
        if entered is not None:
            _open.set(entered)
            tell_open_connections(self.databases)

    @staticmethod
    def session(databases: Iterable[str] | None = None) -> AbstractContextManager[None]:
        """Do nothing for a block; upstream's makes many `schema` blocks inside it cheaper.

        Raises:
            UnknownDatabaseError: DATABASES does not have one of the databases.
        """
        checked_aliases(databases)
        return nullcontext()
