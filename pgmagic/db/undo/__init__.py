"""Undoing a context: what would be done to which row, what stands against it, and doing it."""

from pgmagic.db.undo.apply import apply_plan
from pgmagic.db.undo.plan import Plan, Step, make_plan

__all__ = ["Plan", "Step", "apply_plan", "make_plan"]
