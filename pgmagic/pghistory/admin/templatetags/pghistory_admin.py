"""The links from an object's page to its events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django import template
from django.contrib import admin
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode

from pgmagic.pghistory.admin import config
from pgmagic.pghistory.event_queries import registered_event_models

register = template.Library()


@dataclass(frozen=True)
class Link:
    """A link to a list of events."""

    url: str
    text: str


@register.simple_tag(takes_context=True)
def pghistory_links(context: template.Context) -> list[Link]:
    """Return the links that the user may follow from the page of an object."""
    request, found = context.get("request"), context.get("original")
    if request is None or found is None or not hasattr(found, "_meta"):
        return []
    concrete = found._meta.concrete_model
    tracking = [
        event_model
        for event_model in registered_event_models()
        if event_model.pgh_tracked_model._meta.concrete_model is concrete
    ]
    return list(_links(request, found, tracking))


def _links(request: Any, found: Any, tracking: list[Any]) -> Iterator[Link]:
    """Yield a link for each event model of the object, and one for all events if there are any."""
    obj = {"obj": f"{found._meta.concrete_model._meta.label}:{found.pk}"}
    for event_model in tracking:
        url = _list_url(request, event_model)
        if url:
            yield Link(f"{url}?{urlencode(obj)}", str(event_model._meta.verbose_name_plural))
    url = _list_url(request, config.model()) if tracking else None
    if url:
        yield Link(f"{url}?{urlencode({'method': 'tracks', **obj})}", "events")


def _list_url(request: Any, model: Any) -> str | None:
    """Return the address of a model's list, where the site has one and the user may see it."""
    page = admin.site._registry.get(model)
    if page is None or not page.has_view_permission(request):
        return None
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    except NoReverseMatch:
        return None
