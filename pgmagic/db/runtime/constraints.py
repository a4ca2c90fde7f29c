"""`constraints`: when deferrable triggers fire, for the rest of a transaction.

Source: https://www.postgresql.org/docs/current/sql-set-constraints.html
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import connections, models, router
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql
from psycopg.pq import TransactionStatus

from pgmagic.db.runtime.blocks import checked_aliases
from pgmagic.declare import registry
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import Timing
from pgmagic.errors import DeclarationError, InstallationError, NoTransactionError

Registered = tuple[type[models.Model], Trigger]

# A constraint is found by its trigger, which stands on the table that the session sees under this name.
_FIND = """
SELECT wanted.name, n.nspname
FROM unnest(%s::text[], %s::text[]) AS wanted(relation, name)
LEFT JOIN pg_trigger AS t ON t.tgrelid = to_regclass(wanted.relation) AND t.tgname = wanted.name
LEFT JOIN pg_class AS c ON c.oid = t.tgrelid
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace"""


def constraints(timing: Timing, *uris: str, databases: Iterable[str] | None = None) -> None:
    """Let deferrable triggers fire at COMMIT, or at once, for the rest of the transaction.

    Without a URI: all deferrable ones that are registered. databases: those whose transaction is meant; None stands
    for every database with an open transaction. With `Immediate`, what is pending fires now; where a trigger rejects
    it, nothing has changed and the transaction can go on.

    Raises:
        UnknownTriggerError: nothing is registered under a URI.
        DeclarationError: a trigger that is named is not deferrable, or the timing is none.
        NoTransactionError: no transaction is open.
        UnknownDatabaseError: DATABASES does not have one of the databases.
        InstallationError: a trigger that is named is not installed.
        TriggerError: a pending trigger that fires now rejects its row.
    """
    if not isinstance(timing, Timing):
        raise DeclarationError(f"Expected pgtrigger.Immediate or pgtrigger.Deferred, got {timing!r}.")
    found = _deferrable(uris)
    for connection in _in_transaction(checked_aliases(databases)):
        _set(connection, timing, [
            (model, trigger) for model, trigger in found if router.allow_migrate_model(connection.alias, model)
        ], named=bool(uris))  # fmt: skip


def _deferrable(uris: tuple[str, ...]) -> list[Registered]:
    found = registry.registered(*uris)
    if not uris:
        return [(model, trigger) for model, trigger in found if trigger.timing]
    for model, trigger in found:
        if not trigger.timing:
            raise DeclarationError(
                f"Trigger {trigger.get_name()} on model {model._meta.label_lower} is not deferrable: declare it with "
                f"timing=pgtrigger.Deferred or pgtrigger.Immediate."
            )
    return found


def _in_transaction(aliases: frozenset[str] | None) -> list[BaseDatabaseWrapper]:
    """Return the connections that are meant, each of which is in a transaction."""
    if aliases is None:
        found = [
            connection
            for connection in connections.all(initialized_only=True)
            if _has_transaction(connection)
        ]
        if not found:
            raise NoTransactionError(
                "No database is in a transaction: set constraints inside transaction.atomic()."
            )
        return found
    for alias in sorted(aliases):
        if not _has_transaction(connections[alias]):
            raise NoTransactionError(
                f'Database "{alias}" is not in a transaction: set constraints inside transaction.atomic().'
            )
    return [connections[alias] for alias in sorted(aliases)]


def _has_transaction(connection: BaseDatabaseWrapper) -> bool:
    if connection.vendor != "postgresql":
        return False
    raw: Any = connection.connection
    return (
        connection.in_atomic_block
        or not connection.get_autocommit()
        or (raw is not None and raw.info.transaction_status == TransactionStatus.INTRANS)
    )


def _set(connection: BaseDatabaseWrapper, timing: Timing, found: list[Registered], *, named: bool) -> None:
    names = _constraints(connection, found, named=named)
    if not names:
        return
    words = sql.SQL("SET CONSTRAINTS {} {}").format(sql.SQL(", ").join(names), sql.SQL(str(timing)))
    raw: Any = connection.connection
    # In a savepoint, so that the rejection of a pending row does not end the user's transaction; psycopg's own, since
    # Django's would not begin where the user's transaction was begun by a statement.
    with connection.wrap_database_errors, raw.transaction(), connection.cursor() as cursor:
        cursor.execute(words)


def _constraints(
    connection: BaseDatabaseWrapper, found: list[Registered], *, named: bool
) -> list[sql.Identifier]:
    """Return the qualified names of the triggers' constraints."""
    relations = [connection.ops.quote_name(model._meta.db_table) for model, _ in found]
    with connection.cursor() as cursor:
        cursor.execute(_FIND, [relations, [trigger.get_pgid(model) for model, trigger in found]])
        schemas = dict(cursor.fetchall())
    for model, trigger in found:
        if named and schemas[trigger.get_pgid(model)] is None:
            raise InstallationError(
                f'{trigger.get_uri(model)} is not installed on the database "{connection.alias}": install it first.'
            )
    return [sql.Identifier(schema, name) for name, schema in schemas.items() if schema is not None]
