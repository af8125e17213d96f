"""What a lifted hold still keeps at a provider: a deletion meets the provider's own lock until that is off."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from compliance.models import LegalHold
from lifecycle.engine.outcomes import Wait
from lifecycle.erasure.cases import CaseFile
from lifecycle.models import Preserved, Run, SystemLine

PRESERVATION = "preservation"  # the name of the workflow; its room lies above this one
PATIENCE = timedelta(seconds=3)


def wait(file: CaseFile, line: SystemLine) -> Wait | None:
    """Until when to leave a line alone, because a lifted hold's locks on the subject's data are still being taken off.

    Without it a case that goes on in that moment takes them for somebody else's, whose end nobody knows. The sentence
    names no hold: it may be a hidden one.
    """
    if not _under_way(_lifted(file), line):
        return None
    why = f"{line.system}: the storage is still being told that this data may be deleted again."
    return Wait(timezone.now() + PATIENCE, why)


def _lifted(file: CaseFile) -> QuerySet[LegalHold]:
    """Holds that are over and whose scope meets the subject's."""
    over = LegalHold.objects.filter(tenant_id=file.request.tenant_id).exclude(state__in=LegalHold.BLOCKING)
    if file.scope.subject.user is None:
        return over
    return over.filter(Q(subject_pseudonym="") | Q(subject_pseudonym=file.request.subject_pseudonym))


def _under_way(lifted: QuerySet[LegalHold], line: SystemLine) -> bool:
    """True while something of these holds is locked, or may still be: preserving ends with the page under way."""
    kept = Preserved.objects.filter(hold__in=lifted, environment=line.environment, system=line.system)
    preserving = Run.objects.filter(
        workflow=PRESERVATION, state=Run.State.RUNNING, subject__in=lifted.values("pk")
    )
    return kept.exists() or preserving.exists()
