"""The transitions of a field as a matrix of verdicts, and those that are allowed as a diagram."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import permutations
from types import MappingProxyType
from typing import Self

import pandas as pd
from django.apps import apps

from pgmagic.declare import registry
from pgmagic.declare.fsm import FSM
from pgmagic.declare.model_types import Model
from pgmagic.errors import CellError
from pgmagic.tables.frame import ResultFrame, Role
from pgmagic.trial.state_matrix import Transitions, state_name, try_transitions

# JupyterLab draws a diagram once, in the theme of that moment: these colours read well in both.
_STYLE = {
    "theme": "base",
    "themeVariables": {
        "primaryColor": "#e4e9f7", "primaryTextColor": "#1f2328", "primaryBorderColor": "#6b7fb3",
        "lineColor": "#7d8590", "transitionColor": "#7d8590", "textColor": "#1f2328", "transitionLabelColor": "#1f2328",
        "stateLabelColor": "#1f2328", "edgeLabelBackground": "#e8eaed", "labelBackgroundColor": "#e8eaed",
        "fontSize": "13px",
    },
}  # fmt: skip


class TransitionFrame(ResultFrame):
    """One row for each state that a row may be in, one column for each state that it may go to.

    Columns: the states, as text: NULL for a missing value, in quotes a text that could be taken for it. The index,
    called `from`, holds the same states.

    Values (string): `allowed`, `rejected by URI` (or `rejected: reason`), `rewritten to STATE`, `suppressed`, or
    `unknown: reason` if no row could be brought to the first state; after ` · ` the condition under which an FSM
    allows the transition (`if …`), and how often it was taken, if the field is tracked.
    """

    columns_contract = MappingProxyType({})

    def role_of(self, column: Hashable) -> Role:
        """Return the role of every column: its values are verdicts."""
        return "verdict"


@dataclass(frozen=True)
class Diagram:
    """The transitions that are allowed, as Mermaid and as text."""

    mermaid: str
    text: str

    def bundle(self) -> dict[str, str]:
        """Return both by their media types, of which a front end takes the best that it knows."""
        return {"text/vnd.mermaid": self.mermaid, "text/plain": self.text}

    @classmethod
    def of(cls, found: Transitions, names: Sequence[str]) -> Self:
        """Draw what is allowed between different states, perhaps under a condition, as a state diagram."""
        mermaid = [f"%%{{init: {json.dumps(_STYLE)}}}%%", "stateDiagram-v2", "    direction LR"]
        mermaid += [f'    state "{_escaped(name)}" as s{number}' for number, name in enumerate(names)]
        text = []
        for row, column in permutations(range(len(names)), 2):
            if found.tried[row][column].verdict == "allowed" or (row, column) in found.conditions:
                about = ", ".join(found.about(row, column))
                mermaid.append(f"    s{row} --> s{column}" + (f" : {_escaped(about)}" if about else ""))
                text.append(f"{names[row]} → {names[column]}" + (f"  ({about})" if about else ""))
        return cls("\n".join(mermaid), "\n".join(text) or "No transition is allowed.")


def try_field(target: str, using: str = "default") -> tuple[TransitionFrame, Diagram]:
    """Try every pair of states of `Model.field`, or of `app_label.Model.field`; nothing is kept.

    The URI of an FSM, as in `Model:trigger_name`, stands for its field.

    Raises:
        CellError: if there is no such model, or nothing to try.
        UnknownTriggerError: if nothing is registered under a URI.
        UnknownFieldError: if the model has no such field.
    """
    model, field = _field_of(target) if ":" in target else _named_field(target)
    found = try_transitions(model, field, using)
    names = [state_name(state) for state in found.states]
    verdicts = [
        [" · ".join([tried.words(), *found.about(row, column)]) for column, tried in enumerate(line)]
        for row, line in enumerate(found.tried)
    ]
    caption = f"Transitions of {model._meta.label}.{found.field}, from the state on the left to the one above"
    index = pd.Index(pd.array(names, dtype="string"), name="from")
    frame = TransitionFrame(verdicts, index=index, dtype="string", caption=caption, notes=found.notes())
    frame.columns = pd.Index(names, dtype=object)
    return frame, Diagram.of(found, names)


def _field_of(uri: str) -> tuple[Model, str]:
    [(model, trigger)] = registry.registered(uri)
    if not isinstance(trigger, FSM):
        raise CellError(f"{trigger.get_uri(model)} is no FSM: name a field, as in {model._meta.label}.status.")
    return model, str(trigger.field)


def _named_field(target: str) -> tuple[Model, str]:
    label, _, field = target.rpartition(".")
    wanted = label.lower()
    known = [
        model
        for model in apps.get_models(include_auto_created=True)
        if wanted in (model._meta.label_lower, str(model._meta.model_name))
    ]
    if not label or not known:
        raise CellError(f'"{target}" is not a field of a model that is declared here: expected Model.field.')
    if len(known) > 1:
        labels = " or ".join(f"{model._meta.label}.{field}" for model in known)
        raise CellError(f'There are several models named "{label}": say which of {labels}.')
    return known[0], field


def _escaped(name: str) -> str:
    """Return a name as Mermaid shows it, whatever is in it."""
    plain = " ".join(name.split()) or " "
    return "".join(
        character if character.isalnum() or character in " _-.'" else f"#{ord(character)};" for character in plain
    )
