"""What a declaration asks Postgres to hold, and what Postgres holds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


def digest(*texts: str) -> str:
    """Return a short digest of texts: the same texts give the same digest, in every process."""
    joined = "".join(f"{len(text)}:{text}" for text in texts)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Mark:
    """What pgmagic writes in the comment of a function or trigger of its own.

    declared: digest of the declaration's SQL, which tells an edited declaration. stored: digest of what Postgres
    made of it, which tells an edit made behind our back.
    """

    uri: str
    declared: str
    stored: str

    def as_comment(self) -> str:
        """Return the text of the comment."""
        return json.dumps({"pgmagic": self.uri, "declared": self.declared, "stored": self.stored})

    @classmethod
    def from_comment(cls, comment: str | None) -> Mark | None:
        """Return the mark in a comment, or None in a comment that is not ours."""
        try:
            found = json.loads(comment or "")
            return cls(found["pgmagic"], found["declared"], found["stored"])
        except (ValueError, TypeError, KeyError):
            return None


@dataclass(frozen=True)
class DesiredFunction:
    """A trigger function: its name in Postgres and the SQL that creates or replaces it."""

    name: str
    create: str
    drop: str
    # The text between the quotes; the arguments are those of every trigger function: none.
    body: str

    @property
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

    @property
    def declared(self) -> str:
        """The digest of the declaration."""
        return digest(self.create)


@dataclass(frozen=True)
class DesiredTrigger:
    """Everything that stands in Postgres for one declared trigger."""

    uri: str
    table: str
    function: DesiredFunction
    triggers: tuple[DesiredPgTrigger, ...]
    condition: str

    @property
    def install_sql(self) -> str:
        """The SQL that installs it on a database that does not have it yet."""
        return "\n".join([self.function.create, *(trigger.create for trigger in self.triggers)])

    @property
    def uninstall_sql(self) -> str:
        """The SQL that drops it."""
        return "\n".join([*(trigger.drop for trigger in self.triggers), self.function.drop])


@dataclass(frozen=True)
class DesiredTable:
    """A model's table: the statements that create it and, behind the other tables, what refers to them."""

    label: str
    table: str
    kind: Literal["table", "event table"]
    create: tuple[str, ...]
    deferred: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def declared(self) -> str:
        """The digest of the declaration."""
        return digest(*self.create, *self.deferred)


@dataclass(frozen=True)
class DesiredRoutine:
    """A function that is no trigger's own: event triggers share those that attach the context."""

    name: str
    create: str
    drop: str

    @property
    def declared(self) -> str:
        """The digest of the declaration."""
        return digest(self.create)


@dataclass(frozen=True)
class Desired:
    """What a cell, or a call, asks the database to hold."""

    tables: Sequence[DesiredTable] = ()
    routines: Sequence[DesiredRoutine] = ()
    triggers: Sequence[DesiredTrigger] = ()
    # URIs that this declaration replaces: installed triggers of these models that are not desired are dropped.
    owned_models: frozenset[str] = frozenset()


@dataclass(frozen=True)
class InstalledTrigger:
    """A trigger in the live catalog, ours or not.

    enabled is `tgenabled`: O (fires), D (disabled), R (replica only), A (always).
    """

    schema: str
    table: str
    name: str
    fires: str
    definition: str
    enabled: str
    comment: str | None
    stored: str
    function_schema: str
    function: str
    function_comment: str | None
    function_stored: str
    condition: str | None = None

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
        """Whether the trigger or its function was changed behind pgmagic's back."""
        marks = ((self.mark, self.stored), (self.function_mark, self.function_stored))
        return any(mark is None or mark.stored != stored for mark, stored in marks)


@dataclass(frozen=True)
class InstalledTable:
    """A table of the schema, with the digest that its creation left, if pgmagic created it."""

    name: str
    columns: tuple[str, ...]
    declared: str | None = None
    has_rows: bool = False


@dataclass(frozen=True)
class Installed:
    """What the live catalog holds."""

    tables: dict[str, InstalledTable] = field(default_factory=dict)
    routines: dict[str, Mark | None] = field(default_factory=dict)
    triggers: tuple[InstalledTrigger, ...] = ()
