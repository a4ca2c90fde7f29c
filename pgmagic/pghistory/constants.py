"""Compatibility: the values that stand for an argument that is not given, as django-pghistory names them."""

from pgmagic.declare.event_fields import DEFAULT, UNSET, Default, Unset

__all__ = ["DEFAULT", "UNSET", "Default", "Unset"]
