"""`schema`: a block of code for which names resolve in other schemas.

While a block is open, the server keeps the session's own search_path in a setting of pgmagic's, and restores it from
there: a rollback takes back both settings together.

Source: https://www.postgresql.org/docs/current/ddl-schemas.html#DDL-SCHEMAS-PATH
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType

from psycopg import sql

from pgmagic.db.runtime.blocks import Block, check_parentheses, checked_aliases, without_innermost
from pgmagic.db.runtime.session_settings import Carried, carry, send_to_open_connections
from pgmagic.errors import SchemaError

_PATH_SETTING = "search_path"
_OWN_PATH_SETTING = "pgmagic.own_search_path"

# The session's own path is stored after a mark, since it may be empty, which a setting that was never made also is.
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


def search_path_of_blocks(alias: str) -> str:
    """Return the search_path of the open blocks, outermost first, or an empty text."""
    entered = _open.get()
    if not entered:
        return ""
    return ", ".join(found.path for found in entered if found.databases is None or alias in found.databases)


def assign_search_path(name: str, value: str, local: bool) -> sql.Composable:
    """Return the statements that set the path, or restore the session's own; local: for the rest of the transaction."""
    statement = _ENTER if value else _LEAVE
    return statement.format(own=_OWN_PATH_SETTING, path=name, value=value, local=local)


carry(Carried(_PATH_SETTING, search_path_of_blocks, assign_search_path))


class schema(Block):  # noqa: N801 - upstream's name
    """Sets the `search_path` to schemas for what a block of code does, in this thread or async task alone.

    A context manager (`with` or `async with`) and a decorator, also of async functions and generators. A block inside
    another one adds its schemas after those of the outer block; without schemas it changes nothing. Afterwards the path
    is what it was before the outermost block, also if the block ended with an error or a transaction was rolled back.
    It takes no lock and needs no transaction.

    Args:
        schemas: Names of schemas, in the order in which names of tables are looked up.
        databases: Aliases of DATABASES whose path is set; None means all of them.

    Raises:
        SchemaError: if no schema can have a name.
        DeclarationError: if `databases` is a text, or if it decorates a function without parentheses.
        UnknownDatabaseError: if DATABASES does not have one of the databases.

    Example:
        >>> with pgtrigger.schema("pg_catalog"), connection.cursor() as cursor:
        ...     cursor.execute("SHOW search_path").fetchone()
        ('"pg_catalog"',)
    """

    def __init__(self, *schemas: str, databases: Iterable[str] | None = None) -> None:
        check_parentheses("pgtrigger.schema", schemas)
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
            send_to_open_connections(self.databases)
        except BaseException:
            _open.set(former)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        entered = without_innermost(_open.get(), self)
        if entered is not None:
            _open.set(entered)
            send_to_open_connections(self.databases)

    @staticmethod
    def session(databases: Iterable[str] | None = None) -> AbstractContextManager[None]:
        """Do nothing for a block of code; in django-pgtrigger it makes `schema` blocks inside it cheaper.

        Args:
            databases: Aliases of DATABASES; None means all of them.

        Raises:
            UnknownDatabaseError: if DATABASES does not have one of the databases.
        """
        checked_aliases(databases)
        return nullcontext()
