"""What `erasure status` says: one JSON document, the same on the command line, in the API and on the page."""

from __future__ import annotations

from typing import Any

from compliance.models import ErasureRequest
from lifecycle.engine.progress import describe_step, moment
from lifecycle.erasure import evidence
from lifecycle.erasure.actions import live_run
from lifecycle.models import ErasureCase, Run, Step, SystemLine

_ORDER = [
    "failed",
    "locked",
    "waiting",
    "discovered",
    "erasing",
    "verifying",
    "retained",
    "anonymised",
    "pending_purge",
    "erased",
]


def of(request: ErasureRequest) -> dict[str, Any]:
    """State, deadline, systems, canaries, bystanders, mentions, certificate of one request."""
    case = ErasureCase.objects.filter(request=request).first()
    lines = list(case.lines.all()) if case else []
    ids = [line.pk for line in lines]
    run = live_run(request)
    certificate = request.certificates.order_by("-number").first()
    return {
        "id": request.pk,
        "tenant": request.tenant_id,
        "subject": request.subject_kind,
        "state": request.state,
        "reason": (_met(run) if run else "") or request.state_reason or (run.reason if run else ""),
        "received_at": moment(request.received_at),
        "deadline": moment(request.deadline),
        "digest": request.digest,
        "systems": _systems(request, lines, run),
        "canaries": {name: value for name, value in evidence.canaries(ids).items() if name != "by_shape"},
        "bystanders": {name: value for name, value in evidence.bystanders(ids).items() if name != "items"},
        "mentions": request.mentions.count(),
        "open_mentions": request.mentions.filter(choice="open").count(),
        "run": run.pk if run else None,
        "run_state": run.state if run else None,
        "certificate": certificate.pk if certificate else None,
    }


def _met(run: Run) -> str:
    """What the steps of a running run met that belong to no system: newer than what the request was approved with."""
    if run.state != Run.State.RUNNING:
        return ""
    waiting = run.steps.filter(lane="").exclude(error="").exclude(state=Step.State.DONE)
    return " ".join(waiting.order_by("stage", "name").values_list("error", flat=True))


def _systems(request: ErasureRequest, lines: list[SystemLine], run: Run | None) -> dict[str, Any]:
    steps = list(run.steps.exclude(lane="")) if run else []
    systems: dict[str, Any] = {}
    if not lines:
        return {
            name: {
                "state": "waiting",
                "found": counted.get("found", 0),
                "erased": 0,
                "anonymised": 0,
                "residue": None,
                "attempts": 0,
                "seconds": 0.0,
            }
            for name, counted in request.preview.items()
        }
    for line in lines:
        own = systems.setdefault(
            line.system,
            {"states": [], "found": 0, "erased": 0, "anonymised": 0, "retained": 0, "residues": []},
        )
        own["states"].append(line.state)
        own["residues"].append(line.residue)
        for name in ("found", "erased", "anonymised", "retained"):
            own[name] += getattr(line, name)
    return {
        name: _one(own, [each for each in steps if each.lane == name], lines, name)
        for name, own in systems.items()
    }


def _one(own: dict[str, Any], steps: list[Step], lines: list[SystemLine], name: str) -> dict[str, Any]:
    failed = next((each for each in steps if each.state == Step.State.FAILED), None)
    current = next((each for each in steps if each.state not in (Step.State.DONE,)), None)
    known = [each for each in own["residues"] if each is not None]
    state = min(own["states"], key=lambda each: _ORDER.index(each) if each in _ORDER else 0)
    return {
        "state": "failed" if failed else state,
        "found": own["found"],
        "erased": own["erased"],
        "anonymised": own["anonymised"],
        "retained": own["retained"],
        "residue": sum(known) if known else None,
        "attempts": sum(each.total_attempts for each in steps),
        "seconds": round(sum(each.busy_seconds for each in steps), 2),
        "error": (failed.error if failed else (current.error if current else "")) or "",
        "step": current.name if current else "",
        "progress": describe_step(current) if current else None,
        "locked_until": max(
            (moment(each.locked_until) or "" for each in lines if each.system == name), default=""
        )
        or None,
        "purge_by": max((moment(each.purge_by) or "" for each in lines if each.system == name), default="")
        or None,
    }
