"""History as DataFrames: what `pgmagic.history`, `diff`, `as_of`, `timeline`, `undo_plan` and `verify` are.

This is where `db/`, which reads events, and `frames/`, which knows nothing of a database, meet.
"""

from pgmagic.reading.events import diff, history
from pgmagic.reading.states import as_of, timeline
from pgmagic.reading.undo import undo_plan
from pgmagic.reading.verification import verify

__all__ = ["as_of", "diff", "history", "timeline", "undo_plan", "verify"]
