"""Tamper evidence: events that carry a hash over what they say, and over the event before of the same object."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.contrib.postgres.fields import ArrayField
from django.db import models

from pgmagic.declare.event_fields import AnyField
from pgmagic.declare.trigger import ReadyMade
from pgmagic.declare.vocabulary import Before, Insert

Model = type[models.Model]
EventModel = type[Any]

HASH: Final = "pgh_hash"
PREVIOUS_HASH: Final = "pgh_previous_hash"
HASHED_FIELDS: Final = "pgh_hashed_fields"
CHAIN_FIELDS: Final = (HASH, PREVIOUS_HASH, HASHED_FIELDS)
CHAIN_TRIGGER: Final = "hash_chain"


def chain_fields() -> dict[str, AnyField]:
    """Return the fields that an event of a chain has: its hash, that of the event before, and what they cover.

    Empty in events from before the chain; the fields are named, so that the chain survives others that come later.
    """
    return {
        HASH: models.BinaryField(null=True, editable=False),
        PREVIOUS_HASH: models.BinaryField(null=True, editable=False),
        HASHED_FIELDS: ArrayField(models.TextField(), null=True, editable=False),
    }


class HashChain(ReadyMade):
    """Seals each event as it is recorded."""

    when = Before
    operation = Insert
    name = CHAIN_TRIGGER
    # An event that nothing seals would break the chain of its object.
    ignorable: ClassVar[bool] = False
