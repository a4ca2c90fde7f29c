"""The tree of errors that pgmagic raises.

Every error of ours is a `PgMagicError`; each also derives from what Django or the upstream packages raise in the
same place, so that an `except` clause written against those keeps working. A message is one sentence that a
colleague could say aloud: what is wrong, what was expected, what was found, what to do next.

    PgMagicError
    ├── DeclarationError (ValueError)          a model, trigger or tracker contradicts itself
    │   ├── UnknownFieldError (FieldDoesNotExist)   it names a field that the model does not have
    │   └── ConditionError (FieldError)             its condition cannot be a condition of a trigger
    ├── UnknownTriggerError (KeyError)         a URI that nothing is registered under
    ├── UnknownDatabaseError (ConnectionDoesNotExist)   an alias that DATABASES does not have
    ├── NoTransactionError (RuntimeError)      what holds for a transaction was asked for outside of one
    ├── DatabaseUnavailableError (OperationalError)  no server, or one that does not answer
    │   └── EmbeddedServerError                the embedded server could not be started
    ├── InstallationError (DatabaseError)      the database refused a plan; nothing of it was kept
    │   └── NotInstalledError (ProgrammingError)    it is about a trigger that is not there
    ├── DataLossError                          a plan would drop what holds data
    ├── SchemaError                            a schema that pgmagic may not touch
    ├── HistoryError (RuntimeError)            an event that cannot do what was asked of it
    │   └── ContextError (TypeError)           metadata of a context that JSON cannot hold
    └── CellError                              a cell that cannot run, or a magic used wrongly

    TriggerError (InternalError, ProgrammingError)   what a trigger raised: the database's error, not one of ours
"""

from __future__ import annotations

from django.core.exceptions import FieldDoesNotExist, FieldError
from django.db import DatabaseError, InternalError, OperationalError, ProgrammingError
from django.utils.connection import ConnectionDoesNotExist


class PgMagicError(Exception):
    """The root of pgmagic's own errors; its text is one sentence for the user."""

    def __str__(self) -> str:
        # KeyError would show the repr of its argument, quotes and all.
        return " ".join(str(arg) for arg in self.args)


class DeclarationError(PgMagicError, ValueError):
    """A model, trigger or tracker contradicts itself."""


class ArgumentError(DeclarationError, TypeError):
    """A declaration is given an argument that it does not have, or by position one that it takes by name."""


class UnknownFieldError(DeclarationError, FieldDoesNotExist):
    """A declaration names a field that its model does not have."""


class ConditionError(DeclarationError, FieldError):
    """A condition cannot be rendered as a condition of a trigger."""


class UnknownTriggerError(PgMagicError, KeyError):
    """No trigger is registered under a URI."""


class UnknownDatabaseError(PgMagicError, ConnectionDoesNotExist):
    """A database alias is not one of the DATABASES setting."""


class NoTransactionError(PgMagicError, RuntimeError):
    """What holds for the rest of a transaction was asked for where none is open."""


class DatabaseUnavailableError(PgMagicError, OperationalError):
    """No database server answers where one was expected."""


class EmbeddedServerError(DatabaseUnavailableError):
    """The embedded Postgres server cannot be started, reached or stopped."""


class InstallationError(PgMagicError, DatabaseError):
    """The database refused a plan; nothing of the plan was kept."""


class NotInstalledError(InstallationError, ProgrammingError):
    """A trigger is to be switched that the database does not have."""


class DataLossError(PgMagicError):
    """A plan would drop a column or a table that holds data."""


class SchemaError(PgMagicError):
    """A schema that pgmagic did not create was about to be changed."""


class HistoryError(PgMagicError, RuntimeError):
    """An event cannot do what was asked of it."""


class ContextError(HistoryError, TypeError):
    """The metadata of a context cannot be stored as JSON."""


class CellError(PgMagicError):
    """A cell cannot be run, or a magic was used in a way that it does not understand."""


class TriggerError(InternalError, ProgrammingError):
    """What a trigger raised in the database (SQLSTATE P0001).

    psycopg 3 classes such an exception as ProgrammingError, psycopg 2 as InternalError, and user code catches
    either; this one is both. The psycopg exception, with its `diag`, is the `__cause__`.
    """
