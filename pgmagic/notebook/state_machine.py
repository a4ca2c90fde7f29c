"""`%pgtrigger fsm Model.field`: the states of a field as a matrix and as a diagram."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.apps import apps

from pgmagic.errors import CellError
from pgmagic.trial.matrix_frame import TransitionFrame, transition_frame
from pgmagic.trial.state_matrix import Transitions, Tried, try_transitions


@dataclass(frozen=True)
class Diagram:
    """The transitions that are allowed, as Mermaid and as text."""

    mermaid: str
    text: str

    def bundle(self) -> dict[str, str]:
        """Return both by their media types, of which a front end takes the best that it knows."""
        return {"text/vnd.mermaid": self.mermaid, "text/plain": self.text}


def try_field(target: str, using: str = "default") -> tuple[TransitionFrame, Diagram]:
    """Try every pair of states of `Model.field`, or of `app_label.Model.field`; nothing is kept.

    Raises:
        CellError: there is no such model, or nothing to try.
        UnknownFieldError: the model has no such field.
    """
    label, _, field = target.rpartition(".")
    model = _model(label, target)
    found = try_transitions(model, field, using)
    names = [state_name(state) for state in found.states]
    verdicts = [
        [_verdict(tried, found, row, column) for column, tried in enumerate(line)]
        for row, line in enumerate(found.tried)
    ]
    caption = f"Transitions of {model._meta.label}.{found.field}, from the state on the left to the one above"
    frame = transition_frame(names, verdicts, caption=caption, notes=_notes(found))
    return frame, _diagram(found, names)


def _model(label: str, target: str) -> Any:
    wanted = label.lower()
    known = [
        model
        for model in apps.get_models(include_auto_created=True)
        if wanted in (model._meta.label_lower, str(model._meta.model_name))
    ]
    if not label or not known:
        raise CellError(f'"{target}" is no field of a model that is declared here: expected Model.field.')
    if len(known) > 1:
        labels = " or ".join(model._meta.label for model in known)
        raise CellError(f'There are several models named "{label}": say which of {labels}.')
    return known[0]


def state_name(state: Any) -> str:
    """Return a state as text, such that NULL and any text are told apart."""
    if state is None:
        return "NULL"
    text = str(state)
    return f"'{text}'" if text != text.strip() or text in ("", "NULL") else text


def _verdict(tried: Tried, found: Transitions, row: int, column: int) -> str:
    words: str = tried.verdict
    if tried.verdict == "rejected":
        words += f" by {tried.trigger}" if tried.trigger else f": {tried.reason}"
    elif tried.verdict == "rewritten":
        words += f" to {state_name(tried.stored)}"
    elif tried.verdict == "unknown":
        words += f": {tried.reason}"
    return " · ".join([words, *_about(found, row, column)])


def _about(found: Transitions, row: int, column: int) -> Iterator[str]:
    """Yield under which condition a transition is allowed, and how often it was taken."""
    condition = found.conditions.get((row, column))
    if condition:
        yield f"if {condition}"
    taken = found.taken[row][column] if found.taken else 0
    if taken:
        yield _times(taken)


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number:,} times"


def _notes(found: Transitions) -> Iterator[str]:
    on = "a row that was made up for it" if found.row is None else f"row {found.row}, or on one in the state"
    yield f"Tried on {on}; nothing was kept."
    if found.conditions:
        yield "A transition that is allowed under a condition (if …) was tried on a row for which that may not hold."
    for uri, why in found.asleep.items():
        yield f"{uri} is {why}: nothing was asked of it."
    for uri, condition in found.rules.items():
        yield f"{uri} is only for rows with {condition}."
    if found.taken is not None:
        total = sum(map(sum, found.taken))
        yield f"How often a transition was taken is told by {total:,} change{'' if total == 1 else 's'} in its events."


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


def _diagram(found: Transitions, names: list[str]) -> Diagram:
    """Return what is allowed between different states, if only under a condition, as a state diagram."""
    steps = [
        (row, column, list(_about(found, row, column)))
        for row, line in enumerate(found.tried)
        for column, tried in enumerate(line)
        if row != column and (tried.verdict == "allowed" or (row, column) in found.conditions)
    ]
    mermaid = [f"%%{{init: {json.dumps(_STYLE)}}}%%", "stateDiagram-v2", "    direction LR"]
    mermaid += [f'    state "{_escaped(name)}" as s{number}' for number, name in enumerate(names)]
    mermaid += [
        f"    s{row} --> s{column}" + (f" : {_escaped(', '.join(about))}" if about else "")
        for row, column, about in steps
    ]
    text = [
        f"{names[row]} → {names[column]}" + (f"  ({', '.join(about)})" if about else "")
        for row, column, about in steps
    ]
    return Diagram("\n".join(mermaid), "\n".join(text) or "No transition is allowed.")


def _escaped(name: str) -> str:
    """Return a name as Mermaid shows it, whatever is in it."""
    plain = " ".join(name.split()) or " "
    return "".join(
        character if character.isalnum() or character in " _-.'" else f"#{ord(character)};"
        for character in plain
    )
