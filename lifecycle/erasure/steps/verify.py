"""Look again with other eyes. Residue goes back to be erased, at most three times; then the run fails loudly."""

from __future__ import annotations

import hashlib
from typing import Any

from django.utils import timezone

from compliance.actions import executing, mentions
from compliance.actors import SYSTEM
from compliance.errors import Refused
from compliance.models import ErasureRequest
from lifecycle import places
from lifecycle.engine.outcomes import Done, More, Outcome
from lifecycle.engine.workflow import Context
from lifecycle.erasure import bystanding, cases, census, lines, manifest
from lifecycle.erasure.cases import CaseFile
from lifecycle.erasure.steps import erase
from lifecycle.models import Canary, SystemLine
from lifecycle.systems.base import Action, Hit, Item, Permanent, Verifier, key_hash
from lifecycle.systems.items import Items

MOST_ROUNDS = 3


def run(context: Context) -> Outcome:
    """One slice: manifest, then raw search, then bystanders, for each line of the system."""
    file = cases.read(context.run)
    _begin(file.request)
    cursor: dict[str, Any] = context.cursor or _start(0)
    targets = file.lines(context.step.lane)
    while cursor["line"] < len(targets):
        line = targets[cursor["line"]]
        outcome = _line(context, file, line, cursor)
        if isinstance(outcome, dict):
            cursor = outcome
            if context.time_left() <= (bystanding.SECONDS if cursor["phase"] == "judge" else 0):
                return More(cursor, done=cursor["line"], total=len(targets), unit="places")
        else:
            return outcome
    return Done({"residue": 0, "anchors": file.case.anchors_digest})


def _begin(request: ErasureRequest) -> None:
    """The first lane that gets here moves the request on; the others find it moved."""
    if request.state != ErasureRequest.State.EXECUTING:
        return
    try:
        executing.move(request, ErasureRequest.State.VERIFYING, actor=SYSTEM)
    except Refused:
        request.refresh_from_db()
        if request.state != ErasureRequest.State.VERIFYING:
            raise


def _start(line: int) -> dict[str, Any]:
    return {"line": line, "phase": "manifest", "chunk": 0, "inner": None, "residue": 0}


def _line(
    context: Context, file: CaseFile, line: SystemLine, cursor: dict[str, Any]
) -> Outcome | dict[str, Any]:
    """Does one piece of one line; the next cursor, or an outcome that ends the slice."""
    if cursor["phase"] == "again":
        outcome = erase.settle(context, file, line)
        if isinstance(outcome, More):
            return More(cursor, done=outcome.done, total=outcome.total, unit="items")
        return outcome if outcome is not None else _start(cursor["line"])
    lines.mark(line, SystemLine.State.VERIFYING)
    with places.verifier(line.environment, line.system, file.datamap) as verifier:
        if cursor["phase"] == "manifest":
            return _manifest(context, file, line, verifier, cursor)
        if cursor["phase"] == "search":
            return _search(context, file, line, verifier, cursor)
        method = verifier.method
    return _judge(context, file, line, cursor, method)


def _manifest(
    context: Context, file: CaseFile, line: SystemLine, verifier: Verifier, cursor: dict[str, Any]
) -> dict[str, Any]:
    """The whole manifest, not a sample: what is still readable goes back into a later chunk."""
    while True:
        chunk = line.chunks.filter(index__gte=cursor["chunk"]).order_by("index").first()
        if chunk is None:
            return {**cursor, "phase": "search", "inner": None}
        gone = _to_go(file, manifest.items(chunk, file.key))
        found = verifier.remaining(file.scope, gone) if gone else []
        context.heartbeat()
        if found:
            # They stand in the manifest already, and are counted there.
            _back(line, file, found, counted=frozenset(key_hash(each.kind, each.key).hex() for each in found))
        cursor = {**cursor, "chunk": chunk.index + 1, "residue": cursor["residue"] + len(found)}
        if context.time_left() <= 0:
            return cursor


def _to_go(file: CaseFile, listed: Items) -> Items:
    held = file.scope.held_categories
    return listed.where(lambda run: run.action != Action.RETAIN and run.category not in held)


def _search(
    context: Context, file: CaseFile, line: SystemLine, verifier: Verifier, cursor: dict[str, Any]
) -> dict[str, Any]:
    while True:
        page = verifier.search(file.scope, cursor["inner"])
        own = [hit for hit in page.entries if hit.belongs or hit.needle == "canary"]
        if own:
            _back(line, file, [Item(hit.kind, hit.key) for hit in own])
        _mention(file, line, [hit for hit in page.entries if not (hit.belongs or hit.needle == "canary")])
        context.heartbeat()
        cursor = {**cursor, "inner": page.cursor, "residue": cursor["residue"] + len(own)}
        if page.cursor is None:
            return {**cursor, "phase": "judge"}
        if context.time_left() <= 0:
            return cursor


def _back(
    line: SystemLine, file: CaseFile, items: list[Item], *, counted: frozenset[str] = frozenset()
) -> None:
    """Residue is erased like everything else: as a sealed chunk that is not erased yet."""
    number = f"residue{file.case.round}.{line.rounds + 1}"
    seen = set(line.detail.get(number, []))
    fresh = {hashlib.sha256(f"{each.kind}\0{each.key}".encode()).hexdigest()[:24]: each for each in items}
    new = {name: each for name, each in fresh.items() if name not in seen}
    if new:
        manifest.add(
            line,
            file.key,
            list(new.values()),
            index=manifest.next_index(line),
            pass_number=100 + line.rounds,
            markers=census.of(line) | counted,
        )
        lines.note(line, **{number: sorted(seen | set(new))[:20_000]})


def _mention(file: CaseFile, line: SystemLine, hits: list[Hit]) -> None:
    if hits:
        mentions.open(
            file.request,
            actor=SYSTEM,
            hits=[
                {
                    "system": line.system,
                    "environment": line.environment_id,
                    "kind": hit.kind,
                    "key": hit.key,
                    "place": hit.place,
                    "needle": hit.needle,
                    "excerpt": hit.excerpt,
                }
                for hit in hits
            ],
        )
    number = file.request.mentions.filter(system=line.system, environment=line.environment_id).count()
    if number != line.mentions:
        lines.mark(line, line.state, mentions=number)


def _judge(
    context: Context, file: CaseFile, line: SystemLine, cursor: dict[str, Any], method: str
) -> Outcome | dict[str, Any]:
    residue = int(cursor["residue"])
    if residue:
        if line.rounds >= MOST_ROUNDS:
            lines.mark(line, SystemLine.State.FAILED, residue=residue)
            raise Permanent(
                f"{line.system} in {line.environment.region} still holds {residue} items of the subject after "
                f"{MOST_ROUNDS} more rounds of erasing: {_places(line, file)}. Nothing was certified."
            )
        lines.mark(line, SystemLine.State.ERASING, residue=residue, rounds=line.rounds + 1)
        return {**_start(cursor["line"]), "phase": "again"}
    line.canaries.filter(state=Canary.State.SEEN).update(state=Canary.State.GONE)
    bystanding.compare_after(file, line, context)
    lines.note(line, verifier=method, anchors=file.case.anchors_digest)
    lines.mark(line, _final(line), residue=0, verified_at=timezone.now())
    return _start(cursor["line"] + 1)


def _places(line: SystemLine, file: CaseFile) -> str:
    """The kinds and numbers of what is left, without a key of anybody."""
    latest = line.chunks.order_by("-index").first()
    return ", ".join(
        f"{number} x {kind.partition(':')[0]}" for kind, number in (latest.kinds if latest else {}).items()
    )


def _final(line: SystemLine) -> str:
    if (line.system == "pinecone" or line.purge_by) and line.erased:
        return SystemLine.State.PENDING_PURGE
    if line.retained and not line.erased and not line.anonymised:
        return SystemLine.State.RETAINED
    if line.anonymised and not line.erased:
        return SystemLine.State.ANONYMISED
    return SystemLine.State.ERASED
