"""What Postgres holds, and the marks by which pgmagic knows its own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from pgmagic.compile.desired import DesiredTrigger


@dataclass(frozen=True)
class Mark:
    """What pgmagic writes in the comment of a function of its own, and what that says of a trigger which calls it.

    declared: digest of the declaration's SQL, which tells an edited declaration. stored: digest of what Postgres
    made of it, which tells an edit made behind our back. triggers: name and both digests of each trigger.
    """

    uri: str
    declared: str
    stored: str
    # Whether it was declared together with its model: then it goes when the model is declared without it.
    with_model: bool = False
    triggers: tuple[tuple[str, str, str], ...] = ()

    @classmethod
    def from_comment(cls, comment: str | None) -> Mark | None:
        """Return the mark in a comment, or None in a comment that is not ours."""
        return _read_mark(comment)

    def of_trigger(self, name: str) -> Mark | None:
        """Return what it says of a trigger, None of one that pgmagic did not make."""
        for known, declared, stored in self.triggers:
            if known == name:
                return Mark(self.uri, declared, stored, self.with_model)
        return None


# Comments are read again with every reading of the catalog, and seldom change.
@lru_cache(maxsize=4096)
def _read_mark(comment: str | None) -> Mark | None:
    try:
        found = json.loads(comment or "")
        triggers = tuple(
            (name, declared, stored) for name, (declared, stored) in found.get("triggers", {}).items()
        )
        return Mark(
            found["pgmagic"], found["declared"], found["stored"], bool(found.get("with_model")), triggers
        )
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


@dataclass(frozen=True)
class InstalledFunction:
    """A trigger function in the live catalog, ours or not; stored is a digest of what Postgres holds now.

    definition: the statement that creates or replaces it, where it was asked for.
    """

    schema: str
    name: str
    comment: str | None
    stored: str
    oid: int = field(default=0, compare=False)
    definition: str = ""

    @cached_property
    def mark(self) -> Mark | None:
        """The mark that pgmagic left on it."""
        return Mark.from_comment(self.comment)

    @property
    def is_edited(self) -> bool:
        """Whether it is not as pgmagic left it."""
        return self.mark is None or self.mark.stored != self.stored


@dataclass(frozen=True)
class InstalledTrigger:
    """A trigger in the live catalog, ours or not.

    enabled is `tgenabled`: O (fires), D (disabled), R (replica only), A (always). stored is a digest of what Postgres
    holds now. apart: the partitions in which it is enabled otherwise than in its own table.
    """

    schema: str
    table: str
    name: str
    fires: str
    condition: str
    definition: str
    enabled: str
    comment: str | None
    stored: str
    function: InstalledFunction
    apart: tuple[str, ...] = ()
    # The function whose mark speaks of it, where that is not the one that it calls.
    marked_by: InstalledFunction | None = None

    @cached_property
    def mark(self) -> Mark | None:
        """What a function's mark says of it."""
        return self.own_function.mark and self.own_function.mark.of_trigger(self.name)

    @property
    def own_function(self) -> InstalledFunction:
        """The function that was made for it, whichever it calls."""
        return self.marked_by or self.function

    @property
    def is_enabled(self) -> bool:
        """Whether it fires in an ordinary session."""
        return self.enabled in "OA"

    @property
    def is_edited(self) -> bool:
        """Whether the trigger, or its function, is not as pgmagic left it."""
        return self.mark is None or self.mark.stored != self.stored or self.own_function.is_edited


@dataclass(frozen=True)
class InstalledTable:
    """A table of the live catalog; declared and state are what its creation left, if pgmagic created it."""

    name: str
    columns: tuple[str, ...]
    declared: str | None = None
    schema: str | None = None
    state: str | None = None
    # Whether it has, or is, a partition or a child of Postgres's own inheritance.
    in_tree: bool = False
    # The label of the model that it was made for.
    label: str | None = None
    # Whether somebody changed its columns since pgmagic did.
    is_edited: bool = False


@dataclass(frozen=True)
class Installed:
    """What the live catalog holds.

    Names resolve as in Postgres: a name that is qualified by a schema means what is there; any other means the first
    of that name along the search_path, and what is created without a schema goes into the first schema of it.

    home: the schemas whose functions and triggers are this session's to drop if pgmagic marked them: the notebook's
    own, or those of the search_path. functions: the trigger functions of ours, also those that no trigger calls.
    routines: the other functions of ours, in the first schema.
    """

    search_path: tuple[str, ...] = ()
    home: tuple[str, ...] = ()
    tables: tuple[InstalledTable, ...] = ()
    routines: dict[str, Mark | None] = field(default_factory=dict)
    triggers: tuple[InstalledTrigger, ...] = ()
    functions: tuple[InstalledFunction, ...] = ()

    @property
    def schema(self) -> str | None:
        """The schema in which unqualified names are created."""
        return self.search_path[0] if self.search_path else None

    def suited(self, trigger: DesiredTrigger) -> DesiredTrigger:
        """Return what stands for a trigger on the table that it is for."""
        table = self.table(trigger.table, trigger.schema)
        return trigger.by_row if trigger.by_row and table and table.in_tree else trigger

    def table(self, name: str, schema: str | None = None) -> InstalledTable | None:
        """Return the table that a name means."""
        for place in self._places(schema):
            if (place, name) in self._tables:
                return self._tables[place, name]
        return None

    def triggers_on(self, table: str, schema: str | None = None) -> Iterable[InstalledTrigger]:
        """Return the triggers of the table that a name means."""
        found = self.table(table, schema)
        return self._triggers.get((found.schema, found.name), {}).values() if found else ()

    def trigger(self, table: str, name: str, schema: str | None = None) -> InstalledTrigger | None:
        """Return a trigger, by its name in Postgres, of the table that a name means."""
        found = self.table(table, schema)
        return self._triggers.get((found.schema, found.name), {}).get(name) if found else None

    def function(self, name: str, schema: str | None = None) -> InstalledFunction | None:
        """Return the trigger function of ours in the schema where one of that name would be created."""
        return self._functions.get((schema or self.schema, name))

    @cached_property
    def own_triggers(self) -> tuple[InstalledTrigger, ...]:
        """The triggers that pgmagic left at home, on tables that unqualified names mean."""
        return tuple(trigger for trigger in self.triggers if self._is_own(trigger))

    @property
    def all_functions(self) -> tuple[InstalledFunction, ...]:
        """The functions of ours, and those that triggers of others call."""
        return tuple(dict.fromkeys([*self.functions, *(trigger.function for trigger in self.triggers)]))

    def with_definitions(self, definitions: Mapping[int, str]) -> Installed:
        """Return the same, with the statements that create its functions, by their oids."""
        defined = {
            function: replace(function, definition=definitions.get(function.oid, function.definition))
            for function in self.all_functions
        }
        return replace(
            self,
            functions=tuple(defined[function] for function in self.functions),
            triggers=tuple(
                replace(
                    trigger,
                    function=defined[trigger.function],
                    marked_by=trigger.marked_by and defined.get(trigger.marked_by, trigger.marked_by),
                )
                for trigger in self.triggers
            ),
        )

    def _is_own(self, trigger: InstalledTrigger) -> bool:
        if trigger.mark is None or (
            trigger.schema not in self.home and trigger.function.schema not in self.home
        ):
            return False
        # A table that another hides, that of the same name in an earlier schema, belongs to another session.
        visible = self.table(trigger.table)
        return visible is not None and visible.schema == trigger.schema

    def _places(self, schema: str | None) -> tuple[str, ...]:
        return (schema,) if schema else self.search_path

    @cached_property
    def _tables(self) -> dict[tuple[str | None, str], InstalledTable]:
        return {(table.schema, table.name): table for table in self.tables}

    @cached_property
    def _triggers(self) -> dict[tuple[str | None, str], dict[str, InstalledTrigger]]:
        found: dict[tuple[str | None, str], dict[str, InstalledTrigger]] = {}
        for trigger in self.triggers:
            found.setdefault((trigger.schema, trigger.table), {})[trigger.name] = trigger
        return found

    @cached_property
    def _functions(self) -> dict[tuple[str | None, str], InstalledFunction]:
        return {(function.schema, function.name): function for function in self.functions}
