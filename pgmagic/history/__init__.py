"""Everything about events that exist: reading, diffs, as-of, timelines, undo, verification, retention.

Nothing is imported here: a Django process that records events needs neither pandas nor what reads frames.
"""
