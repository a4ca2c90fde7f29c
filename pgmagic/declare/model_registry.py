"""Models that are declared again: a block in which a class takes the place of the former one of its label.

Django's registry expects every model to be declared once. Here a cell's classes enter that same registry, so that
relations, reverse look-ups and cascades between cells and installed apps work as in any project; what they replace
is taken out first, and relations of other models are led to the new class. If the block raises, all of it is undone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any

from django.apps import AppConfig, apps
from django.db import models
from django.db.models.fields.related_descriptors import ReverseManyToOneDescriptor, ReverseOneToOneDescriptor
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
        # Where `migrate` looks for migrations; it finds the module, and no migrations in it.
        sys.modules[module.__name__] = module
        self.verbose_name = label

    # A cell's app has no folder; Django asks for one.
    path = "."
    default_auto_field = "django.db.models.BigAutoField"


class Redeclaration:
    """The models that a block declares under one app label, and what has to be undone if it fails.

    former_names: by the name of a model, the name that it had before, both in lower case.
    """

    def __init__(self, config: CellAppConfig, module: str, former_names: Mapping[str, str]) -> None:
        self.config = config
        self.module = module
        self.former_names = {**former_names, **_names_of_dependents(config.label, former_names)}
        self.models: list[Model] = []
        # Each former class and the one that took its place.
        self.replaced: dict[Model, Model] = {}
        self._undo: list[Callable[[], object]] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect the models that the block declares, then lead everything that was related to their former classes.

        Raises:
            DeclarationError: a model refers to one that does not exist.
        """
        containing, register = apps.get_containing_app_config, apps.register_model

        def get_containing_app_config(object_name: str) -> AppConfig | None:
            return self.config if object_name == self.module else containing(object_name)

        def register_model(app_label: str, model: Model) -> None:
            self._make_room(app_label, model)
            register(app_label, model)
            self.models.append(model)

        apps.get_containing_app_config = get_containing_app_config  # type: ignore[method-assign]
        apps.register_model = register_model  # type: ignore[method-assign]
        try:
            yield
        finally:
            del apps.get_containing_app_config, apps.register_model
        _settle_triggers(self)
        self._relink()
        apps.clear_cache()
        _check_resolved(self.models)

    def undo(self) -> None:
        """Lead everything back to the former classes."""
        while self._undo:
            self._undo.pop()()

    def _make_room(self, app_label: str, model: Model) -> None:
        """Take the former class of a model, if a cell declared it, out of the registry."""
        known = apps.all_models[app_label]
        name = str(model._meta.model_name)
        if name not in known and self.former_names.get(name) in known:
            name = self.former_names[name]
        former = known.get(name)
        if former is None or former.__module__ != self.module:
            return
        del known[name]
        self._detach(former)
        if former in self.models and model._meta.model_name != name:
            raise DeclarationError(
                f"{former.__name__} is declared in this cell, so it cannot be the former name of {model.__name__}: "
                f"leave out one of the two, or the --rename."
            )
        if former in self.models:
            # Declared twice in one block: the last one counts.
            self.models.remove(former)
            registry.remove_model(former)
        for origin in [origin for origin, successor in self.replaced.items() if successor is former]:
            self.replaced[origin] = model
        self.replaced[former] = model

    def _detach(self, former: Model) -> None:
        """Take the accessors off other models by which these reach a class that is being replaced.

        Its successor may have put its own in the same place already: a relation is resolved as soon as its field
        is there.
        """
        for relation in _relations(former):
            target = getattr(relation.remote_field, "model", None)
            name = relation.remote_field.get_accessor_name() if isinstance(target, type) else None
            if name and _relation_of(vars(target).get(name)) is relation.remote_field:
                delattr(target, name)

    def _relink(self) -> None:
        """Lead the relations and base classes of other models from the former classes to the new ones."""
        apps.clear_cache()
        for model in apps.get_models(include_auto_created=True):
            for relation in _relations(model):
                former = getattr(relation.remote_field, "model", None)
                if isinstance(former, type) and former in self.replaced:
                    # Noted before it is done: an interrupt may come in between, and leading back does no harm.
                    self._undo.append(partial(_lead, relation, former))
                    _lead(relation, self.replaced[former])
            bases = {base: self.replaced[base] for base in model.__bases__ if base in self.replaced}
            if bases:
                _rebase(model, bases)
                self._undo.append(partial(_rebase, model, {new: former for former, new in bases.items()}))


def _names_of_dependents(label: str, former_names: Mapping[str, str]) -> dict[str, str]:
    """Return the former names, by the new ones, of what goes along with models: many-to-many tables and events."""
    known = apps.all_models[label]
    return {
        new + name.removeprefix(old): name
        for new, old in former_names.items()
        for name, model in known.items()
        if old in known
        and known[old] in (model._meta.auto_created, getattr(model, "pgh_tracked_model", None))
        and name.startswith(old)
    }


@contextmanager
def redeclaring(
    app_label: str, module: str, former_names: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Redeclaration]:
    """Let the classes of `module` replace former ones; if the block raises, an interrupt too, everything is as before.

    former_names: see `Redeclaration`.

    Raises:
        DeclarationError: the label belongs to an installed app.
    """
    with registry.block(), _models_restored_on_error():
        declaration = Redeclaration(_app_config(app_label), module, former_names)
        try:
            yield declaration
        except BaseException:
            declaration.undo()
            raise


@contextmanager
def _models_restored_on_error() -> Iterator[None]:
    before = {label: dict(known) for label, known in apps.all_models.items()}
    configs = dict(apps.app_configs)
    pending = {key: list(functions) for key, functions in apps._pending_operations.items()}
    accessors = {model: _accessors(model) for known in before.values() for model in known.values()}
    try:
        yield
    except BaseException:
        for model, kept in accessors.items():
            for name in _accessors(model).keys() - kept.keys():
                delattr(model, name)
            for name, descriptor in kept.items():
                setattr(model, name, descriptor)
        for label, known in apps.all_models.items():
            known.clear()
            known.update(before.get(label, {}))
        apps.app_configs.clear()
        apps.app_configs.update(configs)
        apps._pending_operations.clear()
        apps._pending_operations.update(pending)
        apps.clear_cache()
        raise


def _accessors(model: Model) -> dict[str, Any]:
    """Return the attributes by which a model reaches those that are related to it."""
    return {name: value for name, value in vars(model).items() if _relation_of(value) is not None}


def _relation_of(descriptor: Any) -> Any:
    """Return the relation that an accessor of a model is for, None for any other attribute."""
    if isinstance(descriptor, ReverseOneToOneDescriptor):
        return descriptor.related
    return descriptor.rel if isinstance(descriptor, ReverseManyToOneDescriptor) else None


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


def _settle_triggers(declaration: Redeclaration) -> None:
    """Tell the triggers declared with a model from those that other cells registered; the latter stay."""
    for model, trigger in registry.registered():
        if model in declaration.models:
            registry.declare_with_model(trigger, model)
    for model, trigger in registry.registered():
        if model not in declaration.replaced:
            continue
        if registry.is_declared_with_model(trigger, model):
            registry.remove(model, trigger)
        else:
            registry.move(trigger, model, declaration.replaced[model])


def _relations(model: Model) -> list[Any]:
    """Return the relations that a model itself declares."""
    fields = (*model._meta.local_fields, *model._meta.local_many_to_many)
    return [field for field in fields if field.remote_field is not None]


def _lead(relation: Any, target: Model) -> None:
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


def _check_resolved(declared: list[Model]) -> None:
    """Check that every relation of the declared models found its target.

    Raises:
        DeclarationError: a model is named that does not exist.
    """
    for model in declared:
        # What a many-to-many field refers to is told of the field, not of the model that Django makes for it.
        for relation in () if model._meta.auto_created else _relations(model):
            target = getattr(relation.remote_field, "model", None)
            for name in (target, getattr(relation.remote_field, "through", None)):
                if isinstance(name, str):
                    raise DeclarationError(
                        f"{model._meta.object_name}.{relation.name} refers to {name}, but there is no such model: "
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
