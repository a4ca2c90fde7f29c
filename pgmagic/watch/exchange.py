"""A trigger that takes the place of another trigger, for the rest of a transaction."""

from __future__ import annotations

from dataclasses import dataclass

from pgmagic.compile.sql import compose, identifier, render
from pgmagic.db.declared import compiled
from pgmagic.db.driver import DriverConnection
from pgmagic.db.schemas import target_of
from pgmagic.declare import registry
from pgmagic.declare.model_types import Model
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import CellError
from pgmagic.watch.bystanders import LIMIT_LOCK_WAITS
from pgmagic.watch.driver_cursors import unwatched

_INSTALLED = """
SELECT n.nspname, c.relname, t.tgname FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE t.tgrelid = to_regclass(%s) AND t.tgfoid = to_regproc(%s) AND NOT t.tgisinternal"""


@dataclass(frozen=True)
class Exchange:
    """A trigger that takes the place of another trigger of a model; without `former` it is added."""

    model: Model
    former: Trigger | None
    trigger: Trigger

    @property
    def uri(self) -> str:
        """The URI of the trigger that comes in."""
        return self.trigger.get_uri(self.model)

    def take_place(self, raw: DriverConnection, alias: str) -> None:
        """Exchange the triggers in the open transaction of a connection to the database of an alias.

        It takes an ACCESS EXCLUSIVE lock on the table; nothing is registered.
        """
        with unwatched(raw) as cursor:
            cursor.execute(LIMIT_LOCK_WAITS.encode())
            if self.former is not None:
                table = render(identifier(self.model._meta.db_table))
                function = render(identifier(self.former.get_pgid(self.model)))
                cursor.execute(_INSTALLED, [table, function])
                for schema, relation, name in cursor.fetchall():
                    drop = compose("DROP TRIGGER ", identifier(name), " ON ", identifier(schema, relation))
                    cursor.execute(render(drop).encode())
            cursor.execute(compiled(self.model, self.trigger, target_of(alias)).install_sql.encode())


def exchange_by(trigger: Trigger, name: str, uri: str | None) -> Exchange:
    """Return the exchange for a trigger of the variable `name`; without a URI, of the trigger of the same name.

    Raises:
        CellError: if no model has a trigger of that name, or several do.
        UnknownTriggerError: if nothing is registered under the URI.
    """
    if uri is not None:
        [(model, former)] = registry.registered(uri)
        return Exchange(model, former, trigger)
    found = [pair for pair in registry.registered() if pair[1].get_name() == trigger.get_name()]
    if len(found) == 1:
        return Exchange(*found[0], trigger)
    uris = ", ".join(sorted(known.get_uri(model) for model, known in registry.registered())) or "none"
    which = "Several models have" if found else "No model has"
    raise CellError(
        f'{which} a trigger named "{trigger.get_name()}": say whose place {name} takes, as in '
        f"--with URI={name}; registered are: {uris}."
    )
