"""Watching what the statements of a cell do to the database, from inside the cell's own transaction.

- `autocommit`: one transaction in which Django's connection behaves as it does outside of one;
- `statements`, `recorder`: every statement that passes, its command tag, its time, its error;
- `catalog`: the triggers of the schemas, and which tables a statement may reach;
- `probing`: probes put on tables, read after each step, and gone before COMMIT;
- `verdicts`: what all of that says about a step;
- `tracing`, `timeline`: traces around each trigger, and what their messages come to;
- `cell`: the block that holds them together.
"""

from pgmagic.db.observe.cell import CellObserver, observed, watched
from pgmagic.db.observe.timeline import Considered
from pgmagic.db.observe.tracing import CellTracer
from pgmagic.db.observe.verdicts import StepOutcome

__all__ = ["CellObserver", "CellTracer", "Considered", "StepOutcome", "observed", "watched"]
