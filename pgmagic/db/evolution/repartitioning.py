"""Turning an existing event table into a partitioned table, or back, in one statement.

Postgres cannot make a plain table a partitioned one. So a new table takes its place and its name, with its indexes,
foreign keys, triggers, rights, owner and comments. To make partitions, only the events of the months that get a
partition are copied: the old table becomes the default partition. To make a plain table, every event is copied. If
another object depends on the old table, a view for example, an error names the object, and nothing is done.

All of it is one PL/pgSQL block, since names of indexes and triggers are known only where it runs, and `sqlmigrate` and
the plan of a notebook show the SQL before it runs.

Source: https://www.postgresql.org/docs/current/sql-altertable.html#SQL-ALTERTABLE-DESC-ATTACH-PARTITION
"""

from __future__ import annotations

from datetime import datetime

from pgmagic.compile.partitions import (
    default_name,
    former_name,
    key_columns,
    month_statements,
    months_from,
    next_key,
    own_sequence,
    partition_of,
    partitioning,
    regclass,
    sequence_name,
    time_column_name,
)
from pgmagic.compile.sql import DollarQuoted, Fragment, compose, identifier, join, literal, render
from pgmagic.declare.model_types import EventModel

_LIKE = "INCLUDING DEFAULTS INCLUDING GENERATED INCLUDING CONSTRAINTS INCLUDING STORAGE INCLUDING COMPRESSION " \
    "INCLUDING COMMENTS"  # fmt: skip

_DECLARE = """DECLARE
  -- The table as it was, its name, and that of its primary key.
  former regclass := """

_REST = """;
  target text;
  key_name text;
  -- Statements that give the new table what the former one has: constraints and indexes; then all else.
  shape text[];
  rest text[];
  obstacles text;
  old_path text := current_setting('search_path');
  counter text;
  last_key bigint;
  is_called boolean;
  columns text;
  item record;
  statement text;
BEGIN
"""

# Objects that depend on the table itself, and would stay with the old one.
_OBSTACLES = """
  SELECT string_agg(DISTINCT what, ', ' ORDER BY what) INTO obstacles FROM (
    SELECT 'the view ' || r.ev_class::regclass FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
      WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = former
        AND r.ev_class <> former
    UNION ALL SELECT 'the function ' || d.objid::regprocedure FROM pg_depend AS d
      WHERE d.classid = 'pg_proc'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = former
    UNION ALL SELECT format('the foreign key %s of %s', conname, conrelid::regclass) FROM pg_constraint
      WHERE contype = 'f' AND confrelid = former AND conparentid = 0
    UNION ALL SELECT 'the policy ' || polname FROM pg_policy WHERE polrelid = former
    UNION ALL SELECT 'the publication ' || pubname FROM pg_publication_rel JOIN pg_publication AS p ON p.oid = prpubid
      WHERE prrelid = former
"""
_CHILDREN = """    UNION ALL SELECT 'the inheritance of ' || inhrelid::regclass FROM pg_inherits
      WHERE former IN (inhparent, inhrelid)
"""

_FREE_NAMES = """
  FOR item IN SELECT tgname FROM pg_trigger WHERE tgrelid = former AND NOT tgisinternal AND tgparentid = 0 LOOP
    EXECUTE format('DROP TRIGGER %I ON %s', item.tgname, target);
  END LOOP;
  SELECT conname INTO key_name FROM pg_constraint WHERE conrelid = former AND contype = 'p';
"""

_COLLECT = """
  SELECT array_agg(made ORDER BY place, name) INTO shape FROM (
    SELECT 1, conname, format('ALTER TABLE %s ADD CONSTRAINT %I %s', target, conname, pg_get_constraintdef(oid))
      FROM pg_constraint WHERE conrelid = former AND contype IN ('f', 'u')
    UNION ALL SELECT 2, indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
      WHERE indrelid = former AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid
        AND contype IN ('p', 'u', 'x'))) AS had (place, name, made);
  SELECT array_agg(made ORDER BY place, name) INTO rest FROM (
    SELECT 1, tgname, pg_get_triggerdef(oid) FROM pg_trigger
      WHERE tgrelid = former AND NOT tgisinternal AND tgparentid = 0
    UNION ALL SELECT 2, tgname, format('ALTER TABLE %s %s TRIGGER %I', target, CASE tgenabled WHEN 'D' THEN 'DISABLE'
        WHEN 'R' THEN 'ENABLE REPLICA' ELSE 'ENABLE ALWAYS' END, tgname) FROM pg_trigger
      WHERE tgrelid = former AND NOT tgisinternal AND tgparentid = 0 AND tgenabled <> 'O'
    UNION ALL SELECT 3, tgname, format('COMMENT ON TRIGGER %I ON %s IS %L', tgname, target,
        obj_description(oid, 'pg_trigger')) FROM pg_trigger
      WHERE tgrelid = former AND NOT tgisinternal AND tgparentid = 0 AND obj_description(oid, 'pg_trigger') IS NOT NULL
    UNION ALL SELECT 3, '', format('COMMENT ON TABLE %s IS %L', target, obj_description(former, 'pg_class'))
      WHERE obj_description(former, 'pg_class') IS NOT NULL
    UNION ALL SELECT 4, '', format('GRANT %s ON %s TO %s%s', privilege_type, target,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
        CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
      FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = former AND grantee <> relowner
    UNION ALL SELECT 4, attname, format('GRANT %s (%I) ON %s TO %s%s', privilege_type, attname, target,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
        CASE WHEN is_grantable THEN ' WITH GRANT OPTION' END)
      FROM pg_attribute, aclexplode(attacl) WHERE attrelid = former
  ) AS had (place, name, made);
"""

_COUNTER = """
  IF counter IS NULL THEN
    EXECUTE format('SELECT coalesce(max(%I), 0) + 1, false FROM %s', key_column, target) INTO last_key, is_called;
  ELSE
    EXECUTE format('SELECT last_value, is_called FROM %s', counter) INTO last_key, is_called;
  END IF;
"""

_SHAPE = """
  FOREACH statement IN ARRAY coalesce(shape, '{}') LOOP
    EXECUTE statement;
  END LOOP;
"""

# Default privileges gave the new table rights that the old one may not have.
_PUT_BACK = """
  FOR item IN SELECT DISTINCT CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS role
      FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = to_regclass(target) AND grantee <> relowner LOOP
    EXECUTE format('REVOKE ALL ON %s FROM %s', target, item.role);
  END LOOP;
  FOREACH statement IN ARRAY coalesce(rest, '{}') LOOP
    EXECUTE statement;
  END LOOP;
  IF owner <> current_user THEN
    FOR item IN SELECT to_regclass(target) AS part UNION SELECT relid FROM pg_partition_tree(to_regclass(target)) LOOP
      EXECUTE format('ALTER TABLE %s OWNER TO %I', item.part, owner);
    END LOOP;
  END IF;
  PERFORM set_config('search_path', old_path, true);
END
"""


def repartitioning(event_model: EventModel, now: datetime) -> tuple[str, ...]:
    """Return the statement that makes an event table partitioned or plain, as its model says."""
    return (unpartition_sql(event_model) if partition_of(event_model) is None else partition_sql(event_model, now),)


def partition_sql(event_model: EventModel, now: datetime) -> str:
    """Return the statement that makes a plain table partitioned; nothing happens to a partitioned table.

    It takes an ACCESS EXCLUSIVE lock, builds one index, and copies the events of the months from `now` on.
    """
    table, default = (identifier(name) for name in (event_model._meta.db_table, default_name(event_model)))
    key = identifier(event_model._meta.pk.column)
    months = [statement for month in months_from(now) for statement in month_statements(event_model, month, default)]
    unique = compose(
        "    UNION ALL SELECT 'the unique index ' || indexrelid::regclass FROM pg_index WHERE indrelid = former\n"
        "      AND (indisunique OR indisexclusion) AND NOT indisprimary AND NOT (SELECT attnum FROM pg_attribute\n"
        "      WHERE attrelid = former AND attname = ", literal(time_column_name(event_model)), ")\n",
        "      = ANY (indkey::int2[])\n",
    )  # fmt: skip
    body = compose(
        _beginning(event_model, "p", compose(_CHILDREN, unique), "be in partitions"),
        _FREE_NAMES,
        "  FOR item IN SELECT indexrelid FROM pg_index WHERE indrelid = former AND NOT indisprimary LOOP\n"
        "    EXECUTE format('ALTER INDEX %s RENAME TO %I', item.indexrelid::regclass, "
        "'pgh_default_' || item.indexrelid::oid);\n"
        "  END LOOP;\n"
        "  EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', target, key_name);\n  ",
        compose("ALTER TABLE ", table, " ALTER ", key, " DROP IDENTITY IF EXISTS;\n  "),
        compose("ALTER TABLE ", table, " ALTER ", key, " DROP DEFAULT;\n"),
        "  IF to_regclass(counter) IS NOT NULL THEN\n    EXECUTE format('DROP SEQUENCE %s', counter);\n  END IF;\n  ",
        compose("CREATE SEQUENCE ", sequence_name(event_model), ";\n  "),
        compose("PERFORM setval(", _sequence(event_model), ", last_key, is_called);\n  "),
        compose("ALTER TABLE ", table, " RENAME TO ", default, ";\n  "),
        compose("ALTER TABLE ", default, " ADD PRIMARY KEY ", key_columns(event_model), ";\n  "),
        compose("CREATE TABLE ", table, " (LIKE ", default, " ", _LIKE, ") ", partitioning(event_model), ";\n  "),
        compose("ALTER TABLE ", table, " ALTER ", key, " SET DEFAULT ", next_key(event_model), ";\n  "),
        "EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY %s', target, key_name, ",
        literal(render(key_columns(event_model))), ");",
        _SHAPE,
        compose("  ALTER TABLE ", table, " ATTACH PARTITION ", default, " DEFAULT;\n  "),
        own_sequence(event_model), "\n  ",
        join(";\n  ", months), ";",
        # An identity column needs no right to its sequence.
        "\n  FOR item IN SELECT DISTINCT grantee FROM pg_class, aclexplode(relacl) WHERE pg_class.oid = former\n"
        "      AND privilege_type = 'INSERT' AND grantee <> relowner LOOP\n"
        "    rest := rest || format('GRANT USAGE ON SEQUENCE %s TO %s', ", _sequence(event_model), ",\n"
        "      CASE item.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(item.grantee)) END);\n"
        "  END LOOP;",
        _PUT_BACK,
    )  # fmt: skip
    return _block(body)


def unpartition_sql(event_model: EventModel) -> str:
    """Return the statement that makes a partitioned table plain; nothing happens to a plain table.

    It takes an ACCESS EXCLUSIVE lock, copies every event, and builds all indexes.
    """
    table, former = (identifier(name) for name in (event_model._meta.db_table, former_name(event_model)))
    key = identifier(event_model._meta.pk.column)
    body = compose(
        _beginning(event_model, "r", compose(""), "be one table"),
        _FREE_NAMES,
        compose("  ALTER TABLE ", table, " RENAME TO ", former, ";\n  "),
        compose("CREATE TABLE ", table, " (LIKE ", former, " ", _LIKE, ");\n  "),
        compose("ALTER TABLE ", table, " ALTER ", key, " DROP DEFAULT;\n"),
        "  SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) INTO columns FROM pg_attribute\n"
        "    WHERE attrelid = former AND attnum > 0 AND NOT attisdropped AND attgenerated = '';\n"
        "  EXECUTE format('INSERT INTO %s (%s) SELECT %2$s FROM %s ORDER BY %I', target, columns, former,\n"
        "    key_column);\n  ",
        compose("DROP TABLE ", former, ";\n  "),
        compose("ALTER TABLE ", table, " ALTER ", key, " ADD GENERATED BY DEFAULT AS IDENTITY;\n  "),
        "PERFORM setval(pg_get_serial_sequence(target, key_column), last_key, is_called);\n  ",
        "EXECUTE format('ALTER TABLE %s ADD CONSTRAINT %I PRIMARY KEY (%I)', target, key_name, key_column);",
        _SHAPE,
        _PUT_BACK,
    )  # fmt: skip
    return _block(body)


def _beginning(event_model: EventModel, wanted: str, more: Fragment, what: str) -> Fragment:
    """Return the beginning of the block: variables, the lock, and the check for objects that depend on the table."""
    name = event_model._meta.db_table
    message = literal(
        f"The events in {name.replace('%', '%%')} cannot {what}, because of %s: drop that first, and make it again "
        f"afterwards."
    )
    return compose(
        _DECLARE, regclass(event_model),
        ";\n  key_column text := ", literal(event_model._meta.pk.column),
        ";\n  owner name := (SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = ", regclass(event_model), ")",
        _REST,
        "  IF (SELECT relkind FROM pg_class WHERE oid = former) = ", literal(wanted), " THEN\n    RETURN;\n  END IF;\n",
        "  SELECT format('%I.%I', nspname, relname) INTO STRICT target FROM pg_class JOIN pg_namespace AS n\n"
        "    ON n.oid = relnamespace WHERE pg_class.oid = former;\n"
        "  -- What is made is made beside it.\n"
        "  PERFORM set_config('search_path', concat_ws(', ', quote_ident(nspname), nullif(old_path, '')), true)\n"
        "    FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace WHERE pg_class.oid = former;\n"
        "  EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', target);",
        _OBSTACLES, more, "  ) AS means (what);\n"
        "  IF obstacles IS NOT NULL THEN\n"
        "    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = format(", message, ", obstacles);\n"
        "  END IF;",
        _COLLECT,
        "  counter := pg_get_serial_sequence(target, key_column);",
        _COUNTER,
    )  # fmt: skip


def _sequence(event_model: EventModel) -> Fragment:
    return literal(render(sequence_name(event_model)))


def _block(body: Fragment) -> str:
    return render(compose("DO ", DollarQuoted("\n" + render(body)), ";"))
