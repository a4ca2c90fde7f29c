"""Tamper evidence: events with a hash over themselves and over the event before of the same object."""

from __future__ import annotations

from typing import ClassVar, Final

from django.contrib.postgres.fields import ArrayField
from django.db import models

from pgmagic.declare.model_types import AnyField
from pgmagic.declare.trigger import ReadyMade
from pgmagic.declare.vocabulary import Before, Insert

HASH: Final = "pgh_hash"
PREVIOUS_HASH: Final = "pgh_previous_hash"
HASHED_FIELDS: Final = "pgh_hashed_fields"
CHAIN_FIELDS: Final = (HASH, PREVIOUS_HASH, HASHED_FIELDS)
CHAIN_TRIGGER: Final = "hash_chain"


def chain_fields() -> dict[str, AnyField]:
    """Return the fields of an event in a chain: its hash, the hash of the event before, and the fields that it covers.

    They are empty in events from before the chain. The covered fields are named, so that fields may be added later.
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
    # An event without a hash would break the chain of its object.
    ignorable: ClassVar[bool] = False
