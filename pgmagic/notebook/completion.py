"""Tab completion: on the lines of pgmagic's magics, and of the names of fields and tables in cells.

Nothing here connects: the names come from this process's registries.
"""

from __future__ import annotations

import re
from argparse import Action, ArgumentParser, _SubParsersAction
from collections.abc import Callable

from django.apps import apps
from django.db import connections
from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.interactiveshell import InteractiveShell

from pgmagic.declare import registry
from pgmagic.declare.fsm import FSM
from pgmagic.declare.model_registry import cell_labels
from pgmagic.notebook.name_completion import names_for

Namespace = dict[str, object]

# A magic's line from its sign on, also where its result is given a name: `found = %pgtrigger ls`.
_CALL = re.compile(r"\s*(?:[\w, ]+=\s*)?(?P<kind>%%?)(?P<name>\w+) (?P<words>.*)")


def register(shell: InteractiveShell) -> None:
    """Complete the lines of pgmagic's magics."""

    @context_matcher()
    def match(context: CompletionContext) -> SimpleMatcherResult:
        line = context.line_with_cursor[: context.cursor_position]
        is_first = not "".join(context.full_text.splitlines()[: context.cursor_line]).strip()
        found = suggestions(shell, line, is_first=is_first)
        return {
            "completions": [SimpleCompletion(text, type="magic") for text in found],
            # What Python would take for several words: `blog.Post:keep`, `--since`.
            "matched_fragment": line.rpartition(" ")[2],
            "suppress": bool(found),
            "ordered": True,
        }

    @context_matcher()
    def match_names(context: CompletionContext) -> SimpleMatcherResult:
        lines = context.full_text.split("\n")[: context.cursor_line]
        before = "\n".join([*lines, context.line_with_cursor[: context.cursor_position]])
        word, found = names_for(before, shell.user_ns)
        return {
            "completions": [SimpleCompletion(text, type="field") for text in found],
            "matched_fragment": word,
            # What Python knows may be meant, too, once something is typed that can be an expression.
            "suppress": bool(found) and not (word.isidentifier() and found[0].endswith("=")),
            "ordered": True,
        }

    for each in (match, match_names):
        each.completes_pgmagic = True
        shell.Completer.custom_matchers.append(each)


def unregister(shell: InteractiveShell) -> None:
    """Stop completing them."""
    matchers = shell.Completer.custom_matchers
    matchers[:] = [matcher for matcher in matchers if not hasattr(matcher, "completes_pgmagic")]


def suggestions(shell: InteractiveShell, line: str, *, is_first: bool = True) -> list[str]:
    """Return what the last word on a magic's line can become; an empty list for any other line.

    is_first: whether it is the cell's first line; only there can a cell magic stand.
    """
    called = _CALL.fullmatch(line)
    if called is None or (called["kind"] == "%%" and not is_first):
        return []
    function = shell.magics_manager.magics["cell" if called["kind"] == "%%" else "line"].get(called["name"])
    if not getattr(function, "__module__", "").startswith("pgmagic."):
        return []
    *before, last = called["words"].split(" ")
    parser, words = _parser_of_words(function.parser, [word for word in before if word])
    fitting = _candidates(parser, words, last, shell.user_ns)
    return [candidate for candidate in fitting if candidate.startswith(last)]


def _parser_of_words(parser: ArgumentParser, before: list[str]) -> tuple[ArgumentParser, list[str]]:
    """Return the parser of the sub-command, if the words before name one, and the words without it."""
    for action in parser._actions:
        if isinstance(action, _SubParsersAction):
            chosen = next((word for word in before if word in action.choices), None)
            if chosen is not None:
                return action.choices[chosen], [word for word in before if word != chosen]
    return parser, before


def _candidates(parser: ArgumentParser, before: list[str], last: str, namespace: Namespace) -> list[str]:
    """Return what the last word may be: a value of the option before it, an option, or an argument."""
    options = parser._option_string_actions
    if before and before[-1] in options and options[before[-1]].nargs != 0:
        return _values(options[before[-1]], namespace)
    if last.startswith("-"):
        return _unused_options(parser, before)
    arguments = [action for action in parser._actions if not action.option_strings]
    return [value for action in arguments for value in _values(action, namespace) if value not in before]


def _unused_options(parser: ArgumentParser, before: list[str]) -> list[str]:
    unused = [action for action in parser._actions if not set(before) & set(action.option_strings)]
    return sorted(text for action in unused for text in action.option_strings if text.startswith("--"))


def _values(action: Action, namespace: Namespace) -> list[str]:
    values = _VALUES.get(str(action.metavar or action.dest))
    return values(namespace) if values else [str(choice) for choice in action.choices or ()]


def _fields_with_states(_namespace: Namespace) -> list[str]:
    """Return MODEL.FIELD of the fields that an FSM is about, or that have choices."""
    machines = {(model, trigger.field) for model, trigger in registry.registered() if isinstance(trigger, FSM)}
    found = [model for label in cell_labels() for model in apps.get_app_config(label).get_models()]
    machines |= {(model, field.name) for model in found for field in model._meta.local_fields if field.choices}
    return sorted({f"{model._meta.object_name}.{field}" for model, field in machines})


def _tracked(namespace: Namespace) -> list[str]:
    """Return the names of models that are tracked, and of the user's objects of them."""
    tracked = {model.pgh_tracked_model for model in apps.get_models() if hasattr(model, "pgh_tracked_model")}
    names = {model._meta.object_name for model in tracked}
    objects = {name for name, value in namespace.items() if not name.startswith("_") and type(value) in tracked}
    return sorted(names | objects)


def _renamable(_namespace: Namespace) -> list[str]:
    """Return MODEL= and MODEL.FIELD= of the models that cells declared."""
    found = [model for label in cell_labels() for model in apps.get_app_config(label).get_models()]
    fields = [f"{model._meta.object_name}.{field.name}=" for model in found for field in model._meta.local_fields]
    return sorted([*(f"{model._meta.object_name}=" for model in found), *fields])


# The values of an argument, by its name in the manual.
_VALUES: dict[str, Callable[[Namespace], list[str]]] = {
    "URI": lambda _namespace: sorted(trigger.get_uri(model) for model, trigger in registry.registered()),
    "MODEL.FIELD": _fields_with_states,
    "target": _tracked,
    "MODEL[.FIELD]=NEW": _renamable,
    "ALIAS": lambda _namespace: list(connections),
    "LABEL": lambda _namespace: sorted(cell_labels()),
}
