"""`import pgtrigger` and `import pghistory` in cells lead to pgmagic's, and only while pgmagic is loaded."""

from __future__ import annotations

import importlib
import sys
import types

import pytest

from pgmagic.aliases import AliasFinder, add_aliases, remove_aliases


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """The import system as it was, whatever a test does to it."""
    names = [name for name in sys.modules if name.partition(".")[0] in ("pgtrigger", "pghistory")]
    kept = {name: sys.modules.pop(name) for name in names}
    finders = list(sys.meta_path)
    remove_aliases()
    yield
    remove_aliases()
    for name in [name for name in sys.modules if name.partition(".")[0] in ("pgtrigger", "pghistory")]:
        del sys.modules[name]
    sys.modules.update(kept)
    sys.meta_path[:] = finders


@pytest.mark.parametrize("name", ["pgtrigger", "pghistory", "pgtrigger.apps", "pghistory.models"])
def test_name_is_the_module_itself(name):
    assert add_aliases() == []
    assert importlib.import_module(name) is sys.modules[f"pgmagic.{name}"]
    assert sys.modules[f"pgmagic.{name}"].__name__ == f"pgmagic.{name}"
    assert sys.modules[f"pgmagic.{name}"].__spec__.name == f"pgmagic.{name}"


def test_classes_are_the_same_under_both_names():
    add_aliases()
    pgtrigger = importlib.import_module("pgtrigger")
    from pgmagic.pgtrigger import Protect

    assert pgtrigger.Protect is Protect


@pytest.mark.parametrize("name", ["pgtrigger.nope", "pghistory.nope.more", "pgtriggers", "pgtrigger_extra"])
def test_other_names_are_not_found(name):
    add_aliases()
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(name)


def test_error_inside_a_module_is_not_hidden(monkeypatch):
    add_aliases()
    monkeypatch.setattr(importlib, "import_module", _failing(importlib.import_module))
    with pytest.raises(ImportError, match="broken"):
        AliasFinder().find_spec("pgtrigger.apps", None)


def _failing(original):
    def fail(name, *args):
        if name == "pgmagic.pgtrigger.apps":
            raise ImportError("broken")
        return original(name, *args)

    return fail


def test_removing_the_aliases_removes_their_modules():
    add_aliases()
    remove_aliases()
    assert not {"pgtrigger", "pghistory"} & set(sys.modules)
    assert not any(isinstance(finder, AliasFinder) for finder in sys.meta_path)
    remove_aliases()


@pytest.mark.parametrize("present", [["pgtrigger"], ["pghistory"], ["pgtrigger", "pghistory"]])
def test_imported_upstream_package_stays_and_the_other_name_is_ours(present):
    real = {name: types.ModuleType(name) for name in present}
    sys.modules.update(real)
    assert add_aliases() == present
    for name in ("pgtrigger", "pghistory"):
        expected = real.get(name) or importlib.import_module(f"pgmagic.{name}")
        assert importlib.import_module(name) is expected
    for name in present:
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(f"{name}.apps")
    remove_aliases()
    assert {name for name in ("pgtrigger", "pghistory") if name in sys.modules} == set(present)


def test_adding_the_aliases_twice_adds_one_finder():
    add_aliases()
    add_aliases()
    assert len([finder for finder in sys.meta_path if isinstance(finder, AliasFinder)]) == 1
