"""More than the approvers were shown goes back to them, before anything is destroyed."""

from __future__ import annotations

from django.conf import settings
from django.db.models import Sum

from compliance.actions import executing
from compliance.actors import SYSTEM
from lifecycle.engine.outcomes import Blocked, Done, Outcome
from lifecycle.engine.workflow import Context
from lifecycle.erasure import cases
from lifecycle.erasure.cases import CaseFile

FLOOR = 20  # so that a handful of new records never sends a small request back


def run(context: Context) -> Outcome:
    """Compares every system's inventory with the preview. A reopened case was approved as a whole already."""
    file = cases.read(context.run)
    grown = {} if file.case.round else growth(file)
    if not grown:
        return Done()
    executing.send_back(file.request, grown, actor=SYSTEM)
    names = ", ".join(f"{name} ({number})" for name, number in sorted(grown.items()))
    return Blocked(f"More was found than the approvers were shown: {names}. The request went back to them.")


def growth(file: CaseFile) -> dict[str, int]:
    """{system: found now} where it exceeds the preview by more than the limit."""
    found = file.case.lines.values("system").annotate(total=Sum("found"))
    grown = {}
    for each in found:
        shown = int(file.request.preview.get(each["system"], {}).get("found", 0))
        if each["total"] > shown * (1 + settings.GROWTH_LIMIT) and each["total"] - shown > FLOOR:
            grown[each["system"]] = each["total"]
    return grown
