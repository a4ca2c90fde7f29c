"""What a `%%pgtrigger` cell does: declare, compile, plan, install - or nothing at all."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.db import connection, models
from IPython.core.interactiveshell import InteractiveShell

from pgmagic.compile.desired import Desired
from pgmagic.compile.event_values import compile_routines
from pgmagic.compile.model_tables import compile_table
from pgmagic.db import backend
from pgmagic.db.apply import plan_and_apply, plan_only
from pgmagic.db.changes import compiled
from pgmagic.db.evolution.evolve import plan_with_evolutions
from pgmagic.db.evolution.renames import Wishes
from pgmagic.db.installation_frame import InstallationFrame, InstallationRow, installation_frame
from pgmagic.db.schemas import target_of
from pgmagic.declare import registry
from pgmagic.declare.model_registry import Redeclaration, redeclaring
from pgmagic.declare.trigger import Trigger
from pgmagic.errors import DeclarationError, InstallationError
from pgmagic.notebook.cells import execute, namespace_restored_on_error, parse_cell, pending_note
from pgmagic.notebook.interrupts import Shield
from pgmagic.plan.steps import Outcome

Model = type[models.Model]

# The module in which a kernel runs cells.
_CELL_MODULE = "__main__"


@dataclass(frozen=True)
class CellResult:
    """What a cell's declarations came to: the frame, the SQL that stands for them, and the error that undid them."""

    frame: InstallationFrame
    sql: str
    error: InstallationError | None = None


class _NotKept(Exception):  # noqa: N818 - it leaves a block, and is no error
    """Leaves the block of a declaration that is not to be kept."""

    def __init__(self, result: CellResult) -> None:
        super().__init__()
        self.result = result


def install_cell(shell: InteractiveShell, source: str, app_label: str, wishes: Wishes) -> CellResult:
    """Run a cell of declarations and install them, in one transaction.

    If the cell raises, or the database refuses, or somebody interrupts, then the database, the registry and the
    user's names are as before.
    """
    try:
        with (
            Shield() as shield,
            _declared(shell, source, app_label, wishes, shield) as (declaration, desired),
        ):
            planner = plan_with_evolutions(connection, desired, wishes)
            applied = plan_and_apply(connection, planner, before_commit=shield.begin)
            result = CellResult(outcomes_frame(applied.outcomes), _full_sql(desired), applied.error)
            if applied.error is not None:
                raise _NotKept(result)
            _rebind(shell, declaration)
            return result
    except _NotKept as unkept:
        return unkept.result


def plan_cell(shell: InteractiveShell, source: str, app_label: str, wishes: Wishes) -> CellResult:
    """Run a cell of declarations and plan their installation; nothing is kept."""
    try:
        with Shield() as shield, _declared(shell, source, app_label, wishes, shield) as (_, desired):
            plan = plan_only(connection, plan_with_evolutions(connection, desired, wishes))
            frame = outcomes_frame([Outcome(step, "planned") for step in plan.steps])
            raise _NotKept(CellResult(frame, _full_sql(desired)))
    except _NotKept as unkept:
        return unkept.result


@contextmanager
def _declared(
    shell: InteractiveShell, source: str, app_label: str, wishes: Wishes, shield: Shield
) -> Iterator[tuple[Redeclaration, Desired]]:
    """Run the cell; what it declares holds only if the block ends without an exception."""
    tree, filename = parse_cell(shell, source)
    names = {new.rpartition(".")[2]: former.rpartition(".")[2] for new, former in wishes.models.items()}
    with namespace_restored_on_error(shell), redeclaring(app_label, _CELL_MODULE, names) as declaration:
        try:
            with declaration.collecting():
                pending = execute(shell, tree.body, filename)
            for sentence in pending_note(pending):
                print(sentence, file=sys.stderr)
            for model in declaration.models:
                _check_fields(model)
            yield declaration, _desired(declaration.models)
        except BaseException:
            # What is taken back now is taken back as a whole.
            shield.begin()
            raise


def _check_fields(model: Model) -> None:
    """Refuse a model that its author has not filled in yet.

    Raises:
        DeclarationError: it has no field but the key that Django adds.
    """
    own = [field for field in (*model._meta.fields, *model._meta.many_to_many) if not field.auto_created]
    if not own and model._meta.managed and not model._meta.proxy and not model._meta.auto_created:
        raise DeclarationError(
            f"{model._meta.object_name} has no fields: add at least one, as in `title = models.TextField()`."
        )


def _desired(declared: list[Model]) -> Desired:
    """Compile what the cell declares, and the tables that it refers to."""
    target = target_of(connection.alias)
    triggers = list(dict.fromkeys([*registry.registered_in_block(), *_triggers_on(declared)]))
    event_models = [model for model in declared if hasattr(model, "pgh_tracked_model")]
    return Desired(
        tables=[compile_table(model, target.schema) for model in _with_referred_models(declared)],
        routines=compile_routines(event_models, target),
        triggers=[compiled(model, trigger, target) for model, trigger in triggers],
        owned_labels=frozenset(model._meta.label for model in declared),
    )


def _triggers_on(declared: list[Model]) -> list[tuple[Model, Trigger]]:
    return [(model, trigger) for model, trigger in registry.registered() if model in declared]


def _with_referred_models(declared: list[Model]) -> list[Model]:
    """Return the models with a table of their own, and behind them those that they refer to, directly or not.

    Only a notebook's own schema is filled with the tables of installed apps; a project has made its own.
    """
    found: dict[Model, None] = {}
    waiting = list(declared)
    while waiting:
        model = waiting.pop(0)._meta.concrete_model
        if model is None or model in found or model._meta.auto_created or not model._meta.managed:
            continue
        found[model] = None
        if backend.choice.schema is not None or model in declared:
            waiting += _referred_models(model)
    return list(found)


def _referred_models(model: Model) -> Iterator[Model]:
    for relation in (*model._meta.local_fields, *model._meta.local_many_to_many):
        target = getattr(relation.remote_field, "model", None)
        if isinstance(target, type) and (backend.choice.schema is not None or _is_of_history(target)):
            yield target


def _is_of_history(model: Model) -> bool:
    return model._meta.app_label == "pghistory"


def _full_sql(desired: Desired) -> str:
    """Return the SQL that makes a database without any of it hold what is desired."""
    statements = [sql for table in desired.tables for sql in table.create]
    statements += [sql for table in desired.tables for sql in table.deferred]
    statements += [routine.create for routine in desired.routines]
    statements += [trigger.install_sql for trigger in desired.triggers]
    return "\n\n".join(statements)


def _rebind(shell: InteractiveShell, declaration: Redeclaration) -> None:
    """Let names that still hold a former class hold the one that took its place."""
    for name, value in list(shell.user_ns.items()):
        if isinstance(value, type) and value in declaration.replaced:
            shell.user_ns[name] = declaration.replaced[value]


def outcomes_frame(outcomes: Iterable[Outcome]) -> InstallationFrame:
    """Return what became of the steps of a plan as a frame."""
    return installation_frame(
        InstallationRow(
            object=outcome.object,
            kind=outcome.kind,
            action=outcome.action,
            status=outcome.status,
            fires=outcome.fires,
            condition=outcome.condition,
            elapsed_ms=outcome.elapsed_ms,
            lines=outcome.lines,
        )
        for outcome in outcomes
    )
