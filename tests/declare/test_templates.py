"""The text of a trigger's function: names are filled in, PL/pgSQL's own braces stay."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pgmagic.declare.templates import Func
from pgmagic.errors import DeclarationError

NAMES = {
    "meta": SimpleNamespace(db_table="blog_post"),
    "columns": SimpleNamespace(title="Title", brace="{x}"),
    "extra": "more",
}


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("RETURN NULL;", "RETURN NULL;"),
        ("{meta.db_table}", "blog_post"),
        ('NEW."{columns.title}" := {extra};', 'NEW."Title" := more;'),
        # A whole template in the sense of str.format keeps that meaning, doubled braces and all.
        ("'{{}}'::jsonb || {extra}", "'{}'::jsonb || more"),
        ("'{{{extra}}}'", "'{more}'"),
        ("'{{}}'", "'{}'"),
        # Any other text: braces are PL/pgSQL's own.
        ("'{}'::jsonb", "'{}'::jsonb"),
        ("'{}'::jsonb || {extra}", "'{}'::jsonb || more"),
        ("""'{"a": {"b": 1}}'::jsonb, {extra}""", """'{"a": {"b": 1}}'::jsonb, more"""),
        ("'{a,b}'::text[] -- {extra}", "'{a,b}'::text[] -- more"),
        ("'{1,2}'::int[]; '{extra'", "'{1,2}'::int[]; '{extra'"),
        ("{", "{"),
        ("} {extra} {", "} more {"),
        # Unknown names are PL/pgSQL's own, too: '{a}' is an array of one text.
        ("'{a}'::text[]", "'{a}'::text[]"),
        ("{self.x} {extra}", "{self.x} more"),
        ("{extra[0]} {extra}", "{extra[0]} more"),
        # What is filled in is not a template.
        ("{columns.brace}", "{x}"),
        ("{columns.brace} {", "{x} {"),
        # Nothing else of a text is touched.
        ("RAISE '100 %', $1, \\d, :name, \u00fc;", "RAISE '100 %', $1, \\d, :name, \u00fc;"),
        ("a\n\n  b  \n", "a\n\n  b  \n"),
    ],
)
def test_func_fills_in_names_and_leaves_braces(text, rendered):
    assert Func(text).render(**NAMES) == rendered


@pytest.mark.parametrize("text", ["{columns.tite}", "{columns.tite} '{}'", "{meta.a.b}", "{extra.x}"])
def test_func_names_what_is_missing(text):
    with pytest.raises(DeclarationError, match=r'The function\'s text asks for "\{.*\}", but \w+ has no "\w+"\.'):
        Func(text).render(**NAMES)


def test_func_repr_is_the_declaration():
    assert repr(Func("{a}")) == "pgtrigger.Func('{a}')"
