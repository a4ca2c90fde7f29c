"""Models in the test's own schema: declared as a cell does, installed as a cell does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from django.db import models
from psycopg import sql

from pgmagic.compile.desired import Desired
from pgmagic.compile.event_values import compile_routines
from pgmagic.compile.model_tables import compile_table
from pgmagic.compile.target import Target
from pgmagic.db.apply import Applied, plan_and_apply
from pgmagic.db.declared import compiled
from pgmagic.declare import registry
from pgmagic.declare.model_registry import redeclaring
from pgmagic.plan.planning import plan_changes

LABEL = "live"
_MODULE = "live_cell"


class Live:
    """A schema, and what a test declares in it."""

    def __init__(self, schema: str, connection: Any) -> None:
        self.schema = schema
        self.connection = connection
        self._others: list[psycopg.Connection[Any]] = []

    def declare(
        self, name: str, /, triggers: Sequence[Any] = (), *, meta: dict[str, Any] | None = None, **fields: Any
    ) -> Any:
        """Return a model, installed with its triggers; one of the same name is replaced."""
        model, applied = self.try_declare(name, triggers, meta=meta, **fields)
        assert applied.error is None, applied.error
        return model

    def try_declare(
        self, name: str, /, triggers: Sequence[Any] = (), *, meta: dict[str, Any] | None = None, **fields: Any
    ) -> tuple[Any, Applied]:
        """Return a model and what became of its installation."""
        bases = fields.pop("bases", (models.Model,))
        attributes = {**(meta or {}), "triggers": list(triggers)}
        body = {"__module__": _MODULE, "Meta": type("Meta", (), attributes), **fields}
        with redeclaring(LABEL, _MODULE) as declaration:
            with declaration.collecting():
                model = type(name, bases, body)
            return model, self.apply(model)

    def apply(self, *declared: Any) -> Applied:
        """Install models with their triggers, or what changed of them."""
        desired = Desired(
            tables=[compile_table(model) for model in declared if model._meta.managed and not model._meta.proxy],
            routines=compile_routines(
                [model for model in declared if hasattr(model, "pgh_tracked_model")], Target(self.schema)
            ),
            triggers=[
                compiled(model, trigger, Target(self.schema))
                for model, trigger in registry.registered()
                if model in declared
            ],
            owned_labels=frozenset(model._meta.label for model in declared),
        )
        return plan_and_apply(self.connection, lambda installed: plan_changes(desired, installed))

    def sql(self, statement: str, params: Any = None) -> list[Any]:
        """Return the rows of a statement that passes Django's cursor."""
        with self.connection.cursor() as cursor:
            cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def other(self, **settings: str) -> psycopg.Connection[Any]:
        """Return another session, as psql would open it: it knows nothing of pgmagic, nor of the schema."""
        connection = psycopg.connect(**conninfo(self.connection), autocommit=True)
        for name, value in settings.items():
            connection.execute(sql.SQL("SELECT set_config({}, {}, false)").format(name, value))
        self._others.append(connection)
        return connection

    def close(self) -> None:
        """Close the other sessions."""
        for connection in self._others:
            connection.close()


def conninfo(connection: Any) -> dict[str, Any]:
    """Return what a session of its own to the same database needs."""
    info = connection.connection.info
    return {
        "host": info.host, "port": info.port, "dbname": info.dbname, "user": info.user, "password": info.password,
    }  # fmt: skip
