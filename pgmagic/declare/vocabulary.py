"""The words of CREATE TRIGGER: when, level, operation, timing, transition tables, and the function's text.

Source: https://www.postgresql.org/docs/current/sql-createtrigger.html
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from pgmagic.errors import DeclarationError


class Word:
    """One keyword out of a closed list. `str()` is the SQL keyword."""

    values: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str) -> None:
        if name not in self.values:
            raise DeclarationError(f"{type(self).__name__} is one of {', '.join(self.values)}, but {name!r} was given.")
        self.name = name

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"pgtrigger.{self.name.title().replace(' ', '')}"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and str(other) == str(self)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self.name))


class When(Word):
    """When a trigger fires, relative to the operation: `Before`, `After` or `InsteadOf`.

    Example:
        >>> pgtrigger.When("BEFORE") == pgtrigger.Before
        True
    """

    values = ("BEFORE", "AFTER", "INSTEAD OF")


class Level(Word):
    """Whether a trigger fires once for each row or once for each statement: `Row` or `Statement`.

    Example:
        >>> pgtrigger.Level("ROW") == pgtrigger.Row
        True
    """

    values = ("ROW", "STATEMENT")


class Timing(Word):
    """When a constraint trigger fires: at the end of the statement, or of the transaction.

    `Immediate` or `Deferred`; `pgtrigger.constraints` changes it for a transaction.

    Example:
        >>> pgtrigger.Timing("DEFERRED") == pgtrigger.Deferred
        True
    """

    values = ("IMMEDIATE", "DEFERRED")


class Operation(Word):
    """An operation that fires a trigger: `Insert`, `Update`, `Delete` or `Truncate`, combined by `|`.

    Example:
        >>> pgtrigger.Update | pgtrigger.Delete
        pgtrigger.Update | pgtrigger.Delete
    """

    values = ("UPDATE", "DELETE", "TRUNCATE", "INSERT")

    def __or__(self, other: Operation) -> Operations:
        if not isinstance(other, Operation):
            return NotImplemented
        return Operations(*self, *other)

    def __iter__(self) -> Iterator[Operation]:
        """Iterate over the single operations that this one is made of."""
        yield self


class UpdateOf(Operation):
    """An UPDATE that names at least one of the given fields in its SET list.

    Args:
        columns: the names of model fields.

    Raises:
        DeclarationError: if no field is given.

    Example:
        >>> titles = pgtrigger.Protect(name="titles", operation=pgtrigger.UpdateOf("title"))
        >>> with titles.install(Post):
        ...     Post.objects.update(likes=1)
        1
    """

    def __init__(self, *columns: str) -> None:
        if not columns:
            raise DeclarationError("UpdateOf needs at least one field, as in UpdateOf('title').")
        super().__init__("UPDATE")
        self.columns = columns

    def __str__(self) -> str:
        return "UPDATE OF " + ", ".join(f'"{column}"' for column in self.columns)

    def __repr__(self) -> str:
        return f"pgtrigger.UpdateOf({', '.join(map(repr, self.columns))})"

    def __hash__(self) -> int:
        return hash(("UpdateOf", self.columns))


class Operations(Operation):
    """Several operations, in the order in which they were combined, each once.

    Args:
        operations: what `|` combines.

    Example:
        >>> pgtrigger.Operations(pgtrigger.Insert, pgtrigger.Update) == pgtrigger.Update | pgtrigger.Insert
        True
    """

    def __init__(self, *operations: Operation) -> None:
        self.operations = tuple(dict.fromkeys(single for operation in operations for single in operation))
        self.name = " OR ".join(str(operation) for operation in self.operations)

    def __repr__(self) -> str:
        return " | ".join(map(repr, self.operations))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operations) and set(other.operations) == set(self.operations)

    def __hash__(self) -> int:
        return hash(frozenset(self.operations))

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)


Before, After, InsteadOf = When("BEFORE"), When("AFTER"), When("INSTEAD OF")
Row, Statement = Level("ROW"), Level("STATEMENT")
Immediate, Deferred = Timing("IMMEDIATE"), Timing("DEFERRED")
Update, Delete, Truncate, Insert = (Operation(name) for name in Operation.values)


class Referencing:
    """The names under which a statement-level trigger sees the rows before and after the statement.

    Args:
        old: the name of the table of rows before the statement.
        new: the name of the table of rows after it.

    Raises:
        DeclarationError: if no name is given, or the same name twice.

    Source: https://www.postgresql.org/docs/current/sql-createtrigger.html (REFERENCING)

    Example:
        >>> pgtrigger.Trigger(
        ...     name="few", when=pgtrigger.After, operation=pgtrigger.Insert, level=pgtrigger.Statement,
        ...     referencing=pgtrigger.Referencing(new="added"),
        ...     func="IF (SELECT count(*) FROM added) > 9 THEN RAISE 'too many'; END IF; RETURN NULL;")
        <Trigger: few>
    """

    def __init__(self, *, old: str | None = None, new: str | None = None) -> None:
        if not old and not new:
            raise DeclarationError('Referencing needs a name for "old", for "new", or for both.')
        if old == new:
            raise DeclarationError(f'Referencing needs two different names, but both are "{old}".')
        self.old = old
        self.new = new

    def __repr__(self) -> str:
        return f"pgtrigger.Referencing(old={self.old!r}, new={self.new!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Referencing) and (self.old, self.new) == (other.old, other.new)

    def __hash__(self) -> int:
        return hash((self.old, self.new))
