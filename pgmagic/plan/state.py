"""What Postgres holds, and the marks by which pgmagic knows its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Mark:
    """What pgmagic writes in the comment of a function or trigger of its own.

    declared: digest of the declaration's SQL, which tells an edited declaration. stored: digest of what Postgres
    made of it, which tells an edit made behind our back.
    """

    uri: str
    declared: str
    stored: str
    # Whether it was declared together with its model: then it goes when the model is declared without it.
    with_model: bool = False

    @classmethod
    def from_comment(cls, comment: str | None) -> Mark | None:
        """Return the mark in a comment, or None in a comment that is not ours."""
        try:
            found = json.loads(comment or "")
            return cls(found["pgmagic"], found["declared"], found["stored"], bool(found.get("with_model")))
        except (ValueError, TypeError, KeyError, AttributeError):
            return None


@dataclass(frozen=True)
class InstalledTrigger:
    """A trigger in the live catalog, ours or not.

    enabled is `tgenabled`: O (fires), D (disabled), R (replica only), A (always). stored and function_stored are
    digests of what Postgres holds now.
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
    function_schema: str
    function: str
    function_comment: str | None
    function_stored: str

    @property
    def mark(self) -> Mark | None:
        """The mark that pgmagic left on the trigger."""
        return Mark.from_comment(self.comment)

    @property
    def function_mark(self) -> Mark | None:
        """The mark that pgmagic left on the function."""
        return Mark.from_comment(self.function_comment)

    @property
    def is_enabled(self) -> bool:
        """Whether it fires in an ordinary session."""
        return self.enabled in "OA"

    @property
    def is_edited(self) -> bool:
        """Whether a trigger of ours, or its function, was changed behind pgmagic's back."""
        return not (
            _is_as_left(self.mark, self.stored) and _is_as_left(self.function_mark, self.function_stored)
        )


def _is_as_left(mark: Mark | None, stored: str) -> bool:
    return mark is not None and mark.stored == stored


@dataclass(frozen=True)
class InstalledTable:
    """A table of the live catalog; declared and state are what its creation left, if pgmagic created it."""

    name: str
    columns: tuple[str, ...]
    declared: str | None = None
    schema: str | None = None
    state: str | None = None


@dataclass(frozen=True)
class Installed:
    """What the live catalog holds in the schemas of the session's `search_path`; routines in the first of them."""

    schema: str | None = None
    tables: dict[str, InstalledTable] = field(default_factory=dict)
    routines: dict[str, Mark | None] = field(default_factory=dict)
    triggers: tuple[InstalledTrigger, ...] = ()

    def trigger(self, table: str, name: str) -> InstalledTrigger | None:
        """Return the trigger of a table by its name in Postgres."""
        return next((found for found in self.triggers_on(table) if found.name == name), None)

    def triggers_on(self, table: str) -> Iterator[InstalledTrigger]:
        """Iterate over the triggers of a table: of several with that name, of the one that the session sees."""
        visible = self.tables.get(table)
        for found in self.triggers:
            if found.table == table and (visible is None or visible.schema in (None, found.schema)):
                yield found

    def within(self, schema: str | None) -> Installed:
        """Return what one schema holds of it, or all of it without a schema.

        A notebook has a schema of its own; what other schemas of the `search_path` hold is not the notebook's.
        """
        if schema is None:
            return self
        return replace(
            self,
            tables={name: table for name, table in self.tables.items() if table.schema == schema},
            triggers=tuple(trigger for trigger in self.triggers if trigger.schema == schema),
        )
