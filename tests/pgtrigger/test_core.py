"""`pgtrigger.core`: what projects import from django-pgtrigger's module of this name."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import models

from pgmagic import pgtrigger
from pgmagic.pgtrigger import core

STATES = {"INSTALLED", "OUTDATED", "PRUNE", "UNALLOWED", "UNINSTALLED"}


def test_core_has_the_words_and_classes_of_the_package() -> None:
    names = {*core.__all__} - STATES - {"MAX_NAME_LENGTH"}
    assert {name: getattr(core, name) for name in names} == {name: getattr(pgtrigger, name) for name in names}
    assert pgtrigger.core is core
    assert core.MAX_NAME_LENGTH == 47
    with pytest.raises(AttributeError, match=r"module 'pgmagic\.pgtrigger' has no attribute 'nope'"):
        _ = pgtrigger.nope


def test_core_names_the_states_that_a_trigger_reports(live: Any) -> None:
    keep = core.Trigger(name="keep", when=core.Before, operation=core.Delete, func="RETURN OLD;")
    post = live.declare("Post", [keep], title=models.TextField())
    assert keep.get_installation_status(post) == (core.INSTALLED, True)
    keep.uninstall(post)
    assert keep.get_installation_status(post) == (core.UNINSTALLED, None)
    assert {getattr(core, state) for state in STATES} == STATES
