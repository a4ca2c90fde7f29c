"""A trigger exchanged for another one, for the rest of a transaction."""

from __future__ import annotations

from typing import Any

from django.db import models

from pgmagic.compile.sql import compose, identifier, render
from pgmagic.compile.target import Target
from pgmagic.db.declared import compiled
from pgmagic.declare import registry
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import CellError
from pgmagic.watch.instruments import LOCK_TIMEOUT
from pgmagic.watch.past_django import unwatched

Model = type[models.Model]

_INSTALLED = """
SELECT n.nspname, c.relname, t.tgname FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.tgrelid = to_regclass(%s) AND t.tgfoid = to_regproc(%s) AND NOT t.tgisinternal"""


def model_of(trigger: Trigger, name: str) -> Model:
    """Return the model whose trigger of the same name another one takes the place of.

    Raises:
        CellError: no model has such a trigger, or several do.
    """
    found = [model for model, known in registry.registered() if known.get_name() == trigger.get_name()]
    if len(found) == 1:
        return found[0]
    uris = ", ".join(sorted(known.get_uri(model) for model, known in registry.registered())) or "none"
    which = "several models have" if found else "no model has"
    raise CellError(
        f'{which.capitalize()} a trigger named "{trigger.get_name()}": say whose place {name} takes, as in '
        f"--with URI={name}; registered are: {uris}."
    )


def exchange(raw: Any, model: Model, former: Trigger | None, trigger: Trigger, target: Target) -> None:
    """Put a trigger in the place of another one of the same model, in a psycopg connection's open transaction.

    It takes an ACCESS EXCLUSIVE lock on the table; nothing is registered.
    """
    with unwatched(raw) as cursor:
        cursor.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        if former is not None:
            table, function = (
                render(identifier(name)) for name in (model._meta.db_table, former.get_pgid(model))
            )
            cursor.execute(_INSTALLED, [table, function])
            for schema, relation, name in cursor.fetchall():
                drop = compose("DROP TRIGGER ", identifier(name), " ON ", identifier(schema, relation))
                cursor.execute(render(drop).encode())
        cursor.execute(compiled(model, trigger, target).install_sql.encode())
