"""What the board of one move shows: read from rows, nothing measured here, nothing in clear."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.utils import timezone

from compliance.actors import Actor
from compliance.models import AuditEvent
from compliance.templatetags.desks import spaced
from lifecycle.admin.migration_chart import chart
from lifecycle.engine import progress
from lifecycle.migration import status
from lifecycle.models import Beat, Migration, Reading, Step

S = Migration.State
CHARTED = timedelta(minutes=10)
FRESH = timedelta(seconds=3)  # the watchdog writes a reading every second
_STAGES = (
    (S.PROVISIONING_GREEN, "Provision"),
    (S.INITIAL_SYNC, "Copy"),
    (S.DUAL_WRITE_ENABLED, "Dual write"),
    (S.INCREMENTAL_SYNC, "Catch up"),
    (S.CUTOVER_STARTED, "Cut over"),
    (S.CUTOVER_COMPLETE, "Soak"),
    (S.BLUE_DECOMMISSIONED, "Clear blue"),
    (S.COMPLETED, "Done"),
)
_NEXT = {
    S.INITIATED: "Planned. Somebody reads the plan below and starts it.",
    S.PROVISIONING_GREEN: "Green is being made. All traffic and all writes are on blue.",
    S.INITIAL_SYNC: "The tenant is being copied. All traffic and all writes are on blue.",
    S.DUAL_WRITE_ENABLED: "Every change on blue is carried to green from now on.",
    S.INCREMENTAL_SYNC: "Blue and green are compared and mended until they are alike.",
    S.CUTOVER_STARTED: "Users are moving to green, step by step. Any gate that fails takes them all back.",
    S.CUTOVER_COMPLETE: "Green serves and owns the tenant; blue follows, ready to take it back.",
    S.BLUE_DECOMMISSIONED: "Blue's copy is being cleared.",
    S.COMPLETED: "Moved.",
    S.FAILED: "It failed. Blue serves and owns the tenant.",
    S.ROLLED_BACK: "It went back to blue. Green is kept for the post-mortem.",
}


def of(migration: Migration, viewer: Actor) -> dict[str, Any]:
    """The whole page but its buttons."""
    return {
        "plan": migration.plan,
        "report": {name: value for name, value in migration.report.items() if name != "readings"},
        "timeline": timeline(migration),
        **live(migration, viewer),
    }


def live(migration: Migration, _viewer: Actor) -> dict[str, Any]:
    """The part that is asked for every second while the move goes on."""
    now = timezone.now()
    since = now - CHARTED
    readings = list(
        Reading.objects.filter(migration=migration, at__gte=since).order_by("at").values_list("at", "data")
    )
    latest = readings[-1] if readings else None
    facts = status.of(migration)
    return {
        "row": migration,
        "facts": facts,
        "stages": _stages(migration),
        "next": _NEXT.get(S(migration.state), ""),
        "ended": migration.state in Migration.ENDED,
        "polls": migration.state not in Migration.ENDED,
        "fresh": latest is not None and now - latest[0] <= FRESH,
        "light": _light(migration, latest, now),
        "now": latest[1] if latest else {},
        "chart": chart(readings),
        "steps": _steps(migration),
        "silent": silent(now),
        # What the page was made for: another value means that its buttons are out of date.
        "token": f"{migration.state}.{facts['run_state']}.{facts['share']}.{facts['owner']}.{facts['latched']}",
    }


def silent(now: Any) -> list[str]:
    """Which of the watchdog and the applier have not been seen lately."""
    seen = {beat.name: beat.at for beat in Beat.objects.all()}
    limits = {"watchdog": timedelta(seconds=5), "applier": timedelta(seconds=15)}
    return [name for name, limit in limits.items() if name not in seen or now - seen[name] > limit]


def timeline(migration: Migration) -> list[dict[str, Any]]:
    """The newest hundred audit events of the move, newest first."""
    events = (
        AuditEvent.objects.filter(case_id=migration.pk).exclude(verb__startswith="step.").order_by("-seq")
    )
    return [
        {"words": spaced(each.verb), "actor": each.actor, "at": each.at, "data": each.data}
        for each in events[:100]
    ]


def _stages(migration: Migration) -> list[dict[str, str]]:
    """Each stage with `done`, `now` or `ahead`; a move that ended otherwise stops where it was."""
    order = [state for state, _ in _STAGES]
    reached = order.index(S(migration.state)) if migration.state in order else -1
    stopped = migration.state in (S.FAILED, S.ROLLED_BACK)
    if stopped:
        reached = _reached_before_the_end(migration, order)
    marks = []
    for number, (_, words) in enumerate(_STAGES):
        if number < reached or migration.state == S.COMPLETED:
            mark = "done"
        elif number == reached:
            mark = "stopped" if stopped else "now"
        else:
            mark = "ahead"
        marks.append({"words": words, "mark": mark})
    return marks


def _reached_before_the_end(migration: Migration, order: list[Migration.State]) -> int:
    said = AuditEvent.objects.filter(case_id=migration.pk, data__has_key="to").order_by("-seq")
    for event in said:
        if event.data["to"] in order:
            return order.index(S(event.data["to"]))
    return -1


def _light(migration: Migration, latest: Any, now: Any) -> dict[str, Any]:
    """The readiness light: measured by the watchdog's probe, and grey where nothing fresh was measured."""
    if migration.state not in (S.CUTOVER_STARTED, S.CUTOVER_COMPLETE):
        words = "Blue serves and owns the tenant." if migration.state != S.COMPLETED else "Blue is gone."
        return {"tone": "calm", "words": words, "detail": ""}
    back = dict(latest[1].get("ready_back") or {}) if latest and now - latest[0] <= FRESH else {}
    if back.get("seconds") is None:
        return {
            "tone": "bad",
            "words": "Back to blue: not known",
            "detail": "No fresh probe. Nothing advances.",
        }
    seconds, risk = float(back["seconds"]), int(back.get("writes_at_risk") or 0)
    tone = "good" if seconds <= 5 and risk == 0 else "wait"
    return {
        "tone": tone,
        "words": f"Back to blue now: {seconds:.1f} s",
        "detail": f"{risk:,} write{'' if risk == 1 else 's'} at risk",
    }


def _steps(migration: Migration) -> list[Mapping[str, Any]]:
    if migration.run_id is None:
        return []
    return [
        progress.describe_step(step)
        for step in Step.objects.filter(run=migration.run_id).order_by("stage", "id")
    ]
