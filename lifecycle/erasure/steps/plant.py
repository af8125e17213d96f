"""Canaries in every storage shape, and the bystanders' digests, before anything is destroyed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from compliance.sealing import seal_json, unseal_json
from lifecycle import places
from lifecycle.engine.outcomes import Done, Outcome
from lifecycle.engine.workflow import Context
from lifecycle.erasure import bystanding, cases, census
from lifecycle.erasure.cases import CaseFile
from lifecycle.models import Canary, Run, SystemLine
from lifecycle.systems.base import Planted, Transient, Verifier

LIFT = "erasure.lift_canaries"


def run(context: Context) -> Outcome:
    """Plants one canary per shape, sees each with the verifier's own eyes, notes the bystanders."""
    file = cases.read(context.run)
    context.undo(LIFT, request=file.request.pk, system=context.step.lane)
    planted = 0
    for line in file.lines(context.step.lane):
        planted += plant(file, line, context)
        file = cases.read(context.run)
        see(file, line, context)
        census.take(file, line, context)
        bystanding.note_before(file, line, context)
    return Done({"planted": planted})


def plant(file: CaseFile, line: SystemLine, context: Context) -> int:
    """Plants what is missing on this line; a row with the marker is committed before the marker leaves us."""
    with places.eraser(line.environment, line.system, file.datamap) as eraser:
        for shape in eraser.shapes(file.scope):
            canary = line.canaries.filter(shape=shape).first()
            if canary is None:
                canary = Canary.objects.create(
                    line=line, shape=shape, marker=f"canary{secrets.token_hex(12)}"
                )
            if canary.state in (Canary.State.INTENDED, Canary.State.LIFTED):
                made = eraser.plant(file.scope, shape, canary.marker)
                canary.sealed_place = seal_json(file.key, {"place": made.place}, f"canary/{canary.marker}")
                canary.state = Canary.State.PLANTED
                canary.save(update_fields=["sealed_place", "state"])
            context.heartbeat()
    return line.canaries.count()


def see(
    file: CaseFile,
    line: SystemLine,
    context: Context,
    states: Sequence[str] = (Canary.State.PLANTED, Canary.State.SEEN),
) -> None:
    """Requires that the verifier finds every canary in `states` now. A verifier that is blind must not certify later."""
    waiting = {each.marker: each for each in line.canaries.filter(state__in=states)}
    with places.verifier(line.environment, line.system, file.datamap) as verifier:
        seen = _markers_seen(file, verifier, set(waiting), context)
    missing = [each.shape for marker, each in waiting.items() if marker not in seen]
    if missing:
        raise Transient(
            f"The verifier of {line.system} does not see the canaries in: {', '.join(sorted(missing))}."
        )
    line.canaries.filter(marker__in=seen, state=Canary.State.PLANTED).update(state=Canary.State.SEEN)


def _markers_seen(file: CaseFile, verifier: Verifier, markers: set[str], context: Context) -> set[str]:
    seen: set[str] = set()
    cursor: Any = None
    while True:
        page = verifier.search(file.scope, cursor)
        for hit in page.entries:
            text = f"{hit.key} {hit.excerpt} {hit.place}"
            seen |= {marker for marker in markers - seen if marker in text}
        context.heartbeat()
        cursor = page.cursor
        if cursor is None or seen >= markers:
            return seen


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
