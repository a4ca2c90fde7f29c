"""Every pair of states of a field is tried."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pgmagic.errors import CellError, UnknownFieldError
from pgmagic.tables.html import html
from pgmagic.tables.text import text
from pgmagic.trial.matrix_frame import try_field

DECLARE = """%%pgtrigger
@pghistory.track()
class Post(models.Model):
    status = models.CharField(max_length=20, null=True, default="draft", choices=[("draft", "Draft"), ("live", "Live")])
    rank = models.IntegerField(default=0)
    class Meta:
        triggers = [
            pgtrigger.FSM(name="cycle", field="status", transitions=[("draft", "live"), ("live", 'it"s #1; <gone>')]),
            pgtrigger.FSM(name="ranks", field="rank", transitions=[(0, 1), (1, 2), (2, 0)]),
        ]
"""
GONE = 'it"s #1; <gone>'
REJECTED = "rejected by notebook.Post:cycle"


def matrix(frame: Any) -> dict[str, list[str]]:
    return {state: frame.loc[state].tolist() for state in frame.index}


def test_matrix_on_an_empty_table(shell):
    shell.run(DECLARE)
    frame, diagram = try_field("Post.status")
    assert list(frame.columns) == list(frame.index) == ["draft", "live", GONE, "NULL"]
    assert frame.index.name == "from"
    assert set(map(str, frame.dtypes)) <= {"string", "string[python]"}
    assert matrix(frame) == {
        "draft": ["allowed", "allowed", REJECTED, REJECTED],
        "live": [REJECTED, "allowed", "allowed", REJECTED],
        GONE: [REJECTED, REJECTED, "allowed", REJECTED],
        "NULL": [REJECTED, REJECTED, REJECTED, "allowed"],
    }
    assert frame.notes[0] == "Tried on a row that was made up for it; nothing was kept."
    assert diagram.text == f"draft → live\nlive → {GONE}"
    style, *lines = diagram.mermaid.splitlines()
    assert json.loads(style.removeprefix("%%{init: ").removesuffix("}%%"))["theme"] == "base"
    assert lines == [
        "stateDiagram-v2",
        "    direction LR",
        '    state "draft" as s0',
        '    state "live" as s1',
        '    state "it#34;s #35;1#59; #60;gone#62;" as s2',
        '    state "NULL" as s3',
        "    s0 --> s1",
        "    s1 --> s2",
    ]
    assert shell.run("Post.objects.count(), Post.pgh_event_model.objects.count()") == (0, 0)
    assert "rejected by" in html(frame)
    assert "✗ rejected by notebook.Post:cycle" in text(frame)


def test_states_of_the_table_and_the_transitions_that_were_taken(shell):
    shell.run(DECLARE)
    shell.run(
        "a, b = Post.objects.create(), Post.objects.create()\n"
        "for post in (a, b):\n    post.status = 'live'; post.save()\n"
        "a.rank = 1; a.save()\n"
        "with pgtrigger.ignore():\n    Post.objects.filter(pk=b.pk).update(status='NULL')\n"
    )
    events = shell.run("Post.pgh_event_model.objects.count()")
    frame, diagram = try_field("notebook.Post.status")
    assert list(frame.index) == ["draft", "live", GONE, "'NULL'", "NULL"]
    assert frame.loc["draft", "live"] == "allowed · 2 times"
    assert frame.loc["live", "'NULL'"] == REJECTED
    assert diagram.text.splitlines()[0] == "draft → live  (2 times)"
    assert "    s0 --> s1 : 2 times" in diagram.mermaid
    ranks, _ = try_field("post.rank")
    assert matrix(ranks) == {
        "0": ["allowed", "allowed · once", "rejected by notebook.Post:ranks"],
        "1": ["rejected by notebook.Post:ranks", "allowed", "allowed"],
        "2": ["allowed", "rejected by notebook.Post:ranks", "allowed"],
    }
    assert shell.run("Post.pgh_event_model.objects.count()") == events
    assert shell.run("list(Post.objects.order_by('pk').values_list('status', 'rank'))") == [
        ("live", 1),
        ("NULL", 0),
    ]


def test_conditions_of_transitions_and_of_the_rule(shell):
    shell.run("""%%pgtrigger
class Post(models.Model):
    status = models.CharField(max_length=20, default="draft")
    checked = models.BooleanField(default=False)
    class Meta:
        triggers = [
            pgtrigger.FSM(name="cycle", field="status", condition=pgtrigger.Q(old__id__gt=0), transitions=[
                ("draft", "live", pgtrigger.Q(new__checked=True)), ("live", "gone")]),
        ]
""")
    frame, diagram = try_field("Post.status")
    assert matrix(frame) == {
        "draft": ["allowed", "rejected by notebook.Post:cycle · if new__checked=True", REJECTED],
        "live": [REJECTED, "allowed", "allowed"],
        "gone": [REJECTED, REJECTED, "allowed"],
    }
    assert diagram.text == "draft → live  (if new__checked=True)\nlive → gone"
    assert "    s0 --> s1 : if new__checked#61;True" in diagram.mermaid
    assert frame.notes[1:] == [
        "A transition that is allowed under a condition (if …) was tried on a row for which that may not hold.",
        "notebook.Post:cycle is only for rows with old__id__gt=0.",
    ]
    assert "✗ rejected by notebook.Post:cycle" in text(frame)


def test_notes_name_a_state_machine_that_does_not_fire(shell):
    shell.run(DECLARE)
    shell.run("%pgtrigger disable notebook.Post:ranks")
    frame, _ = try_field("Post.rank")
    assert frame.loc["0", "2"] == "allowed"
    assert frame.notes[1] == "notebook.Post:ranks is disabled, so it decided nothing."
    shell.run("%pgtrigger uninstall notebook.Post:ranks")
    assert try_field("Post.rank")[0].notes[1] == ("notebook.Post:ranks is not installed here, so it decided nothing.")


def test_row_that_reuses_a_key_is_not_counted_as_a_transition(shell):
    shell.run(DECLARE)
    shell.run(
        "post = Post.objects.create(pk=1)\npost.status = 'live'; post.save()\n"
        "Post.objects.filter(pk=1).delete()\nPost.objects.create(pk=1)"
    )
    frame, _ = try_field("Post.status")
    assert frame.loc["draft", "live"] == "allowed · once"
    assert frame.loc["live", "draft"] == REJECTED


def test_other_triggers_and_constraints_take_part(shell):
    shell.run(DECLARE)
    shell.run(
        """%%pgsql
ALTER TABLE notebook_post ADD CONSTRAINT no_two CHECK (rank <> 2);
CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF NEW.rank = 1 THEN NEW.rank := 7; END IF;
  IF NEW.rank = 0 AND OLD.rank = 7 THEN RETURN NULL; END IF;
  RETURN NEW; END $$;
CREATE TRIGGER "zz" BEFORE UPDATE ON notebook_post FOR EACH ROW EXECUTE FUNCTION other();
INSERT INTO notebook_post (status, rank) VALUES ('draft', 0), ('draft', 7);
"""
    )
    frame, _ = try_field("Post.rank")
    assert frame.loc["0", "1"] == "rewritten to 7"
    assert frame.loc["1", "0"] == "unknown: another trigger keeps rows from this state"
    assert frame.loc["2", "0"].startswith("unknown: no row can be in this state: new row for relation")
    assert frame.loc["7", "7"] == "allowed"
    assert frame.loc["7", "0"] == "rejected by notebook.Post:ranks"
    assert frame.loc["0", "2"] == "rejected by notebook.Post:ranks"
    assert frame.loc["7", "1"] == "rejected by notebook.Post:ranks"


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            "Nothing.status",
            '"Nothing.status" is not a field of a model that is declared here: expected Model.field.',
        ),
        ("status", '"status" is not a field of a model'),
        ("Post.id", "Post.id has no states: give it choices, an FSM, or rows"),
    ],
)
def test_mistakes(shell, target, sentence):
    shell.run(DECLARE)
    with pytest.raises(CellError) as caught:
        try_field(target)
    assert str(caught.value).startswith(sentence)


def test_unknown_field(shell):
    shell.run(DECLARE)
    with pytest.raises(UnknownFieldError, match="Post has no field named 'stat'; its fields are"):
        try_field("Post.stat")


def test_field_with_too_many_values_is_refused(shell):
    shell.run(DECLARE)
    shell.run("Post.objects.bulk_create([Post(rank=n) for n in range(50)])")
    with pytest.raises(CellError, match="more than 40 different values"):
        try_field("Post.rank")
