"""Models that are declared again: a block in which a class replaces the former class of its label.

Django's registry expects every model to be declared once. Here a cell's classes enter that same registry, so that
relations, reverse look-ups and cascades between cells and installed apps work as in any project. What they replace
is removed first, and relations of other models then refer to the new class. If the block raises, all of it is undone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType, ModuleType
from typing import TypeAlias, cast

from django.apps import AppConfig, apps
from django.db.models.fields.related import ForeignKey, RelatedField
from django.db.models.fields.related_descriptors import ReverseManyToOneDescriptor, ReverseOneToOneDescriptor
from django.db.models.fields.reverse_related import ForeignObjectRel
from django.utils.functional import cached_property

from pgmagic.declare import registry
from pgmagic.declare.model_types import Model
from pgmagic.errors import DeclarationError

Relation: TypeAlias = "RelatedField[object, object]"


class CellAppConfig(AppConfig):
    """The app of the models that cells declare under one label."""

    def __init__(self, label: str) -> None:
        self.label = label
        module = ModuleType(f"pgmagic_cells_{label}")
        super().__init__(module.__name__, module)
        # Where `migrate` looks for migrations: it finds the module without migrations in it.
        sys.modules[module.__name__] = module
        self.verbose_name = label

    # A cell's app has no folder; Django asks for one.
    path = "."
    default_auto_field = "django.db.models.BigAutoField"


class Redeclaration:
    """The models that a block declares under one app label, and what has to be undone if it fails.

    former_names: the former name of each renamed model by its new name, both in lower case.
    """

    def __init__(self, config: CellAppConfig, module: str, former_names: Mapping[str, str]) -> None:
        self.config = config
        self.module = module
        self.former_names = {**former_names, **_names_of_dependents(config.label, former_names)}
        self.models: list[Model] = []
        # The new class of each former class.
        self.replaced: dict[Model, Model] = {}
        self._undo: list[Callable[[], object]] = []

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Collect the models that the block declares, then let what referred to their former classes refer to them.

        Raises:
            DeclarationError: if a model refers to one that does not exist.
        """
        containing, register = apps.get_containing_app_config, apps.register_model

        def get_containing_app_config(object_name: str) -> AppConfig | None:
            return self.config if object_name == self.module else containing(object_name)

        def register_model(app_label: str, model: Model) -> None:
            self._remove_former(app_label, model)
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
        """Let everything refer to the former classes again."""
        while self._undo:
            self._undo.pop()()

    def _remove_former(self, app_label: str, model: Model) -> None:
        """Remove the former class of a model, if a cell declared it, from the registry."""
        known = apps.all_models[app_label]
        name = str(model._meta.model_name)
        if name not in known and self.former_names.get(name) in known:
            name = self.former_names[name]
        former = known.get(name)
        if former is None or former.__module__ != self.module:
            return
        del known[name]
        _remove_accessors(former)
        if former in self.models and model._meta.model_name != name:
            raise DeclarationError(
                f"{former.__name__} is declared in this cell, so it cannot be the former name of {model.__name__}: "
                f"leave out one of the two, or the --rename."
            )
        if former in self.models:
            # Declared twice in one block: the last declaration counts.
            self.models.remove(former)
            registry.remove_model(former)
        for origin in [origin for origin, successor in self.replaced.items() if successor is former]:
            self.replaced[origin] = model
        self.replaced[former] = model

    def _relink(self) -> None:
        """Let the relations and base classes of other models refer to the new classes."""
        apps.clear_cache()
        for model in apps.get_models(include_auto_created=True):
            for relation in _relations(model):
                former = _target(relation)
                if isinstance(former, type) and former in self.replaced:
                    # The undo step is stored first: an interrupt may come in between, and undoing too much is harmless.
                    self._undo.append(partial(_retarget, relation, former))
                    _retarget(relation, self.replaced[former])
            bases = {base: self.replaced[base] for base in model.__bases__ if base in self.replaced}
            if bases:
                _rebase(model, bases)
                self._undo.append(partial(_rebase, model, {new: former for former, new in bases.items()}))


def _names_of_dependents(label: str, former_names: Mapping[str, str]) -> dict[str, str]:
    """Return the former names, by the new ones, of what is renamed with models: many-to-many and event models."""
    known = apps.all_models[label]
    return {
        new + name.removeprefix(old): name
        for new, old in former_names.items()
        for name, model in known.items()
        if old in known
        and known[old] in (model._meta.auto_created, getattr(model, "pgh_tracked_model", None))
        and name.startswith(old)
    }


def _remove_accessors(former: Model) -> None:
    """Remove from other models the accessors by which these reach a class that is being replaced.

    Its successor may have put its own in the same place already: a relation is resolved as soon as its field is there.
    """
    for relation in _relations(former):
        target = _target(relation)
        name = relation.remote_field.get_accessor_name() if isinstance(target, type) else None
        if name and _relation_of(vars(target).get(name)) is relation.remote_field:
            delattr(target, name)


@contextmanager
def redeclaring(
    app_label: str, module: str, former_names: Mapping[str, str] = MappingProxyType({})
) -> Iterator[Redeclaration]:
    """Let the classes of `module` replace former classes; if the block raises or is interrupted, undo everything.

    former_names: see `Redeclaration`.

    Raises:
        DeclarationError: if the label belongs to an installed app.
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
    # The attributes by which models reach those that refer to them.
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


def _accessors(model: Model) -> dict[str, object]:
    return {name: value for name, value in vars(model).items() if _relation_of(value) is not None}


def _relation_of(descriptor: object) -> ForeignObjectRel | None:
    """Return the relation that an accessor of a model is for, None for any other attribute."""
    if isinstance(descriptor, ReverseOneToOneDescriptor):
        return descriptor.related
    return descriptor.rel if isinstance(descriptor, ReverseManyToOneDescriptor) else None


def _target(relation: Relation) -> Model | str | None:
    """Return the model that a relation refers to; its name as long as it is not declared."""
    return cast("Model | str | None", getattr(relation.remote_field, "model", None))


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
    """Remove the triggers declared with former classes, and keep those that other cells registered."""
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


def _relations(model: Model) -> list[Relation]:
    """Return the relations that a model itself declares."""
    fields = (*model._meta.local_fields, *model._meta.local_many_to_many)
    return [field for field in fields if isinstance(field, RelatedField)]


def _retarget(relation: Relation, target: Model) -> None:
    """Let a relation refer to another model."""
    relation.remote_field.model = target
    _forget_cached_properties(relation)
    _forget_cached_properties(relation.remote_field)
    descriptor = vars(relation.model).get(relation.name)
    if descriptor is not None:
        _forget_cached_properties(descriptor)
    # Every kind of relation has this method; Django's types know it of two.
    cast("ForeignKey[object, object]", relation).contribute_to_related_class(target, relation.remote_field)  # type: ignore[arg-type]


def _rebase(model: Model, bases: dict[Model, Model]) -> None:
    model.__bases__ = tuple(bases.get(base, base) for base in model.__bases__)
    options = model._meta
    options.parents = {bases.get(parent, parent): link for parent, link in options.parents.items()}
    former = options.proxy_for_model
    if options.proxy and former is not None:
        options.proxy_for_model = bases.get(former, former)
        options.concrete_model = options.proxy_for_model._meta.concrete_model
    options._expire_cache()  # type: ignore[attr-defined]


def _forget_cached_properties(holder: object) -> None:
    for name in list(vars(holder)):
        if any(isinstance(vars(base).get(name), cached_property) for base in type(holder).__mro__):
            del vars(holder)[name]


def _check_resolved(declared: list[Model]) -> None:
    """Check that every relation of the declared models found its target.

    Raises:
        DeclarationError: if a model is named that does not exist.
    """
    for model in declared:
        # The message names a many-to-many field, not the model that Django makes for it.
        for relation in () if model._meta.auto_created else _relations(model):
            for name in (_target(relation), getattr(relation.remote_field, "through", None)):
                if isinstance(name, str):
                    raise DeclarationError(
                        f"{model._meta.object_name}.{relation.name} refers to {name}, but there is no such model: "
                        f"declare it first, in this cell or an earlier one."
                    )


def forget_label(label: str) -> None:
    """Remove every model that cells declared under a label from the registry, with its triggers."""
    for model in list(apps.all_models.get(label, {}).values()):
        registry.remove_model(model)
    apps.all_models.pop(label, None)
    apps.app_configs.pop(label, None)
    apps.clear_cache()


def cell_labels() -> list[str]:
    """Return the app labels under which cells declared models."""
    return [label for label, config in apps.app_configs.items() if isinstance(config, CellAppConfig)]
