"""Tables that get another name, and what goes along with them: triggers, functions and marks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pgmagic.compile import ddl
from pgmagic.compile.desired import DesiredTable
from pgmagic.plan.state import Installed, InstalledFunction, InstalledTable, InstalledTrigger, Mark
from pgmagic.plan.steps import Marking, Step


@dataclass(frozen=True)
class Renaming:
    """A table that was made for a model of another name, or under another name, and the model that it is for now."""

    former: InstalledTable
    table: DesiredTable

    @property
    def former_label(self) -> str:
        """The label of the model that the table was made for."""
        return str(self.former.label)


def as_renamed(installed: Installed, renamings: Sequence[Renaming]) -> Installed:
    """Return the catalog as it is once tables, triggers and functions have their new names."""
    for renaming in renamings:
        functions = {
            part.function: _function(part.function, renaming) for part in _triggers(installed, renaming)
        }
        installed = replace(
            installed,
            tables=tuple(
                replace(table, name=renaming.table.table) if table is renaming.former else table
                for table in installed.tables
            ),
            triggers=tuple(
                _trigger(trigger, functions, renaming) if _is_on(trigger, renaming) else trigger
                for trigger in installed.triggers
            ),
            functions=tuple(functions.get(function, function) for function in installed.functions),
        )
    return installed


def renaming_steps(installed: Installed, renamings: Sequence[Renaming]) -> Iterator[Step]:
    """Return the steps that give the triggers on renamed tables, and their functions, the names of their new URIs."""
    for renaming in renamings:
        parts = _triggers(installed, renaming)
        for function in dict.fromkeys(part.function for part in parts):
            new = _function(function, renaming)
            if new.mark is not None and new.name != function.name:
                rename = ddl.rename_function(function.schema, function.name, new.name)
                comment = ddl.comment_on_function(function.schema, new.name, new.comment)
                marking = Marking(new.name, new.mark.uri, new.mark.declared, schema=new.schema,
                                  with_model=new.mark.with_model)  # fmt: skip
                yield _step(new.mark, "function", rename, comment, None if function.is_edited else marking)
        for part in parts:
            trigger = _trigger(part, {}, renaming)
            if trigger.mark is not None and trigger.name != part.name:
                place = (trigger.schema, trigger.table)
                rename = ddl.rename_trigger(*place, part.name, trigger.name)
                comment = ddl.comment_on_trigger(*place, trigger.name, trigger.comment)
                mark = trigger.mark
                marking = Marking(trigger.name, mark.uri, mark.declared, trigger.table, trigger.schema,
                                  mark.with_model)  # fmt: skip
                yield _step(mark, "trigger", rename, comment, None if part.is_edited else marking, part.fires)


def _step(
    mark: Mark,
    kind: Literal["function", "trigger"],
    rename: str,
    comment: str,
    marking: Marking | None,
    fires: str = "",
) -> Step:
    """Return the step of one renaming; an edit that somebody made stays one, since its mark keeps the old digest."""
    return Step(mark.uri, kind, "alter", (rename, comment), fires=fires, marking=marking)


def _triggers(installed: Installed, renaming: Renaming) -> list[InstalledTrigger]:
    return [trigger for trigger in installed.own_triggers if _is_on(trigger, renaming)]


def _is_on(trigger: InstalledTrigger, renaming: Renaming) -> bool:
    former = renaming.former
    return (trigger.schema, trigger.table) == (former.schema, former.name)


def _trigger(
    trigger: InstalledTrigger, functions: dict[InstalledFunction, InstalledFunction], renaming: Renaming
) -> InstalledTrigger:
    name, comment = _renamed(trigger.name, trigger.comment, _uri(trigger.mark), renaming)
    function = functions.get(trigger.function, trigger.function)
    return replace(trigger, table=renaming.table.table, name=name, comment=comment, function=function)


def _function(function: InstalledFunction, renaming: Renaming) -> InstalledFunction:
    name, comment = _renamed(function.name, function.comment, _uri(function.mark), renaming)
    return replace(function, name=name, comment=comment)


def _uri(mark: Mark | None) -> str:
    return mark.uri if mark is not None else ""


def _renamed(name: str, comment: str | None, uri: str, renaming: Renaming) -> tuple[str, str | None]:
    """Return name and comment of a trigger or function whose URI begins with the model's former label."""
    label, _, trigger_name = uri.partition(":")
    new_uri = f"{renaming.table.label}:{trigger_name}"
    new = ddl.name_under(uri, name, new_uri)
    if label != renaming.former_label or new is None:
        return name, comment
    return new, json.dumps({**json.loads(str(comment)), "pgmagic": new_uri})
