"""Probes in a watched cell: what BEFORE ROW triggers did to rows, read after each step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import psycopg

from pgmagic.db.driver import DriverConnection
from pgmagic.errors import CellError
from pgmagic.watch.driver_cursors import unwatched
from pgmagic.watch.instruments import Instruments, Observed
from pgmagic.watch.probe_functions import (
    FULL_ROWS,
    SAMPLED_EVERY,
    create_functions,
    drop_probes,
    looked_at,
    read_observations,
)
from pgmagic.watch.probes import EVENTS, Event, ProbedTable, create_probes
from pgmagic.watch.statements import names_one_row


class Probing(Instruments[ProbedTable]):
    """Probes on the tables with BEFORE ROW triggers, which observe what these did to rows."""

    def __init__(self, raw: DriverConnection, quietly: Callable[[], AbstractContextManager[None]]) -> None:
        super().__init__(raw, quietly)
        # The tables whose probes are those for statements of many rows.
        self._large: set[int] = set()
        self._sampled: dict[str, None] = {}

    @property
    def unobserved(self) -> list[str]:
        """A sentence for each table about which something is not known."""
        return super().unobserved + [
            f"{name}: of a step's rows beyond {FULL_ROWS:,}, one in {SAMPLED_EVERY} was compared with what was "
            f"asked for; all were counted."
            for name in self._sampled
        ]

    def read(self) -> list[Observed]:
        """Return what was observed since the last call, without rows that were rolled back.

        Raises:
            CellError: if the cell's own code dropped the observations.
        """
        if not self._probed:
            return []
        self.own_changes += 1
        tables = [table for table, _ in self._probed.values()]
        counters = [counter for table in tables for counter in table.counters()]
        try:
            with self._quietly(), unwatched(self.raw) as cursor:
                cursor.execute(read_observations(counters), prepare=False)
                cursor.nextset()
                found = [self._observed(*row) for row in cursor.fetchall()]
                cursor.nextset()
                [[counts]] = cursor.fetchall()
        except psycopg.ProgrammingError:
            raise CellError(
                "The cell removed the temporary objects by which %%pgoutcome watches triggers (DISCARD, or a DROP): "
                "nothing of it was kept."
            ) from None
        passed = dict(zip(counters, counts, strict=True))
        for table in tables:
            for event in EVENTS:
                stages = {number: passed[table.counter(event, number)] for number in table.stages(event)}
                if stages and stages[0] > FULL_ROWS:
                    found = self._of_sample(found, table, event, stages)
        return found

    @property
    def tables(self) -> Mapping[int, ProbedTable]:
        """The tables that have BEFORE ROW triggers, by oid."""
        return self.catalog.probed_tables

    def reached(self, statement: str, writes: bool) -> Iterable[int]:
        """Return the tables with BEFORE ROW triggers that a statement may write to."""
        return self.catalog.reached_tables(statement, writes)

    def needs_others(self, oid: int, statement: str) -> bool:
        """Return whether a large table needs the probes for statements of many rows."""
        relation = self.catalog.relations[oid]
        if oid in self._large or not relation.is_large or names_one_row(statement, relation.key):
            return False
        self._large.add(oid)
        return True

    def functions_sql(self) -> str:
        """Return the statements that make the functions of probes."""
        return create_functions()

    def create_sql(self, oid: int, table: ProbedTable) -> str:
        """Return the statements that put probes on a table."""
        return create_probes(table, many_rows=table.oid in self._large)

    def drop_sql(self) -> str:
        """Return the statement that removes all probes."""
        return drop_probes()

    def obstacle(self, oid: int, table: ProbedTable) -> str | None:
        """Return why probes cannot be put on a table, None if they can."""
        relation = self.catalog.relations.get(oid)
        if relation is not None and not relation.may_probe:
            return "no TRIGGER privilege"
        return None if table.slots else "the names of its triggers leave no room for probes"

    def unobserved_sentence(self, table: ProbedTable, reason: str) -> str:
        """Return what is not known about a table without probes."""
        return (
            f"{table.name}: its BEFORE triggers could not be watched ({reason}), so a row that they rewrote or "
            f"swallowed counts as applied or not at all."
        )

    def _observed(
        self,
        relation: int,
        event: Event,
        kind: Literal["changed", "swallowed", "converted"],
        passed: int,
        depth: int,
        rows: int,
        pairs: str | None,
    ) -> Observed:
        table, _ = self._probed[relation]
        names = table.deciders(event, passed) if kind == "changed" else table.suspects(event, passed)
        return Observed(
            table=table.name,
            event=event,
            kind=kind,
            triggers=self._uris(table, names),
            depth=depth,
            rows=rows,
            pairs=tuple(json.loads(pairs) if pairs else ()),
        )

    def _uris(self, table: ProbedTable, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(self.catalog.uri_of(table.oid, name) for name in names)

    def _of_sample(
        self, found: list[Observed], table: ProbedTable, event: Event, stages: dict[int, int]
    ) -> list[Observed]:
        """Return what was observed if only a sample was compared; swallowed rows are counted all the same.

        stages: how many rows passed each probe.
        """
        self._sampled[table.name] = None
        sample = (looked_at(stages[0]), stages[0])
        corrected: list[Observed] = []
        not_stored: list[Observed] = []
        others: list[Observed] = []
        for seen in found:
            if (seen.table, seen.event, seen.depth) != (table.name, event, 1):
                others.append(seen)
            elif seen.kind == "changed":
                corrected.append(replace(seen, sample=sample))
            else:
                not_stored.append(seen)
        for number, following in pairwise(stages):
            triggers = self._uris(table, table.suspects(event, number))
            missing = stages[number] - stages[following]
            # What became of the missing rows follows from those of the sample.
            known = [seen for seen in not_stored if seen.triggers == triggers]
            if len(known) > 1:
                corrected += [replace(seen, sample=sample) for seen in known]
            elif missing:
                example = known[0] if known else Observed(table.name, event, "swallowed", triggers, 1, 0)
                corrected.append(replace(example, rows=missing))
        return [*corrected, *others]
