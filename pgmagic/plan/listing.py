"""Every trigger that is declared or installed, as one list; and where the two differ, line by line."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from textwrap import dedent
from typing import Literal

from pgmagic.compile.desired import DesiredTrigger
from pgmagic.plan.drops import parts_of, prunable_triggers
from pgmagic.plan.installation_state import (
    FOREIGN,
    OUTDATED,
    PRUNE,
    UNALLOWED,
    UNINSTALLED,
    drift,
    trigger_status,
)
from pgmagic.plan.installed import Installed, InstalledFunction, InstalledTrigger


@dataclass(frozen=True)
class Listed:
    """One trigger as Postgres counts them, or one that a declaration asks for and Postgres does not have.

    name: the URI of one of ours, otherwise the name in Postgres. enabled: None where it is not installed. table: with
    its schema where an unqualified name means another table.
    """

    table: str
    name: str
    fires: str
    condition: str
    state: str
    enabled: bool | None
    drift: Sequence[str] = ()


def list_triggers(
    desired: Sequence[DesiredTrigger], unallowed: Collection[str], installed: Installed
) -> list[Listed]:
    """Return what is declared and what is installed, by table and name; unallowed: URIs that a router forbids here."""
    found: list[Listed] = []
    listed: set[int] = set()
    for trigger in desired:
        parts = [] if trigger.uri in unallowed else parts_of(trigger, installed)
        listed |= {id(part) for part in parts}
        found += _list_declared(trigger, parts, trigger.uri in unallowed, installed)
    prunable = {id(part) for part in prunable_triggers(installed, {trigger.uri for trigger in desired})}
    found += [
        _list_installed(part, PRUNE if id(part) in prunable else FOREIGN, installed)
        for part in installed.triggers
        if id(part) not in listed
    ]
    return sorted(found, key=lambda row: (row.table, row.name, row.fires))


def _list_declared(
    trigger: DesiredTrigger, parts: Sequence[InstalledTrigger], is_unallowed: bool, installed: Installed
) -> Iterator[Listed]:
    """Yield a row for each part; one that is installed and no longer asked for is a part, too."""
    state = UNALLOWED if is_unallowed else trigger_status(trigger, installed)[0]
    words = drift(trigger, installed) if state == OUTDATED else []
    by_name = {part.name: part for part in parts}
    for declared in trigger.triggers:
        part = by_name.pop(declared.name, None)
        enabled = part.is_enabled if part else None
        here = state if part or is_unallowed else UNINSTALLED
        more = [*words, *_apart(part)] if part else []
        yield Listed(trigger.table, trigger.uri, declared.fires, declared.condition, here, enabled, more)
    for part in by_name.values():
        yield Listed(
            _name_of_table(part, installed), trigger.uri, part.fires, "", state, part.is_enabled, words
        )


def _list_installed(part: InstalledTrigger, state: str, installed: Installed) -> Listed:
    name = part.mark.uri if part.mark else part.name
    table = _name_of_table(part, installed)
    # The condition of one of ours is what Postgres made of it: nothing to read.
    condition = "" if part.mark else part.condition
    return Listed(table, name, part.fires, condition, state, part.is_enabled, _apart(part))


def _apart(part: InstalledTrigger) -> list[str]:
    if not part.apart:
        return []
    return [f"{'disabled' if part.is_enabled else 'enabled'} on {', '.join(part.apart)}"]


def _name_of_table(part: InstalledTrigger, installed: Installed) -> str:
    visible = installed.table(part.table)
    is_visible = visible is not None and visible.schema == part.schema
    return part.table if is_visible else f"{part.schema}.{part.table}"


@dataclass(frozen=True)
class Difference:
    """A stretch of lines in which a live object differs from what is declared; None: it is not there at all.

    line: the number of the first line in the live definition.
    """

    trigger: str
    kind: Literal["function", "trigger", "comment"]
    line: int | None
    live: str | None
    declared: str | None


def differences(
    desired: Sequence[DesiredTrigger],
    live: Installed,
    declared: Installed,
    prunable: Sequence[InstalledTrigger],
) -> list[Difference]:
    """Return where triggers differ from what the catalog would hold if all were installed as declared.

    prunable: triggers of ours that nothing declares.
    """
    found: list[Difference] = []
    for trigger in desired:
        before, after = parts_of(trigger, live), parts_of(trigger, declared)
        if not after:
            # Its table is not there.
            found += [
                Difference(trigger.uri, "trigger", None, None, part.create) for part in trigger.triggers
            ]
        of_texts = [
            *_of_functions(trigger.uri, _functions(before), _functions(after)),
            *_of_triggers(trigger.uri, before, after),
        ]
        # A mark is another one wherever a text is.
        found += of_texts or _of_comments(trigger.uri, _functions(before), _functions(after))
    for part in prunable:
        found += _of_triggers(part.mark.uri if part.mark else part.name, [part], [])
    return found


def _functions(parts: Sequence[InstalledTrigger]) -> dict[tuple[str, str], InstalledFunction]:
    return {(part.function.schema, part.function.name): part.function for part in parts}


def _of_functions(
    uri: str,
    live: dict[tuple[str, str], InstalledFunction],
    declared: dict[tuple[str, str], InstalledFunction],
) -> Iterator[Difference]:
    for key in dict.fromkeys([*live, *declared]):
        before, after = live.get(key), declared.get(key)
        texts = [function.definition if function else None for function in (before, after)]
        yield from _stretches(uri, "function", *texts)


def _of_comments(
    uri: str,
    live: dict[tuple[str, str], InstalledFunction],
    declared: dict[tuple[str, str], InstalledFunction],
) -> Iterator[Difference]:
    for key in [*live]:
        before, after = live[key].comment, declared[key].comment
        if before != after:
            yield Difference(uri, "comment", None, before, after)


def _of_triggers(
    uri: str, live: Sequence[InstalledTrigger], declared: Sequence[InstalledTrigger]
) -> Iterator[Difference]:
    before = {(part.schema, part.table, part.name): part for part in live}
    after = {(part.schema, part.table, part.name): part for part in declared}
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key), after.get(key)
        texts = [part.definition if part else None for part in (old, new)]
        yield from _stretches(uri, "trigger", *texts)


def _stretches(
    uri: str, kind: Literal["function", "trigger"], live: str | None, declared: str | None
) -> Iterator[Difference]:
    if live is None or declared is None:
        yield Difference(uri, kind, None, live, declared)
        return
    old, new = live.splitlines(), declared.splitlines()
    for tag, start, end, new_start, new_end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            yield Difference(uri, kind, start + 1, _lines(old[start:end]), _lines(new[new_start:new_end]))


def _lines(lines: Sequence[str]) -> str | None:
    return dedent("\n".join(lines)).strip() if lines else None
