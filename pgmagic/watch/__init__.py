"""Watching what the statements of a cell do to the database, from inside the cell's own transaction.

- `autocommit`: one transaction in which Django's connection behaves as it does outside of one;
- `statements`, `recorder`: every statement that passes, its command tag, its time, its error;
- `catalog`: the triggers of the schemas, and which tables a statement may reach;
- `instruments`: what watches tables, put there before the first write, and gone before COMMIT;
- `probing`: probes, which tell what BEFORE ROW triggers did to rows;
- `written`, `effects`: how many rows of each table the database counted, whoever wrote them;
- `rejections`: why the database refused;
- `verdicts`: what all of that says about a step;
- `tracing`, `timeline`: traces around each trigger, and what their messages come to;
- `capturing`: every change of a row that was stored, for two runs to be compared;
- `watching`: one connection, and what it says about a step; `others`: the other databases that a cell uses;
- `cell`: the block that holds them together.
"""

from pgmagic.watch.cell import CellObserver, observed, watched
from pgmagic.watch.trace_messages import Considered
from pgmagic.watch.tracer import CellTracer
from pgmagic.watch.verdicts import StepOutcome

__all__ = ["CellObserver", "CellTracer", "Considered", "StepOutcome", "observed", "watched"]
