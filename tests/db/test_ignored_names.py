"""The setting with the names of ignored triggers: ignoring some never ignores another."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from django.db import models
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pgmagic import pgtrigger
from pgmagic.compile.ignored_names import ignored
from pgmagic.compile.sql import render

PIECES = st.sampled_from([*":,'\"%*_\\ .", "ü", "a", "b", "%3a", "%25", "::", "pgtrigger_", "💥", "%s", "\n", "\x01"])
NAMES = st.lists(PIECES, min_size=1, max_size=8).map("".join)


class Own(pgtrigger.Protect):
    """Has a name in Postgres that somebody chose."""

    def get_pgid(self, model):
        return self.name[:60]


@pytest.fixture
def model(live):
    return live.declare("Post", title=models.TextField())


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(NAMES, min_size=2, max_size=6),
    data=st.data(),
    kind=st.sampled_from([pgtrigger.Protect, Own]),
)
def test_ignoring_some_never_ignores_another(live, model, names, data, kind):
    triggers = [kind(name=name, operation=pgtrigger.Delete) for name in sorted(names)]
    # Names that have another's name in them, from colon to colon.
    triggers += [kind(name=f":{trigger.get_pgid(model)}:", operation=pgtrigger.Delete) for trigger in triggers]
    triggers = list({trigger.get_pgid(model): trigger for trigger in triggers}.values())
    chosen = data.draw(st.sets(st.sampled_from(range(len(triggers)))))
    with ExitStack() as stack:
        for trigger in triggers:
            stack.enter_context(trigger.register(model))
        if chosen:
            stack.enter_context(pgtrigger.ignore(*(triggers[place].get_uri(model) for place in chosen)))
        asked = ", ".join(render(ignored(trigger.get_pgid(model))) for trigger in triggers)
        [answers] = live.sql(f"SELECT {asked}")
    assert {place for place, passes in enumerate(answers) if passes} == chosen


def test_trigger_with_the_name_for_all_triggers_is_a_single_trigger(live, model):
    named = [Own(name=name, operation=pgtrigger.Delete) for name in ("*", "a")]
    with named[0].register(model), named[1].register(model), pgtrigger.ignore("live.Post:*"):
        assert [pgtrigger.is_ignored(f"live.Post:{name}") for name in ("*", "a")] == [True, False]
        asked = ", ".join(render(ignored(trigger.get_pgid(model))) for trigger in named)
        assert live.sql(f"SELECT {asked}") == [(True, False)]


def test_trigger_with_anothers_name_in_its_own(live):
    """What a session ignores is sent as `:name:name:`, and a name may hold colons."""
    keep = pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)
    model = live.declare("Post", [keep], title=models.TextField())
    inner = keep.get_pgid(model)
    other = pgtrigger.Protect(name=f"x:{inner}:y", operation=pgtrigger.Update)
    model = live.declare("Post", [keep, other], title=models.TextField())
    model.objects.create(title="a")
    with pgtrigger.ignore(other.get_uri(model)):
        assert model.objects.update(title="b") == 1
        with pytest.raises(Exception, match="Cannot delete"):
            model.objects.all().delete()
    with pgtrigger.ignore(keep.get_uri(model)):
        assert model.objects.all().delete()[0] == 1
