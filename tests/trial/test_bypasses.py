"""`%pgbypass`: every way around a rule is tried on a row that the rule concerns, and nothing is kept."""

from __future__ import annotations

from typing import Any

import pytest
from IPython.core.error import UsageError

from pgmagic.trial.bypass_frame import BypassFrame
from tests.watch.test_trace import assert_nothing_left, bare, cells, other  # noqa: F401 - fixtures

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


def test_row_that_the_rule_concerns_is_changed_or_made_up(cells):  # noqa: F811
    cells.run("with pgtrigger.ignore():\n    Post.objects.filter(pk=safe.pk).delete()")
    before = state(cells)
    frame = cells.run("%pgbypass notebook.Post:keep")
    assert results(frame, "DELETE")["raw SQL"] == "held"
    assert set(frame["row"]) == {cells["draft"].pk}
    assert frame.notes[1] == ("DELETE: the rule concerns no existing row, so a row was changed to locked=True first.")
    assert state(cells) == before
    cells.run("with pgtrigger.ignore():\n    Post.objects.all().delete()")
    frame = cells.run("%pgbypass notebook.Post:keep")
    assert results(frame, "DELETE")["raw SQL"] == "held"
    assert frame["row"].isna().all()
    assert frame.notes[1] == "The table is empty, so a row was made up."
    assert state(cells)[0] == []


HARD = """%%pgtrigger
class Owner(models.Model):
    name = models.CharField(max_length=10, unique=True)

class Place(models.Model):
    pk = models.CompositePrimaryKey("row", "number")
    row = models.IntegerField()
    number = models.CharField(max_length=5)
    price = models.DecimalField(max_digits=5, decimal_places=2)
    class Meta:
        triggers = [
            pgtrigger.Protect(
                name="all", operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate)
        ]

class Passport(models.Model):
    owner = models.OneToOneField(Owner, on_delete=models.CASCADE)
    number = models.PositiveIntegerField(unique=True)
    issued = models.DateField()
    kind = models.SlugField()
    class Meta:
        constraints = [models.UniqueConstraint(fields=["issued", "kind"], name="once")]
        triggers = [
            pgtrigger.Protect(
                name="all", operation=pgtrigger.Insert | pgtrigger.Update | pgtrigger.Delete | pgtrigger.Truncate),
            pgtrigger.Protect(name="large", operation=pgtrigger.Update, level=pgtrigger.Statement,
                condition=pgtrigger.Q(new__number__gt=500, old__kind="x")),
        ]
"""


@pytest.mark.slow
@pytest.mark.parametrize("rows", [0, 1])
@pytest.mark.parametrize("model", ["Passport", "Place"])
def test_columns_that_are_unique_or_refer_to_others(shell, model, rows):
    shell.run(HARD)
    shell.run(
        "import datetime as dt\nowner, _ = Owner.objects.create(name='a'), Owner.objects.create(name='b')\n"
        "with pgtrigger.ignore():\n"
        f"  for _ in range({rows}):\n"
        "    Passport.objects.create(owner=owner, number=1, issued=dt.date(2024, 1, 1), kind='x')\n"
        "    Place.objects.create(row=1, number='a', price=1)"
    )
    frame = shell.run(f"%pgbypass notebook.{model}:all")
    for operation in ("INSERT", "UPDATE", "DELETE", "TRUNCATE"):
        found = results(frame, operation)
        assert {way: found.pop(way) for way in AROUND} == dict.fromkeys(AROUND, "got through")
        assert set(found.values()) <= {"held", "not applicable"}
        assert {way for way, result in found.items() if result == "not applicable"} <= {
            "COPY", "a cascade from a parent"
        }  # fmt: skip
    if (model, rows) == ("Place", 1):
        assert next(row for row in frame["row"] if row) == {"row": 1, "number": "a"}
    assert shell.run("Passport.objects.count(), Place.objects.count(), Owner.objects.count()") == (
        rows,
        rows,
        2,
    )
    # What a condition names is tried, of two rows at once, too.
    shell.run("%pgtrigger disable notebook.Passport:all")
    frame = shell.run("%pgbypass notebook.Passport:large")
    assert results(frame, "UPDATE")["QuerySet.update()"] == "held"


def test_triggers_that_fire_only_in_some_sessions(cells):  # noqa: F811
    change = (
        "with connection.cursor() as cursor:\n"
        "    cursor.execute(\"SELECT tgname FROM pg_trigger WHERE tgrelid = 'notebook_post'::regclass \"\n"
        "                   \"AND tgname ~ 'pgtrigger_{0}'\")\n"
        "    cursor.execute(f'ALTER TABLE notebook_post {1} TRIGGER {{cursor.fetchone()[0]}}')"
    )
    for name, how in [("soft", "ENABLE ALWAYS"), ("fixed", "ENABLE REPLICA"), ("cycle", "DISABLE")]:
        cells.run(change.format(name, how))
    soft = results(cells.run("%pgbypass notebook.Post:soft"), "DELETE")
    assert soft["session_replication_role = replica"] == soft["raw SQL"] == "held"
    assert soft["pgtrigger.ignore()"] == soft["ALTER TABLE … DISABLE TRIGGER"] == "got through"
    fixed = cells.run("%pgbypass notebook.Post:fixed")
    assert results(fixed, "UPDATE")["session_replication_role = replica"] == "held"
    assert results(fixed, "UPDATE")["save()"] == "got through"
    assert fixed["reason"][0] == "it fires only where session_replication_role is replica"
    cycle = cells.run("%pgbypass notebook.Post:cycle")
    assert set(results(cycle, "UPDATE").values()) == {"got through", "not applicable"}
    assert cycle["reason"][0] == "it was disabled"


@pytest.fixture
def guest(cells):  # noqa: F811
    cells.run("""%%pgsql
DROP ROLE IF EXISTS pgmagic_test_bypasser;
CREATE ROLE pgmagic_test_bypasser;
GRANT SELECT, INSERT, UPDATE, DELETE ON notebook_post TO pgmagic_test_bypasser;
DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO pgmagic_test_bypasser', current_schema()); END $$;
""")
    yield cells
    cells.run("%%pgsql\nRESET ROLE; DROP OWNED BY pgmagic_test_bypasser; DROP ROLE pgmagic_test_bypasser")


def test_role_that_may_only_write_rows(guest):
    guest.run("%%pgsql\nSET ROLE pgmagic_test_bypasser")
    soft = guest.run("%pgbypass notebook.Post:soft")
    found = results(soft, "DELETE")
    assert {way: found.pop(way) for way in (*AROUND[1:], "TRUNCATE")} == dict.fromkeys(
        (*AROUND[1:], "TRUNCATE"), "held"
    )
    # What becomes of a row without an error, this role cannot see.
    assert {found["raw SQL"], found["pgtrigger.ignore()"]} == {"unknown"}
    assert any("could not be traced: no TRIGGER privilege" in note for note in soft.notes)
    reasons = soft.set_index("way")["reason"]
    assert reasons["ALTER TABLE … DISABLE TRIGGER"] == "this role may not: must be owner of table notebook_post"
    fixed = results(guest.run("%pgbypass notebook.Post:fixed"), "UPDATE")
    assert (fixed["save()"], fixed["pgtrigger.ignore()"]) == ("held", "got through")


def test_role_that_may_trace(guest):
    guest.run("%%pgsql\nGRANT TRIGGER ON notebook_post TO pgmagic_test_bypasser; SET ROLE pgmagic_test_bypasser")
    found = results(guest.run("%pgbypass notebook.Post:soft"), "DELETE")
    assert (found["raw SQL"], found["pgtrigger.ignore()"], found["TRUNCATE"]) == (
        "held",
        "got through",
        "held",
    )


def test_role_that_may_not_read(guest):
    guest.run("%%pgsql\nREVOKE SELECT ON notebook_post FROM pgmagic_test_bypasser; SET ROLE pgmagic_test_bypasser")
    error = guest.error("%pgbypass notebook.Post:soft")
    assert isinstance(error, UsageError)
    assert str(error) == "Nothing could be tried: permission denied for table notebook_post."


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("%pgbypass", "the following arguments are required: URI"),
        ("%pgbypass keep", 'must be in the format of "app_label.model_name:trigger_name"'),
        ("%pgbypass notebook.Post:nothing", 'URI "notebook.Post:nothing" not found in pgtrigger registry'),
    ],
)
def test_mistakes_are_reported_in_one_line(cells, line, sentence):  # noqa: F811
    error = cells.error(line)
    assert isinstance(error, UsageError)
    assert sentence in str(error)


def test_trigger_that_is_not_installed(cells):  # noqa: F811
    cells.run("%pgtrigger uninstall notebook.Post:keep")
    assert "is not installed here: run %pgtrigger install first" in str(cells.error("%pgbypass notebook.Post:keep"))
