"""What the statements of a cell do to the database, watched from inside the cell's own transaction.

The core, for code that has steps to run:

- `runs`, `what_if`, `script`: run steps, or a text of SQL, and return a frame;
- `outcome_frame`, `trace_frame`, `whatif_frame`, `sql_frames`: the frames and their rows.

The block that watches, from the outside to the inside:

- `watched_cell`: one transaction for all steps; `watched_connection`: one connection of it; `other_databases`: the
  connections to other databases; `bystanders`: what protects other sessions, other threads and later cells;
- `autocommit`: one transaction in which Django's connection behaves as it does outside of a transaction;
- `recorder`, `driver_cursors`, `statements`: every statement, its command tag, its time, its error;
- `messages`: what the server sends beside its answers.

What is seen, and what follows from it:

- `trigger_catalog`: the triggers of the schemas, and which tables a statement may write to;
- `instruments`: triggers of pgmagic on tables, made before the first write, removed before COMMIT. Three kinds of them:
  `probing` (`probes`, `probe_functions`): what BEFORE ROW triggers did to rows; `tracer` (`trace_sql`,
  `trace_timeline`): whether and why each trigger fired; `capture` (`capture_sql`): each change of a row;
- `written`, `effects`: how many rows of each table the database counted, whoever wrote them;
- `rejections`: why the database refused; `verdicts`: the outcome of a step from all of this;
- `clauses`, `wording`: a trigger's condition, clause by clause, in words;
- `differences`, `exchange`: two runs compared, and the triggers exchanged between them.
"""

from pgmagic.watch.outcome_frame import OutcomeRow
from pgmagic.watch.trace_frame import TraceRow
from pgmagic.watch.tracer import CellTracer
from pgmagic.watch.watched_cell import CellObserver, watched

__all__ = ["CellObserver", "CellTracer", "OutcomeRow", "TraceRow", "watched"]
