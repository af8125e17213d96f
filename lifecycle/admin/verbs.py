"""What is posted to a request: each calls one action and returns the sentence for its success."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib import messages
from django.http import HttpRequest
from django.utils.dateparse import parse_datetime

from compliance.actions import deciding, mentions, recipients
from compliance.admin.desk import actor_of, password_again
from compliance.errors import Refused, refuse_if
from compliance.models import ErasureRequest, Mention, Recipient
from lifecycle.admin import buttons
from lifecycle.erasure import actions, intake


def approve(request: HttpRequest, row: ErasureRequest) -> str | None:
    """With the password again, for the digest that the page showed."""
    if not password_again(request, case_id=row.pk, tenant_id=row.tenant_id):
        return None
    deciding.approve(
        row, actor=actor_of(request), digest=request.POST.get("digest", ""), password_checked=True
    )
    if row.state == ErasureRequest.State.AWAITING_APPROVAL:
        return "Your approval is recorded. One more, by another person, is needed."
    return "Approved. The erasure starts by itself; watch it below."


def reject(request: HttpRequest, row: ErasureRequest) -> str | None:
    """With the password again and a reason."""
    if not password_again(request, case_id=row.pk, tenant_id=row.tenant_id):
        return None
    deciding.reject(row, actor=actor_of(request), reason=request.POST.get("reason", ""))
    return "Rejected. The requester is told the reason and the remedies."


def extend(request: HttpRequest, row: ErasureRequest) -> str:
    """Once, with a reason."""
    deciding.extend(row, actor=actor_of(request), reason=request.POST.get("reason", ""))
    return f"Extended until {row.deadline:%-d %B %Y}. The requester is told why."


def cancel(request: HttpRequest, row: ErasureRequest) -> str:
    """Ends the request and undoes what its run planted."""
    actions.cancel(row, actor=actor_of(request), reason=request.POST.get("reason", ""))
    return "Cancelled."


def retry(request: HttpRequest, row: ErasureRequest) -> str:
    """All that failed, or one system."""
    system = request.POST.get("system") or None
    actions.retry(row, actor=actor_of(request), system=system)
    return f"{system or 'Everything that failed'} is tried again."


def preview(request: HttpRequest, row: ErasureRequest) -> str:
    """Counts every system anew."""
    refuse_if(buttons.check_preview(row, actor_of(request)))
    before = row.digest
    intake.preview(row, actor=actor_of(request))
    changed = row.digest != before
    return "Counted again. " + (
        "The plan changed, so approvals are asked for anew." if changed else "The plan is the same."
    )


def around_hold(request: HttpRequest, row: ErasureRequest) -> str:
    """Legal: held users stay, the rest goes."""
    deciding.choose_around_hold(row, actor=actor_of(request), reason=request.POST.get("reason", ""))
    return "Recorded: the held users stay untouched. The changed plan waits for approval."


def delay(request: HttpRequest, row: ErasureRequest) -> str:
    """Legal: a contract delays it."""
    until = moment(request.POST.get("until", ""))
    if until is None:
        raise Refused("Give the day until which the contract delays the erasure.")
    deciding.delay(row, actor=actor_of(request), until=until, reason=request.POST.get("reason", ""))
    return f"Delayed until {until:%-d %B %Y}. The changed plan waits for approval."


def decide_mentions(request: HttpRequest, row: ErasureRequest) -> str | None:
    """Records every choice that was made on the page of mentions."""
    actor, made = actor_of(request), 0
    for mention in row.mentions.exclude(choice=Mention.Choice.DONE):
        choice = request.POST.get(f"mention_{mention.pk}", "")
        if choice and choice != mention.choice:
            mentions.decide(mention, actor=actor, choice=choice)
            made += 1
    if not made:
        messages.warning(request, "No choice was made, so nothing was recorded.")
        return None
    actions.wake(row)
    return f"{made} mention{'s' if made > 1 else ''} decided."


def settle(request: HttpRequest, row: ErasureRequest) -> str:
    """One recipient, with the evidence typed or uploaded; only its hash is kept."""
    recipient = Recipient.objects.filter(request=row, pk=request.POST.get("recipient") or 0).first()
    if recipient is None:
        raise Refused("There is no such recipient.")
    upload = request.FILES.get("document")
    evidence = upload.read() if upload is not None else request.POST.get("evidence", "")
    recipients.settle(
        recipient, actor=actor_of(request), state=request.POST.get("state", ""), evidence=evidence
    )
    actions.wake(row)
    return f"{recipient.name}: {recipient.get_state_display()}."


def moment(text: str) -> datetime | None:
    """A date or a time typed in a browser, as UTC; None where it is none."""
    try:
        found = parse_datetime(text if "T" in text else f"{text}T00:00")
    except ValueError:
        return None
    return found.replace(tzinfo=found.tzinfo or UTC) if found else None
