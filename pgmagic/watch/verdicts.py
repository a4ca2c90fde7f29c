"""The verdict of a step, from what was seen of it.

Several things can happen in one step. The verdict is the first of them in the order of `VERDICTS`, and the reason says
how many statements or rows it is about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter

from pgmagic.watch.effects import Effects, effects_of, rows_text
from pgmagic.watch.instruments import Observed
from pgmagic.watch.outcome_frame import ROLLED_BACK_BY_CELL, VERDICTS, OutcomeRow, Verdict
from pgmagic.watch.rejections import Rejection, rejection, value_in_line
from pgmagic.watch.statements import Executed
from pgmagic.watch.trigger_catalog import TriggerCatalog
from pgmagic.watch.written import Written

_PLAIN_ORDER: tuple[Verdict, ...] = ("applied", "rolled back", "no rows", "read")


@dataclass(frozen=True)
class _Finding:
    """One thing that happened, with its place in the reason."""

    verdict: Verdict
    reason: str | None = None
    table: str | None = None
    triggers: tuple[str, ...] = ()


def step_outcome(
    executed: Sequence[Executed],
    observed: Sequence[Observed],
    error: BaseException | None,
    catalog: TriggerCatalog | None,
    messages: Iterable[str] = (),
    written: Sequence[Written] = (),
    short_inserts: Sequence[Executed] = (),
) -> OutcomeRow:
    """Return the outcome of a step.

    error: the database's error that left the step, if one did. catalog: needed to name the trigger of a rejection.
    written: the rows that the database counted. short_inserts: INSERTs among which are those that did not return each
    row, if Django failed on that.
    """
    counted = [statement for statement in executed if not statement.undone]
    own = [observation for observation in observed if observation.depth == 1]
    effects = effects_of(counted, own, written)
    found = [
        *_rejections(executed, error, catalog),
        *_of_probes(own, counted),
        *(_ruled(counted, effects, catalog) if catalog is not None else ()),
        *_plain(executed, effects),
    ]
    findings = _with_missed(found, short_inserts)
    lines = [*(_effect(observation) for observation in observed if observation.depth > 1), *effects.lines()]
    if not findings:
        return OutcomeRow(messages=tuple(messages), effects=tuple(lines))
    first = findings[0]
    return OutcomeRow(
        verdict=first.verdict,
        rows=_rows(counted, first.verdict, effects),
        table=first.table,
        trigger=", ".join(first.triggers) or None,
        reason="; ".join(_reasons(findings)) or None,
        elapsed_ms=sum(statement.elapsed_ms for statement in executed),
        messages=tuple(messages),
        effects=tuple(lines),
    )


def _with_missed(findings: list[_Finding], inserts: Sequence[Executed]) -> list[_Finding]:
    """Return the findings on a step in which an INSERT did not return a row, also if no probe saw what swallowed it."""
    if not inserts:
        return findings
    decided = [finding for finding in findings if finding.verdict in ("rejected", "suppressed", "rewritten")]
    if not any(finding.verdict == "suppressed" for finding in decided):
        table = next((insert.table for insert in inserts if not insert.rows), inserts[-1].table)
        decided.append(_Finding("suppressed", "insert swallowed", table))
    return sorted(decided, key=lambda finding: VERDICTS.index(finding.verdict))


def _reasons(findings: Sequence[_Finding]) -> Iterable[str]:
    """Return the reasons, with the triggers if they are not the triggers of the finding that decides."""
    found: dict[str, None] = {}
    for finding in findings:
        if finding.reason:
            is_other = finding.triggers and finding.triggers != findings[0].triggers
            found[f"{finding.reason} by {', '.join(finding.triggers)}" if is_other else finding.reason] = None
    return found


def needs_catalog(executed: Iterable[Executed], error: BaseException | None) -> bool:
    """Return whether the triggers have to be known for the outcome of a step."""
    return error is not None or any(
        statement.kind == "rejected" or (statement.kind == "write" and statement.rows == 0) for statement in executed
    )


def _rejections(
    executed: Sequence[Executed], error: BaseException | None, catalog: TriggerCatalog | None
) -> Iterator[_Finding]:
    refused = [
        rejection(statement.error, catalog, statement.table) for statement in executed if statement.error is not None
    ]
    if refused:
        total = sum(statement.kind != "read" for statement in executed)
        yield _rejection_of_statements(refused, total)
    elif error is not None:
        refusal = rejection(error, catalog)
        triggers = (refusal.trigger,) if refusal.trigger else ()
        yield _Finding("rejected", refusal.reason_with_row(), refusal.table, triggers)


def _rejection_of_statements(refused: Sequence[Rejection], total: int) -> _Finding:
    """Return the rejections of a step of so many statements as one finding."""
    messages = Counter(refusal.reason for refusal in refused)
    # The first that a trigger decided; without one, the first of all.
    first = next((refusal for refusal in refused if refusal.trigger), refused[0])
    reason = ""
    if len(messages) > 1:
        others = len(messages) - 1
        reason = f" (and {others:,} other message{'s' if others > 1 else ''})"
    prefix = f"{len(refused):,} of {total:,} statements rejected: " if total > 1 else ""
    triggers = tuple(dict.fromkeys(refusal.trigger for refusal in refused if refusal.trigger))
    row = f"; {first.row}" if first.row else ""
    return _Finding("rejected", f"{prefix}{first.reason}{reason}{row}", first.table, triggers)


def _of_probes(observed: Sequence[Observed], counted: Sequence[Executed]) -> Iterator[_Finding]:
    """Yield what BEFORE ROW triggers swallowed, then what they rewrote."""
    written = sum(statement.rows or 0 for statement in counted if statement.kind == "write")
    for observation in observed:
        if observation.kind == "swallowed":
            what = f"{observation.event.lower()} swallowed"
            if written or observation.rows > 1:
                what += f" for {rows_text(observation.rows)}"
            yield _Finding("suppressed", what, observation.table, observation.triggers)
    for observation in observed:
        if observation.kind != "swallowed":
            yield _Finding("rewritten", _rewriting(observation), observation.table, observation.triggers)


def _rewriting(observation: Observed) -> str:
    changes = observation.pairs[0] if observation.pairs else {}
    shown = ", ".join(
        f"{name}: {value_in_line(asked)} → {value_in_line(stored)}" for name, (asked, stored) in changes.items()
    )
    if observation.kind == "converted":
        shown = f"delete → update of {shown or 'nothing'}"
    elif not shown:
        shown = "values that cannot be compared"
    if observation.sample is not None:
        compared, rows = observation.sample
        of_them = "all" if observation.rows == compared else f"{observation.rows:,}"
        return f"{shown} (in {of_them} of the {compared:,} rows compared, of {rows:,})"
    others = observation.rows - 1
    return f"{shown} (and {others:,} more row{'' if others == 1 else 's'})" if others else shown


def _ruled(counted: Sequence[Executed], effects: Effects, catalog: TriggerCatalog) -> Iterator[_Finding]:
    """Yield what rules did instead of statements, whose own tags then count nothing."""
    for statement in counted:
        if statement.kind != "write" or statement.rows != 0 or not statement.table:
            continue
        rule = catalog.rule_instead(statement.table, statement.verb)
        if rule is not None:
            asked, done = statement.verb.lower(), effects.done()
            yield _Finding(
                "rewritten" if done else "suppressed",
                f"{asked} → {done}" if done else f"{asked} swallowed",
                statement.table,
                (f"rule {rule}",),
            )


def _plain(executed: Sequence[Executed], effects: Effects) -> Iterator[_Finding]:
    """Yield what the command tags report; a step that seems to read, but after which rows were counted, wrote them."""
    if executed:
        statement = min(executed, key=lambda statement: _PLAIN_ORDER.index(_plain_verdict(statement)))
        verdict = _plain_verdict(statement)
        if verdict == "read" and effects.written:
            verdict = "applied"
        table = statement.table
        if verdict == "applied":
            table = effects.own_tables or table or effects.tables or None
        yield _Finding(verdict, ROLLED_BACK_BY_CELL if verdict == "rolled back" else None, table)


def _plain_verdict(statement: Executed) -> Verdict:
    if statement.undone:
        return "rolled back"
    if statement.kind == "read":
        return "read"
    return "no rows" if statement.rows == 0 or statement.kind == "rejected" else "applied"


def _rows(counted: Sequence[Executed], verdict: Verdict, effects: Effects) -> int | None:
    """Return how many rows a step wrote, or read if it only read; None if Postgres does not report it."""
    kind = "read" if verdict == "read" else "write"
    known = [statement.rows for statement in counted if statement.kind == kind and statement.rows is not None]
    if not known and verdict in ("applied", "read"):
        # If a statement names its table, as TRUNCATE does, the rows of others would seem to be that table's.
        return None if any(map(attrgetter("table"), counted)) else effects.rows or None
    if verdict == "rewritten" and not any(known) and not effects.converted:
        # A rule did it: the tag counts what was not done.
        return effects.rows
    return sum(known) + effects.converted


def _effect(observation: Observed) -> str:
    """Return a line about rows that a trigger wrote itself."""
    by = f" by {', '.join(observation.triggers)}" if observation.triggers else ""
    if observation.kind == "swallowed":
        done = f"{observation.event.lower()} of {rows_text(observation.rows)} swallowed"
    else:
        done = _rewriting(observation)
    return f"in {observation.table}: {done}{by}"
