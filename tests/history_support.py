"""Tracked models in a schema of the test's own: declared by a function, installed with plain SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections, models

from pgmagic import pghistory
from pgmagic.compile.event_values import compile_routines
from pgmagic.compile.model_tables import compile_table
from pgmagic.compile.target import Target
from pgmagic.declare import model_registry, registry
from pgmagic.pghistory.models import Context

# The module that models of tests say they are of, as a cell's say `__main__`.
MODULE = "cell"
LABEL = "hist"


@contextmanager
def declaring() -> Iterator[list[Any]]:
    """Let a block declare models anew; the value is the list of them, filled at its end."""
    declared: list[Any] = []
    with model_registry.redeclaring(LABEL, MODULE) as declaration:
        with declaration.collecting():
            yield declared
        declared += declaration.models


def model(name: str, /, **attributes: Any) -> Any:
    """Return a model with the given fields; `meta=` is a dict."""
    meta = attributes.pop("meta", {})
    bases = attributes.pop("bases", (models.Model,))
    body = {"__module__": MODULE, **attributes}
    if meta:
        body["Meta"] = type("Meta", (), meta)
    return type(name, bases, body)


def forget() -> None:
    """Take every model of tests out of the registries."""
    model_registry.forget_label(LABEL)


class History:
    """What a test works with: a schema, and models installed in it."""

    def __init__(self, schema: str) -> None:
        self.schema = schema
        self.connection: Any = connections["default"]
        self.has_context = False

    def declare(self, declaration: Callable[[], Any]) -> Any:
        """Return what a function declares, installed."""
        with declaring() as declared:
            found = declaration()
        self.install(declared)
        return SimpleNamespace(**found) if isinstance(found, dict) else found

    def install(self, declared: list[Any], *, routines: bool = True) -> None:
        """Create the tables and triggers of models, and the functions that the triggers share."""
        # A table between two models is made with the model that declares the relation.
        tables = [
            found for found in declared if found._meta.managed and not (found._meta.proxy or found._meta.auto_created)
        ]
        statements: list[str] = []
        if not self.has_context:
            tables.insert(0, Context)
            self.has_context = True
        compiled = [compile_table(found) for found in tables]
        statements += [sql for table in compiled for sql in table.create]
        statements += [sql for table in compiled for sql in table.deferred]
        events = [found for found in declared if hasattr(found, "pgh_tracked_model")]
        if routines:
            statements += [routine.create for routine in compile_routines(events, Target(self.schema))]
        statements += [
            trigger.compile(owner).install_sql for owner, trigger in registry.registered() if owner in declared
        ]
        self.run(*statements)

    def run(self, *statements: str, params: Any = None) -> list[Any]:
        """Execute raw SQL; return the rows of the last statement."""
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement, params)
            return cursor.fetchall() if cursor.description else []

    def events(self, event_model: Any, *fields: str) -> list[Any]:
        """Return the label and the given fields of each event, in order."""
        return list(event_model.objects.order_by("pgh_id").values_list("pgh_label", *fields))


@pytest.fixture
def history_schema(schema: str) -> Iterator[str]:
    """The test's own schema; every connection detail of these tests is here."""
    connections["default"].ensure_connection()
    yield schema
    forget()


@pytest.fixture
def history(history_schema: str) -> History:
    """A schema in which tracked models can be declared and installed."""
    return History(history_schema)


@pytest.fixture
def declared_here() -> Iterator[None]:
    """Models can be declared, without a database; they are forgotten afterwards."""
    yield
    forget()


@pytest.fixture
def post(history: History) -> Any:
    """A tracked `Post` with its `Event` model and an `Author`: snapshots, deletes, and events by hand."""

    def declare() -> dict[str, Any]:
        author = model("Author", name=models.TextField())
        tracked = pghistory.track(
            pghistory.InsertEvent(),
            pghistory.UpdateEvent(),
            pghistory.DeleteEvent(),
            pghistory.ManualEvent("note"),
        )(
            model(
                "Post",
                title=models.CharField(max_length=50, unique=True),
                body=models.TextField(default=""),
                author=models.ForeignKey(author, models.CASCADE, null=True),
                price=models.DecimalField(max_digits=8, decimal_places=2, null=True),
                data=models.JSONField(null=True),
                changed_at=models.DateTimeField(auto_now=True),
            )
        )
        return {"Author": author, "Post": tracked, "Event": tracked.pgh_event_model}

    return history.declare(declare)


@pytest.fixture
def settings_with() -> Any:
    """Django's settings, changed for a block."""
    from django.test import override_settings

    return override_settings
