"""An erasure request: what is asked, its clock, its state."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from compliance.models.base import new_id


def _id() -> str:
    return new_id("er")


class ErasureRequest(models.Model):
    """Who asks is sealed under the case key `case/<id>`; the clear columns hold no personal data.

    `sealed` is a sealed JSON object: user, requested_by, reason, identifiers {ids, mails, names}.
    `preview` is what was counted when the requester waited: {system: {"found": n, "kinds": {...}}}.
    """

    class Regime(models.TextChoices):
        GDPR17 = "gdpr17", "GDPR Art. 17"
        ART28 = "art28", "GDPR Art. 28 (offboarding)"
        CCPA = "ccpa", "CCPA"
        DPDPA = "dpdpa", "DPDPA"

    class State(models.TextChoices):
        RECEIVED = "received", "received"
        VALIDATED = "validated", "validated"
        AWAITING_APPROVAL = "awaiting_approval", "awaiting approval"
        SCHEDULED = "scheduled", "scheduled"
        EXECUTING = "executing", "executing"
        VERIFYING = "verifying", "verifying"
        CERTIFYING = "certifying", "certifying"
        COMPLETED = "completed", "completed"
        REJECTED = "rejected", "rejected"
        CANCELLED = "cancelled", "cancelled"
        BLOCKED_BY_HOLD = "blocked_by_hold", "blocked by hold"
        RETAINED = "retained", "retained"
        PARTIALLY_COMPLETED = "partially_completed", "partially completed"
        REOPENED = "reopened", "reopened"
        FAILED = "failed", "failed"

    class Subject(models.TextChoices):
        TENANT = "tenant", "whole tenant"
        USER = "user", "one user"

    id = models.CharField(primary_key=True, max_length=32, default=_id, editable=False)
    tenant = models.ForeignKey("lifecycle.Tenant", on_delete=models.PROTECT, related_name="erasure_requests")
    subject_kind = models.CharField(max_length=8, choices=Subject.choices)
    subject_pseudonym = models.CharField(
        max_length=64, db_index=True, help_text="Keyed HMAC of tenant and user."
    )
    sealed = models.BinaryField(
        null=True, help_text="Sealed under the case key; null once the case is closed."
    )
    regime = models.CharField(max_length=8, choices=Regime.choices, default=Regime.GDPR17)
    ground = models.CharField(max_length=1, default="b", help_text="Letter of Art. 17(1).")
    state = models.CharField(max_length=24, choices=State.choices, default=State.RECEIVED, db_index=True)
    state_reason = models.CharField(
        max_length=500, default="", blank=True, help_text="Why it stands here; no personal data."
    )
    resume_state = models.CharField(
        max_length=24, default="", blank=True, help_text="Where a hold stopped it."
    )
    requester_pseudonym = models.CharField(max_length=64)
    filed_by = models.ForeignKey(
        "auth.User", on_delete=models.PROTECT, null=True, related_name="+", help_text="Who typed it in."
    )
    reason_hash = models.CharField(max_length=64, default="", blank=True)
    received_at = models.DateTimeField(default=timezone.now, help_text="Starts the clock.")
    filed_at = models.DateTimeField(default=timezone.now)
    deadline = models.DateTimeField(db_index=True)
    extended_at = models.DateTimeField(null=True, blank=True)
    preview = models.JSONField(default=dict, blank=True)
    preview_at = models.DateTimeField(null=True, blank=True)
    plan = models.JSONField(
        default=dict, blank=True, help_text="What the digest is over, besides the request itself."
    )
    digest = models.CharField(
        max_length=64, default="", blank=True, help_text="SHA-256 that a decision is bound to."
    )
    around_hold = models.BooleanField(default=False, help_text="Legal chose to erase around held users.")
    scheduled_at = models.DateTimeField(null=True, blank=True)
    completed_at = models.DateTimeField(null=True, blank=True)
    watch_until = models.DateTimeField(null=True, blank=True)
    closed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["deadline"]
        indexes = [models.Index(fields=["state", "deadline"])]

    def __str__(self) -> str:
        return self.id

    @property
    def final(self) -> bool:
        """True where nothing more is done unless it is reopened."""
        return self.state in {self.State.COMPLETED, self.State.REJECTED, self.State.CANCELLED}


class Decision(models.Model):
    """What a person decided on a request; bound to the digest they saw. Never edited."""

    class Kind(models.TextChoices):
        APPROVE = "approve", "approved"
        REJECT = "reject", "rejected"
        EXTEND = "extend", "extended"
        CANCEL = "cancel", "cancelled"
        AROUND_HOLD = "around_hold", "erase around the hold"
        DELAY = "delay", "delayed by contract"

    class Role(models.TextChoices):
        COMPLIANCE = "compliance", "compliance officer"
        LEGAL = "legal", "legal"

    request = models.ForeignKey(ErasureRequest, on_delete=models.PROTECT, related_name="decisions")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    role = models.CharField(max_length=16, choices=Role.choices)
    user = models.ForeignKey("auth.User", on_delete=models.PROTECT, related_name="+")
    decider_pseudonym = models.CharField(
        max_length=64, default="", help_text="Of the decider's mail: never the requester's."
    )
    digest = models.CharField(max_length=64)
    voided_at = models.DateTimeField(null=True, blank=True, help_text="Set when the plan changed after it.")
    sealed_reason = models.BinaryField(null=True)
    reason_hash = models.CharField(max_length=64, default="", blank=True)
    decided_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["decided_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["request", "user"],
                condition=models.Q(kind="approve", voided_at=None),
                name="one_standing_approval_per_person",
            )
        ]

    def __str__(self) -> str:
        return f"{self.request_id} {self.kind}"


class Notice(models.Model):
    """A mail or reminder that the law or the clock asks for. `sealed_to` is the address, under the case key."""

    request = models.ForeignKey(ErasureRequest, on_delete=models.PROTECT, related_name="notices")
    kind = models.CharField(max_length=32)
    sealed_to = models.BinaryField(null=True)
    due_at = models.DateTimeField()
    sent_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["due_at"]
        constraints = [models.UniqueConstraint(fields=["request", "kind"], name="one_notice_of_a_kind")]

    def __str__(self) -> str:
        return f"{self.request_id} {self.kind}"


class Recipient(models.Model):
    """A processor or store without an adapter: blocks certification until it is settled by a named person."""

    class State(models.TextChoices):
        PENDING = "pending", "pending"
        ERASED = "erased", "erased"
        NOTIFIED = "notified", "notified (Art. 19)"
        ATTESTED = "attested", "attested with evidence"

    request = models.ForeignKey(ErasureRequest, on_delete=models.PROTECT, related_name="recipients")
    name = models.CharField(max_length=200)
    kind = models.CharField(max_length=40)
    state = models.CharField(max_length=16, choices=State.choices, default=State.PENDING)
    settled_by = models.ForeignKey("auth.User", on_delete=models.PROTECT, null=True, related_name="+")
    settled_role = models.CharField(max_length=16, default="", blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)
    evidence_hash = models.CharField(max_length=64, default="", blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["request", "name"], name="one_line_per_recipient")]

    def __str__(self) -> str:
        return f"{self.request_id} {self.name}"


class Mention(models.Model):
    """A raw search hit outside the manifest: somebody else's data names the person. An officer decides each."""

    class Choice(models.TextChoices):
        OPEN = "open", "open"
        ERASE = "erase", "erase"
        REDACT = "redact", "redact"
        NOT_THIS_PERSON = "not_this_person", "not this person"
        DONE = "done", "done"

    request = models.ForeignKey(ErasureRequest, on_delete=models.PROTECT, related_name="mentions")
    system = models.CharField(max_length=32)
    environment = models.CharField(max_length=64)
    place_hash = models.CharField(max_length=64)
    sealed = models.BinaryField(null=True, help_text="Sealed JSON {kind, key, place, needle, excerpt}.")
    choice = models.CharField(max_length=16, choices=Choice.choices, default=Choice.OPEN)
    decided_as = models.CharField(
        max_length=16, default="", blank=True, help_text="The choice, kept when it is done."
    )
    decided_by = models.ForeignKey("auth.User", on_delete=models.PROTECT, null=True, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["request", "place_hash"], name="one_mention_per_place")
        ]

    def __str__(self) -> str:
        return f"{self.request_id} {self.system}"
