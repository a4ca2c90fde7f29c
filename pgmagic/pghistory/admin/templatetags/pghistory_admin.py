"""The links from an object's page to its events."""

from __future__ import annotations

from dataclasses import dataclass

from django import template
from django.contrib import admin
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.http import urlencode

from pgmagic.declare.model_types import Model
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
    """Return the links that the user may follow from the page of an object.

    There is a link for each event model of the object, and a link to all its events if it has an event model.
    """
    request, found = context.get("request"), context.get("original")
    if request is None or found is None or not hasattr(found, "_meta"):
        return []
    concrete = found._meta.concrete_model
    obj = {"obj": f"{concrete._meta.label}:{found.pk}"}
    links = []
    tracking = [
        event_model
        for event_model in registered_event_models()
        if event_model.pgh_tracked_model._meta.concrete_model is concrete
    ]
    for event_model in tracking:
        url = _list_url(request, event_model)
        if url:
            links.append(Link(f"{url}?{urlencode(obj)}", str(event_model._meta.verbose_name_plural)))
    url = _list_url(request, config.model()) if tracking else None
    if url:
        links.append(Link(f"{url}?{urlencode({'method': 'tracks', **obj})}", "events"))
    return links


def _list_url(request: HttpRequest, model: Model) -> str | None:
    """Return the address of a model's list, if the site has a list and the user may see it."""
    page = admin.site._registry.get(model)
    if page is None or not page.has_view_permission(request):
        return None
    try:
        return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
    except NoReverseMatch:
        return None
