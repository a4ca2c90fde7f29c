"""A schema for each notebook, marked as pgmagic's, so that no other schema is ever reset."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress

import psycopg.errors
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import sql

from pgmagic.compile.target import Target
from pgmagic.db.driver import DriverCursor, driver_connection, only_row
from pgmagic.declare.names import MAX_NAME_BYTES, shorten
from pgmagic.errors import SchemaError

# The comment of a schema that pgmagic created.
MARK = "pgmagic: the schema of a notebook"
_DIGEST_LENGTH = 6


def schema_name(name: str, path: str = "") -> str:
    """Return the name of a notebook's schema; a digest of the path distinguishes equal file names."""
    stem = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") or "notebook"
    if not path:
        return shorten(stem, MAX_NAME_BYTES)
    digest = hashlib.sha256(path.encode()).hexdigest()[:_DIGEST_LENGTH]
    return f"{shorten(stem, MAX_NAME_BYTES - _DIGEST_LENGTH - 1)}_{digest}"


def enter(connection: BaseDatabaseWrapper, schema: str) -> None:
    """Make a schema unless it exists, mark it, and let unqualified names resolve in it, then in public."""
    with driver_connection(connection).cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [schema])
        if cursor.fetchone() is None:
            # Two kernels of one notebook may do this at once; the second one finds the schema.
            with suppress(psycopg.errors.DuplicateSchema, psycopg.errors.UniqueViolation):
                _create(cursor, schema)
        cursor.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(schema)))


def reset(connection: BaseDatabaseWrapper, schema: str) -> None:
    """Drop a schema with all its objects and make it again, in one transaction.

    Raises:
        SchemaError: if pgmagic did not create the schema.
    """
    raw = driver_connection(connection)
    with raw.cursor() as cursor, raw.transaction():
        cursor.execute("SELECT obj_description(to_regnamespace(quote_ident(%s)), 'pg_namespace')", [schema])
        [found] = only_row(cursor)
        if found != MARK:
            raise SchemaError(
                f'The schema "{schema}" was not created by pgmagic, so it is not reset: choose another schema with '
                f"%pgconnect --schema."
            )
        cursor.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
        _create(cursor, schema)


def own_schemas(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of the schemas that pgmagic created, in order."""
    with driver_connection(connection).cursor() as cursor:
        cursor.execute(
            "SELECT nspname FROM pg_namespace WHERE obj_description(oid, 'pg_namespace') = %s ORDER BY nspname", [MARK]
        )
        return [name for (name,) in cursor.fetchall()]


def _create(cursor: DriverCursor, schema: str) -> None:
    # In one message, so that the schema never exists without its mark.
    statement = sql.SQL("CREATE SCHEMA {name}; COMMENT ON SCHEMA {name} IS {mark}")
    cursor.execute(statement.format(name=sql.Identifier(schema), mark=sql.Literal(MARK)))


def target_of(alias: str) -> Target:
    """Return what SQL for a database is compiled for: the notebook's schema where the database is the notebook's."""
    return Target(getattr(connections[alias], "own_schema", None))
