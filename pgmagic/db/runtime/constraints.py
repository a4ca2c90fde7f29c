"""`constraints`: when deferrable triggers fire in the rest of a transaction.

Source: https://www.postgresql.org/docs/current/sql-set-constraints.html
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connections, router
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql
from psycopg.pq import TransactionStatus

from pgmagic.db.driver import driver_connection, transaction_status
from pgmagic.db.runtime.blocks import checked_aliases
from pgmagic.declare import registry
from pgmagic.declare.model_types import Model
from pgmagic.declare.trigger import Trigger
from pgmagic.declare.vocabulary import Timing
from pgmagic.errors import DeclarationError, InstallationError, NoTransactionError

# A constraint is found by its trigger, on the table that the session finds under the name.
_FIND = """
SELECT wanted.name, n.nspname
FROM unnest(%s::text[], %s::text[]) AS wanted(relation, name)
LEFT JOIN pg_trigger AS t ON t.tgrelid = to_regclass(wanted.relation) AND t.tgname = wanted.name
LEFT JOIN pg_class AS c ON c.oid = t.tgrelid
LEFT JOIN pg_namespace AS n ON n.oid = c.relnamespace"""


def constraints(timing: Timing, *uris: str, databases: Iterable[str] | None = None) -> None:
    """Let deferrable triggers fire at COMMIT, or at once, for the rest of the transaction.

    With `Immediate`, pending triggers fire now; if a trigger rejects its row, nothing has changed and the transaction
    can go on. It takes no lock of its own.

    Args:
        timing: `pgtrigger.Immediate` or `pgtrigger.Deferred`.
        uris: `app_label.Model:trigger_name` of deferrable triggers; without a URI, all that are registered.
        databases: Aliases of DATABASES, each in a transaction; None means every database with an open transaction.

    Raises:
        UnknownTriggerError: if nothing is registered under a URI.
        DeclarationError: if a named trigger is not deferrable, or `timing` is not a timing.
        NoTransactionError: if no transaction is open.
        UnknownDatabaseError: if DATABASES does not have one of the databases.
        InstallationError: if a named trigger is not installed.
        TriggerError: if a pending trigger that fires now rejects its row.

    Example:
        >>> with transaction.atomic():
        ...     pgtrigger.constraints(pgtrigger.Immediate)
    """
    if not isinstance(timing, Timing):
        raise DeclarationError(f"Expected pgtrigger.Immediate or pgtrigger.Deferred, got {timing!r}.")
    found = registry.registered(*uris)
    for model, trigger in found if uris else ():
        if not trigger.timing:
            raise DeclarationError(
                f"Trigger {trigger.get_name()} on model {model._meta.label_lower} is not deferrable: declare it with "
                f"timing=pgtrigger.Deferred or pgtrigger.Immediate."
            )
    deferrable = [(model, trigger) for model, trigger in found if trigger.timing]
    for connection in connections_in_transaction(checked_aliases(databases)):
        names = _constraints(connection, deferrable, named=bool(uris))
        if names:
            words = sql.SQL("SET CONSTRAINTS {} {}").format(sql.SQL(", ").join(names), sql.SQL(str(timing)))
            # In a savepoint, so that the rejection of a pending row does not end the user's transaction; psycopg's
            # own, since Django's would not begin if a statement began the user's transaction.
            block = driver_connection(connection).transaction()
            with connection.wrap_database_errors, block, connection.cursor() as cursor:
                cursor.execute(words)


def connections_in_transaction(aliases: frozenset[str] | None) -> list[BaseDatabaseWrapper]:
    """Return the connections to databases, or all that are in a transaction.

    Raises:
        NoTransactionError: if one of the databases, or every database, is not in a transaction.
    """
    if aliases is None:
        found = [each for each in connections.all(initialized_only=True) if _has_transaction(each)]
        if not found:
            raise NoTransactionError("No database is in a transaction: set constraints inside transaction.atomic().")
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
    is_begun = connection.in_atomic_block or not connection.get_autocommit()
    return is_begun or transaction_status(connection) == TransactionStatus.INTRANS


def _constraints(
    connection: BaseDatabaseWrapper, deferrable: list[tuple[Model, Trigger]], *, named: bool
) -> list[sql.Identifier]:
    """Return the qualified names of the constraints of triggers that the database may have.

    Raises:
        InstallationError: if a trigger is not installed, and the user named it.
    """
    found = [pair for pair in deferrable if router.allow_migrate_model(connection.alias, pair[0])]
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
