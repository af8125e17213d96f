"""Canaries in every storage shape, and the bystanders' digests, before anything is destroyed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from compliance.sealing import seal_json, unseal_json
from lifecycle import places
from lifecycle.engine.outcomes import Done, More, Outcome
from lifecycle.engine.workflow import Context
from lifecycle.erasure import bystanding, cases, census
from lifecycle.erasure.cases import CaseFile
from lifecycle.models import Canary, Run, SystemLine
from lifecycle.systems.base import Eraser, Permanent, Planted, Transient

LIFT = "erasure.lift_canaries"


class Unseen(Transient):
    """The verifier looked everywhere and did not find a canary that stands."""


def run(context: Context) -> Outcome:
    """One slice: a canary per shape, each seen with the verifier's own eyes, then our own items and the bystanders noted."""
    file = cases.read(context.run)
    context.undo(LIFT, request=file.request.pk, system=context.step.lane)
    cursor: dict[str, Any] = context.cursor or _start(0)
    targets = file.lines(context.step.lane)
    while cursor["line"] < len(targets):
        cursor = _piece(file, targets[cursor["line"]], context, cursor)
        context.cursor = cursor
        file = cases.read(context.run)
        if context.time_left() <= (bystanding.SECONDS if cursor["phase"] == "bystanders" else 0):
            return More(cursor, done=cursor["line"], total=len(targets), unit="places")
    return Done({"planted": sum(line.canaries.count() for line in targets)})


def _start(line: int) -> dict[str, Any]:
    return {"line": line, "phase": "plant", "inner": None, "found": [], "blind": 0}


def _piece(file: CaseFile, line: SystemLine, context: Context, cursor: dict[str, Any]) -> dict[str, Any]:
    """Does one phase of one line, or as much of it as the slice has time for; where to go on."""
    inner, found = cursor["inner"], cursor["found"]
    if cursor["phase"] == "plant":
        with places.eraser(line.environment, line.system, file.datamap) as eraser:
            plant(file, line, eraser, context)
        return {**cursor, "phase": "see"}
    if cursor["phase"] == "see":
        try:
            inner = see(file, line, context, after=inner)
        except Unseen as blind:
            context.cursor = {**cursor, "inner": None, "blind": cursor["blind"] + 1}
            if context.cursor["blind"] > len(settings.STEP_BACKOFF):
                raise Permanent(str(blind)) from None
            raise
        return {**cursor, "phase": "see" if inner else "census", "inner": inner}
    if cursor["phase"] == "census":
        inner, found = census.take(file, line, context, after=inner, found=found)
        return {**cursor, "phase": "census" if inner else "bystanders", "inner": inner, "found": found}
    bystanding.note_before(file, line, context)
    return _start(cursor["line"] + 1)


def plant(file: CaseFile, line: SystemLine, eraser: Eraser, context: Context) -> int:
    """Plants what is missing on this line; a row with the marker is committed before the marker leaves us."""
    known = {canary.shape: canary for canary in line.canaries.all()}
    for shape in eraser.shapes(file.scope):
        canary = known.get(shape) or Canary.objects.create(
            line=line, shape=shape, marker=f"canary{secrets.token_hex(12)}"
        )
        known[shape] = canary
        if canary.state not in (Canary.State.INTENDED, Canary.State.LIFTED):
            continue
        made = eraser.plant(file.scope, shape, canary.marker)
        canary.sealed_place = seal_json(file.key, {"place": made.place}, f"canary/{canary.marker}")
        canary.state = Canary.State.PLANTED
        canary.save(update_fields=["sealed_place", "state"])
        context.heartbeat()
    return len(known)


def see(
    file: CaseFile,
    line: SystemLine,
    context: Context,
    states: Sequence[str] = (Canary.State.PLANTED, Canary.State.SEEN),
    after: Any = None,
) -> Any:
    """Requires that the verifier finds every canary in `states` now. A verifier that is blind must not certify later.

    Returns where its search goes on when the slice's time is over; None once all were seen. Raises Unseen when the
    search ended without one of them.
    """
    if after is None:
        line.canaries.filter(state__in=states).update(state=Canary.State.PLANTED)
    with places.verifier(line.environment, line.system, file.datamap) as verifier:
        while waiting := {
            each.marker: each.shape for each in line.canaries.filter(state=Canary.State.PLANTED)
        }:
            page = verifier.search(file.scope, after)
            texts = [f"{hit.key} {hit.excerpt} {hit.place}" for hit in page.entries]
            seen = {marker for marker in waiting if any(marker in text for text in texts)}
            line.canaries.filter(marker__in=seen).update(state=Canary.State.SEEN)
            context.heartbeat()
            after = page.cursor
            if after is None and (missing := sorted(waiting[marker] for marker in waiting.keys() - seen)):
                raise Unseen(
                    f"The verifier of {line.system} does not see the canaries in: {', '.join(missing)}."
                )
            if after is not None and context.time_left() <= 0:
                return after
    return None


def lift(run_: Run, arguments: dict[str, Any]) -> None:
    """Undo: takes the canaries of one system out again (the case is held or cancelled); idempotent."""
    from compliance.models import ErasureRequest

    file = cases.of_request(ErasureRequest.objects.get(pk=arguments["request"]))
    for line in file.lines(arguments["system"]):
        standing = line.canaries.filter(state__in=[Canary.State.PLANTED, Canary.State.SEEN])
        # Where erasing is over they are gone already; what remains is for the verifier to say so.
        if not standing or line.detail.get("clean_round") == [file.case.round, line.rounds]:
            continue
        with places.eraser(line.environment, line.system, file.datamap) as eraser:
            for canary in standing:
                where = unseal_json(file.key, bytes(canary.sealed_place or b""), f"canary/{canary.marker}")
                eraser.lift(Planted(canary.shape, canary.marker, where["place"]))
                canary.state = Canary.State.LIFTED
                canary.save(update_fields=["state"])
