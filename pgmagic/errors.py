"""The tree of errors that pgmagic raises.

Every error of pgmagic is a `PgMagicError`. Each also derives from the exception that Django or the upstream packages
raise in the same place, so that existing `except` clauses keep working. A message says what is wrong, what was
expected, and what to do next.

    PgMagicError
    ├── DeclarationError (ValueError): a declaration contradicts itself; an InsertEvent with row=Old
    │   ├── DuplicateNameError (KeyError): a name is taken; two triggers of a model have the same name
    │   ├── UnknownFieldError (FieldDoesNotExist, FieldError): a field does not exist; ReadOnly(fields=["titel"])
    │   └── ConditionError (FieldError): a trigger cannot have this condition; a Q that contains a subquery
    ├── UnknownTriggerError (KeyError): no trigger has this URI; ignore("blog.Post:keep_publishd")
    ├── UnknownDatabaseError (ConnectionDoesNotExist): DATABASES lacks this alias; install(database="replica")
    ├── NoTransactionError (RuntimeError): a transaction must be open; constraints(Immediate) outside atomic()
    ├── DatabaseUnavailableError (OperationalError): no server answers; PGMAGIC_DATABASE_URL names a stopped server
    │   └── EmbeddedServerError: the embedded server cannot start, answer or stop; PGMAGIC_HOME is not writable
    ├── InstallationError (DatabaseError): the database rejected a plan, which was rolled back; a table is missing
    │   └── NotInstalledError (ProgrammingError): a trigger is missing in the database; enable() before install()
    ├── DataLossError: a plan would delete data; a cell drops a field whose column contains values
    ├── SchemaError: pgmagic may not change this schema; %pgreset on a schema that pgmagic did not create
    ├── HistoryError (RuntimeError): an event cannot be used like this; revert() of an event without all fields
    │   └── ContextError (TypeError): JSON cannot represent a context; context(user=object())
    ├── NamesTakenError (ImportError): an upstream package was imported first; use_names() after import pghistory
    └── CellError: a cell cannot run, or a magic was used wrongly; %%pgoutcome inside an open transaction

    TriggerError (InternalError, ProgrammingError): a trigger rejected a statement; a delete that Protect forbids.
        It is the database's error, not one of pgmagic's.
"""

from __future__ import annotations

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import DatabaseError, InternalError, OperationalError, ProgrammingError
from django.utils.connection import ConnectionDoesNotExist


class PgMagicError(Exception):
    """The base of pgmagic's own errors; its text is a message for the user."""

    def __str__(self) -> str:
        # KeyError would show the repr of its argument, with quotes.
        return " ".join(str(arg) for arg in self.args)


class DeclarationError(PgMagicError, ValueError):
    """A model, trigger or tracker contradicts itself."""


class ArgumentError(DeclarationError, TypeError):
    """A declaration is given an argument that it does not have, or by position one that it takes by name."""


class DuplicateNameError(DeclarationError, KeyError):
    """A model has another trigger of this name, or another tracker of this label."""


class UnknownFieldError(DeclarationError, FieldDoesNotExist, FieldError):
    """A declaration names a field that its model does not have."""


class ConditionError(DeclarationError, FieldError):
    """A condition cannot be the condition of a trigger."""


class UnknownTriggerError(PgMagicError, KeyError):
    """No trigger is registered under this URI."""


class UnknownDatabaseError(PgMagicError, ConnectionDoesNotExist):
    """A database alias is not in the setting DATABASES."""


class NoTransactionError(PgMagicError, RuntimeError):
    """Something that lasts until the end of a transaction was requested, but no transaction is open."""


class DatabaseUnavailableError(PgMagicError, OperationalError):
    """The database server does not answer."""


class EmbeddedServerError(DatabaseUnavailableError):
    """The embedded Postgres server cannot be started, reached or stopped."""


class InstallationError(PgMagicError, DatabaseError):
    """The database rejected a plan; no step of the plan was kept."""


class NotInstalledError(InstallationError, ProgrammingError):
    """A trigger cannot be enabled or disabled, because it is not installed in the database."""


class DataLossError(PgMagicError):
    """A plan would drop a column or a table that contains data."""


class SchemaError(PgMagicError):
    """A schema that pgmagic did not create would be changed."""


class HistoryError(PgMagicError, RuntimeError):
    """An event cannot be used for this operation."""


class ContextError(HistoryError, TypeError):
    """The metadata of a context cannot be stored as JSON."""


class NamesTakenError(PgMagicError, ImportError):
    """The names `pgtrigger` and `pghistory` cannot lead to pgmagic: upstream's packages were imported before."""


class CellError(PgMagicError):
    """A cell cannot be run, or a magic was used wrongly."""


class TriggerError(InternalError, ProgrammingError):
    """A trigger raised an exception in the database (SQLSTATE P0001).

    psycopg 3 raises ProgrammingError for it, psycopg 2 InternalError, and existing code catches either; this class is
    both. The psycopg exception, with its `diag`, is the `__cause__`.
    """
