"""How many rows of each table a step wrote, whoever wrote them: Postgres's own counts of the transaction.

The counts include what a cascade, a trigger, a rule or a function writes as well as what a statement writes itself.
They need no privilege, and cost one query for a step. But they also count what was rolled back to a savepoint. So they
are read before a savepoint is set and after a rollback, and what lies between is left out. What a function rolls back
itself, in a block with EXCEPTION, no client sees: then one of the transaction numbers that were given out meanwhile is
`aborted`, and the counts are only an upper bound.

Source: https://www.postgresql.org/docs/current/monitoring-stats.html (pg_stat_get_xact_tuples_inserted)
        https://www.postgresql.org/docs/current/functions-info.html (pg_xact_status)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

from pgmagic.db.driver import DriverConnection
from pgmagic.watch.driver_cursors import unwatched

# Before how many savepoints of a step the counts are read, until the first rollback: a loop of thousands of saves does
# not pay for a rollback that may never happen.
_MOST_READINGS = 10

# Among more transaction numbers than these, some count as aborted.
_MOST_NUMBERS = 1_000_000

# Below the first oid of a user's own object are the catalogs, of which only large objects are users' data. Users cannot
# declare names that begin as pgmagic's do. An isolated transaction has an old snapshot, in which nothing aborts. An
# aborted number may also be another session's. It matters only if code in the database can go on after an error.
_READ = r"""
WITH snapshot AS (SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next),
aborted AS (
  SELECT current_setting('transaction_isolation') <> 'read committed' OR next - %(since)s > %(most)s
    OR EXISTS (SELECT FROM generate_series(%(since)s::bigint, next - 1) AS given (number)
               WHERE pg_xact_status(number::text::xid8) = 'aborted') AS found FROM snapshot)
SELECT next, coalesce(found, false), found AND (%(catches)s OR EXISTS (
    SELECT FROM pg_proc AS p JOIN pg_language AS l ON l.oid = p.prolang
    WHERE p.oid >= 16384 AND p.proname !~ '^pgmagic_'
      AND (l.lanname NOT IN ('plpgsql', 'sql', 'c', 'internal') OR p.prosrc ~* '\yexception\s+when\y'))),
  (SELECT jsonb_agg(jsonb_build_array(c.oid::bigint, counted.inserted, counted.updated, counted.deleted))
   FROM pg_class AS c, LATERAL (SELECT
     pg_stat_get_xact_tuples_inserted(c.oid) AS inserted, pg_stat_get_xact_tuples_updated(c.oid) AS updated,
     pg_stat_get_xact_tuples_deleted(c.oid) AS deleted OFFSET 0) AS counted
   WHERE c.relkind = 'r' AND (c.oid >= 16384 OR c.relname ~ '^pg_largeobject') AND c.relname !~ '^pgmagic_'
     AND counted.inserted + counted.updated + counted.deleted > 0)::text
  , current_setting('track_counts')::boolean, current_setting('session_replication_role') = 'replica'
FROM snapshot, aborted
"""
_NOT_COUNTED = (
    "track_counts is off in this session: rows written by cascades, triggers, rules and functions are not counted."
)
_REPLICA = "session_replication_role is replica: ordinary triggers do not fire, so rewritten rows are not reported."
_NAMES = """
SELECT c.oid::bigint, top.oid::bigint, ARRAY[c.relname, top.relname]::text[],
       CASE WHEN pg_table_is_visible(top.oid) THEN top.relname ELSE n.nspname || '.' || top.relname END
FROM pg_class AS c JOIN pg_class AS top ON top.oid = coalesce(pg_partition_root(c.oid), c.oid)
  JOIN pg_namespace AS n ON n.oid = top.relnamespace WHERE c.oid = ANY (%s::oid[])
"""
_FILES = """
SELECT jsonb_object_agg(oid::bigint, relfilenode::bigint)::text FROM pg_class
WHERE relkind = 'r' AND oid >= 16384 AND relname !~ '^pgmagic_'
"""


class Counts(NamedTuple):
    """Rows inserted, updated and deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    def plus(self, other: Counts) -> Counts:
        """Return the sums."""
        return Counts(*(left + right for left, right in zip(self, other, strict=True)))

    def minus(self, other: Counts) -> Counts:
        """Return the differences; at least 0, since TRUNCATE begins the counts anew."""
        return Counts(*(max(0, left - right) for left, right in zip(self, other, strict=True)))


@dataclass(frozen=True)
class Written:
    """Rows that a step wrote to one table; those of its partitions are counted together.

    name: with its schema if the search_path does not find it. names: without a schema, also those of the partitions
    that were written to. is_exact: False if the counts are upper bounds. is_emptied: by a TRUNCATE, which counts no
    rows.
    """

    name: str
    names: frozenset[str]
    counts: Counts = field(default_factory=Counts)
    is_exact: bool = True
    is_emptied: bool = False
    is_partitioned: bool = False


@dataclass
class _Stretch:
    """What was written between two readings; first, last: the clock of its first and its last statement."""

    first: int
    last: int
    counts: dict[int, Counts]
    is_exact: bool


class WrittenRows:
    """The counts of a transaction, from one reading to the next.

    quietly: a block in which the server's notices are about pgmagic's own statements, and are left out.
    """

    def __init__(self, raw: DriverConnection, quietly: Callable[[], AbstractContextManager[None]]) -> None:
        self.raw = raw
        self._quietly = quietly
        self._totals: dict[int, Counts] | None = None
        # A sentence for each setting of the session because of which something is not known.
        self._unobserved: dict[str, None] = {}
        # The first transaction number that was not yet given out at the last reading.
        self._number = 0
        self._stretches: list[_Stretch] = []
        # The clocks of the first statement after the last reading, and of the last statement.
        self._first: int | None = None
        self._last = 0
        # A statement since then is code that can go on after an error.
        self._catches = False
        self._readings_left = _MOST_READINGS
        self._files: Mapping[str, int] | None = None

    @property
    def unobserved(self) -> list[str]:
        """A sentence for each reason why something is not known."""
        return list(self._unobserved)

    def before(self, clock: int, *, empties: bool, catches: bool) -> None:
        """Note that a statement follows. empties: it holds a TRUNCATE; catches: it can go on after an error in it."""
        if self._totals is None:
            self._read()
        self._catches = self._catches or catches
        if empties and self._files is None:
            self._files = self._read_files()
        if self._first is None:
            self._first = clock
        self._last = clock

    @property
    def wants_reading(self) -> bool:
        """Whether the counts are to be read before a savepoint is set."""
        return self._first is not None and self._readings_left > 0

    def before_savepoint(self) -> None:
        """Read the counts, so that a rollback to the savepoint does not affect what was written before."""
        self._readings_left -= 1
        self._end_stretch()

    def undone(self, clock: int) -> None:
        """Leave out what was written since a moment: it was rolled back."""
        known = len(self._stretches)
        # If no number was aborted, nothing was written that could have been rolled back.
        has_aborted = self._first is not None and self._end_stretch()
        for number, stretch in enumerate(self._stretches):
            if stretch.last >= clock and (number < known or has_aborted):
                stretch.is_exact = False
        self._stretches = [stretch for stretch in self._stretches if stretch.first < clock]
        self._readings_left = _MOST_READINGS

    @property
    def is_truncating(self) -> bool:
        """Whether a statement of this step may have emptied tables."""
        return self._files is not None

    def take(self) -> list[Written]:
        """Return what was written since the last call, in the order of the tables' creation; a step has ended."""
        if self._first is not None:
            self._end_stretch()
        counts: dict[int, Counts] = {}
        unsure: set[int] = set()
        for stretch in self._stretches:
            for oid, more in stretch.counts.items():
                counts[oid] = counts.get(oid, Counts()).plus(more)
                if not stretch.is_exact:
                    unsure.add(oid)
        emptied: set[int] = set()
        if self._files is not None:
            # A table that was emptied has another file than before the step's first TRUNCATE.
            now = self._read_files()
            emptied = {int(oid) for oid, file in self._files.items() if now.get(oid, file) != file}
        self._stretches, self._files = [], None
        self._readings_left = _MOST_READINGS
        return self._named(counts, unsure, emptied) if counts or emptied else []

    def _end_stretch(self) -> bool:
        """Keep what was written since the last reading; return whether a transaction number was aborted since."""
        before = self._totals or {}
        has_aborted, is_unsure = self._read()
        changed = {
            oid: counts.minus(before.get(oid, Counts()))
            for oid, counts in (self._totals or {}).items()
            if counts != before.get(oid)
        }
        found = {oid: counts for oid, counts in changed.items() if any(counts)}
        if found and self._first is not None:
            self._stretches.append(_Stretch(self._first, self._last, found, not is_unsure))
        self._first, self._catches = None, False
        return has_aborted

    def _read(self) -> tuple[bool, bool]:
        values = {"since": self._number or None, "most": _MOST_NUMBERS, "catches": self._catches}
        with self._quietly(), unwatched(self.raw) as cursor:
            cursor.execute(_READ, values, prepare=False)
            [(self._number, has_aborted, is_unsure, found, is_counting, is_replica)] = cursor.fetchall()
        if not is_counting:
            self._unobserved[_NOT_COUNTED] = None
        if is_replica:
            self._unobserved[_REPLICA] = None
        self._totals = {oid: Counts(*counts) for oid, *counts in json.loads(found or "[]")}
        return has_aborted, bool(is_unsure)

    def _read_files(self) -> Mapping[str, int]:
        with self._quietly(), unwatched(self.raw) as cursor:
            cursor.execute(_FILES, prepare=False)
            [(files,)] = cursor.fetchall()
        found: dict[str, int] = json.loads(files or "{}")
        return found

    def _named(self, counts: Mapping[int, Counts], unsure: set[int], emptied: set[int]) -> list[Written]:
        with self._quietly(), unwatched(self.raw) as cursor:
            cursor.execute(_NAMES, [sorted({*counts, *emptied})], prepare=False)
            names = cursor.fetchall()
        found: dict[int, Written] = {}
        for oid, top, own, shown in sorted(names):
            former = found.get(top, Written(shown, frozenset()))
            found[top] = Written(
                shown,
                former.names.union(own),
                former.counts.plus(counts.get(oid, Counts())),
                former.is_exact and oid not in unsure,
                former.is_emptied or oid in emptied,
                top != oid,
            )
        return list(found.values())
