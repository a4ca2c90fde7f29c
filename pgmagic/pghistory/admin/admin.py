"""Registers the page of all events; Django's admin looks for this module once all models are there."""

from django.contrib import admin

from pgmagic.pghistory.admin import config

admin.site.register(config.model(), config.admin_class())
