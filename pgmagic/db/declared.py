"""What declared models ask the database to hold: their tables, with those that they refer to, and their triggers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pgmagic.compile.declarations import compile_as_declared
from pgmagic.compile.desired import Desired, DesiredTrigger
from pgmagic.compile.event_values import compile_routines
from pgmagic.compile.model_tables import compile_table
from pgmagic.compile.target import Target
from pgmagic.db.schemas import target_of
from pgmagic.declare import registry
from pgmagic.declare.field_choices import outside_choices
from pgmagic.declare.model_types import Model, is_event_model
from pgmagic.declare.tracking_gaps import deletes_missing, relations_missing
from pgmagic.declare.trigger import Trigger
from pgmagic.plan.steps import Outcome


def desired_by(declared: Sequence[Model], alias: str) -> Desired:
    """Compile models that a block has declared, with the triggers that it registered, for a database."""
    target = target_of(alias)
    event_models = [model for model in declared if hasattr(model, "pgh_tracked_model")]
    # Only a notebook's own schema is filled with the tables of installed apps; a project has made its own.
    models = _with_referred_models(declared, of_all_apps=target.schema is not None)
    return Desired(
        tables=[compile_table(model, target.schema) for model in models],
        routines=compile_routines(event_models, target),
        triggers=[compiled(model, trigger, target) for model, trigger in _triggers_of(declared)],
        owned_labels=frozenset(model._meta.label for model in declared),
    )


def _triggers_of(declared: Sequence[Model]) -> list[tuple[Model, Trigger]]:
    """Return what the block registered, and every other trigger of the models that it declared."""
    on_declared = [(model, trigger) for model, trigger in registry.registered() if model in declared]
    return list(dict.fromkeys([*registry.registered_in_block(), *on_declared]))


def advice(declared: Sequence[Model], outcomes: Sequence[Outcome]) -> list[str]:
    """Return what the author of a block's declarations may not have meant, a sentence each.

    What a history leaves out is said once, when its table is created: outcomes show whether it is.
    """
    sentences = [outside_choices(model, trigger) for model, trigger in _triggers_of(declared)]
    created = {each.object for each in outcomes if each.kind in ("table", "event table") and each.action == "create"}
    for model in declared:
        if model._meta.label in created:
            sentences += _advice_on_new(model)
    return [sentence for sentence in dict.fromkeys(sentences) if sentence is not None]


def _advice_on_new(model: Model) -> Iterator[str | None]:
    """Yield what the author of a model may not have meant, when its table is created."""
    if not has_own_fields(model):
        name, key = model._meta.object_name, model._meta.pk.column
        yield f"{name} has no fields of its own: its table holds the key {key} alone."
    if is_event_model(model):
        tracked = model.pgh_tracked_model
        yield deletes_missing(tracked)
        yield from relations_missing(tracked)


def compiled(model: Model, trigger: Trigger, target: Target) -> DesiredTrigger:
    """Return what a registered trigger asks the database to hold."""
    desired = compile_as_declared(trigger, model, target)
    return desired.declared_with_model() if registry.is_declared_with_model(trigger, model) else desired


def has_own_fields(model: Model) -> bool:
    """Return whether a model has any field but the keys that Django adds."""
    return not all(field.auto_created for field in (*model._meta.fields, *model._meta.many_to_many))


def _with_referred_models(declared: Sequence[Model], *, of_all_apps: bool) -> list[Model]:
    """Return the models that have a table of their own, then the models that they refer to, directly or not."""
    found: dict[Model, None] = {}
    waiting = list(declared)
    while waiting:
        model = waiting.pop(0)._meta.concrete_model
        if model is None or model in found or model._meta.auto_created or not model._meta.managed:
            continue
        found[model] = None
        if of_all_apps:
            waiting += referred_models(model)
        elif model in declared:
            waiting += (each for each in referred_models(model) if each._meta.app_label == "pghistory")
    return list(found)


def referred_models(model: Model) -> Iterator[Model]:
    """Yield the models to which a model's own relations lead."""
    for relation in (*model._meta.local_fields, *model._meta.local_many_to_many):
        target = getattr(relation.remote_field, "model", None)
        if isinstance(target, type):
            yield target


def create_sql(desired: Desired) -> str:
    """Return the SQL that makes an empty database hold what is desired."""
    statements = [sql for table in desired.tables for sql in table.create]
    statements += [sql for table in desired.tables for sql in table.deferred]
    statements += [routine.create for routine in desired.routines]
    statements += [trigger.install_sql for trigger in desired.triggers]
    return "\n\n".join(statements)
