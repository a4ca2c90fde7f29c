"""Models that are declared again: a block in which a class takes the place of the former one of its label.

Django's registry expects every model to be declared once. Here a cell's classes enter that same registry, so that
relations, reverse look-ups and cascades between cells and installed apps work as in any project; what they replace
is taken out first, and relations of other models are led to the new class. If the block raises, all of it is undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from django.apps import AppConfig, apps
from django.db import models
from django.db.models.fields.related import RelatedField
from django.utils.functional import cached_property

from pgmagic.declare import registry
from pgmagic.errors import DeclarationError

Model = type[models.Model]


class CellAppConfig(AppConfig):
    """The app of the models that cells declare under one label."""

    def __init__(self, label: str) -> None:
        self.label = label
        module = ModuleType(f"pgmagic_cells_{label}")
        super().__init__(module.__name__, module)
        self.verbose_name = label

    # A cell's app has no folder; Django asks for one.
    path = "."
    default_auto_field = "django.db.models.BigAutoField"


@dataclass
class Declared:
    """The models that a block declared, in order."""

    models: list[Model] = field(default_factory=list)
    replaced: dict[Model, Model] = field(default_factory=dict)


@contextmanager
def declaring(app_label: str, module: str) -> Iterator[Declared]:
    """Collect the models that the block declares in `module`, under an app label unless they name their own.

    Raises:
        DeclarationError: the label belongs to an installed app.
    """
    declared = Declared()
    undo: list[Callable[[], object]] = []
    with registry.restored_on_error(), _registry_restored_on_error(undo):
        config = _app_config(app_label)
        with _patched_registry(declared, config, module, undo):
            yield declared
        _settle_triggers(declared)
        _relink(declared, undo)
        apps.clear_cache()
        _check_resolved(declared)


@contextmanager
def _registry_restored_on_error(undo: list[Callable[[], object]]) -> Iterator[None]:
    before = {label: dict(known) for label, known in apps.all_models.items()}
    configs = dict(apps.app_configs)
    pending = {key: list(functions) for key, functions in apps._pending_operations.items()}  # type: ignore[attr-defined]
    try:
        yield
    except BaseException:
        for action in reversed(undo):
            action()
        for label, known in apps.all_models.items():
            known.clear()
            known.update(before.get(label, {}))
        apps.app_configs.clear()
        apps.app_configs.update(configs)
        apps._pending_operations.clear()  # type: ignore[attr-defined]
        apps._pending_operations.update(pending)  # type: ignore[attr-defined]
        apps.clear_cache()
        raise


def _app_config(label: str) -> CellAppConfig:
    known = apps.app_configs.get(label)
    if isinstance(known, CellAppConfig):
        return known
    if known is not None:
        raise DeclarationError(
            f'The app label "{label}" belongs to the installed app {known.name}: choose another with --app.'
        )
    if not label.isidentifier():
        raise DeclarationError(f'An app label is a Python identifier, but "{label}" was given.')
    config = CellAppConfig(label)
    config.apps = apps
    config.models = apps.all_models[label]
    apps.app_configs[label] = config
    return config


@contextmanager
def _patched_registry(
    declared: Declared, config: CellAppConfig, module: str, undo: list[Callable[[], object]]
) -> Iterator[None]:
    """Let the registry find the app of the block's classes, and let a class replace its former self."""
    containing, register = apps.get_containing_app_config, apps.register_model

    def get_containing_app_config(object_name: str) -> AppConfig | None:
        return config if object_name == module else containing(object_name)

    def register_model(app_label: str, model: Model) -> None:
        former = apps.all_models[app_label].get(str(model._meta.model_name))
        if former is not None and former.__module__ == module:
            del apps.all_models[app_label][str(model._meta.model_name)]
            _detach(former, undo)
            _note_replacement(declared, former, model)
        register(app_label, model)
        declared.models.append(model)

    apps.get_containing_app_config = get_containing_app_config  # type: ignore[method-assign]
    apps.register_model = register_model  # type: ignore[method-assign]
    try:
        yield
    finally:
        del apps.get_containing_app_config, apps.register_model


def _note_replacement(declared: Declared, former: Model, model: Model) -> None:
    if former in declared.models:
        # Declared twice in one block: the last one counts.
        declared.models.remove(former)
    origins = [origin for origin, new in declared.replaced.items() if new is former]
    for origin in origins:
        declared.replaced[origin] = model
    declared.replaced[former] = model


def _settle_triggers(declared: Declared) -> None:
    """Tell the triggers declared with a model from those that other cells registered; the latter stay."""
    for model, trigger in registry.registered():
        if model in declared.models:
            registry.declare_with_model(trigger, model)
    for model, trigger in registry.registered():
        if model not in declared.replaced:
            continue
        if registry.is_declared_with_model(trigger, model):
            registry.remove(model, trigger)
        else:
            registry.move(trigger, model, declared.replaced[model])


def _detach(former: Model, undo: list[Callable[[], object]]) -> None:
    """Take the accessors off other models by which these reach a class that is being replaced."""
    for relation in (*former._meta.local_fields, *former._meta.local_many_to_many):
        target = getattr(relation.remote_field, "model", None)
        name = relation.remote_field.get_accessor_name() if isinstance(target, type) else None
        if name and name in vars(target):
            accessor = vars(target)[name]
            delattr(target, name)
            undo.append(lambda target=target, name=name, accessor=accessor: setattr(target, name, accessor))


def _relink(declared: Declared, undo: list[Callable[[], object]]) -> None:
    """Lead the relations and base classes of other models from the former classes to the new ones."""
    apps.clear_cache()
    for model in apps.get_models(include_auto_created=True):
        for relation in (*model._meta.local_fields, *model._meta.local_many_to_many):
            former = getattr(relation.remote_field, "model", None)
            new = declared.replaced.get(former) if isinstance(former, type) else None
            if new is not None:
                _lead(relation, new)
                undo.append(lambda relation=relation, former=former: _lead(relation, former))
        if any(base in declared.replaced for base in model.__bases__):
            bases = {former: new for former, new in declared.replaced.items() if former in model.__bases__}
            _rebase(model, bases)
            undo.append(lambda model=model, bases=bases: _rebase(model, {new: old for old, new in bases.items()}))


def _lead(relation: RelatedField[Any, Any], target: Model) -> None:
    relation.remote_field.model = target
    _forget_cached_properties(relation)
    _forget_cached_properties(relation.remote_field)
    descriptor = vars(relation.model).get(relation.name)
    if descriptor is not None:
        _forget_cached_properties(descriptor)
    relation.contribute_to_related_class(target, relation.remote_field)


def _rebase(model: Model, bases: dict[Model, Model]) -> None:
    model.__bases__ = tuple(bases.get(base, base) for base in model.__bases__)
    options: Any = model._meta
    options.parents = {bases.get(parent, parent): link for parent, link in options.parents.items()}
    if options.proxy:
        former = options.proxy_for_model
        options.proxy_for_model = bases.get(former, former)
        options.concrete_model = options.proxy_for_model._meta.concrete_model
    options._expire_cache()


def _forget_cached_properties(holder: Any) -> None:
    for name in list(vars(holder)):
        if any(isinstance(vars(base).get(name), cached_property) for base in type(holder).__mro__):
            del vars(holder)[name]


def _check_resolved(declared: Declared) -> None:
    """Check that every relation of the declared models found its target.

    Raises:
        DeclarationError: a model is named that does not exist.
    """
    for model in declared.models:
        for relation in (*model._meta.local_fields, *model._meta.local_many_to_many):
            target = getattr(relation.remote_field, "model", None)
            if isinstance(target, str):
                raise DeclarationError(
                    f"{model._meta.object_name}.{relation.name} refers to {target}, but there is no such model: "
                    f"declare it first, in this cell or an earlier one."
                )


def forget_label(label: str) -> None:
    """Take every model that cells declared under a label out of the registry, with its triggers."""
    for model in list(apps.all_models.get(label, {}).values()):
        registry.remove_model(model)
    apps.all_models.pop(label, None)
    apps.app_configs.pop(label, None)
    apps.clear_cache()


def cell_labels() -> list[str]:
    """Return the app labels under which cells declared models."""
    return [label for label, config in apps.app_configs.items() if isinstance(config, CellAppConfig)]

