"""The clauses of an installed condition in the words of its declaration."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models

from pgmagic import pgtrigger
from pgmagic.watch.clauses import flattened, parse_condition
from pgmagic.watch.wording import worded, words_of
from tests.declare.models import Book

Q, F, Condition = pgtrigger.Q, pgtrigger.F, pgtrigger.Condition


class Own(Condition):
    """A condition of a user's own kind."""

    def resolve(self, model: Any) -> str:
        """Return its SQL."""
        return "OLD.pages > NEW.pages"

    def __init__(self) -> None:
        pass

    def __repr__(self) -> str:
        return "Own()"


# declared, what Postgres prints, what its clauses read
@pytest.mark.parametrize(
    ("declared", "printed", "expected"),
    [
        (Q(old__pages=1), "(old.pages = 1)", ["old__pages=1"]),
        (models.Q(old__pages=1), "(old.pages = 1)", ["old__pages=1"]),
        (Q(old__pages__df=F("new__pages")), "(old.pages IS DISTINCT FROM new.pages)", ["old__pages__df=F(new__pages)"]),
        (~Q(old__pages=1), "(NOT (old.pages = 1))", ["~Q(old__pages=1)"]),
        (Q(Q(Q(old__pages=1))), "(old.pages = 1)", ["old__pages=1"]),
        (
            Q(old__pages__range=(1, 2), old__title="a"),
            "(((old.pages >= 1) AND (old.pages <= 2)) AND ((old.title)::text = 'a'::text))",
            ["old__pages__range=(1, 2)", "old__title='a'"],
        ),
        (
            Q(old__pages=1) | Q(new__pages=2, new__title="b"),
            "((old.pages = 1) OR ((new.pages = 2) AND ((new.title)::text = 'b'::text)))",
            ["old__pages=1", "or new__pages=2", "and new__title='b'"],
        ),
        (
            Q(old__title="x") & (Q(old__pages=1) | Q(new__pages=2, new__title="b")),
            "((old.title = 'x') AND ((old.pages = 1) OR ((new.pages = 2) AND ((new.title)::text = 'b'::text))))",
            ["old__title='x'", "old__pages=1", "or Q(new__pages=2, new__title='b')"],
        ),
        (
            pgtrigger.AnyChange("title", "pages"),
            "((old.title IS DISTINCT FROM new.title) OR (old.pages IS DISTINCT FROM new.pages))",
            ["title changed", "or pages changed"],
        ),
        (
            pgtrigger.AllDontChange("title") & Condition("OLD.pages > 3"),
            "((old.title IS NOT DISTINCT FROM new.title) AND (old.pages > 3))",
            ["title did not change", "OLD.pages > 3"],
        ),
        # Of SQL that somebody wrote, its clauses say more.
        (
            Condition("OLD.pages > 3 AND NEW.pages < 2"),
            "((old.pages > 3) AND (new.pages < 2))",
            ["old.pages > 3", "new.pages < 2"],
        ),
        (Own(), "(old.pages > new.pages)", ["Own()"]),
        # What names other columns was not made of this.
        (Q(old__pages=1), "(new.pages = 1)", ["new.pages = 1"]),
        (Q(old__pages=1, old__title="a"), "((old.pages = 1) AND old.other)", ["old.pages = 1", "old.other"]),
        # Which of three clauses on one column the first of two is, nothing tells.
        (
            Q(Q(old__pages__range=(1, 2)), Q(old__pages=3)),
            "((old.pages >= 1) AND (old.pages <= 2) AND (old.pages = 3))",
            ["old.pages >= 1", "old.pages <= 2", "old.pages = 3"],
        ),
    ],
)  # fmt: skip
def test_words(declared: Any, printed: str, expected: list[str]) -> None:
    clauses = flattened(worded(parse_condition(printed), declared, Book))
    assert [clause.text for clause in clauses] == expected


def test_sql_is_always_what_is_installed() -> None:
    node = parse_condition("(((old.pages >= 1) AND (old.pages <= 2)) AND (old.title = 'a'))")
    clauses = flattened(worded(node, Q(old__pages__range=(1, 2), old__title="a"), Book))
    assert [clause.sql for clause in clauses] == [
        "((old.pages >= 1)) AND ((old.pages <= 2))",
        "(old.title = 'a')",
    ]


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (Q(old__pages=1) | Q(old__pages=2), "(Q(old__pages=1) | Q(old__pages=2))"),
        (~(Q(old__pages=1) | Q(old__pages=2)), "~(Q(old__pages=1) | Q(old__pages=2))"),
        (~pgtrigger.AnyChange("title", exclude=["pages"]), "~AnyChange('title', exclude=['pages'])"),
        (Q(old__pages=1) & pgtrigger.AnyChange(), "(Q(old__pages=1) & AnyChange())"),
        (Condition("OLD.a\n  OR b"), "OLD.a OR b"),
        (~Condition("OLD.a"), "~Condition('OLD.a')"),
        (Q(), "Q()"),
    ],
)
def test_words_of_conditions_inside_of_others(condition: Any, words: str) -> None:
    assert words_of(condition) == words


def test_many_clauses_on_one_column_take_no_time() -> None:
    declared = Q(*(Q(old__pages__range=(n, n + 1)) for n in range(30)), old__title="a")
    printed = " AND ".join(f"((old.pages >= {n}) AND (old.pages <= {n + 1}))" for n in range(30))
    clauses = flattened(worded(parse_condition(f"(((old.title)::text = 'a'::text) AND {printed})"), declared, Book))
    assert len(clauses) == 61
    alternatives = " OR ".join(f"(old.pages = {n})" for n in range(3_000))
    anyone = Q(*(Q(old__pages=n) for n in range(3_000)), _connector="OR")
    assert len(flattened(worded(parse_condition(f"({alternatives})"), anyone, Book))) == 3_000
