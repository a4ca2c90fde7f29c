"""The ways in which a row is written, by application code and around it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.compile.sql import Fragment, compose, identifier, join, literal, render, verbatim
from pgmagic.db.runtime.ignore import ignore
from pgmagic.declare.conditions import table_fields
from pgmagic.declare.model_types import AnyField, Model
from pgmagic.trial.attempts import execute
from pgmagic.trial.concerned import Concerned, Operation, key_fields


@dataclass(frozen=True)
class Way:
    """A way to write a row.

    takes: the privilege or role that is needed to use this way. run: tries it; None if it is not possible here.
    reason: why it is not possible, or why a trigger does not fire.
    """

    name: str
    operation: Operation
    takes: str
    run: Callable[[], object] | None
    reason: str | None = None


@dataclass(frozen=True)
class Ways:
    """The ways to do one thing to what a trigger of a model concerns."""

    model: Model
    uri: str
    trigger_names: tuple[str, ...]
    connection: BaseDatabaseWrapper
    concerned: Concerned

    def all_of(self, operation: Operation) -> Iterator[Way]:
        """Yield the ways of an operation, first those of application code, then those around every trigger."""
        match operation:
            case "UPDATE":
                plain = self._update()
                yield from self.updates()
            case "INSERT":
                plain = self._insert()
                yield from self.inserts()
            case "DELETE":
                plain = self._delete()
                yield from self.deletes()
            case "TRUNCATE":
                plain = self._truncate()
                yield self._sql("TRUNCATE", "TRUNCATE", plain, "the TRUNCATE privilege")
        yield from self.around(operation, plain)

    def updates(self) -> Iterator[Way]:
        """Yield the ways of application code to change the row."""
        takes = "the UPDATE privilege"
        values = self.concerned.values
        yield Way("save()", "UPDATE", takes, lambda: self._changed().save(using=self.connection.alias))
        yield Way("QuerySet.update()", "UPDATE", takes, lambda: self._rows().update(**values))
        yield Way("bulk_update()", "UPDATE", takes, lambda: self._all().bulk_update([self._changed()], self._names()))
        yield Way(
            "bulk_create(update_conflicts=True)", "UPDATE", "the INSERT and UPDATE privileges",
            lambda: self._all().bulk_create(
                [self._changed()], update_conflicts=True, update_fields=self._names(),
                unique_fields=[each.name for each in key_fields(self.model)],
            ),
        )  # fmt: skip
        yield self._sql("raw SQL", "UPDATE", self._update(), takes)
        yield self._sql("a CTE", "UPDATE", self._in_cte(self._update()), takes)
        upsert = compose(
            "INSERT INTO ", self._table(), " (", self._columns(), ") OVERRIDING SYSTEM VALUE SELECT ", self._columns(),
            " FROM ", self._table(), " WHERE ", self._where(), " ON CONFLICT (",
            join(", ", [identifier(str(each.column)) for each in key_fields(self.model)]), ") DO UPDATE SET ",
            self._assignments(),
        )  # fmt: skip
        yield self._sql("INSERT … ON CONFLICT DO UPDATE", "UPDATE", upsert, "the INSERT and UPDATE privileges")
        yield self._sql("MERGE", "UPDATE", self._merge(compose("UPDATE SET ", self._assignments())), takes)
        yield Way("COPY", "UPDATE", takes, None, "COPY only inserts rows")

        def replace() -> None:
            copy = compose(
                "CREATE TEMPORARY TABLE pgmagic_replaced ON COMMIT DROP AS SELECT ", self._columns(), " FROM ",
                self._table(), " WHERE ", self._where(),
            )  # fmt: skip
            self._execute(copy)
            self._execute(self._delete())
            self._execute(compose("UPDATE pg_temp.pgmagic_replaced SET ", self._assignments()))
            self._execute(
                compose(
                    "INSERT INTO ", self._table(), " (", self._columns(), ") OVERRIDING SYSTEM VALUE SELECT ",
                    self._columns(), " FROM pg_temp.pgmagic_replaced",
                )
            )  # fmt: skip

        yield Way(
            "DELETE, and INSERT again", "UPDATE", "the DELETE and INSERT privileges", replace,
            "DELETE and INSERT do not fire what fires on UPDATE",
        )  # fmt: skip

    def inserts(self) -> Iterator[Way]:
        """Yield the ways of application code to insert the row."""
        takes = "the INSERT privilege"
        yield Way("save()", "INSERT", takes, lambda: self._new().save(force_insert=True, using=self.connection.alias))
        yield Way("bulk_create()", "INSERT", takes, lambda: self._all().bulk_create([self._new()]))
        yield Way(
            "bulk_create(ignore_conflicts=True)", "INSERT", takes,
            lambda: self._all().bulk_create([self._new()], ignore_conflicts=True),
        )  # fmt: skip
        yield self._sql("raw SQL", "INSERT", self._insert(), takes)
        yield self._sql("a CTE", "INSERT", self._in_cte(self._insert()), takes)
        yield self._sql("INSERT … ON CONFLICT", "INSERT", compose(self._insert(), " ON CONFLICT DO NOTHING"), takes)
        values = self._values()

        def copy() -> None:
            names = join(", ", map(identifier, values))
            statement = compose("COPY ", self._table(), " (", names, ") FROM STDIN")
            fields = {field.attname: field for field in table_fields(self.model)}
            row = [
                fields[name].get_db_prep_save(value, self.connection) for name, value in self.concerned.values.items()
            ]
            with self.connection.cursor() as cursor, cursor.copy(render(statement)) as lines:
                lines.write_row(row)

        yield Way("COPY", "INSERT", takes, copy)
        merge = compose(
            "MERGE INTO ", self._table(), " USING (SELECT 1) AS source ON false WHEN NOT MATCHED THEN INSERT (",
            join(", ", map(identifier, values)), ") VALUES (", join(", ", values.values()), ")",
        )  # fmt: skip
        yield self._sql("MERGE", "INSERT", merge, takes)

    def deletes(self) -> Iterator[Way]:
        """Yield the ways of application code to delete the row."""
        takes = "the DELETE privilege"
        yield Way("delete()", "DELETE", takes, lambda: self._rows().get().delete(using=self.connection.alias))
        yield Way("QuerySet.delete()", "DELETE", takes, lambda: self._rows().delete())
        yield Way("QuerySet._raw_delete()", "DELETE", takes, lambda: self._rows()._raw_delete(self.connection.alias))
        yield self._sql("raw SQL", "DELETE", self._delete(), takes)
        yield self._sql("a CTE", "DELETE", self._in_cte(self._delete()), takes)
        yield self._sql("MERGE", "DELETE", self._merge(verbatim("DELETE")), takes)
        yield self.cascade()
        yield Way(
            "TRUNCATE", "DELETE", "the TRUNCATE privilege", lambda: self._execute(self._truncate()),
            "TRUNCATE does not fire what fires on DELETE",
        )  # fmt: skip
        yield Way("COPY", "DELETE", takes, None, "COPY only inserts rows")

    def around(self, operation: Operation, plain: Fragment) -> Iterator[Way]:
        """Yield the ways to execute a plain statement past every trigger."""

        def ignored() -> None:
            with ignore(self.uri):
                self._execute(plain)
                # A deferred trigger asks when it fires.
                self._execute(verbatim("SET CONSTRAINTS ALL IMMEDIATE"))

        def as_replica() -> None:
            self._execute(verbatim("SET LOCAL session_replication_role = replica"))
            self._execute(plain)

        def disabled() -> None:
            for name in self.trigger_names:
                self._execute(compose("ALTER TABLE ", self._table(), " DISABLE TRIGGER ", identifier(name)))
            self._execute(plain)

        yield Way("pgtrigger.ignore()", operation, "nothing more: any session may set pgmagic.ignore", ignored)
        yield Way(
            "session_replication_role = replica",
            operation,
            "superuser, or GRANT SET ON PARAMETER",
            as_replica,
            "an ordinary trigger does not fire for a replica",
        )
        yield Way("ALTER TABLE … DISABLE TRIGGER", operation, "the owner of the table", disabled)

    def cascade(self) -> Way:
        """Return the way to delete the row by deleting a row that it refers to."""
        takes = "the DELETE privilege on both tables"
        for field in table_fields(self.model):
            if not isinstance(field, models.ForeignKey):
                continue
            parent, on_delete = field.remote_field.model, field.remote_field.on_delete
            if on_delete not in (models.CASCADE, models.DO_NOTHING):
                continue
            key = self._rows().values_list(field.attname, flat=True).first()
            if key is None:
                continue
            every: models.QuerySet[models.Model] = models.QuerySet(parent, using=self.connection.alias)
            rows = every.filter(**{field.target_field.attname: key})

            def delete(rows: models.QuerySet[models.Model] = rows) -> None:
                for row in rows:
                    row.delete()

            return Way(f"a cascade from {parent._meta.object_name}", "DELETE", takes, delete)
        return Way("a cascade from a parent", "DELETE", takes, None, "the row refers to no row that cascades")

    # The statements.

    def _table(self) -> Fragment:
        return identifier(self.model._meta.db_table)

    def _where(self, alias: str | None = None) -> Fragment:
        fields = key_fields(self.model)
        key = self.concerned.key
        values = key if isinstance(key, tuple) else (key,)
        return join(
            " AND ",
            [
                compose(identifier(alias, str(each.column)), " = ", self._literal(each, value))
                for each, value in zip(fields, values, strict=True)
            ],
        )

    def _literal(self, field: AnyField, value: object) -> Fragment:
        return literal(field.get_db_prep_save(value, self.connection))

    def _values(self) -> dict[str, Fragment]:
        fields = {field.attname: field for field in table_fields(self.model)}
        return {
            str(fields[name].column): self._literal(fields[name], value)
            for name, value in self.concerned.values.items()
        }

    def _assignments(self) -> Fragment:
        return join(", ", [compose(identifier(column), " = ", value) for column, value in self._values().items()])

    def _update(self) -> Fragment:
        return compose("UPDATE ", self._table(), " SET ", self._assignments(), " WHERE ", self._where())

    def _delete(self) -> Fragment:
        return compose("DELETE FROM ", self._table(), " WHERE ", self._where())

    def _truncate(self) -> Fragment:
        return compose("TRUNCATE ", self._table(), " CASCADE")

    def _insert(self) -> Fragment:
        values = self._values()
        return compose(
            "INSERT INTO ", self._table(), " (", join(", ", map(identifier, values)), ") VALUES (",
            join(", ", values.values()), ")",
        )  # fmt: skip

    def _in_cte(self, statement: Fragment) -> Fragment:
        return compose("WITH written AS (", statement, " RETURNING 1) SELECT count(*) FROM written")

    def _columns(self) -> Fragment:
        return join(", ", [identifier(str(field.column)) for field in table_fields(self.model) if not field.generated])

    def _merge(self, action: Fragment) -> Fragment:
        return compose(
            "MERGE INTO ", self._table(), " AS target USING (SELECT 1) AS source ON ", self._where("target"),
            " WHEN MATCHED THEN ", action,
        )  # fmt: skip

    def _sql(self, name: str, operation: Operation, statement: Fragment, takes: str) -> Way:
        return Way(name, operation, takes, lambda: self._execute(statement))

    def _execute(self, statement: Fragment) -> None:
        execute(self.connection, render(statement))

    # The ORM.

    def _all(self) -> models.QuerySet[models.Model]:
        return models.QuerySet(self.model, using=self.connection.alias)

    def _rows(self) -> models.QuerySet[models.Model]:
        return self._all().filter(pk=self.concerned.key)

    def _names(self) -> list[str]:
        fields = {field.attname: field.name for field in table_fields(self.model)}
        return [fields[name] for name in self.concerned.values]

    def _changed(self) -> models.Model:
        row = self._rows().get()
        for name, value in self.concerned.values.items():
            setattr(row, name, value)
        return row

    def _new(self) -> models.Model:
        return self.model(**self.concerned.values)
