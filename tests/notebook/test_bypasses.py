"""`%pgbypass`: every way around a rule, on a row that it concerns, and nothing kept."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.error import UsageError

from pgmagic.frames.bypasses import BypassFrame
from tests.notebook.test_tracing import assert_nothing_left, bare, cells, other  # noqa: F401 - fixtures

CODE = {
    "save()",
    "QuerySet.update()",
    "bulk_update()",
    "bulk_create(update_conflicts=True)",
    "raw SQL",
    "a CTE",
}
AROUND = ["pgtrigger.ignore()", "session_replication_role = replica", "ALTER TABLE … DISABLE TRIGGER"]


def results(frame: BypassFrame, operation: str) -> dict[str, str]:
    part = frame[frame["operation"] == operation]
    return dict(zip(part["way"], part["result"], strict=True))


def state(shell: Any) -> Any:
    return shell.run(
        "list(Post.objects.order_by('pk').values_list()), list(Account.objects.order_by('pk').values_list())"
    )


def test_protected_delete(cells, other):  # noqa: F811
    before = state(cells)
    frame = cells.run("%pgbypass notebook.Post:keep")
    assert results(frame, "DELETE") == {
        "delete()": "held",
        "QuerySet.delete()": "held",
        "QuerySet._raw_delete()": "held",
        "raw SQL": "held",
        "a CTE": "held",
        "MERGE": "held",
        "a cascade from a parent": "not applicable",
        "TRUNCATE": "got through",
        "COPY": "not applicable",
        **dict.fromkeys(AROUND, "got through"),
    }
    # The rule is about locked rows only.
    assert set(frame["row"]) == {cells["safe"].pk}
    assert frame.set_index("way")["takes"]["ALTER TABLE … DISABLE TRIGGER"] == "the owner of the table"
    assert frame.caption == "Ways around notebook.Post:keep: 4 of 12 got through"
    assert state(cells) == before
    assert_nothing_left(other)


def test_updates(cells):  # noqa: F811
    before = state(cells)
    fsm = results(cells.run("%pgbypass notebook.Post:cycle -o kept"), "UPDATE")
    assert isinstance(cells["kept"], BypassFrame)
    assert {way for way, result in fsm.items() if result == "held"} >= CODE | {
        "MERGE",
        "INSERT … ON CONFLICT DO UPDATE",
    }
    assert {way for way, result in fsm.items() if result == "got through"} == set(AROUND)
    read_only = results(cells.run("%pgbypass notebook.Post:fixed"), "UPDATE")
    assert {way for way, result in read_only.items() if result == "held"} >= CODE
    # A rule on UPDATE says nothing about a row that is deleted and inserted again.
    deferred = results(cells.run("%pgbypass notebook.Account:sum"), "UPDATE")
    assert deferred["save()"] == "held"
    assert deferred["DELETE, and INSERT again"] == "got through"
    assert deferred["pgtrigger.ignore()"] == "got through"
    assert state(cells) == before


def test_inserts_and_changes_of_the_row(cells):  # noqa: F811
    before = state(cells)
    frame = cells.run("%pgbypass notebook.Post:trim")
    inserts = results(frame, "INSERT")
    assert {way for way, result in inserts.items() if result == "held"} == {
        "save()", "bulk_create()", "bulk_create(ignore_conflicts=True)", "raw SQL", "a CTE", "INSERT … ON CONFLICT",
        "COPY", "MERGE",
    }  # fmt: skip
    assert {way for way, result in inserts.items() if result == "got through"} == set(AROUND)
    assert state(cells) == before


def test_cascades(shell):
    shell.run(
        """%%pgtrigger
class Blog(models.Model):
    name = models.TextField()

class Entry(models.Model):
    blog = models.ForeignKey(Blog, on_delete=models.CASCADE)
    class Meta:
        triggers = [pgtrigger.Protect(name="keep", operation=pgtrigger.Delete | pgtrigger.Truncate)]
"""
    )
    shell.run("entry = Entry.objects.create(blog=Blog.objects.create(name='a'))")
    frame = shell.run("%pgbypass notebook.Entry:keep")
    assert results(frame, "DELETE")["a cascade from Blog"] == "held"
    assert results(frame, "DELETE")["TRUNCATE"] == "held"
    assert results(frame, "TRUNCATE") == {"TRUNCATE": "held", **dict.fromkeys(AROUND, "got through")}
    assert shell.run("Entry.objects.count(), Blog.objects.count()") == (1, 1)


def test_without_a_row_that_it_concerns(cells):  # noqa: F811
    cells.run("with pgtrigger.ignore():\n    Post.objects.all().delete()")
    frame = cells.run("%pgbypass notebook.Post:keep")
    assert results(frame, "DELETE") == {"every way": "not applicable"}
    assert frame["reason"][0] == "no row that it concerns was found; it needs: old.locked"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("%pgbypass", "the following arguments are required: URI"),
        ("%pgbypass keep", 'must be in the format of "app_label.model_name:trigger_name"'),
        ("%pgbypass notebook.Post:nothing", 'URI "notebook.Post:nothing" not found in pgtrigger registry'),
    ],
)
def test_mistakes_are_one_line(cells, line, sentence):  # noqa: F811
    error = cells.error(line)
    assert isinstance(error, UsageError)
    assert sentence in str(error)


def test_trigger_that_is_not_installed(cells):  # noqa: F811
    cells.run("%pgtrigger uninstall notebook.Post:keep")
    assert "is not installed here: run %pgtrigger install first" in str(
        cells.error("%pgbypass notebook.Post:keep")
    )
