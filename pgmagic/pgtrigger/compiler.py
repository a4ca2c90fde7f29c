"""Triggers as migrations hold them: the SQL as it was when the migration was written, whatever the code says later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredFunction, DesiredPgTrigger, DesiredTrigger
from pgmagic.compile.ignored_names import ignored
from pgmagic.compile.sql import DollarQuoted, compose, identifier, render, verbatim
from pgmagic.declare.names import postgres_name
from pgmagic.errors import DeclarationError


class _Written:
    """What a migration file writes as a call with keywords: all that differs from the default."""

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return the path, the arguments and the keywords that make it again."""
        cls = type(self)
        given = {
            field.name: getattr(self, field.name)
            for field in fields(cls)  # type: ignore[arg-type]
            if getattr(self, field.name) != field.default
        }
        return f"{cls.__module__}.{cls.__qualname__}", [], given


@dataclass(frozen=True, kw_only=True, eq=True)
class TriggerSql(_Written):
    """What stands in Postgres for one declared trigger.

    table: its table. functions, triggers: the statement that creates each, by its name in Postgres. by_row: what
    stands for it instead on a table with partitions, where statements are not what they seem.
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
        """Return a compiled trigger as a migration writes it."""
        return cls(
            uri=desired.uri,
            table=desired.table,
            functions={desired.function.name: desired.function.create},
            triggers={part.name: part.create for part in desired.triggers},
            by_row=cls.of(desired.by_row) if desired.by_row else None,
        )

    def desired(self, uri: str) -> DesiredTrigger:
        """Return what a database is to hold; the URI that was written counts."""
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
    """The SQL of a trigger in a migration that django-pgtrigger wrote, so that such migrations run.

    Each argument is a piece of CREATE TRIGGER or of its function, as it stands; `func` may be empty where `execute`
    names a function of Postgres's own. hash, ignore_func_name: of no use here.
    """

    pgid: str
    table: str
    when: Any
    operation: Any
    func: str = ""
    declare: str = ""
    constraint: str = ""
    timing: str = ""
    referencing: Any = ""
    level: Any = "ROW"
    condition: str = ""
    execute: str = ""
    ignore_func_name: str | None = None
    hash: str | None = None

    def desired(self, uri: str) -> DesiredTrigger:
        """Return what a database is to hold for the trigger of that URI."""
        create = self._function(uri)
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
            function=DesiredFunction(self.pgid, create, ddl.drop_function(None, self.pgid), ""),
            triggers=(_part(self.table, self.pgid, render(trigger)),),
            condition="",
        )

    def _function(self, uri: str) -> str:
        body = compose(
            "\n", verbatim(self.declare), "\nBEGIN\nIF ",
            ignored(postgres_name(uri.partition(":")[2], uri)),
            " THEN\n  IF TG_OP = 'DELETE' THEN RETURN OLD; ELSE RETURN NEW; END IF;\nEND IF;\n",
            verbatim(self.func or "RETURN NULL;"), "\nEND;\n",
        )  # fmt: skip
        return render(
            compose(
                "CREATE OR REPLACE FUNCTION ", identifier(self.pgid),
                "() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS ", DollarQuoted(render(body)), ";",
            )
        )  # fmt: skip


def _part(table: str, name: str, create: str) -> DesiredPgTrigger:
    drop = ddl.drop_trigger(None, table, name)
    return DesiredPgTrigger(name=name, fires="", create=create, replace=f"{drop}\n{create}", drop=drop)


class Trigger:
    """A trigger by its name among those of a model, and its SQL."""

    def __init__(self, *, name: str, sql: TriggerSql | UpsertTriggerSql) -> None:
        if not isinstance(sql, TriggerSql | UpsertTriggerSql):
            raise DeclarationError(f'The sql of the trigger "{name}" is no TriggerSql: {sql!r}.')
        self.name = name
        self.sql = sql

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Trigger) and (self.name, self.sql) == (other.name, other.sql)

    def __hash__(self) -> int:
        return hash((self.name, self.sql.table))

    def __repr__(self) -> str:
        return f"<Trigger: {self.name} on {self.sql.table}>"

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        """Return the path, the arguments and the keywords that make it again."""
        return f"{__name__}.Trigger", [], {"name": self.name, "sql": self.sql}

    def desired(self, label: str) -> DesiredTrigger:
        """Return what a database is to hold for it on the model of that label."""
        return self.sql.desired(f"{label}:{self.name}")

    @property
    def install_sql(self) -> str:
        """The SQL that installs it on a database that does not have it yet."""
        return self.desired("").install_sql

    @property
    def uninstall_sql(self) -> str:
        """The SQL that drops it."""
        return self.desired("").uninstall_sql
