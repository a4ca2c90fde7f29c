"""The compiler that stands behind declarations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.db import models

from pgmagic.compile import bodies, predicate, transition_tables, triggers
from pgmagic.compile.desired import DesiredTrigger
from pgmagic.compile.functions import Body
from pgmagic.compile.remembering import remembered
from pgmagic.compile.sql import render
from pgmagic.compile.target import Target
from pgmagic.declare.composer import Composer
from pgmagic.declare.conditions import Condition
from pgmagic.declare.trigger import Trigger

Model = type[models.Model]


@dataclass(frozen=True)
class DeclarationCompiler:
    """What `declare.delegates` asks of a compiler, for one target."""

    target: Target = field(default_factory=Target)

    def condition(self, condition: Condition | models.Q, model: Model) -> str:
        """Return a condition as SQL on OLD and NEW."""
        return render(predicate.condition_sql(condition, model))

    def trigger(self, trigger: Trigger, model: Model) -> DesiredTrigger:
        """Return the function and the triggers that stand for a declaration."""
        target = self._target_of(model)
        return remembered(trigger, model, target, lambda: triggers.compile_trigger(trigger, model, target))

    def body(self, trigger: Trigger, model: Model) -> Body:
        """Return the body of a ready-made trigger."""
        return Body(render(bodies.body(trigger, model, self._target_of(model).schema)))

    def template_kwargs(self, model: Model) -> dict[str, Any]:
        """Return what every function's text may name."""
        return triggers.template_kwargs(model)

    def transition_kwargs(self, trigger: Composer, model: Model) -> dict[str, Any]:
        """Return what the text of a statement-level function may name: the rows for which the condition holds."""
        return transition_tables.transition_kwargs(trigger, model)

    def _target_of(self, model: Model) -> Target:
        """Return the target of a model; the table of an unmanaged one is somebody else's, wherever it may be."""
        concrete = model._meta.concrete_model or model
        return self.target if concrete._meta.managed else Target()
