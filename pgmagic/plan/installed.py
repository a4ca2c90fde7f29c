"""What Postgres holds, and the marks by which pgmagic recognizes its own functions and triggers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

from pgmagic.compile.desired import DesiredTrigger

# Schema and name of a function; schema, table and name of a trigger.
FunctionKey = tuple[str, str]
TriggerPlace = tuple[str, str, str]


@dataclass(frozen=True)
class Mark:
    """What pgmagic writes in the comment of its own function, and what the comment says of a trigger that calls it.

    declared: digest of the declaration's SQL, which shows whether the declaration was edited. stored: digest of what
    Postgres made of it, which shows whether somebody edited the object in the database. triggers: name and both
    digests of each trigger.
    """

    uri: str
    declared: str
    stored: str
    # Whether it was declared together with its model: then it is dropped when the model is declared without it.
    with_model: bool = False
    triggers: tuple[tuple[str, str, str], ...] = ()

    @staticmethod
    # Comments are read again with every reading of the catalog, and seldom change.
    @lru_cache(maxsize=4096)
    def from_comment(comment: str | None) -> Mark | None:
        """Return the mark in a comment, or None if pgmagic did not write the comment."""
        try:
            found = json.loads(comment or "")
            triggers = tuple((name, declared, stored) for name, (declared, stored) in found.get("triggers", {}).items())
            return Mark(found["pgmagic"], found["declared"], found["stored"], bool(found.get("with_model")), triggers)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def of_trigger(self, name: str) -> Mark | None:
        """Return what the mark says of a trigger, or None if pgmagic did not make the trigger."""
        for known, declared, stored in self.triggers:
            if known == name:
                return Mark(self.uri, declared, stored, self.with_model)
        return None


@dataclass(frozen=True)
class InstalledFunction:
    """A trigger function in the live catalog, whoever made it; stored is a digest of what Postgres holds now.

    definition: the statement that creates or replaces the function; empty if it was not read.
    """

    schema: str
    name: str
    comment: str | None
    stored: str
    oid: int = field(default=0, compare=False)
    definition: str = ""

    @cached_property
    def mark(self) -> Mark | None:
        """The mark that pgmagic left on the function."""
        return Mark.from_comment(self.comment)

    @property
    def key(self) -> FunctionKey:
        """Schema and name."""
        return self.schema, self.name

    @property
    def is_edited(self) -> bool:
        """Whether the function is not as pgmagic left it."""
        return self.mark is None or self.mark.stored != self.stored


@dataclass(frozen=True)
class InstalledTrigger:
    """A trigger in the live catalog, whoever made it.

    enabled is `tgenabled`: O (fires), D (disabled), R (replica only), A (always). stored is a digest of what Postgres
    holds now. apart: the partitions in which the trigger is enabled and disabled differently than in its own table.
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
    # The function whose mark describes the trigger, if that is not the function that the trigger calls.
    marked_by: InstalledFunction | None = None

    @cached_property
    def mark(self) -> Mark | None:
        """What the mark of its function says of the trigger."""
        return self.own_function.mark and self.own_function.mark.of_trigger(self.name)

    @property
    def own_function(self) -> InstalledFunction:
        """The function that was made for the trigger, whichever function it calls."""
        return self.marked_by or self.function

    @property
    def place(self) -> TriggerPlace:
        """Schema, table and name."""
        return self.schema, self.table, self.name

    @property
    def uri(self) -> str:
        """The URI of a trigger of pgmagic's, otherwise its name in Postgres."""
        return self.mark.uri if self.mark else self.name

    @property
    def is_enabled(self) -> bool:
        """Whether the trigger fires in an ordinary session."""
        return self.enabled in "OA"

    @property
    def is_altered(self) -> bool:
        """Whether the trigger, apart from its function, is not as pgmagic left it."""
        return self.mark is None or self.mark.stored != self.stored

    @property
    def is_edited(self) -> bool:
        """Whether the trigger, or its function, is not as pgmagic left it."""
        return self.is_altered or self.own_function.is_edited


@dataclass(frozen=True)
class InstalledTable:
    """A table of the live catalog; declared and state are what its creation left, if pgmagic created it."""

    name: str
    columns: tuple[str, ...]
    declared: str | None = None
    schema: str | None = None
    state: str | None = None
    # Whether the table has, or is, a partition or a child of Postgres's own inheritance.
    in_tree: bool = False
    # The label of the model that the table was made for.
    label: str | None = None
    # Whether somebody changed its columns since pgmagic did.
    is_edited: bool = False


@dataclass(frozen=True)
class Installed:
    """What the live catalog holds.

    Names resolve as in Postgres: a name that is qualified by a schema means the object in that schema; any other name
    means the first object of that name along the search_path. What is created without a schema goes into the first
    schema of the search_path.

    home: the schemas whose marked functions and triggers this session may drop: the notebook's own, or those of the
    search_path. functions: the trigger functions of pgmagic's, also those that no trigger calls. routines: the other
    functions of pgmagic's, in the first schema.
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
        """Return the form of a trigger that fits its table: by row, if the table has partitions or children."""
        table = self.table(trigger.table, trigger.schema)
        return trigger.by_row if trigger.by_row and table and table.in_tree else trigger

    def table(self, name: str, schema: str | None = None) -> InstalledTable | None:
        """Return the table that a name means."""
        for place in (schema,) if schema else self.search_path:
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
        """Return the function of pgmagic's in the schema where a function of that name would be created."""
        return self._functions.get((schema or self.schema, name))

    @cached_property
    def own_triggers(self) -> tuple[InstalledTrigger, ...]:
        """The triggers that pgmagic left at home, on tables that unqualified names mean."""
        found = []
        for trigger in self.triggers:
            at_home = trigger.schema in self.home or trigger.function.schema in self.home
            if trigger.mark is not None and at_home:
                # A table that is hidden by a table of the same name in an earlier schema belongs to another session.
                visible = self.table(trigger.table)
                if visible is not None and visible.schema == trigger.schema:
                    found.append(trigger)
        return tuple(found)

    @property
    def all_functions(self) -> tuple[InstalledFunction, ...]:
        """The functions of pgmagic's, and those that other triggers call."""
        return tuple(dict.fromkeys([*self.functions, *(trigger.function for trigger in self.triggers)]))

    def with_definitions(self, definitions: Mapping[int, str]) -> Installed:
        """Return the same with the statements that create the functions; definitions: statements by oid."""
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
