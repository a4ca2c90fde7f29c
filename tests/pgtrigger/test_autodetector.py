from __future__ import annotations

from typing import Any

import pytest
from django.core.management.commands import makemigrations
from django.db import models
from django.db.migrations.graph import MigrationGraph
from django.db.migrations.questioner import MigrationQuestioner
from django.db.migrations.state import ModelState, ProjectState
from django.db.migrations.writer import MigrationWriter
from django.test import override_settings

from pgmagic import pghistory, pgtrigger
from pgmagic.declare import model_registry
from pgmagic.declare.event_indexes import ContextIndex
from pgmagic.pgtrigger.migrations import AddTrigger, RemoveTrigger

LABEL = "found"


@pytest.fixture(autouse=True)
def forgotten():
    yield
    model_registry.forget_label(LABEL)


def declare(name: str = "Item", *triggers: Any, **attributes: Any) -> Any:
    """A model with triggers; each test declares a new project."""
    meta = {"app_label": LABEL, "triggers": list(triggers), **attributes.pop("meta", {})}
    bases = attributes.pop("bases", (models.Model,))
    return type(name, bases, {"__module__": __name__, "Meta": type("Meta", (), meta), **attributes})


def stay(**given: Any) -> Any:
    return pgtrigger.Protect(name="stay", **{"operation": pgtrigger.Delete, **given})


class Yes(MigrationQuestioner):
    def ask_initial(self, app_label):
        return True

    def ask_rename_model(self, old_model_state, new_model_state):
        return True

    def ask_rename(self, model_name, old_name, new_name, field_instance):
        return True


def detect(before: ProjectState, *present: Any) -> tuple[list[str], ProjectState]:
    """Return the operations from a state to the present models, and the state after them."""
    after = ProjectState()
    for model in present:
        after.add_model(ModelState.from_model(model))
    detector: Any = makemigrations.Command.autodetector
    changes = detector(before.clone(), after, Yes()).changes(MigrationGraph())
    state = before.clone()
    described = []
    for migration in changes.get(LABEL, []):
        for operation in migration.operations:
            operation.state_forwards(LABEL, state)
            described.append(operation.describe())
    return described, state


def test_triggers_of_a_new_model_come_last_and_once():
    models_ = (declare("Item", stay(), note=models.TextField()), declare("Other"))
    operations, state = detect(ProjectState(), *models_)
    assert operations == ["Create model Item", "Create model Other", "Create trigger stay on model item"]
    assert detect(state, *models_)[0] == []


def test_registered_trigger_is_found_too():
    item = declare()
    pgtrigger.register(stay())(item)
    assert "Create trigger stay on model item" in detect(ProjectState(), item)[0]


def test_changed_trigger_is_added_again():
    _, state = detect(ProjectState(), declare("Item", stay()))
    model_registry.forget_label(LABEL)
    operations, _ = detect(state, declare("Item", stay(operation=pgtrigger.Update)))
    assert operations == ["Create trigger stay on model item"]


def test_index_on_the_context_of_events_replaces_the_former_one_of_its_name():
    name, fields = "pgh_events_context", {"pgh_context_id": models.UUIDField(null=True)}
    known = models.Q(pgh_context_id__isnull=False)
    former = models.Index(fields=["pgh_context_id"], name=name, condition=known)
    _, state = detect(ProjectState(), declare(meta={"indexes": [former]}, **fields))
    model_registry.forget_label(LABEL)
    present = declare(meta={"indexes": [ContextIndex(fields=["pgh_context_id"], name=name)]}, **fields)
    operations, state = detect(state, present)
    assert operations == [
        f"Remove index {name} from item",
        f"Create index {name} on field(s) pgh_context_id of model item",
    ]
    assert detect(state, present)[0] == []
    written, imports = MigrationWriter.serialize(present._meta.indexes[0])
    path = "pgmagic.declare.event_indexes"
    assert (written, imports) == (
        f"{path}.ContextIndex(fields=['pgh_context_id'], name='{name}')", {f"import {path}"},
    )  # fmt: skip


def test_removed_trigger_is_removed_before_its_column():
    condition = pgtrigger.Q(old__note="x")
    _, state = detect(ProjectState(), declare("Item", stay(condition=condition), note=models.TextField()))
    model_registry.forget_label(LABEL)
    assert detect(state, declare("Item"))[0] == [
        "Remove trigger stay from model item", "Remove field note from item",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "fields", "meta", "expected"),
    [
        ("Article", {"note": models.TextField()}, {}, "Rename model Item to Article"),
        ("Item", {"text": models.TextField()}, {}, "Rename field note on item to text"),
        ("Item", {"note": models.CharField(max_length=9)}, {}, "Alter field note on item"),
        ("Item", {"note": models.TextField()}, {"db_table": "items"}, "Rename table for item to items"),
    ],
    ids=["model", "field", "type", "table"],
)
def test_trigger_is_removed_before_and_added_after_a_change_of_its_table(name, fields, meta, expected):
    _, state = detect(
        ProjectState(), declare("Item", stay(condition=pgtrigger.Q(old__note="x")), note=models.TextField())
    )
    model_registry.forget_label(LABEL)
    field = next(iter(fields))
    condition = pgtrigger.Q(**{f"old__{field}": "y"})
    operations, state = detect(state, after := declare(name, stay(condition=condition), meta=meta, **fields))
    assert operations == [
        "Remove trigger stay from model item", expected, f"Create trigger stay on model {name.lower()}",
    ]  # fmt: skip
    assert detect(state, after)[0] == []


def test_triggers_of_a_deleted_model_are_removed_first():
    _, state = detect(ProjectState(), declare("Item", stay()))
    model_registry.forget_label(LABEL)
    assert detect(state)[0] == ["Remove trigger stay from model item", "Delete model Item"]


def test_proxy_and_unmanaged_models_have_triggers():
    item = declare()
    proxy = declare("Proxy", stay(), bases=(item,), meta={"proxy": True})
    legacy = declare("Legacy", stay(), meta={"managed": False})
    operations, state = detect(ProjectState(), item, proxy, legacy)
    assert operations[-2:] == ["Create trigger stay on model proxy", "Create trigger stay on model legacy"]
    assert detect(state, item, proxy, legacy)[0] == []


def test_table_of_a_many_to_many_field_has_triggers():
    item = declare()
    order = declare("Order", tags=models.ManyToManyField(item))
    pgtrigger.register(stay())(order.tags.through)
    operations, state = detect(ProjectState(), item, order)
    assert operations[-1] == "Create trigger stay on model order_tags"
    assert detect(state, item, order)[0] == []


def test_setting_keeps_triggers_out_of_migrations():
    with override_settings(PGTRIGGER_MIGRATIONS=False):
        operations, state = detect(ProjectState(), item := declare("Item", stay()))
        assert operations == ["Create model Item"]
        assert detect(state, item)[0] == []
    assert detect(state, item)[0] == ["Create trigger stay on model item"]


def test_setting_keeps_triggers_out_of_meta():
    with (
        override_settings(PGTRIGGER_MODEL_META=False),
        pytest.raises(TypeError, match=r"invalid attribute.*: triggers"),
    ):
        declare("Item", stay())


def test_model_state_never_holds_declarations():
    item = declare("Item", stay())
    assert AddTrigger.option_name not in ModelState.from_model(item).options
    assert RemoveTrigger.option_name == "triggers"


def tracked(**given):
    item = declare("Item", note=models.TextField())
    pghistory.track(pghistory.ManualEvent("x"), **given)(item)
    return item, item.pgh_event_model


def test_change_of_the_option_for_partitions_is_found():
    operations, state = detect(ProjectState(), *tracked(partition_by="month"))
    assert operations == ["Create model Item", "Create model ItemEvent"]
    assert state.models[LABEL, "itemevent"].options["pgh_partition_by"] == "month"
    model_registry.forget_label(LABEL)
    assert detect(state, *tracked(partition_by="month"))[0] == []
    model_registry.forget_label(LABEL)
    operations, state = detect(state, *tracked())
    assert operations == ["Take the events of itemevent out of partitions"]
    model_registry.forget_label(LABEL)
    assert detect(state, *tracked())[0] == []
    model_registry.forget_label(LABEL)
    operations, state = detect(state, *tracked(partition_by="month"))
    assert operations == ["Put the events of itemevent into partitions by month"]
    model_registry.forget_label(LABEL)
    assert detect(state, *tracked(partition_by="month"))[0] == []
