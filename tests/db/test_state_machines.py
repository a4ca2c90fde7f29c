"""FSM beyond pairs: a condition for a step, and a rule for the first state."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from tests.db.test_ready_made import rejection

FIELDS = {"state": models.CharField(max_length=20, null=True), "pages": models.IntegerField(default=0)}
MACHINE = pgtrigger.FSM(
    name="flow",
    field="state",
    initial=["draft", None],
    transitions=[
        (None, "draft"),
        ("draft", "dropped"),
        ("draft", "o'k:,{}", pgtrigger.Q(new__pages__gte=10)),
        ("o'k:,{}", "out", pgtrigger.Condition("OLD.pages = 10 OR NEW.pages = 11")),
    ],
)


@pytest.fixture
def post(live):
    return live.declare("Post", [MACHINE], **FIELDS)


@pytest.mark.parametrize("state", ["draft", None])
def test_row_begins_in_an_initial_state(post, state):
    assert post.objects.create(state=state).pk


@pytest.mark.parametrize(
    "insert",
    [
        lambda live, post: post.objects.create(state="out"),
        lambda live, post: post.objects.bulk_create([post(state="draft"), post(state="out")]),
        lambda live, post: live.sql("INSERT INTO live_post (state, pages) VALUES ('out', 1)"),
        lambda live, post: live.sql(
            "INSERT INTO live_post (id, state, pages) VALUES (1, 'out', 1) ON CONFLICT (id)"
            " DO UPDATE SET state = 'draft'"
        ),
    ],
)
def test_row_does_not_begin_elsewhere(live, post, insert):
    diag = rejection(lambda: insert(live, post)).diag
    assert diag.message_primary == ('pgtrigger: Invalid initial state "out" of field "state" on table live_post')
    assert (diag.column_name, diag.constraint_name) == ("state", "live.Post:flow")
    assert diag.message_hint == 'A row begins as "draft", "NULL".'


def test_step_is_allowed_where_its_condition_holds(post):
    row = post.objects.create(state="draft", pages=9)
    diag = rejection(lambda: post.objects.update(state="o'k:,{}")).diag
    assert diag.message_primary == (
        'pgtrigger: Invalid transition of field "state" from "draft" to "o\'k:,{}" on table live_post'
    )
    assert diag.message_hint == 'From "draft" it may go to "dropped", and under a condition to "o\'k:,{}".'
    post.objects.update(state="o'k:,{}", pages=10)
    post.objects.update(pages=12)
    rejection(lambda: post.objects.update(state="out"))
    post.objects.update(state="out", pages=11)
    row.refresh_from_db()
    assert row.state == "out"


def test_condition_holds_for_the_step_alone(post):
    """`10 OR 11` of one step must not let another one through."""
    post.objects.create(state="draft", pages=10)
    rejection(lambda: post.objects.update(state="out", pages=11))
    rejection(lambda: post.objects.update(state=None, pages=11))
    post.objects.update(state="dropped")


def test_condition_of_the_machine_is_asked_of_inserts(live):
    machine = pgtrigger.FSM(
        name="flow",
        field="state",
        initial=["draft"],
        transitions=[("draft", "out")],
        condition=pgtrigger.Q(new__pages__gt=0),
    )
    post = live.declare("Post", [machine], **FIELDS)
    post.objects.create(state="out")
    rejection(lambda: post.objects.create(state="out", pages=1))
    post.objects.update(state="else")
    rejection(lambda: post.objects.update(state="out", pages=1))


def test_pairs_without_initial_states_leave_inserts_alone(live):
    machine = pgtrigger.FSM(name="flow", field="state", transitions=[["draft", "out"]])
    assert live.declare("Post", [machine], **FIELDS).objects.create(state="anything")


def test_plan_shows_what_each_operation_is_asked(live):
    _, applied = live.try_declare("Post", [MACHINE], **FIELDS)
    shown = {outcome.step.fires: outcome.step.condition for outcome in applied.outcomes if outcome.step.fires}
    assert shown == {
        "BEFORE INSERT · ROW": """(((NEW."state" IN ('draft') OR NEW."state" IS NULL)) IS NOT TRUE)""",
        "BEFORE UPDATE · ROW": '(OLD."state" IS DISTINCT FROM NEW."state")',
    }
