"""Undoing a context: what would be done to each row, what prevents it, and doing it.

`undo_plan.py` has `pgmagic.undo_plan` and `UndoFrame`, `plan.py` makes the plan, `applying.py` carries it out. What
a row was before the context is found by `former_rows.py`, for rows with a new key by `moved_rows.py`.
"""
