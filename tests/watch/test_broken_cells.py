"""A cell that an exception of its own ends: the steps before it are shown, and nothing is kept."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from typing import Any

import pytest
from IPython.core.error import UsageError

from pgmagic.tables.frame import ResultFrame
from pgmagic.watch.outcome_frame import OutcomeFrame
from pgmagic.watch.trace_frame import TraceFrame
from tests.watch.test_outcome import cells, other, statuses, values_of  # noqa: F401 - fixtures

FIRST = "Post.objects.create(title=' first ')\nPost.objects.filter(pk=1).update(status='published')"
KEPT = "the whole cell was rolled back, and nothing of it was kept."


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[ResultFrame]:
    """The frames that a magic shows beside its result."""
    frames: list[ResultFrame] = []
    monkeypatch.setattr("pgmagic.notebook.watching.display", frames.append)
    return frames


def assert_clean(shell: Any, other: Any) -> None:  # noqa: F811
    """Nothing was kept or is left, and the next cell runs as usual."""
    from django.db import connection

    assert statuses(shell) == ["draft", "draft"]
    assert connection.get_autocommit()
    assert not connection.in_atomic_block
    assert connection.connection.info.transaction_status == 0
    assert not [name for name in vars(connection) if name in ("_commit", "_set_autocommit", "on_commit")]
    assert not any("Recorder" in type(wrapper).__name__ for wrapper in connection.execute_wrappers)
    assert other.execute("SELECT count(*) FROM pg_trigger WHERE strpos(tgname, chr(1)) > 0").fetchone() == (0,)
    frame = shell.run("%%pgoutcome --rollback\nPost.objects.update(status='published')")
    assert list(frame["verdict"]) == ["applied"]


def test_outcome_of_the_steps_before_an_error_is_shown(
    cells: Any,  # noqa: F811
    other: Any,  # noqa: F811
    shown: list[ResultFrame],
) -> None:
    error = cells.error(f"%%pgoutcome\n{FIRST}\nPost.objects.update(status='gone')\nPost.objects.count()\n1 / 0\nx = 1")
    assert isinstance(error, ZeroDivisionError)
    [frame] = shown
    assert isinstance(frame, OutcomeFrame)
    assert values_of(frame, "step", "verdict", "reason")[:2] == [
        (1, "rolled back", "step 5 raised ZeroDivisionError"),
        (2, "rolled back", "step 5 raised ZeroDivisionError"),
    ]
    assert list(frame["verdict"][2:]) == ["rejected", "read"]
    assert frame["statement"][3] == "Post.objects.count()"
    assert frame.notes == [f"Step 5 raised ZeroDivisionError: {KEPT}"]
    assert_clean(cells, other)


def test_table_comes_before_the_error_with_the_frames_of_the_cell(
    cells: Any,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    cells.error(f"%%pgoutcome\n{FIRST}\ndef divide():\n    return 1 / 0\ndivide()")
    text = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    table, note, error = (text.index(part) for part in ("rolled back", "Step 4 raised", "Traceback"))
    assert table < note < error
    assert "divide()" in text[error:]
    assert "return 1 / 0" in text[error:]
    assert "pgmagic/watch" not in text
    assert "pgmagic/notebook" not in text


def test_error_in_the_first_step_shows_no_table(cells: Any, shown: list[ResultFrame]) -> None:  # noqa: F811
    cells.error("%%pgoutcome\n1 / 0")
    assert shown == []


def test_verdicts_remain_in_a_cell_that_is_not_to_be_kept(
    cells: Any,  # noqa: F811
    other: Any,  # noqa: F811
    shown: list[ResultFrame],
) -> None:
    cells.error(f"%%pgoutcome --rollback\n{FIRST}\n1 / 0")
    assert list(shown[0]["verdict"]) == ["rewritten", "applied"]
    assert shown[0].notes == [f"Step 3 raised ZeroDivisionError: {KEPT}"]
    assert_clean(cells, other)


def test_trace_of_the_steps_before_an_error_is_shown(
    cells: Any,  # noqa: F811
    other: Any,  # noqa: F811
    shown: list[ResultFrame],
) -> None:
    error = cells.error(f"%%pgtrace\n{FIRST}\nPost.objects.update(status='gone')\n1 / 0")
    assert isinstance(error, ZeroDivisionError)
    [frame] = shown
    assert isinstance(frame, TraceFrame)
    assert set(frame["step"]) == {1, 2, 3}
    assert frame.notes[0].startswith("Step 3 was rejected by notebook.Post:cycle")
    assert f"Step 4 raised ZeroDivisionError: {KEPT}" in frame.notes
    assert_clean(cells, other)


def test_trace_shows_the_triggers_of_the_step_that_failed(cells: Any, shown: list[ResultFrame]) -> None:  # noqa: F811
    cells.error("%%pgtrace\nfor n in (1, 0):\n    Post.objects.create(title=f'{1 / n}')")
    assert list(shown[0]["trigger"]) == ["notebook.Post:trim"]
    assert shown[0].notes[0] == f"Step 1 raised ZeroDivisionError: {KEPT}"


def test_what_if_shows_the_run_that_failed(
    cells: Any,  # noqa: F811
    other: Any,  # noqa: F811
    shown: list[ResultFrame],
) -> None:
    error = cells.error(f"%%pgwhatif --ignore notebook.Post:trim\n{FIRST}\n1 / 0")
    assert isinstance(error, ZeroDivisionError)
    assert shown[0].caption == "As it is"
    assert list(shown[0]["verdict"]) == ["rewritten", "applied"]
    error = cells.error(
        f"%%pgwhatif --ignore notebook.Post:trim\n{FIRST}\nassert not Post.objects.filter(title=' first ').exists()"
    )
    assert isinstance(error, AssertionError)
    assert error.__notes__ == [
        "pgmagic: as it is, the cell ran without an error; this happened without notebook.Post:trim."
    ]
    assert shown[1].caption == "What if without notebook.Post:trim"
    assert list(shown[1]["verdict"]) == ["applied", "applied"]
    assert_clean(cells, other)


@pytest.mark.filterwarnings("ignore:To exit")
@pytest.mark.parametrize("magic", ["pgoutcome", "pgtrace"])
@pytest.mark.parametrize(
    ("raised", "what"), [("KeyboardInterrupt", "was interrupted"), ("SystemExit", "raised SystemExit")]
)
def test_interrupt_shows_the_steps_before_it(
    cells: Any,  # noqa: F811
    other: Any,  # noqa: F811
    shown: list[ResultFrame],
    magic: str,
    raised: str,
    what: str,
) -> None:
    cells.shell.run_cell(f"%%{magic}\n{FIRST}\nraise {raised}")
    assert f"Step 3 {what}: {KEPT}" in shown[0].notes
    assert set(shown[0]["step"]) == {1, 2}
    assert_clean(cells, other)


@pytest.mark.parametrize("magic", ["pgoutcome", "pgtrace"])
def test_interrupt_of_a_statement_shows_the_steps_before_it(
    cells: Any,  # noqa: F811
    other: Any,  # noqa: F811
    shown: list[ResultFrame],
    magic: str,
) -> None:
    from django.db import connection

    pid = connection.connection.info.backend_pid
    cells.run("def sleep():\n    with connection.cursor() as cursor:\n        cursor.execute('SELECT pg_sleep(30)')")

    def interrupt() -> None:
        query = "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event = 'PgSleep'"
        while not other.execute(query, [pid]).fetchone():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert isinstance(cells.error(f"%%{magic}\n{FIRST}\nsleep()"), KeyboardInterrupt)
    thread.join()
    assert f"Step 3 was interrupted: {KEPT}" in shown[0].notes
    assert set(shown[0]["step"]) == {1, 2}
    assert_clean(cells, other)


def test_interrupt_of_a_cell_that_awaits(cells: Any, other: Any, shown: list[ResultFrame]) -> None:  # noqa: F811
    cells.error(f"%%pgoutcome\n{FIRST}\nawait Post.objects.acount()\nraise KeyboardInterrupt")
    assert list(shown[0]["verdict"]) == ["rolled back", "rolled back", "read"]
    assert_clean(cells, other)


def test_error_of_pgmagic_in_a_cell_shows_the_steps_before_it(
    cells: Any,  # noqa: F811
    other: Any,  # noqa: F811
    shown: list[ResultFrame],
) -> None:
    error = cells.error(f"%%pgoutcome\n{FIRST}\nwith pgtrigger.ignore('notebook.Post:nothing'): pass")
    assert isinstance(error, UsageError)
    assert list(shown[0]["verdict"]) == ["rolled back", "rolled back"]
    assert_clean(cells, other)


@pytest.mark.parametrize("last", ["connection.close()", "connection.cursor().execute('COMMIT')"])
def test_cell_that_has_lost_its_transaction_shows_no_table(
    cells: Any,  # noqa: F811
    other: Any,  # noqa: F811
    shown: list[ResultFrame],
    last: str,
) -> None:
    """What became of its rows is said by the error alone."""
    cells.error(f"%%pgoutcome\n{FIRST}\n{last}")
    assert shown == []
    assert_clean(cells, other)
