"""Which database and schema a kernel with pgmagic works on."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from django.db import connection
from IPython.core.interactiveshell import InteractiveShell

from pgmagic.db import backend, schemas
from pgmagic.db.connect import Choice, choice_from_environment, is_alive, parse_url
from pgmagic.db.driver import driver_connection
from pgmagic.declare import model_registry
from pgmagic.errors import DatabaseUnavailableError, SchemaError

# Set by `pgmagic run` for the kernel that it starts.
NOTEBOOK_VARIABLE = "PGMAGIC_NOTEBOOK"


@dataclass
class Session:
    """A kernel's session. own: Django is configured by pgmagic, and the notebook has a schema of its own."""

    shell: InteractiveShell
    own: bool

    def start(self) -> None:
        """Choose the database and the schema; the connection is made at its first use."""
        if self.own:
            self._use(choice_from_environment(), None)

    def connect(self, url: str | None, schema: str | None) -> str:
        """Work on another database or schema if one is given; return a sentence that says which they are.

        Raises:
            DatabaseUnavailableError: if the server does not answer; the former connection is kept.
            SchemaError: if the kernel works on a Django project, whose settings decide.
        """
        if not self.own and (url or schema):
            raise SchemaError(
                "This kernel works on a configured Django project: its DATABASES setting decides which database."
            )
        if url:
            parse_url(url)
        if url or schema:
            former = backend.choice
            connection.close()
            try:
                self._use(Choice(url=url or former.url), schema or former.schema)
                connection.ensure_connection()
            except BaseException:
                connection.close()
                self._use(former, former.schema)
                raise
            former.leave()
        connection.ensure_connection()
        return self.describe()

    def reset(self) -> str:
        """Drop and recreate the notebook's schema, and forget its models; return a sentence.

        Raises:
            SchemaError: if pgmagic did not create the schema, or the kernel works on a Django project.
        """
        schema = backend.choice.schema
        if not self.own or schema is None:
            raise SchemaError("This kernel works on a configured Django project, and nothing of it is reset.")
        connection.ensure_connection()
        schemas.reset(connection, schema)
        for label in model_registry.cell_labels():
            model_registry.forget_label(label)
        return f'The schema "{schema}" is empty; run the cells that declare its models again.'

    def describe(self) -> str:
        """Return which server, database and schema this kernel works on, without a password."""
        raw = driver_connection(connection)
        version = (raw.info.parameter_status("server_version") or "").partition(" ")[0]
        where = backend.choice.describe() if self.own else f"the project's database {raw.info.dbname}"
        schema = f', schema "{backend.choice.schema}"' if self.own else ""
        return f"Connected to Postgres {version}: {where}{schema}."

    def reopen_lost_connection(self, *_args: object) -> None:
        """Connect again if the connection was lost, and say so; called before every cell."""
        if is_alive(connection):
            return
        try:
            connection.close()
            connection.ensure_connection()
            sentence = f"The connection was lost and is open again. {self.describe()}"
        except DatabaseUnavailableError as error:
            sentence = str(error)
        print(sentence, file=sys.stderr)

    def stop(self) -> None:
        """Disconnect, and leave the embedded server."""
        connection.close()
        if self.own:
            backend.choice.leave()

    def _use(self, choice: Choice, schema: str | None) -> None:
        choice.schema = schema or notebook_schema(self.shell)
        backend.choice = choice


def notebook_schema(shell: InteractiveShell) -> str:
    """Return the name of the schema for the notebook that this kernel belongs to."""
    path = (
        os.environ.get(NOTEBOOK_VARIABLE)
        or os.environ.get("JPY_SESSION_NAME")
        or shell.user_ns.get("__vsc_ipynb_file__")
    )
    return schemas.schema_name(Path(path).stem, str(path)) if path else schemas.schema_name("notebook")
