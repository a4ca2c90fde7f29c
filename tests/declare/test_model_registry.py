"""A block in which classes replace former ones; a block that raises changes nothing. No database is needed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.apps import apps
from django.db import models

from pgmagic import pgtrigger
from pgmagic.declare import registry
from pgmagic.declare.model_registry import CellAppConfig, cell_labels, forget_label, redeclaring
from pgmagic.errors import DeclarationError

LABEL, MODULE = "redeclared", "redeclared_cell"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    for label in cell_labels():
        forget_label(label)


@contextmanager
def cell(label=LABEL):
    with redeclaring(label, MODULE) as declaration, declaration.collecting():
        yield declaration


def model(name, *bases, meta=None, **fields):
    body = {"__module__": MODULE, **fields, **({"Meta": type("Meta", (), meta)} if meta else {})}
    return type(name, bases or (models.Model,), body)


def post(**meta):
    return model("Post", title=models.TextField(), meta=meta)


def test_new_class_replaces_the_former():
    with cell() as first:
        former = post()
    with cell() as second:
        new = post()
    assert (first.models, second.models) == ([former], [new])
    assert second.replaced == {former: new}
    assert apps.get_model(LABEL, "Post") is new
    assert isinstance(apps.get_app_config(LABEL), CellAppConfig)
    assert [found for found in apps.get_models() if found._meta.label == f"{LABEL}.Post"] == [new]


def test_outside_of_a_block_nothing_is_patched():
    with cell():
        post()
    assert not {"register_model", "get_containing_app_config"} & set(vars(apps))
    with pytest.raises(RuntimeError, match="doesn't declare an explicit app_label"):
        post()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("inside", [True, False], ids=["while collecting", "afterwards"])
def test_block_that_raises_leaves_everything(error, inside):
    with cell():
        former = post(triggers=[pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)])
        child = model("Comment", post=models.ForeignKey(former, models.CASCADE))
    accessor = vars(former)["comment_set"]
    with pytest.raises(error), redeclaring("another", MODULE) as declaration:  # noqa: PT012
        with declaration.collecting():
            model("Extra", post=models.ForeignKey(former, models.CASCADE))
            model("Post", title=models.TextField(), meta={"app_label": LABEL})
            model("Comment", post=models.ForeignKey(f"{LABEL}.Post", models.CASCADE), meta={"app_label": LABEL})
            if inside:
                raise error
        raise error
    assert cell_labels() == [LABEL]
    assert apps.get_model(LABEL, "Post") is former
    assert apps.get_model(LABEL, "Comment") is child
    assert child._meta.get_field("post").related_model is former
    assert vars(former)["comment_set"] is accessor
    assert not hasattr(former, "extra_set")
    assert [field.related_model for field in former._meta.related_objects] == [child]
    assert [(of, trigger.name) for of, trigger in registry.registered()] == [(former, "keep")]


def test_class_that_fails_keeps_the_accessor_of_the_former():
    with cell():
        target = post()
        child = model("Comment", post=models.ForeignKey(target, models.CASCADE))
    with pytest.raises(DeclarationError, match=r"Meta\.triggers"), cell():
        model("Comment", post=models.ForeignKey(target, models.CASCADE), meta={"triggers": 3})
    assert target.comment_set.rel.related_model is child


@pytest.mark.parametrize("label", ["auth", "contenttypes", "pgtrigger"])
def test_label_of_an_installed_app_is_refused(label):
    with (
        pytest.raises(DeclarationError, match=f'The app label "{label}" belongs to the installed app'),
        cell(label),
    ):
        pytest.fail("the block was entered")


@pytest.mark.parametrize("label", ["my app", "1st", "a-b", "", "a.b"])
def test_label_that_is_not_an_identifier_is_refused(label):
    with pytest.raises(DeclarationError, match="An app label is a Python identifier"), cell(label):
        pytest.fail("the block was entered")
    assert label not in apps.app_configs


@pytest.mark.parametrize(
    ("field", "name"),
    [
        (lambda: models.ForeignKey("Nowhere", models.CASCADE), "Nowhere"),
        (lambda: models.OneToOneField("else.Where", models.CASCADE), "else.Where"),
        (lambda: models.ManyToManyField("Nowhere"), "Nowhere"),
        (lambda: models.ManyToManyField("self", through="Nowhere"), "Nowhere"),
    ],
)
def test_relation_to_nothing_is_refused(field, name):
    with (
        pytest.raises(DeclarationError, match=rf"Post\.other refers to {name}, but there is no such model"),
        cell(),
    ):
        model("Post", other=field())
    assert not any(apps._pending_operations.values())


def test_forgetting_a_label_forgets_its_models_and_triggers():
    with cell():
        post(triggers=[pgtrigger.Protect(name="keep", operation=pgtrigger.Delete)])
    forget_label(LABEL)
    assert registry.registered() == []
    assert cell_labels() == []
    with pytest.raises(LookupError):
        apps.get_model(LABEL, "Post")
    with cell() as again:
        post()
    assert again.replaced == {}
