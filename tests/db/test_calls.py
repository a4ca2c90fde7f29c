"""A trigger whose subclass renders the call of its function: with arguments, or of another function."""

from __future__ import annotations

import pytest
from django.db import models

from pgmagic import pgtrigger
from pgmagic.db.catalog import read_catalog
from pgmagic.errors import DeclarationError
from pgmagic.watch.trigger_catalog import read_trigger_catalog

GIVEN = {"name": "Mark it", "when": pgtrigger.Before, "operation": pgtrigger.Insert | pgtrigger.Update}
URI = "live.Post:Mark it"


class WithArguments(pgtrigger.Trigger):
    """Says in its arguments what its body does."""

    func = "NEW.title = NEW.title || TG_ARGV[0]; RETURN NEW;"

    def render_execute(self, model):
        return super().render_execute(model).replace("()", "('!''ü %')")


class OfAnother(pgtrigger.Trigger):
    """Calls a function that everybody shares."""

    func = "RETURN NEW;"
    call = "shared('?', 1);"

    def render_execute(self, model):
        return self.call


@pytest.fixture
def declare(live):
    live.sql(
        "CREATE FUNCTION shared() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN NEW.title = NEW.title || TG_ARGV[0] || TG_ARGV[1]; RETURN NEW; END$$"
    )
    return lambda *triggers: live.declare("Post", triggers, title=models.TextField())


def functions(live):
    return sorted(
        name.split("_")[0]
        for (name,) in live.sql("SELECT proname::text FROM pg_proc WHERE pronamespace = current_schema()::regnamespace")
    )


def test_own_function_with_arguments(live, declare):
    trigger = WithArguments(**GIVEN)
    model = declare(trigger)
    post = model.objects.create(title="a")
    post.refresh_from_db()
    assert post.title == "a!'ü %"
    assert trigger.get_installation_status(model) == ("INSTALLED", True)
    with pgtrigger.ignore(URI):
        assert pgtrigger.is_ignored(URI)
        model.objects.update(title="b")
    post.refresh_from_db()
    assert post.title == "b"


def test_another_function_is_called_and_never_dropped(live, declare):
    trigger = OfAnother(**GIVEN)
    model = declare(trigger)
    post = model.objects.create(title="a")
    post.refresh_from_db()
    assert post.title == "a?1"
    assert trigger.get_installation_status(model) == ("INSTALLED", True)
    assert {outcome.step.action for outcome in live.apply(model).outcomes} == {"unchanged"}
    trigger.disable(model)
    assert trigger.get_installation_status(model) == ("INSTALLED", False)
    trigger.uninstall(model)
    assert read_catalog(live.connection).triggers == ()
    assert functions(live) == ["shared"]


def test_changing_the_call(live, declare):
    model = declare(OfAnother(**GIVEN))
    other = OfAnother(**GIVEN)
    other.call = "suppress_redundant_updates_trigger()"
    assert other.get_installation_status(model) == ("OUTDATED", True)
    other = WithArguments(**GIVEN)
    model = declare(other)
    assert other.get_installation_status(model) == ("INSTALLED", True)
    model = declare(OfAnother(**GIVEN))
    assert model.objects.create(title="a") in model.objects.filter(title="a?1")
    declare()
    assert functions(live) == ["shared"]


def test_trigger_that_calls_another_function_cannot_be_ignored(live, declare):
    model = declare(OfAnother(**GIVEN))
    with pytest.raises(DeclarationError, match=r"live.Post:Mark it cannot be ignored: the function that it calls does"):
        pgtrigger.ignore(URI).__enter__()
    with pgtrigger.ignore():
        assert not pgtrigger.is_ignored(URI)
        assert model.objects.create(title="a") in model.objects.filter(title="a?1")


def test_other_function_of_postgres(live, declare):
    """A function of Postgres's own, as its manual uses it."""
    trigger = OfAnother(name="z", when=pgtrigger.Before, operation=pgtrigger.Update)
    trigger.call = "suppress_redundant_updates_trigger()"
    model = declare(trigger)
    model.objects.create(title="a")
    assert model.objects.update(title="a") == 0
    assert model.objects.update(title="b") == 1
    assert trigger.get_installation_status(model) == ("INSTALLED", True)


def test_its_uri_is_known_whichever_function_it_calls(live, declare):
    declare(OfAnother(**GIVEN))
    live.connection.ensure_connection()
    assert [trigger.uri for trigger in read_trigger_catalog(live.connection.connection).triggers] == [URI]
    assert [trigger.mark.uri for trigger in read_catalog(live.connection).own_triggers] == [URI]
