"""Compatibility: the JSON field that migrations of django-pghistory name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models


class JSONField(models.JSONField):
    """Django's JSONField with the encoder that event models have; migrations write it as Django's.

    So a state of a migration that names this class equals the field that pgmagic declares, and nothing is altered.
    """

    def __init__(
        self,
        verbose_name: str | None = None,
        name: str | None = None,
        encoder: type[json.JSONEncoder] | None = DjangoJSONEncoder,
        **kwargs: Any,
    ) -> None:
        super().__init__(verbose_name, name, encoder, **kwargs)

    def deconstruct(self) -> tuple[str, str, Sequence[Any], dict[str, Any]]:
        """Return how migrations write the field: as Django's JSONField."""
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.JSONField", args, kwargs
