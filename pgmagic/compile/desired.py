"""The objects that a declaration needs in Postgres."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal


def digest(*texts: str) -> str:
    """Return a short digest of texts: the same texts give the same digest, in every process."""
    joined = "".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class DesiredFunction:
    """A trigger function: its name in Postgres and the SQL that creates or replaces it."""

    name: str
    create: str
    drop: str
    # The text between the quotes.
    body: str
    # Whether the body holds SQL that pgmagic did not write, so that Postgres has to check it.
    needs_check: bool = True
    # The columns of OLD and NEW that a user's body names in its own code, as Postgres knows them.
    named_columns: frozenset[str] = frozenset()

    @cached_property
    def declared(self) -> str:
        """The digest of the declaration."""
        return digest(self.create)


@dataclass(frozen=True)
class DesiredPgTrigger:
    """One trigger as Postgres counts them; a declaration can need several."""

    name: str
    fires: str
    create: str
    replace: str
    drop: str
    # The declared condition on rows or statements; empty if there is none.
    condition: str = ""

    @cached_property
    def declared(self) -> str:
        """The digest of the declaration."""
        return digest(self.create)


@dataclass(frozen=True)
class MarkedTrigger:
    """A trigger that calls a marked function; without a schema its table is found along the search_path."""

    name: str
    declared: str
    table: str
    schema: str | None = None


@dataclass(frozen=True)
class Marking:
    """A comment to leave on a function: what was declared. What Postgres stored is read when the comment is left.

    It also describes the triggers that call the function, so that one comment marks a declaration.
    """

    name: str
    uri: str
    declared: str
    # Without a schema, the function is found along the search_path.
    schema: str | None = None
    with_model: bool = False
    triggers: tuple[MarkedTrigger, ...] = ()


@dataclass(frozen=True)
class DesiredTrigger:
    """Everything that Postgres needs for one declared trigger."""

    uri: str
    table: str
    function: DesiredFunction
    triggers: tuple[DesiredPgTrigger, ...]
    condition: str
    # The schema of table and function; without a schema they are found along the search_path.
    schema: str | None = None
    with_model: bool = False
    # What is installed instead on a table with partitions or Postgres's own inheritance: there a trigger for statements
    # fires only for statements that name its table, while a trigger for rows fires for all of the table's rows.
    by_row: DesiredTrigger | None = None
    # Whether it calls another function than its own, which is created nevertheless.
    calls_another: bool = False

    def declared_with_model(self) -> DesiredTrigger:
        """Return the same, noted as declared together with its model."""
        by_row = self.by_row.declared_with_model() if self.by_row else None
        return replace(self, with_model=True, by_row=by_row)

    @cached_property
    def marking(self) -> Marking:
        """The mark to leave on its function."""
        triggers = tuple(MarkedTrigger(part.name, part.declared, self.table, self.schema) for part in self.triggers)
        return Marking(self.function.name, self.uri, self.function.declared, self.schema, self.with_model, triggers)

    @property
    def install_sql(self) -> str:
        """The SQL that installs the trigger on a database that does not have it yet."""
        return "\n".join([self.function.create, *(trigger.create for trigger in self.triggers)])

    @property
    def uninstall_sql(self) -> str:
        """The SQL that drops the trigger and its function."""
        return "\n".join([*(trigger.drop for trigger in self.triggers), self.function.drop])


@dataclass(frozen=True)
class DesiredTable:
    """A model's table: the statements that create it, and those that refer to other tables and run after all."""

    label: str
    table: str
    kind: Literal["table", "event table"]
    create: tuple[str, ...]
    deferred: tuple[str, ...]
    columns: tuple[str, ...]
    # The model as `model_state.dump_state` wrote it.
    state: str
    # The schema of the table; without a schema it is found along the search_path.
    schema: str | None = None

    @cached_property
    def declared(self) -> str:
        """The digest of the declaration."""
        return digest(self.state)


@dataclass(frozen=True)
class DesiredRoutine:
    """A function that belongs to no single trigger: event triggers share the one that attaches the context."""

    name: str
    create: str
    drop: str

    @cached_property
    def declared(self) -> str:
        """The digest of the declaration."""
        return digest(self.create)


@dataclass(frozen=True)
class Desired:
    """The objects that the database has to hold after a cell or a call.

    owned_labels: the labels of the models that are declared here; a trigger that was declared together with one of
    these models, and is no longer declared, will be dropped.
    """

    tables: Sequence[DesiredTable] = ()
    routines: Sequence[DesiredRoutine] = ()
    triggers: Sequence[DesiredTrigger] = ()
    owned_labels: frozenset[str] = frozenset()
