"""The private parts of psycopg still do what `pgmagic/db/driver_private.py` needs of them."""

import threading

import psycopg
import pytest

from pgmagic.db.driver_private import all_results, drop_last_results, replace_lock

MEND = "psycopg has changed a private part: mend pgmagic/db/driver_private.py"


class CountingLock:
    def __init__(self):
        self.inner = threading.Lock()
        self.taken = 0

    def __enter__(self):
        self.taken += 1
        return self.inner.__enter__()

    def __exit__(self, *error):
        self.inner.__exit__(*error)


@pytest.fixture
def raw(connection):
    """A connection of psycopg's, with its own lock again at the end."""
    found = connection.connection
    lock = found.lock
    yield found
    found.lock = lock


def test_connection_sends_its_commands_under_the_replaced_lock(raw):
    assert isinstance(raw.lock, type(threading.Lock())), f"{MEND} (Connection.lock)"
    lock = CountingLock()
    replace_lock(raw, lock)
    raw.execute("SELECT 1")
    assert lock.taken > 0, f"{MEND} (Connection.lock)"


def test_cursor_keeps_the_results_of_all_statements(raw):
    with psycopg.ClientCursor(raw) as cursor:
        cursor.execute("SELECT 1; SELECT 2; SELECT 3")
        assert hasattr(cursor, "_results"), f"{MEND} (Cursor._results)"
        assert [result.get_value(0, 0) for result in all_results(cursor)] == [b"1", b"2", b"3"], (
            f"{MEND} (Cursor._results)"
        )


def test_cursor_does_not_show_dropped_results(raw):
    with psycopg.ClientCursor(raw) as cursor:
        cursor.execute("SELECT 1; SELECT 2; SELECT 3")
        drop_last_results(cursor, 2)
        assert (cursor.fetchall(), cursor.nextset()) == ([(1,)], None), f"{MEND} (Cursor._results)"
