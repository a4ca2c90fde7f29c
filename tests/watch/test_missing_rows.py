"""INSERTs of Django's ORM whose rows a trigger swallows: Django fails, and the cell goes on."""

from __future__ import annotations

from typing import Any

import django
import pytest

from pgmagic.watch.missing_rows import is_over_missing_row
from pgmagic.watch.outcome_frame import OutcomeFrame
from tests.watch.observing import SWALLOW, trigger, watch
from tests.watch.test_outcome import cells, other, values_of  # noqa: F401 - fixtures

ON_NONE = "Django raised TypeError ('NoneType' object is not iterable): the INSERT returned no row for an object"
ON_NUMBER = "Django raised AssertionError: the INSERT returned fewer rows than it was given objects"
# Since Django 6, an object whose row did not come back simply has no key, and one INSERT is not in a block.
IS_SILENT = KEEPS_OTHERS = django.VERSION >= (6, 0)
THREE = "[Post(title='a'), Post(title=''), Post(title='c')]"


def swallowed(frame: OutcomeFrame, row: int = 0) -> Any:
    return values_of(frame, "verdict", "table", "trigger")[row] == ("suppressed", "notebook_post", "notebook.Post:trim")


@pytest.mark.parametrize(
    "statement",
    [
        "Post.objects.create(title='')",
        "Post(title='').save()",
        "Post(title='').save(force_insert=True)",
        "Post.objects.get_or_create(title='')",
        "Post.objects.update_or_create(title='')",
        "await Post.objects.acreate(title='')",
        "await Post(title='').asave()",
        "await Post.objects.aget_or_create(title='')",
        "with transaction.atomic(): Post.objects.create(title='')",
        "with transaction.atomic(), transaction.atomic(): Post.objects.create(title='')",
        "with transaction.atomic(): Post.objects.get_or_create(title='')",
    ],
)
def test_swallowed_object_is_suppressed_and_the_cell_goes_on(cells: Any, statement: str) -> None:  # noqa: F811
    frame = cells.run(f"%%pgoutcome\n{statement}\nPost.objects.create(title='next')")
    assert swallowed(frame)
    assert values_of(frame, "rows", "reason")[0] == (0, "insert swallowed")
    assert frame.attached == ({} if IS_SILENT else {0: [f"{ON_NONE}."]})
    assert values_of(frame, "verdict", "rows")[1] == ("applied", 1)
    assert cells.run("Post.objects.filter(title='next').count()") == 1


@pytest.mark.parametrize("call", ["Post.objects.bulk_create({})", "await Post.objects.abulk_create({})"])
def test_one_of_several_rows_is_suppressed(cells: Any, call: str) -> None:  # noqa: F811
    frame = cells.run(f"%%pgoutcome\n{call.format(THREE)}\nPost.objects.count()")
    assert swallowed(frame)
    [line] = frame.attached[0]
    if KEEPS_OTHERS:
        assert line == f"{ON_NUMBER}."
        assert values_of(frame, "rows", "reason")[0] == (2, "insert swallowed for 1 row")
    else:
        assert line == f"{ON_NUMBER}, and 2 rows of this statement were rolled back."
        assert values_of(frame, "rows", "reason")[0] == (0, "insert swallowed")
    assert cells.run("Post.objects.count()") == (4 if KEEPS_OTHERS else 2)


def test_every_row_of_several_is_suppressed(cells: Any) -> None:  # noqa: F811
    frame = cells.run("%%pgoutcome\nPost.objects.bulk_create([Post(title=''), Post(title='')])\nPost.objects.count()")
    assert swallowed(frame)
    assert values_of(frame, "rows", "reason")[0] == (0, "insert swallowed for 2 rows")
    assert frame.attached == {0: [f"{ON_NUMBER}."]}


@pytest.mark.parametrize("objects", ["[Post(title='')]", "[Post(pk=9000, title='')]"])
def test_only_row_of_a_bulk_create_is_suppressed(cells: Any, objects: str) -> None:  # noqa: F811
    frame = cells.run(f"%%pgoutcome\nPost.objects.bulk_create({objects})\nPost.objects.count()")
    assert swallowed(frame)
    assert values_of(frame, "verdict")[1] == ("read",)


def test_batches_of_a_bulk_create(cells: Any) -> None:  # noqa: F811
    frame = cells.run(f"%%pgoutcome\nPost.objects.bulk_create({THREE}, batch_size=1)\nPost.objects.count()")
    assert swallowed(frame)
    [line] = frame.attached[0]
    rolled_back = "" if KEEPS_OTHERS else ", and 2 rows of this statement were rolled back"
    assert line == f"{ON_NUMBER if IS_SILENT else ON_NONE}{rolled_back}."


def test_rows_of_the_same_block_are_rolled_back_and_those_before_it_are_kept(cells: Any) -> None:  # noqa: F811
    if IS_SILENT:
        pytest.skip("Django 6 raises nothing here.")
    frame = cells.run(
        "%%pgoutcome\n"
        "for title in ('a', ''):\n    Post.objects.create(title=title)\n"
        "with transaction.atomic():\n    Post.objects.create(title='b')\n    Post.objects.create(title='')\n"
    )
    assert swallowed(frame, 0)
    assert swallowed(frame, 1)
    assert values_of(frame, "rows", "reason") == [(1, "insert swallowed for 1 row"), (0, "insert swallowed")]
    assert frame.attached == {0: [f"{ON_NONE}."], 1: [f"{ON_NONE}, and 1 row of this statement was rolled back."]}
    assert cells.run("sorted(Post.objects.values_list('title', flat=True))") == ["a", "draft", "safe"]


def test_rejection_before_it_stays_the_verdict(cells: Any) -> None:  # noqa: F811
    cells.run(
        "def work():\n    try:\n        Post.objects.create(title='draft')\n    except IntegrityError: pass\n"
        "    Post.objects.create(title='')"
    )
    frame = cells.run("%%pgoutcome\nPost.objects.create(title='safe')\nwork()\nPost.objects.create(title='')")
    assert list(frame["verdict"]) == ["rejected", "rejected", "suppressed"]
    assert "; insert swallowed by notebook.Post:trim" in frame["reason"][1]


def test_suppressed_insert_of_a_model_that_inherits(cells: Any) -> None:  # noqa: F811
    cells.run("%%pgtrigger\nclass Long(Post):\n    text = models.TextField(default='')\n")
    frame = cells.run("%%pgoutcome\nLong.objects.create(title='')\nLong.objects.count()")
    assert frame["verdict"][0] == ("rejected" if IS_SILENT else "suppressed")
    assert frame["verdict"][1] == "read"


def test_trace_names_the_trigger_and_goes_on(cells: Any) -> None:  # noqa: F811
    frame = cells.run(f"%%pgtrace\nPost.objects.bulk_create({THREE})\nPost.objects.update(status='published')")
    assert frame.notes[0].startswith("Step 1 was suppressed by notebook.Post:trim: insert swallowed")
    assert frame.notes[1].startswith("Step 1: " + ON_NUMBER)
    assert [note for note in frame["notice"].dropna() if "NULL" in note] == ["returned NULL: the row was swallowed"]
    assert set(frame["step"]) == {1, 2}


def test_what_if_compares_a_suppressed_object_with_a_kept_one(cells: Any) -> None:  # noqa: F811
    cell = "Post.objects.bulk_create([Post(title=''), Post(title='x')])\nPost.objects.count()"
    frame = cells.run(f"%%pgwhatif --ignore notebook.Post:trim\n{cell}")
    verdict = frame.iloc[0]
    assert verdict["field"] == "verdict"
    assert verdict["as_is"].startswith(f"suppressed {KEEPS_OTHERS:d} row")
    assert " by notebook.Post:trim: insert swallowed" in verdict["as_is"]
    assert verdict["what_if"] == "applied 2 rows"
    assert any(note.startswith("As it is: Step 1: " + ON_NUMBER) for note in frame.notes)
    assert cells.run("Post.objects.count()") == 2


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("Post.objects.create(title='')\nint(None)", TypeError),
        ("def work():\n    for _ in None: pass\nPost.objects.bulk_create([Post(title='')])\nwork()", TypeError),
        ("quiet(lambda: Post.objects.bulk_create([Post(title='')])) or zip(None)", TypeError),
        ("quiet(lambda: Post.objects.bulk_create([Post(title='')])) or Post.objects.bulk_create(5)", TypeError),
        ("quiet(lambda: Post.objects.bulk_create([Post(title='')])) or Post(titel='x')", TypeError),
        ("quiet(lambda: Post.objects.bulk_create([Post(title='')]))\nassert False", AssertionError),
        ("Post.objects.create(title='x')\nassert Post.objects.count() == 0", AssertionError),
    ],
)
def test_errors_of_the_users_own_code_end_the_cell(cells: Any, step: str, error: type) -> None:  # noqa: F811
    cells.run("def quiet(work):\n    try:\n        work()\n    except (TypeError, AssertionError):\n        pass")
    assert type(cells.error(f"%%pgoutcome\n{step}\nPost.objects.create(title='after')")) is error
    assert cells.run("Post.objects.count()") == 2
    assert list(cells.run("%%pgoutcome\nPost.objects.create(title='after')")["verdict"]) == ["applied"]


def test_error_of_a_signal_handler_over_a_swallowed_row_ends_the_cell(cells: Any) -> None:  # noqa: F811
    cells.run(
        "def handle(sender, instance, **kwargs):\n    zip(None)\nmodels.signals.pre_save.connect(handle, sender=Post)"
    )
    error = cells.error("%%pgoutcome\nPost.objects.bulk_create([Post(title='')])\nPost.objects.create(title='x')")
    assert isinstance(error, TypeError)
    assert cells.run("models.signals.pre_save.disconnect(handle, sender=Post)")


def test_step_without_an_insert_is_none_of_it() -> None:
    with pytest.raises(TypeError) as raised:
        zip(None)  # type: ignore[call-overload]
    assert not is_over_missing_row(raised.value, [], "default")


def test_trigger_on_a_view_is_not_probed_and_the_insert_is_suppressed_all_the_same(
    connection: Any,
    execute: Any,
) -> None:
    from django.db import models

    class Shown(models.Model):
        name = models.TextField()

        class Meta:
            app_label = "missing_rows"
            db_table = "shown"
            managed = False

    execute("CREATE VIEW shown AS SELECT id, name FROM item")
    execute(trigger("instead", "INSTEAD OF INSERT", SWALLOW, "shown"))
    step = watch(connection, lambda: Shown.objects.bulk_create([Shown(name="a"), Shown(name="b")])).outcomes[0]
    assert (step.verdict, step.table, step.reason) == ("suppressed", "shown", "insert swallowed")
    assert step.lines == (f"{ON_NUMBER}.",)
