"""Audit trail, certificates, API tokens."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from compliance.models.base import new_id


class AuditEvent(models.Model):
    """Append-only and hash-chained: hash = SHA-256(previous hash + canonical JSON of the event). No personal data."""

    seq = models.BigIntegerField(primary_key=True)
    at = models.DateTimeField()
    actor = models.CharField(max_length=80)
    verb = models.CharField(max_length=60, db_index=True)
    tenant_id = models.CharField(max_length=64, default="", blank=True, db_index=True)
    case_id = models.CharField(
        max_length=32, default="", blank=True, db_index=True, help_text="Request or hold."
    )
    data = models.JSONField(default=dict)
    previous = models.CharField(max_length=64)
    hash = models.CharField(max_length=64, unique=True)

    class Meta:
        ordering = ["seq"]

    def __str__(self) -> str:
        return f"{self.seq} {self.verb}"


class AuditHead(models.Model):
    """The signed head of the audit chain of one day; also stored in the locked bucket."""

    day = models.DateField(unique=True)
    seq = models.BigIntegerField()
    hash = models.CharField(max_length=64)
    latest_seal = models.CharField(max_length=64, default="", blank=True)
    document = models.TextField()
    signature = models.TextField()
    fingerprint = models.CharField(max_length=64)
    stored_key = models.CharField(max_length=200, default="", blank=True)

    class Meta:
        ordering = ["day"]

    def __str__(self) -> str:
        return str(self.day)


def _certificate_id() -> str:
    return new_id("dc")


class Certificate(models.Model):
    """A signed deletion certificate, addendum or correction. Never edited: the next one refers to it."""

    class Kind(models.TextChoices):
        CERTIFICATE = "certificate", "certificate"
        ADDENDUM = "addendum", "addendum"
        CORRECTION = "correction", "correction"

    id = models.CharField(primary_key=True, max_length=32, default=_certificate_id, editable=False)
    number = models.BigIntegerField(unique=True)
    request = models.ForeignKey(
        "compliance.ErasureRequest", on_delete=models.PROTECT, related_name="certificates"
    )
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.CERTIFICATE)
    round = models.PositiveIntegerField(
        default=0, help_text="0 for the first, then one per reopening: at most one each."
    )
    occasion = models.CharField(
        max_length=80,
        default="",
        blank=True,
        help_text="Empty: a round of erasing. Else what an addendum or correction is for.",
    )
    previous = models.OneToOneField("self", on_delete=models.PROTECT, null=True, related_name="next")
    document = models.BinaryField(help_text="Canonical JSON.")
    pdf = models.BinaryField()
    seal = models.BinaryField()
    signatures = models.JSONField(
        help_text="{json, pdf, seal}: armoured detached signatures; {public_key}: the key they verify with."
    )
    seal_hash = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64)
    issued_at = models.DateTimeField(default=timezone.now)
    stored_at = models.DateTimeField(null=True, help_text="When all files were in the locked bucket.")
    locked_until = models.DateTimeField(null=True)
    delivered_at = models.DateTimeField(null=True, help_text="When the requester's mail went out.")

    class Meta:
        ordering = ["number"]
        constraints = [
            models.UniqueConstraint(
                fields=["request", "round", "occasion"], name="one_certificate_per_occasion"
            )
        ]

    def __str__(self) -> str:
        return self.id


class ApiToken(models.Model):
    """A bearer token: one user, one tenant (empty: staff of every tenant by role), some scopes. Only its hash is kept."""

    class Scope(models.TextChoices):
        READ = "read", "read"
        REQUEST = "request", "request erasure"
        DECIDE = "decide", "approve and reject"
        HOLD = "hold", "place and release holds"
        RUN = "run", "operate runs"

    user = models.ForeignKey("auth.User", on_delete=models.CASCADE, related_name="api_tokens")
    tenant = models.ForeignKey("lifecycle.Tenant", on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=80)
    digest = models.CharField(max_length=64, unique=True)
    scopes = models.JSONField(default=list)
    requester_mail_hmac = models.CharField(
        max_length=64, default="", blank=True, help_text="The one requested_by it may use."
    )
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return self.name


class SaltEscrow(models.Model):
    """The salt of a certificate's commitment, sealed under its own key; opened only by two people."""

    certificate = models.OneToOneField(Certificate, on_delete=models.PROTECT, related_name="escrow")
    sealed = models.BinaryField()
    asked_by = models.ForeignKey("auth.User", on_delete=models.PROTECT, null=True, related_name="+")
    asked_at = models.DateTimeField(null=True, blank=True)
    opened_by = models.ForeignKey("auth.User", on_delete=models.PROTECT, null=True, related_name="+")
    opened_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["certificate"]

    def __str__(self) -> str:
        return f"salt of {self.certificate_id}"
