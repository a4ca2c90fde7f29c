"""No event is lost or doubled: random statements against a model in Python of what must be recorded."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from django.db import connection, models
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from pgmagic import pghistory
from tests.history_support import History, model

pytestmark = pytest.mark.slow

KEYS = st.integers(1, 12)
SOME_KEYS = st.lists(KEYS, min_size=1, max_size=6, unique=True)
NUMBERS = st.integers(0, 3)
PEOPLE = (1, 2, 3)
PERSON = st.sampled_from((None, *PEOPLE))
# id, n, author_id, editor_id
Row = tuple[int, int, int | None, int | None]


def declare(level: Any) -> Any:
    """Return a tracked model with two foreign keys to one table."""
    person = model("Person", id=models.IntegerField(primary_key=True))
    thing = model(
        "Thing",
        id=models.IntegerField(primary_key=True),
        n=models.IntegerField(),
        author=models.ForeignKey(person, models.DO_NOTHING, null=True, related_name="+"),
        editor=models.ForeignKey(person, models.DO_NOTHING, null=True, related_name="+"),
    )
    return pghistory.track(
        pghistory.InsertEvent(),
        pghistory.UpdateEvent(),
        pghistory.UpdateEvent("was", row=pghistory.Old),
        pghistory.UpdateEvent("every", condition=None),
        pghistory.UpdateEvent("number", condition=pghistory.AnyChange("n") & pghistory.Q(new__n__gt=0)),
        pghistory.DeleteEvent(),
        level=level,
    )(thing)


PREPARE = """
DO $$ DECLARE c record; BEGIN
  FOR c IN SELECT conname FROM pg_constraint WHERE conrelid = 'hist_thing'::regclass AND contype IN ('f', 'p')
  LOOP EXECUTE format('ALTER TABLE hist_thing DROP CONSTRAINT %I', c.conname); END LOOP; END $$;
ALTER TABLE hist_thing ADD PRIMARY KEY (id) DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE hist_thing ADD CONSTRAINT a FOREIGN KEY (author_id) REFERENCES hist_person ON DELETE SET NULL;
ALTER TABLE hist_thing ADD CONSTRAINT b FOREIGN KEY (editor_id) REFERENCES hist_person ON DELETE SET NULL;
"""


class Recorder:
    """The table in Python, and the events that its changes must leave, in order, by label and object."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.events: dict[tuple[str, int], list[Row]] = defaultdict(list)

    def copy(self) -> Recorder:
        """Return the same state, apart."""
        other = Recorder()
        other.rows = dict(self.rows)
        other.events = defaultdict(list, {key: list(rows) for key, rows in self.events.items()})
        return other

    def insert(self, row: Row) -> None:
        """Add a row."""
        self.rows[row[0]] = row
        self.events["insert", row[0]].append(row)

    def update(self, pairs: list[tuple[Row, Row]]) -> None:
        """Change rows, all at once."""
        for before, _ in pairs:
            del self.rows[before[0]]
        for before, after in pairs:
            self.rows[after[0]] = after
            self.events["every", after[0]].append(after)
            if before != after:
                self.events["update", after[0]].append(after)
                self.events["was", before[0]].append(before)
            if before[1] != after[1] and after[1] > 0:
                self.events["number", after[0]].append(after)

    def delete(self, keys: list[int]) -> None:
        """Remove rows."""
        for key in keys:
            self.events["delete", key].append(self.rows.pop(key))


class Statements(RuleBasedStateMachine):
    """Random statements, and what they must leave."""

    run: ClassVar[Callable[..., list[Any]]]

    @initialize()
    def start(self) -> None:
        self.run(
            "BEGIN",
            "SET LOCAL session_replication_role = replica",
            "TRUNCATE hist_thing, hist_person, hist_thingevent",
            "SET LOCAL session_replication_role = DEFAULT",
            "INSERT INTO hist_person SELECT generate_series(1, 3)",
        )
        self.state = Recorder()
        self.people = set(PEOPLE)
        self.saved: list[tuple[Recorder, set[int]]] = []

    def teardown(self) -> None:
        self.run("ROLLBACK")

    def known(self, person: int | None) -> int | None:
        return person if person in self.people else None

    @rule(keys=SOME_KEYS, n=NUMBERS, author=PERSON, editor=PERSON)
    def insert(self, keys: list[int], n: int, author: int | None, editor: int | None) -> None:
        rows = [(key, n, self.known(author), self.known(editor)) for key in keys if key not in self.state.rows]
        for row in rows:
            self.state.insert(row)
        self.run("INSERT INTO hist_thing (id, n, author_id, editor_id) SELECT * FROM "
            f"jsonb_to_recordset('{as_json(rows)}') AS r(id int, n int, a int, e int)")  # fmt: skip

    @rule(keys=SOME_KEYS, n=NUMBERS)
    def copy(self, keys: list[int], n: int) -> None:
        rows = [(key, n, None, None) for key in keys if key not in self.state.rows]
        with connection.cursor() as cursor, cursor.copy("COPY hist_thing (id, n) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row[:2])
        for row in rows:
            self.state.insert(row)

    @rule(keys=SOME_KEYS, n=NUMBERS)
    def update(self, keys: list[int], n: int) -> None:
        pairs = [(row, (key, n, *row[2:])) for key, row in self.state.rows.items() if key in keys]
        self.run(f"UPDATE hist_thing SET n = {n} WHERE id IN {as_list(keys)}")
        self.state.update(pairs)

    @rule(author=PERSON, editor=PERSON)
    def update_all(self, author: int | None, editor: int | None) -> None:
        author, editor = self.known(author), self.known(editor)
        self.run("UPDATE hist_thing SET author_id = %s, editor_id = %s", params=(author, editor))
        self.state.update([(row, (*row[:2], author, editor)) for row in self.state.rows.values()])

    @rule(by=st.integers(-3, 3), n=NUMBERS)
    def shift_keys(self, by: int, n: int) -> None:
        self.run(f"UPDATE hist_thing SET id = id + {by}, n = (n + {n}) % 3")
        rows = list(self.state.rows.values())
        self.state.update([(row, (row[0] + by, (row[1] + n) % 3, *row[2:])) for row in rows])

    @rule(top=st.integers(2, 13))
    def swap_keys(self, top: int) -> None:
        """Turn the order of the keys round."""
        rows = [row for row in self.state.rows.values() if 0 < row[0] < top]
        if all(top - row[0] in self.state.rows for row in rows):
            self.run(f"UPDATE hist_thing SET id = {top} - id WHERE id > 0 AND id < {top}")
            self.state.update([(row, (top - row[0], *row[1:])) for row in rows])

    @rule(keys=SOME_KEYS)
    def delete(self, keys: list[int]) -> None:
        self.run(f"DELETE FROM hist_thing WHERE id IN {as_list(keys)}")
        self.state.delete([key for key in keys if key in self.state.rows])

    @rule(keys=SOME_KEYS, n=NUMBERS)
    def upsert(self, keys: list[int], n: int) -> None:
        # A key that may be swapped cannot decide what a conflict is.
        self.run(
            "CREATE UNIQUE INDEX arbiter ON hist_thing ((id + 0))",
            f"INSERT INTO hist_thing (id, n) SELECT unnest(ARRAY{keys}), {n} "
            f"ON CONFLICT ((id + 0)) DO UPDATE SET n = excluded.n",
            "DROP INDEX arbiter",
        )
        pairs = [(row, (key, n, *row[2:])) for key, row in self.state.rows.items() if key in keys]
        for key in keys:
            if key not in self.state.rows:
                self.state.insert((key, n, None, None))
        self.state.update(pairs)

    @rule(keys=SOME_KEYS, n=NUMBERS)
    def merge(self, keys: list[int], n: int) -> None:
        self.run(
            f"MERGE INTO hist_thing AS t USING (SELECT unnest(ARRAY{keys}) AS id) AS s ON t.id = s.id "
            f"WHEN MATCHED AND t.n = {n} THEN DELETE WHEN MATCHED THEN UPDATE SET n = {n} "
            f"WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, {n})"
        )
        for key in keys:
            row = self.state.rows.get(key)
            if row is None:
                self.state.insert((key, n, None, None))
            elif row[1] == n:
                self.state.delete([key])
            else:
                self.state.update([(row, (key, n, *row[2:]))])

    @rule()
    def truncate(self) -> None:
        self.run("TRUNCATE hist_thing")
        self.state.delete(list(self.state.rows))

    @rule(person=st.sampled_from(PEOPLE))
    def delete_person(self, person: int) -> None:
        """Let both foreign keys' actions change a row, one after the other."""
        self.run(f"DELETE FROM hist_person WHERE id = {person}")
        self.people.discard(person)
        for column in (2, 3):
            rows = [row for row in self.state.rows.values() if row[column] == person]
            self.state.update([(row, (*row[:column], None, *row[column + 1 :])) for row in rows])

    @rule()
    def savepoint(self) -> None:
        if len(self.saved) < 3:
            self.run(f"SAVEPOINT s{len(self.saved)}")
            self.saved.append((self.state.copy(), set(self.people)))

    @rule()
    def roll_back(self) -> None:
        if self.saved:
            self.state, self.people = self.saved.pop()
            self.run(f"ROLLBACK TO s{len(self.saved)}", f"RELEASE s{len(self.saved)}")

    @invariant()
    def holds(self) -> None:
        if not hasattr(self, "state"):
            return
        found: dict[tuple[str, int], list[Row]] = defaultdict(list)
        for label, *row in self.run(
            "SELECT pgh_label, id, n, author_id, editor_id FROM hist_thingevent ORDER BY pgh_id"
        ):
            found[label, row[0]].append(tuple(row))  # type: ignore[arg-type]
        assert found == {key: rows for key, rows in self.state.events.items() if rows}


def as_json(rows: list[Row]) -> str:
    """Return rows as JSON."""
    pairs = [f'{{"id": {row[0]}, "n": {row[1]}, "a": {row[2] or "null"}, "e": {row[3] or "null"}}}' for row in rows]
    return f"[{', '.join(pairs)}]"


def as_list(keys: list[int]) -> str:
    """Return keys as a list for IN."""
    return f"({', '.join(map(str, keys))})"


@pytest.mark.parametrize("level", [pghistory.Statement, pghistory.Row])
def test_random_statements_leave_exactly_their_events(history: History, level: Any) -> None:
    history.declare(lambda: declare(level))
    history.run(PREPARE)
    run_state_machine_as_test(
        type("Bound", (Statements,), {"run": staticmethod(history.run)}),
        settings=settings(
            max_examples=60 if level == pghistory.Statement else 8,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def write(history: History, seed: int, seconds: float, failures: list[BaseException]) -> None:
    """Change random rows for some seconds: those of this writer, and some that all writers share."""
    chance = random.Random(seed)  # noqa: S311 - nothing secret
    own = range(1000 * (seed + 1), 1000 * (seed + 1) + 50)
    until = time.monotonic() + seconds
    try:
        while time.monotonic() < until:
            keys = sorted(chance.sample(own, chance.randint(1, 30)))
            statement = chance.choice(
                [
                    f"INSERT INTO hist_thing (id, n) SELECT unnest(ARRAY{keys}), 0 ON CONFLICT DO NOTHING",
                    f"UPDATE hist_thing SET n = n + 1 WHERE id = ANY (ARRAY{keys})",
                    f"UPDATE hist_thing SET n = n + 1 WHERE id = {chance.randint(1, 20)}",
                    f"DELETE FROM hist_thing WHERE id = ANY (ARRAY{keys[:3]})",
                ]
            )
            with connection.cursor() as cursor:
                cursor.execute(statement)
                cursor.execute("INSERT INTO hist_done VALUES (%s)", [cursor.statusmessage])
    except BaseException as error:  # noqa: BLE001 - reported by the test
        failures.append(error)
    finally:
        connection.close()


def test_concurrent_writers_lose_no_event(history: History) -> None:
    """Every event follows from the one before of its object, and the last ones are the table."""
    seconds = float(os.environ.get("PGMAGIC_WRITERS_SECONDS", "5"))

    def make() -> Any:
        thing = model("Thing", id=models.IntegerField(primary_key=True), n=models.IntegerField())
        return pghistory.track(pghistory.InsertEvent(), pghistory.UpdateEvent(), pghistory.DeleteEvent())(thing)

    thing = history.declare(make)
    history.run(
        "INSERT INTO hist_thing SELECT i, 0 FROM generate_series(1, 20) AS i",
        "CREATE TABLE hist_done (tag text)",
    )
    failures: list[BaseException] = []
    writers = [threading.Thread(target=write, args=(history, seed, seconds, failures)) for seed in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not failures
    # Event by event, in the order of their objects: a count too few or too many would break a chain.
    rows: dict[int, int] = {}
    for label, key, n in history.events(thing.pgh_event_model, "id", "n"):
        if label == "insert":
            assert key not in rows
            rows[key] = n
        elif label == "update":
            assert rows[key] == n - 1
            rows[key] = n
        else:
            assert rows.pop(key) == n
    assert rows == dict(history.run("SELECT id, n FROM hist_thing"))
    tags = [tag.split() for (tag,) in history.run("SELECT tag FROM hist_done")]
    written = {kind: sum(int(tag[-1]) for tag in tags if tag[0] == kind) for kind in ("INSERT", "UPDATE", "DELETE")}
    recorded = dict(history.run("SELECT upper(pgh_label), count(*) FROM hist_thingevent GROUP BY 1"))
    assert recorded == {**written, "INSERT": written["INSERT"] + 20}
