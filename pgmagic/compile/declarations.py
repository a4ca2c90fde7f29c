"""Declarations compiled for a target that is named, and for the target of a user's own methods."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import cast

from pgmagic.compile import triggers
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.compile.remembering import remembered
from pgmagic.compile.target import Target
from pgmagic.declare.model_types import Model
from pgmagic.declare.trigger import Trigger

# The target while a method is called that a user's class overrides: it may call the method of the base class, which
# takes no target.
_asked_for: ContextVar[Target | None] = ContextVar("pgmagic_target", default=None)


def compile_as_declared(trigger: Trigger, model: Model, target: Target) -> DesiredTrigger:
    """Return what a trigger is compiled to for a target, by its own `compile` where a user's class overrides it."""
    if getattr(trigger.compile, "__func__", None) is Trigger.compile:
        return compile_declaration(trigger, model, target)
    with _asking_for(target):
        return cast("DesiredTrigger", trigger.compile(model))


def compile_declaration(trigger: Trigger, model: Model, target: Target) -> DesiredTrigger:
    """Return the function and the triggers that stand for a declaration."""
    target = target_of_model(model, target)

    def compile_() -> DesiredTrigger:
        with _asking_for(target):
            return triggers.compile_trigger(trigger, model, target)

    return remembered(trigger, model, target, compile_)


def target_of_model(model: Model, target: Target) -> Target:
    """Return the target of a model; the table of an unmanaged one is somebody else's, wherever it may be."""
    concrete = model._meta.concrete_model or model
    return target if concrete._meta.managed else Target()


def asked_target() -> Target | None:
    """Return the target for which a user's own method is called; None outside of a compilation."""
    return _asked_for.get()


@contextmanager
def _asking_for(target: Target) -> Iterator[None]:
    token = _asked_for.set(target)
    try:
        yield
    finally:
        _asked_for.reset(token)
