"""Carrying out a plan in one transaction: all of it takes effect, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from itertools import groupby, pairwise

import psycopg
import psycopg.errors
from django.db import Error as DatabaseFailure
from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from pgmagic.compile.sql import identifier, render
from pgmagic.db.catalog import STATE_TABLE, STORED_TABLE, read_catalog, with_definitions
from pgmagic.db.connect import LOOK_FOR_CLIENT
from pgmagic.db.driver import DriverCursor, is_open, only_row, plain_cursor
from pgmagic.db.excerpt import excerpt_of, without_column
from pgmagic.db.marks import marks_sql
from pgmagic.db.runtime.session_settings import sessions
from pgmagic.errors import InstallationError
from pgmagic.plan.installed import Installed
from pgmagic.plan.steps import Outcome, Plan, Step

# The advisory lock that allows one installation at a time in a schema: "pgmg" as a number, and the schema.
_LOCK_CLASS = 0x70676D67
# How long to wait for a lock that another session holds on a table.
LOCK_TIMEOUT = "10s"


@dataclass(frozen=True)
class Applied:
    """What became of every step of a plan, and the error that undid it, if any."""

    outcomes: Sequence[Outcome]
    error: InstallationError | None = None


# Statements that belong together, and their step; None if they only prepare for others.
Piece = tuple[Step | None, Sequence[str]]
# Executes statements in one round trip; returns the milliseconds of each step, by its id, if it measures them.
Execution = Callable[[BaseDatabaseWrapper, Sequence[Piece]], Mapping[int, float]]


def execute_untimed(connection: BaseDatabaseWrapper, pieces: Sequence[Piece]) -> Mapping[int, float]:
    """Execute statements without measuring: with many small steps, reading the clock takes a tenth of the time."""
    with plain_cursor(connection) as cursor:
        cursor.execute("\n".join(statement for _, statements in pieces for statement in statements))
    return {}


def execute_and_time(connection: BaseDatabaseWrapper, pieces: Sequence[Piece]) -> Mapping[int, float]:
    """Execute statements, and read the server's clock after those of each step."""
    clock = "SELECT clock_timestamp();"
    script = "\n".join([clock, *("\n".join([*statements, clock]) for _, statements in pieces)])
    instants: list[datetime] = []
    with plain_cursor(connection) as cursor:
        cursor.execute(script)
        more: bool | None = True
        while more:
            if cursor.description and cursor.description[0].name == "clock_timestamp":
                instants.append(only_row(cursor)[0])
            more = cursor.nextset()
    elapsed: dict[int, float] = {}
    for (step, _), (start, end) in zip(pieces, pairwise(instants), strict=False):
        elapsed[id(step)] = elapsed.get(id(step), 0.0) + (end - start) / timedelta(milliseconds=1)
    return elapsed


def plan_and_apply(
    connection: BaseDatabaseWrapper,
    plan: Callable[[Installed], Plan],
    before_commit: Callable[[], object] = lambda: None,
    execution: Execution = execute_and_time,
) -> Applied:
    """Read the catalog, plan, and carry out the plan, in one transaction that holds the schema's advisory lock.

    The error of a statement is returned with the outcomes; any other error (an interrupt, a lost connection) is
    raised. In both cases the database is as it was before.
    """
    is_inside = connection.in_atomic_block
    try:
        with transaction.atomic(using=connection.alias):
            former_timeout = _lock(connection)
            steps = plan(read_catalog(connection)).steps
            outcomes = _execute(connection, steps, execution)
            if is_inside:
                # The rest of the transaction is the user's: an alteration may have left settings of its own.
                for session in sessions([connection.alias]):
                    session.forget()
                _set_lock_timeout(connection, former_timeout)
            before_commit()
    except _StepError as error:
        return Applied(error.outcomes(steps), error.sentence)
    return Applied(outcomes)


def try_out(connection: BaseDatabaseWrapper, plan: Callable[[Installed], Plan]) -> tuple[Installed, Installed]:
    """Return the catalog as it is, and as the plan would leave it: the plan is carried out and rolled back.

    Until then the transaction holds the locks that the plan takes.

    Raises:
        InstallationError: if the database refuses the plan.
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
    """The step that the database refused; raising it rolls the transaction back."""

    def __init__(self, step: Step | None, sentence: InstallationError) -> None:
        super().__init__(sentence)
        self.step = step
        self.sentence = sentence

    def outcomes(self, steps: Sequence[Step]) -> list[Outcome]:
        """Return what became of the steps of the plan."""
        place = next((place for place, step in enumerate(steps) if step is self.step), len(steps))
        done = [Outcome(step, "rolled back" if step.changes else "skipped") for step in steps[:place]]
        return [*done, *(Outcome(step, "skipped" if step is not self.step else "failed") for step in steps[place:])]


def _lock(connection: BaseDatabaseWrapper) -> str:
    """Take the schema's lock, and set a timeout for all locks; return the timeout that was set before."""
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
            _check_columns(connection, changing)
            _leave_marks(connection, changing)
    except DatabaseFailure as error:
        if not is_open(connection):
            raise
        raise _find_step(connection, changing, error) from error
    return [Outcome(step, "done", elapsed.get(id(step))) for step in steps]


def _carry_out(connection: BaseDatabaseWrapper, steps: Sequence[Step], execution: Execution) -> Mapping[int, float]:
    return execution(connection, list(pieces_of(steps)))


_COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND NOT attisdropped ORDER BY attnum"


def _check_columns(connection: BaseDatabaseWrapper, steps: Sequence[Step]) -> None:
    """Check that tables have the columns which the bodies of new functions name: Postgres looks at the first row only.

    Raises:
        _StepError: if a column does not exist.
    """
    columns: dict[str, list[str]] = {}
    for step in steps:
        if not (step.named_columns and step.makes_function_or_trigger and step.marking and step.marking.triggers):
            continue
        part = step.marking.triggers[0]
        table = render(identifier(part.schema, part.table))
        if table not in columns:
            with plain_cursor(connection) as cursor:
                cursor.execute(_COLUMNS, [table])
                columns[table] = [name for (name,) in cursor.fetchall()]
        for missing in sorted(step.named_columns - {*columns[table]}) if columns[table] else ():
            raise _StepError(step, without_column(step.object, step.sql[0], part.table, missing, columns[table]))


def _set_lock_timeout(connection: BaseDatabaseWrapper, timeout: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [timeout])


_CHECK_NO_BODIES = """
SELECT set_config('pgmagic.check_function_bodies', current_setting('check_function_bodies'), true),
       set_config('check_function_bodies', 'off', true);"""
_CHECK_BODIES_AS_BEFORE = """
SELECT set_config('check_function_bodies', current_setting('pgmagic.check_function_bodies'), true);"""


def pieces_of(steps: Iterable[Step]) -> Iterator[Piece]:
    """Yield the statements of steps in the order in which they are executed; deferred statements come last."""
    steps = list(steps)
    # If this kernel is killed, the server notices, and the next kernel does not wait until the plan is finished.
    yield None, [f"{LOOK_FOR_CLIENT};"]
    for making, run in groupby(steps, lambda step: step.makes_function_or_trigger):
        if making:
            yield from _functions_before_triggers(list(run))
        else:
            for step in run:
                yield step, step.sql
    for step in steps:
        if step.deferred:
            yield step, step.deferred


def _functions_before_triggers(steps: Sequence[Step]) -> Iterator[Piece]:
    """Yield the steps that make functions, then those that make triggers.

    After a CREATE TRIGGER, each CREATE FUNCTION makes the server read again what it knows of the table: a third of its
    time with 200 triggers. Functions that pgmagic wrote come first, unparsed: parsing takes as long as making them.
    """
    functions = [step for step in steps if step.kind == "function"]
    unchecked = [step for step in functions if not step.needs_check]
    if unchecked:
        yield None, [_CHECK_NO_BODIES]
        for step in unchecked:
            yield step, step.sql
        yield None, [_CHECK_BODIES_AS_BEFORE]
    checked = [step for step in functions if step.needs_check]
    for step in (*checked, *(step for step in steps if step.kind != "function")):
        yield step, step.sql


def _find_step(connection: BaseDatabaseWrapper, steps: Sequence[Step], error: Exception) -> _StepError:
    """Return the step that failed: execute them again, one by one, in the transaction that is rolled back anyway."""
    try:
        # A lock that timed out once is not waited for as long again.
        _set_lock_timeout(connection, "100ms")
        for step in steps:
            _execute_alone(connection, step, step.sql)
        for step in steps:
            _execute_alone(connection, step, step.deferred)
    except _StepError as found:
        return found
    return _StepError(None, InstallationError(f"Postgres refused the plan: {_primary_message(error)}"))


def _execute_alone(connection: BaseDatabaseWrapper, step: Step, statements: Sequence[str]) -> None:
    for statement in statements:
        try:
            with plain_cursor(connection) as cursor:
                cursor.execute(statement)
        except DatabaseFailure as error:
            if not is_open(connection):
                raise
            raise _StepError(step, _refusal(step, statement, error)) from error


def _refusal(step: Step, statement: str, error: DatabaseFailure) -> InstallationError:
    """Return the error of a statement; if it makes a function, with the function's body."""
    sentence = f"Postgres refused to {step.action} the {step.kind} {step.object}: {_primary_message(error)}"
    cause = error.__cause__
    if step.kind != "function" or not isinstance(cause, psycopg.Error):
        return InstallationError(sentence)
    position = cause.diag.statement_position
    found = excerpt_of(statement, int(position) if position else None)
    refusal = InstallationError(f"{sentence}, in line {found.line}" if found and found.line else sentence)
    if found is not None:
        refusal.add_note(found.text)
    return refusal


def _primary_message(error: BaseException) -> str:
    """Return the message of Postgres, with its detail and its hint, in one line."""
    cause = error.__cause__
    if isinstance(cause, psycopg.errors.LockNotAvailable):
        return f"another session holds a lock and did not release it within {LOCK_TIMEOUT}; end its transaction first"
    if isinstance(cause, psycopg.Error) and cause.diag.message_primary:
        reason = f": {cause.diag.message_detail}" if cause.diag.message_detail else ""
        hint = f" ({cause.diag.message_hint})" if cause.diag.message_hint else ""
        where = (cause.diag.context or "").partition("\n")[0]
        # An error that was raised on purpose needs no place.
        line = f", {where}" if where and not where.endswith(" at RAISE") else ""
        return f"{cause.diag.message_primary}{line}{reason}{hint}"
    return str(error).strip().partition("\n")[0]


def _leave_marks(connection: BaseDatabaseWrapper, steps: Sequence[Step]) -> None:
    """Store what was declared, and what Postgres made of it, for the next reading of the catalog."""
    # If an object is renamed and then replaced, the last marking holds.
    last = {(step.marking.schema, step.marking.name): step.marking for step in steps if step.marking}
    with plain_cursor(connection) as cursor:
        if last:
            cursor.execute(marks_sql(list(last.values())))
        forgotten = [(step.forget,) for step in steps if step.forget]
        if forgotten:
            cursor.executemany(_FORGET, forgotten)
        _remember_tables(cursor, steps)


def _remember_tables(cursor: DriverCursor, steps: Sequence[Step]) -> None:
    remembered = [each for step in steps for each in step.all_remembered]
    if remembered:
        cursor.execute(CREATE_STATE_TABLE)
        cursor.executemany(_REMEMBER, [astuple(each) for each in remembered])
        cursor.execute(_NOTE_COLUMNS, [[each.table for each in remembered]])


CREATE_STATE_TABLE = (
    f"CREATE TABLE IF NOT EXISTS {STATE_TABLE} "
    "(table_name text PRIMARY KEY, label text NOT NULL, declared text NOT NULL, state text NOT NULL, stored text); "
    f"ALTER TABLE {STATE_TABLE} ADD COLUMN IF NOT EXISTS stored text"
)
_FORGET = f"DELETE FROM {STATE_TABLE} WHERE table_name = %s"  # noqa: S608 - a constant
_REMEMBER = (
    f"INSERT INTO {STATE_TABLE} (table_name, label, declared, state) VALUES (%s, %s, %s, %s) "  # noqa: S608
    "ON CONFLICT (table_name) DO UPDATE SET label = EXCLUDED.label, declared = EXCLUDED.declared, "
    "state = EXCLUDED.state"
)
_NOTE_COLUMNS = f"UPDATE {STATE_TABLE} AS m SET stored = {STORED_TABLE} WHERE table_name = ANY (%s)"  # noqa: S608
