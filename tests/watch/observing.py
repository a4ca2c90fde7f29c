"""Watching statements written by hand, on two small tables with triggers written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from pgmagic.watch import CellObserver, watched

Step = str | Callable[[], Any]

TABLE = """
CREATE TABLE item (id int PRIMARY KEY, name text UNIQUE, size int CHECK (size < 100), active bool DEFAULT true);
CREATE TABLE part (id int PRIMARY KEY, item int REFERENCES item ON DELETE CASCADE, label text);
INSERT INTO item SELECT n, 'item ' || n, n FROM generate_series(1, 5) AS n;
"""


def trigger(name: str, when: str, body: str, table: str = "item", more: str = "") -> str:
    kind = "CONSTRAINT TRIGGER" if "DEFERR" in more else "TRIGGER"
    return (
        f'CREATE FUNCTION "{name}_fn"() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;'
        f'CREATE {kind} "{name}" {when} ON {table} {more} FOR EACH ROW EXECUTE FUNCTION "{name}_fn"();'
    )


def watch(connection: Any, *steps: Step, keep: bool = True) -> CellObserver:
    with watched(CellObserver, connection, keep=keep) as cell:
        for step in steps:
            with cell.step():
                if callable(step):
                    step()
                else:
                    with connection.cursor() as cursor:
                        cursor.execute(step)
    return cell


def outcome(connection: Any, step: Step) -> Any:
    [found] = watch(connection, step).outcomes
    return found


REJECT = "RAISE EXCEPTION 'not this one' USING HINT = 'take another';"
SWALLOW = "RETURN NULL;"
UPPER = "NEW.name = upper(NEW.name); RETURN NEW;"
SOFT = "UPDATE item SET active = false WHERE id = OLD.id; RETURN NULL;"
PASS = "RETURN NEW;"


def traces(session: psycopg.Connection[Any]) -> list[Any]:
    """What is left of probes, in the whole database."""
    return session.execute(
        "SELECT tgname FROM pg_trigger WHERE tgname LIKE '%pgmagic%' OR tgname LIKE '%' || chr(1) "
        "UNION ALL SELECT proname FROM pg_proc WHERE proname LIKE 'pgmagic\\_%' "
        "AND proname IN ('pgmagic_asked', 'pgmagic_seen', 'pgmagic_finish') "
        "UNION ALL SELECT relname FROM pg_class WHERE relname = 'pgmagic_observed'"
    ).fetchall()


def own_probes(connection: Any) -> int:
    """How many probes the cell's own transaction sees."""
    with psycopg.Cursor(connection.connection) as cursor:
        cursor.execute("SELECT count(*) FROM pg_trigger WHERE strpos(tgname, chr(1)) > 0")
        return int(cursor.fetchone()[0])
