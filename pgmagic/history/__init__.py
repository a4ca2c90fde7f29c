"""Events that exist: reading, diffs, as-of, timelines, undo, verification, retention. Each with its SQL and its frame.

Nothing is imported here: a Django process that records events needs neither pandas nor the modules that read frames.
"""
