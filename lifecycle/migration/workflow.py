"""The ordered steps of a move on the engine, and how the migration follows its run."""

from __future__ import annotations

from functools import partial

from django.db import transaction

from compliance.actors import SYSTEM
from lifecycle.engine import runs
from lifecycle.engine.workflow import StepSpec, Workflow, register
from lifecycle.migration import states, turning
from lifecycle.migration import undoing as _undoing  # noqa: F401  (registers undo actions)
from lifecycle.migration.steps import cutting, discarding, finishing, preparing, syncing
from lifecycle.models import Migration, Run
from lifecycle.systems import registry

S = Migration.State
NAME, DISCARD = "migration", "migration_discard"
_STORES = tuple(name for name in registry.MOVABLE if name != "postgresql")
_COPIED = tuple(name for name in registry.MOVABLE if name != "redis")


def steps(run: Run) -> list[StepSpec]:
    """Provision, queue, prepare; copy side by side; dual write; sync side by side; way back; cutover; flip; soak; a second
    person; last look, backup, hand over; clear blue, its rows last."""
    shares = [int(each) for each in _settings(run)["steps"]]
    ordered: list[list[StepSpec]] = [
        [StepSpec("provision", 0, run=preparing.provision)],
        [StepSpec("queue", 0, run=preparing.queue)],
        [StepSpec("prepare", 0, run=preparing.prepare)],
        [StepSpec("copy", 0, lane=name, run=preparing.copy, queue="long") for name in _COPIED],
        [StepSpec("dual_write", 0, run=syncing.dual_write)],
        [StepSpec("sync", 0, lane=name, run=syncing.sync, queue="long") for name in _COPIED],
        [
            StepSpec("way_back", 0, run=syncing.way_back),
            # Caches are warmed once there is something to answer from; a cache that stays cold stops nothing.
            StepSpec("copy", 0, lane="redis", run=preparing.copy, queue="long"),
        ],
        *[[StepSpec(f"cutover_{share}", 0, run=cutting.step)] for share in shares],
        [StepSpec("flip", 0, run=cutting.flip)],
        [StepSpec("soak", 0, run=cutting.soak)],
        [StepSpec("approval", 0, run=cutting.approval)],
        [StepSpec("last_look", 0, lane=name, run=finishing.last_look, queue="long") for name in _COPIED],
        [StepSpec("back_up", 0, run=finishing.back_up, queue="long")],
        [StepSpec("hand_over", 0, run=finishing.hand_over)],
        [StepSpec("drop_streams", 0, run=finishing.drop)],
        [StepSpec("clear", 0, lane=name, run=finishing.clear, queue="long") for name in _STORES],
        [StepSpec("clear_rows", 0, lane="postgresql", run=finishing.clear, queue="long")],
        [StepSpec("finish", 0, run=finishing.finish)],
    ]
    return [
        StepSpec(spec.name, stage, spec.lane, spec.run, spec.queue)
        for stage, group in enumerate(ordered, 1)
        for spec in group
    ]


def discard_steps(_run: Run) -> list[StepSpec]:
    """Green that was kept for a post-mortem goes: its stores, its rows, what was provisioned."""
    return [
        *[StepSpec("clear", 1, lane=name, run=discarding.clear, queue="long") for name in _STORES],
        StepSpec("clear_rows", 2, lane="postgresql", run=discarding.clear, queue="long"),
        StepSpec("unmake", 3, run=discarding.unmake),
    ]


def gate(run: Run) -> str | None:
    """Steps ask by themselves whether the move goes back; here only what a person must settle."""
    return None if Migration.objects.filter(pk=run.subject).exists() else "The migration is gone."


def on_state(run: Run) -> None:
    """The migration follows its run: failed with the name of what failed, back once all was undone."""
    migration = Migration.objects.get(pk=run.subject)
    if run.state == Run.State.CANCELLED and migration.state not in (S.ROLLED_BACK, S.COMPLETED):
        states.move(migration, S.ROLLED_BACK, actor=SYSTEM, reason=migration.reason or run.reason)
    elif run.state == Run.State.FAILED and not run.cancel_requested:
        _failed(migration, run)
    elif run.state == Run.State.RUNNING and migration.state == S.FAILED:
        before = migration.report.get("failed_in")
        if before in S.values:
            states.move(migration, S(before), actor=SYSTEM, reason="tried again", finished_at=None)


def _failed(migration: Migration, run: Run) -> None:
    if migration.state in states.BEFORE_CUTOVER:
        report = migration.report | {"failed_in": migration.state}
        states.move(migration, S.FAILED, actor=SYSTEM, reason=run.reason, report=report)
    elif migration.state in states.IN_CUTOVER and not migration.completed_by:
        # With users on green nothing stays half done: what can't go on goes back.
        transaction.on_commit(partial(_go_back, migration.pk, run.reason), robust=True)


def _go_back(pk: str, reason: str) -> None:
    turning.go_back(Migration.objects.get(pk=pk), why=reason)


def _settings(run: Run) -> dict[str, list[int]]:
    found: dict[str, list[int]] = Migration.objects.values_list("settings", flat=True).get(pk=run.subject)
    return found


def start(migration: Migration) -> Run:
    """Starts (or gives) the run of a migration."""
    return runs.start(NAME, migration.pk, tenant_id=migration.tenant_id, actor=SYSTEM)


WORKFLOW = register(Workflow(NAME, steps=steps, gate=gate, on_state=on_state))
DISCARDING = register(Workflow(DISCARD, steps=discard_steps))
