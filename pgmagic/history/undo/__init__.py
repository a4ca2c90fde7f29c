"""Undoing a context: what would be done to which row, what stands against it, and doing it."""

from pgmagic.history.undo.carrying_out import apply_plan
from pgmagic.history.undo.plan import Plan, Step, make_plan

__all__ = ["Plan", "Step", "apply_plan", "make_plan"]
