"""Triggers as migrations hold them: the SQL as it was when the migration was written, whatever the code says later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from pgmagic.compile import ddl
from pgmagic.compile.declarations import compile_as_declared
from pgmagic.compile.desired import DesiredFunction, DesiredPgTrigger, DesiredTrigger
from pgmagic.compile.ignored_names import ignored
from pgmagic.compile.sql import DollarQuoted, compose, identifier, render, verbatim
from pgmagic.compile.target import Target
from pgmagic.declare.model_types import Model
from pgmagic.declare.names import postgres_name
from pgmagic.declare.trigger import Trigger as DeclaredTrigger
from pgmagic.errors import DeclarationError


class _Written:
    """Dataclasses that a migration file writes as a call with keywords, without those that have their default."""

    def deconstruct(self) -> tuple[str, list[object], dict[str, object]]:
        """Return the path of the class, its arguments and its keywords, for a migration file."""
        cls = type(self)
        given = {
            field.name: getattr(self, field.name)
            for field in fields(cls)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        }
        return f"{cls.__module__}.{cls.__qualname__}", [], given


@dataclass(frozen=True, kw_only=True, eq=True)
class TriggerSql(_Written):
    """The SQL of one declared trigger: a function, and the Postgres triggers that call it.

    Args:
        uri: `app_label.Model:trigger_name`.
        table: the table of the triggers.
        functions: CREATE FUNCTION by the name of the function in Postgres.
        triggers: CREATE TRIGGER by the name of each trigger in Postgres.
        by_row: the row-level SQL, used instead on a table with partitions or children.
    """

    uri: str
    table: str
    functions: Mapping[str, str]
    triggers: Mapping[str, str]
    by_row: TriggerSql | None = None

    def __hash__(self) -> int:
        return hash((self.uri, *self.functions.values(), *self.triggers.values()))

    @classmethod
    def of(cls, desired: DesiredTrigger) -> TriggerSql:
        """Return the SQL of a compiled trigger."""
        return cls(
            uri=desired.uri,
            table=desired.table,
            functions={desired.function.name: desired.function.create},
            triggers={part.name: part.create for part in desired.triggers},
            by_row=cls.of(desired.by_row) if desired.by_row else None,
        )

    def desired(self, uri: str) -> DesiredTrigger:
        """Return what a database should hold; the URI in the migration counts, not the argument."""
        [(name, create)] = self.functions.items()
        return DesiredTrigger(
            uri=self.uri,
            table=self.table,
            function=DesiredFunction(name, create, ddl.drop_function(None, name), ""),
            triggers=tuple(_part(self.table, *entry) for entry in self.triggers.items()),
            condition="",
            by_row=self.by_row.desired(uri) if self.by_row else None,
        )


@dataclass(frozen=True, kw_only=True)
class UpsertTriggerSql(_Written):
    """The SQL of a trigger in a migration that django-pgtrigger wrote; so pgmagic can run such migrations.

    Each argument is a piece of CREATE TRIGGER or of its function, used as it is; `func` may be empty where `execute`
    names a function that Postgres brings along. `hash` and `ignore_func_name` are accepted and not used.
    """

    pgid: str
    table: str
    when: object
    operation: object
    func: str = ""
    declare: str = ""
    constraint: str = ""
    timing: str = ""
    referencing: object = ""
    level: object = "ROW"
    condition: str = ""
    execute: str = ""
    ignore_func_name: str | None = None
    hash: str | None = None

    def desired(self, uri: str) -> DesiredTrigger:
        """Return what a database should hold for the trigger of that URI."""
        body = compose(
            "\n", verbatim(self.declare), "\nBEGIN\nIF ",
            ignored(postgres_name(uri.partition(":")[2], uri)),
            " THEN\n  IF TG_OP = 'DELETE' THEN RETURN OLD; ELSE RETURN NEW; END IF;\nEND IF;\n",
            verbatim(self.func or "RETURN NULL;"), "\nEND;\n",
        )  # fmt: skip
        function = compose(
            "CREATE OR REPLACE FUNCTION ", identifier(self.pgid),
            "() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS ", DollarQuoted(render(body)), ";",
        )  # fmt: skip
        executed = verbatim(self.execute) if self.execute else compose(identifier(self.pgid), "()")
        pieces = [str(piece) for piece in (self.timing, self.referencing) if piece]
        pieces += [f"FOR EACH {self.level}", *([self.condition] if self.condition else [])]
        trigger = compose(
            "CREATE ", verbatim(f"{self.constraint} " if self.constraint else ""), "TRIGGER ", identifier(self.pgid),
            "\n  ", verbatim(f"{self.when} {self.operation}"), " ON ", identifier(self.table),
            *(verbatim(f"\n  {piece}") for piece in pieces), "\n  EXECUTE FUNCTION ", executed, ";",
        )  # fmt: skip
        return DesiredTrigger(
            uri=uri,
            table=self.table,
            function=DesiredFunction(self.pgid, render(function), ddl.drop_function(None, self.pgid), ""),
            triggers=(_part(self.table, self.pgid, render(trigger)),),
            condition="",
        )


def _part(table: str, name: str, create: str) -> DesiredPgTrigger:
    drop = ddl.drop_trigger(None, table, name)
    return DesiredPgTrigger(name=name, fires="", create=create, replace=f"{drop}\n{create}", drop=drop)


class Trigger:
    """A trigger as migrations hold it: its name among those of a model, and its SQL.

    Args:
        name: the name in the declaration.
        sql: the SQL, as `makemigrations` wrote it.

    Raises:
        DeclarationError: if `sql` is not a `TriggerSql` or an `UpsertTriggerSql`.
    """

    def __init__(self, *, name: str, sql: TriggerSql | UpsertTriggerSql) -> None:
        if not isinstance(sql, TriggerSql | UpsertTriggerSql):
            raise DeclarationError(f'The trigger "{name}" needs a TriggerSql as its sql, but {sql!r} was given.')
        self.name = name
        self.sql = sql

    @classmethod
    def of(cls, declared: DeclaredTrigger, model: Model) -> Trigger:
        """Return a declared trigger with its SQL as the code compiles it now."""
        compiled = compile_as_declared(declared, model, Target())
        return cls(name=declared.get_name(), sql=TriggerSql.of(compiled))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trigger) and (self.name, self.sql) == (other.name, other.sql)

    def __hash__(self) -> int:
        return hash((self.name, self.sql.table))

    def __repr__(self) -> str:
        return f"<Trigger: {self.name} on {self.sql.table}>"

    def deconstruct(self) -> tuple[str, list[object], dict[str, object]]:
        """Return the path of the class, its arguments and its keywords, for a migration file."""
        return f"{__name__}.Trigger", [], {"name": self.name, "sql": self.sql}

    def desired(self, label: str) -> DesiredTrigger:
        """Return what a database should hold for the trigger on the model of that label."""
        return self.sql.desired(f"{label}:{self.name}")

    @property
    def install_sql(self) -> str:
        """The SQL that installs the trigger on a database that does not have it yet."""
        return self.desired("").install_sql

    @property
    def uninstall_sql(self) -> str:
        """The SQL that drops the trigger and its function."""
        return self.desired("").uninstall_sql
