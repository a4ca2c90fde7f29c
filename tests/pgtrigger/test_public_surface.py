"""The names of django-pgtrigger 4.17, and how they are called: a frozen list."""

from __future__ import annotations

import inspect

import pytest

from pgmagic import pgtrigger

CHANGE = "*fields, exclude:k=, exclude_auto:k="
# Each parameter with `=` if it may be left out, and `:k` if it is given by keyword only.
SIGNATURES = {
    "AllChange": CHANGE,
    "AllDontChange": CHANGE,
    "AnyChange": CHANGE,
    "AnyDontChange": CHANGE,
    # Upstream takes the arguments of `Trigger` as **kwargs in three classes; here each is named.
    "Composer": (
        "name:k=, level:k=, when:k=, operation:k=, condition:k=, referencing:k=, func:k=, declare:k=, timing:k="
    ),
    "Condition": "sql=",
    "FSM": "name:k=, condition:k=, field:k=, transitions:k=, separator:k=",
    "Func": "func",
    "IsDistinctFrom": "lhs, rhs",
    "IsNotDistinctFrom": "lhs, rhs",
    "Level": "name",
    "Operation": "name",
    "Operations": "*operations",
    "Protect": "name:k=, operation:k=, condition:k=, level:k=, when:k=, declare:k=, timing:k=",
    "Q": "*args, _connector:k=, _negated:k=, **kwargs",
    "ReadOnly": "name:k=, fields:k=, exclude:k=, condition:k=, level:k=, operation:k=, when:k=, declare:k=, timing:k=",
    "Referencing": "old:k=, new:k=",
    "SoftDelete": "name:k=, condition:k=, field:k=, value:k=",
    "Timing": "name",
    "Trigger": "name:k=, level:k=, when:k=, operation:k=, condition:k=, referencing:k=, func:k=, declare:k=, timing:k=",
    "UpdateOf": "*columns",
    "UpdateSearchVector": "name:k=, vector_field:k=, document_fields:k=, config_name:k=",
    "When": "name",
    "constraints": "timing, *uris, databases:k=",
    "disable": "*uris, database:k=",
    "enable": "*uris, database:k=",
    "ignore": "*uris, databases:k=",
    "install": "*uris, database:k=",
    "is_ignored": "uri",
    "prunable": "database=",
    "prune": "database=",
    "register": "*triggers",
    "registered": "*uris",
    "schema": "*schemas, databases:k=",
    "uninstall": "*uris, database:k=",
}
WORDS = {
    "After": pgtrigger.When, "Before": pgtrigger.When, "InsteadOf": pgtrigger.When,
    "Row": pgtrigger.Level, "Statement": pgtrigger.Level,
    "Deferred": pgtrigger.Timing, "Immediate": pgtrigger.Timing,
    "Delete": pgtrigger.Operation, "Insert": pgtrigger.Operation, "Truncate": pgtrigger.Operation,
    "Update": pgtrigger.Operation,
    "__version__": str,
}  # fmt: skip
# Parameters beyond upstream's.
MORE = {"FSM": "initial:k="}
METHODS = {
    "compile": "model, database:k=",
    "disable": "model, database=",
    "enable": "model, database=",
    "exec_sql": "sql, model, database=, fetchall=",
    "format_sql": "sql",
    "get_condition": "model",
    "get_declare": "model",
    "get_func": "model",
    "get_func_template_kwargs": "model",
    "get_installation_status": "model, database=",
    "get_pgid": "model",
    "get_uri": "model",
    "install": "model, database=",
    "register": "*models",
    "render_condition": "model",
    "render_declare": "model",
    "render_execute": "model",
    "render_func": "model",
    "uninstall": "model, database=",
    "unregister": "*models",
    "validate_name": "",
}


def described(call: object) -> str:
    """Return the parameters of a call in the words of the list above."""
    parts = []
    for parameter in inspect.signature(call).parameters.values():
        if parameter.name == "self":
            continue
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        keyword = ":k" if parameter.kind == parameter.KEYWORD_ONLY else ""
        default = "" if parameter.default is parameter.empty else "="
        parts.append(f"{stars}{parameter.name}{keyword}{default}")
    return ", ".join(parts)


def test_exports_are_upstreams():
    assert set(pgtrigger.__all__) == {*SIGNATURES, *WORDS, "F"}
    assert all(hasattr(pgtrigger, name) for name in pgtrigger.__all__)


@pytest.mark.parametrize("name", SIGNATURES)
def test_signature_is_upstreams(name):
    assert described(getattr(pgtrigger, name)) == ", ".join(filter(None, [SIGNATURES[name], MORE.get(name)]))


@pytest.mark.parametrize("name", WORDS)
def test_value_has_its_type(name):
    assert isinstance(getattr(pgtrigger, name), WORDS[name])


@pytest.mark.parametrize("name", METHODS)
def test_method_of_a_trigger_is_upstreams(name):
    assert described(getattr(pgtrigger.Trigger, name)) == METHODS[name]
