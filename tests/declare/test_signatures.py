"""An argument that does not exist, or is given by position, is answered with the arguments that do."""

from __future__ import annotations

import inspect

import pytest

from pgmagic import pghistory, pgtrigger
from pgmagic.errors import ArgumentError, DeclarationError

TRIGGER = "name, level, when, operation, condition, referencing, func, declare, timing"
PROTECT = "name, operation, condition, level, when, declare, timing"
EVENT = "label, condition, operation, row, trigger_name, level"
ARGUMENTS = {
    pgtrigger.Trigger: TRIGGER,
    pgtrigger.Composer: TRIGGER,
    pgtrigger.Protect: PROTECT,
    pgtrigger.ReadOnly: "name, fields, exclude, condition, level, operation, when, declare, timing",
    pgtrigger.SoftDelete: "name, condition, field, value",
    pgtrigger.FSM: "name, condition, field, transitions, separator, initial",
    pgtrigger.UpdateSearchVector: "name, vector_field, document_fields, config_name",
    pghistory.Tracker: "label",
    pghistory.ManualEvent: "label",
    **dict.fromkeys(
        [
            pghistory.RowEvent, pghistory.InsertEvent, pghistory.UpdateEvent, pghistory.DeleteEvent, pghistory.Snapshot,
            pghistory.AfterInsert, pghistory.AfterUpdate, pghistory.AfterInsertOrUpdate, pghistory.BeforeUpdate,
            pghistory.BeforeDelete, pghistory.BeforeUpdateOrDelete,
        ],
        EVENT,
    ),
}  # fmt: skip


def by_name(kind):
    return pytest.param(kind, id=kind.__name__)


@pytest.mark.parametrize("kind", [*map(by_name, ARGUMENTS)])
def test_signature_lists_every_argument_with_its_type_and_default(kind):
    parameters = inspect.signature(kind).parameters
    assert ", ".join(parameters) == ARGUMENTS[kind]
    for parameter in parameters.values():
        assert parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        assert parameter.default is not parameter.empty
        assert parameter.annotation is not parameter.empty
        assert "object at" not in str(parameter)


@pytest.mark.parametrize("kind", [*map(by_name, ARGUMENTS)])
def test_unknown_argument_is_answered_with_those_that_exist(kind):
    with pytest.raises(DeclarationError) as raised:
        kind(zzz=1)
    assert str(raised.value) == f'{kind.__name__} has no argument "zzz"; its arguments are {ARGUMENTS[kind]}.'
    assert isinstance(raised.value, ArgumentError)
    assert isinstance(raised.value, TypeError)


@pytest.mark.parametrize("kind", [*map(by_name, ARGUMENTS)])
def test_misspelt_argument_is_answered_with_the_closest(kind):
    first = ARGUMENTS[kind].partition(",")[0]
    misspelt = first[0] + first[2] + first[1] + first[3:]
    with pytest.raises(TypeError) as raised:
        kind(**{misspelt: "a"})
    assert f'{kind.__name__} has no argument "{misspelt}" (did you mean "{first}"?); its arguments' in str(raised.value)


@pytest.mark.parametrize("kind", [by_name(kind) for kind in ARGUMENTS if issubclass(kind, pgtrigger.Trigger)])
def test_trigger_takes_no_argument_by_position(kind):
    with pytest.raises(DeclarationError) as raised:
        kind("keep")
    assert str(raised.value) == (
        f"{kind.__name__} takes no argument by position, but 'keep' was given so: write its name, as in "
        f"name='keep'; its arguments are {ARGUMENTS[kind]}."
    )
    assert isinstance(raised.value, TypeError)


def test_tracker_takes_its_label_by_position_and_nothing_else():
    assert pghistory.InsertEvent("made").label == "made"
    assert pghistory.ManualEvent("note").label == "note"
    with pytest.raises(ArgumentError, match="InsertEvent takes only label by position, but 'Old' was given so"):
        pghistory.InsertEvent("made", "Old")
    with pytest.raises(ArgumentError, match="ManualEvent takes only label by position, but 2 was given so"):
        pghistory.ManualEvent("note", 2)


def test_argument_of_another_class_is_named():
    with pytest.raises(ArgumentError, match='Protect has no argument "fields"; its arguments are name, '):
        pgtrigger.Protect(name="keep", fields=["title"])


def test_subclass_is_named_and_may_take_more():
    class Kept(pgtrigger.Protect):
        operation = pgtrigger.Delete

    class Loud(pgtrigger.Protect):
        operation = pgtrigger.Delete

        def __init__(self, volume, **kwargs):
            super().__init__(name=f"loud_{volume}", **kwargs)

    assert Kept(name="a").operation == pgtrigger.Delete
    assert Loud(3, level=pgtrigger.Statement).name == "loud_3"
    with pytest.raises(ArgumentError, match='Kept has no argument "nam" \\(did you mean "name"'):
        Kept(nam="a")
