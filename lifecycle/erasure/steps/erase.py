"""Destroy what the manifest names, under the fence, until discovering again finds nothing."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from itertools import groupby
from typing import Any

from django.utils import timezone

from compliance.sealing import seal_json, unseal_json
from lifecycle import places
from lifecycle.engine.outcomes import Blocked, Done, More, Outcome, Wait
from lifecycle.engine.workflow import Context
from lifecycle.erasure import cases, census, fencing, freeing, lines, manifest
from lifecycle.erasure.cases import CaseFile
from lifecycle.erasure.steps import plant
from lifecycle.models import Canary, ManifestChunk, SystemLine
from lifecycle.systems.base import Action, Eraser, Gate, Item, Locked, Tally, Transient, key_hash
from lifecycle.systems.items import Items, Run

MOST_PASSES = 12


class TimeUp(Exception):
    """The slice is over; the manifest says where to go on."""


def run(context: Context) -> Outcome:
    """One slice for one system: known chunks first, then passes until enough of them in a row are empty."""
    file = cases.read(context.run)
    for line in file.lines(context.step.lane):
        outcome = settle(context, file, line)
        if outcome is not None:
            return outcome
    return Done({"erased": sum(line.erased for line in file.lines(context.step.lane))})


def settle(context: Context, file: CaseFile, line: SystemLine) -> Outcome | None:
    """Erases one line as far as this slice goes. None when nothing of it is left to do."""
    if line.detail.get("clean_round") == [file.case.round, line.rounds] and not line.detail.get("locked"):
        return None
    if (not_yet := freeing.wait(file, line)) is not None:
        return not_yet
    if lines.lock_passed(line):
        lines.unlock(line)
        manifest.begin_anew(line)
    lines.mark(line, SystemLine.State.ERASING)
    try:
        with places.eraser(line.environment, line.system, file.datamap) as eraser:
            _plant_again(context, file, line, eraser)
            for chunk in line.chunks.filter(erased_at=None).order_by("index"):
                _chunk(context, file, line, eraser, chunk)
            _passes(context, file, line, eraser)
            if (waits := _finish(context, file, line, eraser)) is not None:
                return waits
    except fencing.Held as held:
        return _held(context, held)
    except TimeUp:
        return _more(context, lines.recount(line))
    lines.recount(line)
    if line.detail.get("locked"):
        return _locked(file, line)
    lines.note(line, clean_round=[file.case.round, line.rounds], method=eraser.method)
    return None


def _plant_again(context: Context, file: CaseFile, line: SystemLine, eraser: Eraser) -> None:
    """What a hold lifted is planted again, and seen again: verifying counts only what had been seen."""
    plant.plant(file, line, eraser, context)
    if not line.canaries.filter(state=Canary.State.PLANTED).exists():
        return
    context_name, seeing = f"seeing/{line.pk}", line.detail.get("seeing")
    after = unseal_json(file.key, b64decode(seeing), context_name) if seeing else None
    lines.note(line, seeing="")  # where it looks in vain it begins anew
    after = plant.see(cases.read(context.run), line, context, states=[Canary.State.PLANTED], after=after)
    if after is not None:
        lines.note(line, seeing=b64encode(seal_json(file.key, after, context_name)).decode())
        raise TimeUp


def _chunk(context: Context, file: CaseFile, line: SystemLine, eraser: Eraser, chunk: ManifestChunk) -> None:
    items = _spare_held(file, line, chunk)
    todo = items.where(lambda run: run.action != Action.RETAIN)
    try:
        for category, group in groupby(todo[chunk.taken :].runs, key=lambda run: run.category):
            _group(context, file, line, eraser, chunk, Items(group), category)
    except BaseException:
        manifest.keep_place(chunk)
        raise
    manifest.mark_erased(chunk)


def _spare_held(file: CaseFile, line: SystemLine, chunk: ManifestChunk) -> Items:
    """The chunk's items; what a hold has covered since they were found, and is still there, is marked as kept."""
    items = manifest.items(chunk, file.key)
    held, gone = file.scope.held_categories, chunk.taken
    runs: list[Run] = []
    for run in items.runs:
        done = 0 if run.action == Action.RETAIN else min(gone, len(run.keys))
        gone -= done
        rest = run.part(done, len(run.keys))
        runs += [run.part(0, done), replace(rest, action=Action.RETAIN) if run.category in held else rest]
    spared = Items(runs)
    if spared.runs != items.runs:
        markers = census.of(line)
        manifest.add(
            line, file.key, spared, index=chunk.index, pass_number=chunk.pass_number, markers=markers
        )
    return spared


def _group(
    context: Context,
    file: CaseFile,
    line: SystemLine,
    eraser: Eraser,
    chunk: ManifestChunk,
    items: Items,
    category: str,
) -> None:
    at, idle, size = 0, 0, eraser.batch
    while at < len(items):
        if context.time_left() <= 0:
            raise TimeUp
        batch = items[at : at + size]
        tally = fencing.destroy(file, line.system, partial(_send, eraser, file, batch), category=category)
        at += fencing.taken(tally)
        chunk.taken += fencing.taken(tally)
        _note_locked(line, tally)
        context.heartbeat()
        if fencing.taken(tally) or (tally is not None and tally.detail.get("working")):
            idle = 0  # a log stream that is being copied takes several batches before one item of it is done
        else:
            idle, size = idle + 1, max(1, size // 4)
            fencing.patience(idle)


def _send(eraser: Eraser, file: CaseFile, batch: Sequence[Item], gate: Gate) -> Tally:
    return eraser.erase(file.scope, batch, gate)


def _note_locked(line: SystemLine, tally: Tally | None) -> None:
    found: list[Locked] = tally.locked if tally else []
    lines.lock(line, found, [key_hash(each.item.kind, each.item.key).hex() for each in found])


def _passes(context: Context, file: CaseFile, line: SystemLine, eraser: Eraser) -> None:
    """Discovers again: what came since, what a listing dropped. One listing is never trusted."""
    known = dict(line.detail.get("passes", {}))
    if known.get("of") != [file.case.round, line.rounds]:
        known = {"of": [file.case.round, line.rounds], "number": 0, "clean": 0}
    while known["clean"] < eraser.clean_passes:
        if known["number"] >= MOST_PASSES:
            raise Transient(
                f"{line.system} still yields new items after {MOST_PASSES} passes: something writes for the subject."
            )
        known["number"] += 1
        fresh = _pass(context, file, line, eraser, known["number"])
        known["clean"] = 0 if fresh else known["clean"] + 1
        lines.note(line, passes=known)


def _pass(context: Context, file: CaseFile, line: SystemLine, eraser: Eraser, number: int) -> int:
    cursor: Any = None
    fresh = 0
    locked = line.detail.get("locked", {})
    while True:
        page = eraser.discover(file.scope, cursor)
        new = [
            each
            for each in page.entries
            if each.action != Action.RETAIN
            and each.category not in file.scope.held_categories
            and key_hash(each.kind, each.key).hex() not in locked
        ]
        if new:
            fresh += len(new)
            chunk = manifest.add(
                line,
                file.key,
                new,
                index=manifest.next_index(line),
                pass_number=number,
                markers=census.of(line),
            )
            _chunk(context, file, line, eraser, chunk)
        context.heartbeat()
        cursor = page.cursor
        if cursor is None:
            return fresh
        if context.time_left() <= -30:
            raise TimeUp


def _finish(context: Context, file: CaseFile, line: SystemLine, eraser: Eraser) -> Outcome | None:
    """Closes the erasing. A provider that is still at it says until when to wait; one that purges later says by when."""
    idle = 0
    while (tally := fencing.destroy(file, line.system, lambda gate: eraser.finish(file.scope, gate))) is None:
        idle += 1
        fencing.patience(idle)
        context.heartbeat()
    _note_locked(line, tally)
    detail = dict(tally.detail)
    until, why, purge_by = (detail.pop(name, None) for name in ("wait_until", "why", "purge_by"))
    if purge_by:
        lines.mark(line, line.state, purge_by=datetime.fromisoformat(purge_by))
    if detail:
        lines.note(line, **detail)
    return Wait(datetime.fromisoformat(until), f"{line.system}: {why}") if until else None


def _held(context: Context, held: fencing.Held) -> Outcome:
    """A hold on one category spares that category from the next slice on; any other hold stops the case."""
    from compliance.models import LegalHold

    if not LegalHold.objects.filter(pk__in=held.holds, category="").exists():
        return More(context.cursor)
    return Blocked(str(held))


def _more(context: Context, line: SystemLine) -> Outcome:
    done = line.erased + line.anonymised + manifest.under_way(line)
    return More({"at": str(timezone.now())}, done=done, total=line.found, unit="items")


def _locked(file: CaseFile, line: SystemLine) -> Outcome:
    lines.mark(line, SystemLine.State.LOCKED)
    if line.locked_until is None and (not_yet := freeing.wait(file, line)) is not None:
        return not_yet
    until = line.locked_until or timezone.now() + timedelta(days=1)
    number = len(line.detail["locked"])
    return Wait(
        until, f"{line.system}: {number} items are locked until {until:%Y-%m-%d %H:%M} UTC and not erased."
    )
