"""Whatever happens to a cell, and whenever: it takes effect as a whole or not at all, and the next cell works."""

from __future__ import annotations

import importlib
import signal

import psycopg
import pytest
from django.apps import apps
from django.db import connection as default

from pgmagic.declare import registry
from pgmagic.declare.model_registry import Redeclaration
from pgmagic.notebook.interrupts import Shield
from tests.db.live import conninfo
from tests.notebook.test_declaring import world
from tests.notebook.test_trigger_magic import here

BEFORE = """%%pgtrigger
class Post(models.Model):
    title = models.TextField()
    class Meta:
        triggers = [pgtrigger.Protect(name="old", operation=pgtrigger.Delete)]
class Comment(models.Model):
    post = models.ForeignKey(Post, models.CASCADE)
"""
AFTER = """%%pgtrigger
left = 1
class Post(models.Model):
    title = models.TextField()
    more = models.TextField(default="x")
    class Meta:
        triggers = [{}]
class Note(models.Model):
    post = models.ForeignKey(Post, models.CASCADE)
"""
TRIGGER = 'pgtrigger.Trigger(name="{}", when=pgtrigger.Before, operation=pgtrigger.Update, func="{}")'
FIVE = ", ".join(TRIGGER.format(f"t{number}", "RETURN NEW;") for number in range(5))
BROKEN = FIVE.replace(TRIGGER.format("t2", "RETURN NEW;"), TRIGGER.format("t2", "RETURN nothing at all;"))


def interrupt():
    signal.raise_signal(signal.SIGINT)


def kill():
    """End our own session's process, from another session."""
    pid = default.connection.info.backend_pid
    with psycopg.connect(**conninfo(default), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
        while other.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone():
            pass


def time_out():
    default.connection.execute("SET LOCAL statement_timeout = '50ms'; SELECT pg_sleep(1)")


# Where a cell can be hit: the function that is called there, in the order in which a cell comes to them.
PHASES = {
    "running the cell": "pgmagic.notebook.declaring.execute",
    "compiling tables": "pgmagic.db.declared.compile_table",
    "compiling triggers": "pgmagic.db.declared.compiled",
    "retargeting relations": "pgmagic.declare.model_registry._retarget",
    "taking the lock": "pgmagic.db.apply._lock",
    "reading the catalog": "pgmagic.db.apply.read_catalog",
    "planning alterations": "pgmagic.db.evolution.evolve.plan_evolutions",
    "planning": "pgmagic.db.evolution.evolve.plan_changes",
    "carrying out": "pgmagic.db.apply._carry_out",
    "leaving marks": "pgmagic.db.apply._leave_marks",
}
IN_TRANSACTION = list(PHASES)[list(PHASES).index("taking the lock") :]


@pytest.fixture
def ready(shell):
    """A notebook with a table, a row in it, and a table that refers to it."""
    shell.run(BEFORE)
    shell.run("Post.objects.create(title='a')")
    return shell


def hit(monkeypatch, name, fault, *, after):
    """Let a fault happen once, before or after a function's first call."""
    module, _, attribute = name.rpartition(".")
    owner = importlib.import_module(module)
    original, calls = getattr(owner, attribute), []

    def replaced(*args, **kwargs):
        first = not calls
        calls.append(attribute)
        if first and not after:
            fault()
        result = original(*args, **kwargs)
        if first and after:
            fault()
        return result

    monkeypatch.setattr(owner, attribute, replaced)
    return calls


def names(shell):
    return {name: value for name, value in shell.shell.user_ns.items() if name[0] != "_"}


def assert_untouched(shell, before, before_names):
    after = world()
    for key in before:
        assert after[key] == before[key], key
    assert names(shell) == before_names
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert not default.in_atomic_block


def assert_next_cell_works(shell):
    frame = shell.run(AFTER.format(FIVE))
    assert set(frame["status"]) == {"done"}
    assert list(shell["Post"].objects.values_list("title", "more")) == [("a", "x")]
    assert shell["Comment"]._meta.get_field("post").related_model is shell["Post"]
    found = here(shell.run("%pgtrigger ls notebook.Post"))
    assert set(found["state"]) == {"INSTALLED"}


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("phase", PHASES)
def test_interrupted_cell_leaves_everything_as_it_was(ready, monkeypatch, phase, after):
    before, before_names = world(), names(ready)
    with monkeypatch.context() as patch:
        calls = hit(patch, PHASES[phase], interrupt, after=after)
        assert isinstance(ready.error(AFTER.format(FIVE)), KeyboardInterrupt)
        assert calls, "the fault was placed where the cell never came"
    assert_untouched(ready, before, before_names)
    assert_next_cell_works(ready)


@pytest.mark.parametrize("phase", [*IN_TRANSACTION, "committing"])
@pytest.mark.parametrize("fault", [kill, time_out], ids=["killed", "timeout"])
def test_session_that_ends_or_times_out_keeps_nothing(ready, monkeypatch, phase, fault):
    before, before_names = world(), names(ready)
    with monkeypatch.context() as patch:
        if phase == "committing":
            patch.setattr(default, "_commit", _failing(default._commit, fault))
        else:
            hit(patch, PHASES[phase], fault, after=True)
        error = ready.error(AFTER.format(FIVE))
    assert not isinstance(error, AssertionError)
    assert "\n" not in str(error).strip()
    ready.run("1")
    assert_untouched(ready, before, before_names)
    assert_next_cell_works(ready)


def _failing(commit, fault):
    def failing():
        with default.wrap_database_errors:
            fault()
        return commit()

    return failing


def test_broken_third_of_five_triggers_installs_none(ready):
    before, before_names = world(), names(ready)
    assert "notebook.Post:t2" in str(ready.error(AFTER.format(BROKEN)))
    assert_untouched(ready, before, before_names)
    assert_next_cell_works(ready)


@pytest.mark.parametrize("where", ["before", "after"])
def test_interrupt_at_commit_comes_too_late(ready, monkeypatch, where):
    """Otherwise the database would have what the kernel does not know of."""
    commit = default._commit

    def committing():
        if where == "before":
            interrupt()
        commit()
        if where == "after":
            interrupt()

    with monkeypatch.context() as patch:
        patch.setattr(default, "_commit", committing)
        frame = ready.run(AFTER.format(FIVE))
    assert set(frame["status"]) == {"done"}
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert apps.get_model("notebook.Note") is ready["Note"]
    assert_next_cell_works(ready)


def test_interrupt_during_a_rollback_does_not_stop_it(ready, monkeypatch):
    before, before_names = world(), names(ready)
    undo = Redeclaration.undo
    with monkeypatch.context() as patch:
        hit(patch, PHASES["compiling triggers"], interrupt, after=False)
        patch.setattr(Redeclaration, "undo", lambda self: (interrupt(), undo(self)))
        assert isinstance(ready.error(AFTER.format(FIVE)), KeyboardInterrupt)
    assert_untouched(ready, before, before_names)
    assert_next_cell_works(ready)


def test_second_interrupt_takes_effect():
    with pytest.raises(KeyboardInterrupt), Shield() as shield:  # noqa: PT012
        shield.begin()
        interrupt()
        interrupt()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_interrupt_before_the_commit_takes_effect():
    with pytest.raises(KeyboardInterrupt), Shield():
        interrupt()


def test_interrupted_line_magic_changes_nothing(ready, monkeypatch):
    before, before_names = world(), names(ready)
    for phase in ("carrying out", "leaving marks"):
        with monkeypatch.context() as patch:
            hit(patch, PHASES[phase], interrupt, after=True)
            ready.run("pgtrigger.Protect(name='new', operation=pgtrigger.Update).register(Post)")
            assert isinstance(ready.error("%pgtrigger install"), KeyboardInterrupt)
        ready.run("pgtrigger.registered('notebook.Post:new')[0][1].unregister(Post)")
        assert_untouched(ready, before, before_names)
    assert [trigger.name for _, trigger in registry.registered() if trigger.name == "old"] == ["old"]
