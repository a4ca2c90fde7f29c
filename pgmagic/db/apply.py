"""A plan, carried out in one transaction: all of it takes effect, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import psycopg
import psycopg.errors
from django.db import Error as DatabaseFailure
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.db.catalog import (
    STATE_TABLE,
    STORED_TABLE,
    read_catalog,
    with_definitions,
)
from pgmagic.db.connect import LOOK_FOR_CLIENT
from pgmagic.db.marks import marks_sql
from pgmagic.db.runtime.session_settings import sessions
from pgmagic.errors import InstallationError
from pgmagic.plan.installed import Installed
from pgmagic.plan.steps import Outcome, Plan, Status, Step

# One installation at a time in a schema: "pgmg" as a number, and the schema.
_LOCK_CLASS = 0x70676D67
# How long to wait for a lock that someone else holds on a table.
LOCK_TIMEOUT = "10s"


@dataclass(frozen=True)
class Applied:
    """What became of every step of a plan, and the error that undid it, if any."""

    outcomes: Sequence[Outcome]
    error: InstallationError | None = None


# Statements that belong together, and the step that they are of, None where they prepare for others.
Piece = tuple[Step | None, Sequence[str]]
# Executes statements in one round trip; returns the milliseconds of each step, by its id, if it measures them.
Execution = Callable[[BaseDatabaseWrapper, Sequence[Piece]], Mapping[int, float]]


def execute_untimed(connection: BaseDatabaseWrapper, pieces: Sequence[Piece]) -> Mapping[int, float]:
    """Execute statements and measure nothing: with many small steps, the clock is a tenth of the time."""
    raw: Any = connection.connection
    with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
        cursor.execute("\n".join(statement for _, statements in pieces for statement in statements))
    return {}


def execute_and_time(connection: BaseDatabaseWrapper, pieces: Sequence[Piece]) -> Mapping[int, float]:
    """Execute statements, with the server's clock read behind each step's."""
    clock = "SELECT clock_timestamp();"
    script = "\n".join([clock, *("\n".join([*statements, clock]) for _, statements in pieces)])
    raw: Any = connection.connection
    with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
        cursor.execute(script)
        instants = list(_instants(cursor))
    elapsed: dict[int, float] = {}
    for (step, _), start, end in zip(pieces, instants, instants[1:], strict=False):
        elapsed[id(step)] = elapsed.get(id(step), 0.0) + (end - start) / timedelta(milliseconds=1)
    return elapsed


def _instants(cursor: Any) -> Iterator[datetime]:
    more = True
    while more:
        if cursor.description and cursor.description[0].name == "clock_timestamp":
            yield cursor.fetchone()[0]
        more = cursor.nextset()


def plan_and_apply(
    connection: BaseDatabaseWrapper,
    plan: Callable[[Installed], Plan],
    before_commit: Callable[[], object] = lambda: None,
    execution: Execution = execute_and_time,
) -> Applied:
    """Read the catalog, plan, and carry the plan out, in one transaction under a lock of the schema's own.

    An error of a statement is returned with the outcomes; everything else (an interrupt, a lost connection) is
    raised. Either way the database is as it was.
    """
    is_inside = connection.in_atomic_block
    try:
        with transaction.atomic(using=connection.alias):
            former_timeout = _lock(connection)
            steps = plan(read_catalog(connection)).steps
            outcomes = _execute(connection, steps, execution)
            if is_inside:
                # The rest of the transaction is the user's, with all that an alteration has let triggers ignore.
                for session in sessions([connection.alias]):
                    session.forget()
                _set_lock_timeout(connection, former_timeout)
            before_commit()
    except _StepError as error:
        return Applied(list(_failed(steps, error)), error.sentence)
    return Applied(outcomes)


def plan_only(connection: BaseDatabaseWrapper, plan: Callable[[Installed], Plan]) -> Plan:
    """Return the plan for the catalog as it stands; nothing is changed."""
    return plan(read_catalog(connection))


def try_out(
    connection: BaseDatabaseWrapper, plan: Callable[[Installed], Plan]
) -> tuple[Installed, Installed]:
    """Return the catalog as it is, and as the plan would leave it: it is carried out and taken back.

    For that moment it holds the locks that carrying it out takes.

    Raises:
        InstallationError: the database refuses the plan.
    """
    try:
        with transaction.atomic(using=connection.alias):
            _lock(connection)
            before = with_definitions(connection, read_catalog(connection))
            steps = plan(before).steps
            _execute(connection, steps, execute_untimed)
            after = with_definitions(connection, read_catalog(connection))
            transaction.set_rollback(True, using=connection.alias)
    except _StepError as error:
        raise error.sentence from None
    return before, after


class _StepError(Exception):
    """The step that the database refused; it leaves the transaction's block, which rolls back."""

    def __init__(self, step: Step | None, sentence: InstallationError) -> None:
        super().__init__(sentence)
        self.step = step
        self.sentence = sentence


def _lock(connection: BaseDatabaseWrapper) -> str:
    """Take the schema's lock, and wait for no lock forever; return the timeout that was set before."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT current_setting('lock_timeout'), set_config('lock_timeout', %s, true), "
                "pg_advisory_xact_lock(%s, hashtext(coalesce(current_schema(), '')))",
                [LOCK_TIMEOUT, _LOCK_CLASS],
            )
            return str(cursor.fetchone()[0])
    except DatabaseFailure as error:
        if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
            raise InstallationError(
                f"Another session has been installing into this schema for more than {LOCK_TIMEOUT}: "
                f"try again when it is done."
            ) from error
        raise


def _execute(connection: BaseDatabaseWrapper, steps: Sequence[Step], execution: Execution) -> list[Outcome]:
    changing = [step for step in steps if step.changes]
    if not changing:
        return [Outcome(step, "done") for step in steps]
    try:
        with transaction.atomic(using=connection.alias):
            elapsed = _carry_out(connection, changing, execution)
            _leave_marks(connection, changing)
    except DatabaseFailure as error:
        if _is_lost(connection):
            raise
        raise _find_step(connection, changing, error) from error
    return [Outcome(step, "done", elapsed.get(id(step))) for step in steps]


def _carry_out(
    connection: BaseDatabaseWrapper, steps: Sequence[Step], execution: Execution
) -> Mapping[int, float]:
    return execution(connection, list(_pieces(steps)))


def _set_lock_timeout(connection: BaseDatabaseWrapper, timeout: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [timeout])


def _is_lost(connection: BaseDatabaseWrapper) -> bool:
    raw: Any = connection.connection
    return raw is None or bool(raw.closed)


_CHECK_NO_BODIES = """
SELECT set_config('pgmagic.check_function_bodies', current_setting('check_function_bodies'), true),
       set_config('check_function_bodies', 'off', true);"""
_CHECK_BODIES_AS_BEFORE = """
SELECT set_config('check_function_bodies', current_setting('pgmagic.check_function_bodies'), true);"""


def _pieces(steps: Iterable[Step]) -> Iterator[Piece]:
    """Yield the statements of steps in the order in which they are executed; what is deferred comes last.

    The functions of triggers that are made one behind the other stand before these triggers: each CREATE FUNCTION
    behind a CREATE TRIGGER lets the server look up anew what it knows of the table, a third of its time with 200
    triggers. Those that pgmagic wrote come first, and Postgres does not parse them; that is as much as to make them.
    """
    steps = list(steps)
    # A kernel that is killed meanwhile does not keep the next one waiting until the server is through with all of it.
    yield None, [f"{LOOK_FOR_CLIENT};"]
    for making, run in groupby(steps, _makes_function_or_trigger):
        found = list(run)
        if not making:
            yield from ((step, step.sql) for step in found)
            continue
        unchecked = [step for step in found if step.kind == "function" and not step.needs_check]
        if unchecked:
            yield None, [_CHECK_NO_BODIES]
            yield from ((step, step.sql) for step in unchecked)
            yield None, [_CHECK_BODIES_AS_BEFORE]
        yield from ((step, step.sql) for step in found if step.kind == "function" and step.needs_check)
        yield from ((step, step.sql) for step in found if step.kind != "function")
    yield from ((step, step.deferred) for step in steps if step.deferred)


def _makes_function_or_trigger(step: Step) -> bool:
    return step.kind in ("function", "trigger") and step.action in ("create", "replace")


def _find_step(connection: BaseDatabaseWrapper, steps: Sequence[Step], error: Exception) -> _StepError:
    """Return the step that failed: carry them out once more, one by one, in the transaction that is given up anyway."""
    try:
        # Who waited for a lock in vain does not wait as long again.
        _set_lock_timeout(connection, "100ms")
        for step in steps:
            _execute_alone(connection, step, step.sql)
        for step in steps:
            _execute_alone(connection, step, step.deferred)
    except _StepError as found:
        return found
    return _StepError(None, InstallationError(f"Postgres refused the plan: {_primary_message(error)}"))


def _execute_alone(connection: BaseDatabaseWrapper, step: Step, statements: Sequence[str]) -> None:
    raw: Any = connection.connection
    for statement in statements:
        try:
            with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
                cursor.execute(statement)
        except DatabaseFailure as error:
            if _is_lost(connection):
                raise
            sentence = (
                f"Postgres refused to {step.action} the {step.kind} {step.object}: {_primary_message(error)}"
            )
            raise _StepError(step, InstallationError(sentence)) from error


def _primary_message(error: BaseException) -> str:
    """Return what Postgres said, with its reason and its hint, in one line."""
    cause = error.__cause__
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return f"another session holds a lock and did not release it within {LOCK_TIMEOUT}; end its transaction first"
    if isinstance(cause, psycopg.Error) and cause.diag.message_primary:
        reason = f": {cause.diag.message_detail}" if cause.diag.message_detail else ""
        hint = f" ({cause.diag.message_hint})" if cause.diag.message_hint else ""
        where = (cause.diag.context or "").partition("\n")[0]
        # What is raised on purpose says all that there is to say.
        line = f", {where}" if where and not where.endswith(" at RAISE") else ""
        return f"{cause.diag.message_primary}{line}{reason}{hint}"
    return str(error).strip().partition("\n")[0]


def _failed(steps: Sequence[Step], error: _StepError) -> Iterator[Outcome]:
    status: Status = "rolled back"
    for step in steps:
        if step is error.step:
            yield Outcome(step, "failed")
            status = "skipped"
        else:
            yield Outcome(step, status if step.changes else "skipped")


def _leave_marks(connection: BaseDatabaseWrapper, steps: Sequence[Step]) -> None:
    """Write what was declared, and what Postgres made of it, where the next reading of the catalog finds it."""
    # Of an object that is renamed and then replaced, the last one holds.
    last = {(each.schema, each.name): each for each in (step.marking for step in steps) if each}
    markings = list(last.values())
    raw: Any = connection.connection
    with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
        if markings:
            cursor.execute(marks_sql(markings))
        forgotten = [(step.forget,) for step in steps if step.forget]
        if forgotten:
            cursor.executemany(_FORGET, forgotten)
        remembered = [
            astuple(remembered)
            for step in steps
            for remembered in (*step.remember_others, *([step.remember] if step.remember else []))
        ]
        if remembered:
            cursor.execute(CREATE_STATE_TABLE)
            cursor.executemany(_REMEMBER, remembered)
            cursor.execute(_NOTE_COLUMNS, [[table for table, *_ in remembered]])


CREATE_STATE_TABLE = (
    f"CREATE TABLE IF NOT EXISTS {STATE_TABLE} "
    "(table_name text PRIMARY KEY, label text NOT NULL, declared text NOT NULL, state text NOT NULL, stored text); "
    f"ALTER TABLE {STATE_TABLE} ADD COLUMN IF NOT EXISTS stored text"
)
_FORGET = f"DELETE FROM {STATE_TABLE} WHERE table_name = %s"  # noqa: S608 - a constant of ours
_REMEMBER = (
    f"INSERT INTO {STATE_TABLE} (table_name, label, declared, state) VALUES (%s, %s, %s, %s) "  # noqa: S608
    "ON CONFLICT (table_name) DO UPDATE SET label = EXCLUDED.label, declared = EXCLUDED.declared, "
    "state = EXCLUDED.state"
)
_NOTE_COLUMNS = f"UPDATE {STATE_TABLE} AS m SET stored = {STORED_TABLE} WHERE table_name = ANY (%s)"  # noqa: S608
