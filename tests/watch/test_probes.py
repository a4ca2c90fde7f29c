"""Names and places of probes: no database."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgmagic.declare import names
from pgmagic.watch.probe_functions import (
    FULL_ROWS,
    SAMPLED_EVERY,
    create_functions,
    drop_probes,
    looked_at,
)
from pgmagic.watch.probes import (
    ASKED_NAME,
    EVENTS,
    BeforeRow,
    ProbedTable,
    create_probes,
    name_between,
    names_between,
)

ALL = frozenset(["INSERT", "UPDATE", "DELETE"])

postgres_names = st.text(
    st.characters(min_codepoint=1, max_codepoint=0x10FFF0, exclude_categories=["Cs"]), min_size=1
).filter(lambda name: len(name.encode()) <= names.MAX_NAME_BYTES)


def table(*triggers: tuple[str, str]) -> ProbedTable:
    before = [BeforeRow(name, frozenset(events.split())) for name, events in triggers]  # type: ignore[arg-type]
    return ProbedTable("s", "t", tuple(before))


@given(postgres_names, postgres_names)
def test_name_between_sorts_between_and_fits(first: str, second: str) -> None:
    assume(first.encode() < second.encode())
    name = name_between(first, second)
    if name is not None:
        assert first.encode() < name.encode() < second.encode()
        assert len(name.encode()) <= names.MAX_NAME_BYTES
    elif len(first.encode()) < names.MAX_NAME_BYTES:
        # With a byte to spare there is room, unless the next trigger has taken that very name.
        assert second.encode() <= first.encode() + b"\x01"


@given(postgres_names)
def test_there_is_always_room_after_the_last_name(name: str) -> None:
    assert name_between(name, None) is not None


@pytest.mark.parametrize(
    ("name", "following", "expected"),
    [
        ("a", "b", "a\x01"),
        ("a", "a\x01", None),
        ("a" * 63, "b", "a" * 62 + "b"),
        ("a" * 63, "a" * 62 + "b", None),
        ("é" * 31 + "a", "é" * 31 + "c", "é" * 31 + "b"),
    ],
)
def test_name_between(name: str, following: str, expected: str | None) -> None:
    assert name_between(name, following) == expected


def test_names_of_our_own_triggers_leave_room() -> None:
    """The bytes that `declare.names` keeps free are those that a probe needs."""
    name = names.postgres_name("x" * 100, "app.Model:x")
    assert name_between(name, name + "\x02") == name + "\x01"


def test_probes_sort_between_the_triggers_by_bytes() -> None:
    # "B" sorts before "a" in bytes, whatever a locale says.
    probed = table(("a", "UPDATE"), ("B", "INSERT UPDATE"))
    assert [slot.names for slot in probed.slots] == [
        (("INSERT", "B\x01"), ("UPDATE", "B\x01\x01")),
        (("INSERT", "a\x01"), ("UPDATE", "a\x01\x01")),
    ]
    assert all(ASKED_NAME.encode() < name.encode() for slot in probed.slots for _, name in slot.names)


@given(postgres_names, postgres_names)
def test_a_probe_for_each_operation_has_a_name_of_its_own(first: str, second: str) -> None:
    assume(first.encode() < second.encode())
    found = [name for _, name in names_between(first, second, EVENTS)]
    assert sorted(found, key=str.encode) == found
    assert len(set(found)) == len(found) in (0, 3)
    assert all(first.encode() < name.encode() < second.encode() for name in found)


@pytest.mark.parametrize("rows", [0, 1, FULL_ROWS, FULL_ROWS + 1, 10_048, 200_000])
def test_rows_that_are_looked_at(rows: int) -> None:
    """As the probes' WHEN clause counts them."""
    counted = sum(1 for n in range(1, rows + 1) if n <= FULL_ROWS or n % SAMPLED_EVERY == 0)
    assert looked_at(rows) == counted


@pytest.mark.parametrize(
    ("event", "passed", "suspects"),
    [
        ("INSERT", 0, ("b",)),
        ("UPDATE", 0, ("a",)),
        ("UPDATE", 1, ("b",)),
        ("UPDATE", 2, ("c",)),
        ("DELETE", 0, ("c",)),
        ("INSERT", 2, ()),
    ],
)
def test_the_trigger_after_the_last_probe_swallowed_the_row(event: str, passed: int, suspects: tuple[str, ...]) -> None:
    probed = table(("a", "UPDATE"), ("b", "INSERT UPDATE"), ("c", "UPDATE DELETE"))
    assert probed.suspects(event, passed) == suspects  # type: ignore[arg-type]


def test_without_room_both_triggers_are_named() -> None:
    first, second = "a" * 63, "a" * 62 + "b"
    probed = table((first, "UPDATE"), (second, "UPDATE"))
    assert len(probed.slots) == 1
    assert probed.suspects("UPDATE", 0) == (first, second)
    assert probed.deciders("UPDATE", 1) == (first, second)


def test_a_single_slot_ignores_the_number_of_another_table() -> None:
    assert table(("a", "UPDATE")).suspects("UPDATE", 7) == ("a",)


def test_a_trigger_in_front_of_every_probe_leaves_nothing_to_compare_with() -> None:
    assert table(("\x01", "UPDATE")).slots == ()


def test_probes_fire_only_for_what_the_triggers_fire_for() -> None:
    sql = create_probes(table(("keep", "DELETE")), many_rows=False)
    names = ["\x01pgmagic_asked_d", "keep\x01", "\x01pgmagic_nested"]
    assert re.findall('CREATE OR REPLACE TRIGGER "(.*?)" (.*?) ON "s"."t"', sql) == [
        (names[0], "BEFORE DELETE"),
        (names[1], "BEFORE DELETE"),
        (names[2], "AFTER UPDATE"),
    ]


def test_every_probe_counts_for_itself() -> None:
    probed = table(("a", "UPDATE"), ("b", "INSERT UPDATE"))
    assert probed.counters() == [
        "pgmagic.n0i0",
        "pgmagic.n0i2",
        "pgmagic.n0u0",
        "pgmagic.n0u1",
        "pgmagic.n0u2",
    ]
    sql = create_probes(probed, many_rows=True)
    assert all(f"set_config('{counter}'" in sql for counter in probed.counters())


def test_names_are_quoted() -> None:
    sql = create_probes(ProbedTable('o"s', "a b", (BeforeRow("it's", frozenset(["INSERT"])),)), many_rows=True)
    assert 'ON "o""s"."a b"' in sql
    assert '"it\'s\x01"' in sql
    assert "pgmagic_nested" not in sql


def test_everything_lives_in_the_sessions_own_schema() -> None:
    script = create_functions()
    assert script.count("CREATE OR REPLACE FUNCTION pg_temp.pgmagic_") == script.count("CREATE OR REPLACE FUNCTION")
    assert "CREATE TABLE IF NOT EXISTS pg_temp." in script
    assert "nextval" not in script
    made = {line.split("(")[0].split(".")[1] for line in script.splitlines() if line.startswith("CREATE OR REPLACE")}
    dropped = {part.split("(")[0] for part in drop_probes().split("pg_temp.")[1:]}
    assert made == dropped
