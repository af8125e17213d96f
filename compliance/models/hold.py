"""Legal holds, the fence that enforces them, and retention rules."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from compliance.models.base import new_id


def _hold_id() -> str:
    return new_id("lh")


class LegalHold(models.Model):
    """Forbids destroying what is in its scope: a tenant, one user (custodian) of it, or one data category."""

    class Type(models.TextChoices):
        LITIGATION = "litigation", "litigation"
        REGULATORY = "regulatory", "regulatory"
        CRIMINAL = "criminal", "criminal"

    class State(models.TextChoices):
        ACTIVE = "active", "active"
        PRESERVING = "preserving", "active, preserving"
        RELEASE_REQUESTED = "release_requested", "release requested"
        RELEASED = "released", "released"
        EXPIRED = "expired", "expired"

    BLOCKING = (State.ACTIVE, State.PRESERVING, State.RELEASE_REQUESTED)

    id = models.CharField(primary_key=True, max_length=32, default=_hold_id, editable=False)
    tenant = models.ForeignKey("lifecycle.Tenant", on_delete=models.PROTECT, related_name="holds")
    subject_pseudonym = models.CharField(
        max_length=64, default="", blank=True, help_text="Empty: the whole tenant."
    )
    category = models.CharField(
        max_length=40, default="", blank=True, help_text="Empty: every data category."
    )
    case_reference = models.CharField(max_length=120)
    type = models.CharField(max_length=16, choices=Type.choices)
    confidential = models.BooleanField(default=False)
    state = models.CharField(max_length=20, choices=State.choices, default=State.PRESERVING, db_index=True)
    until = models.DateTimeField(null=True, blank=True)
    sealed = models.BinaryField(null=True, help_text="Sealed JSON {user, reason} under key hold/<id>.")
    placed_by = models.ForeignKey("auth.User", on_delete=models.PROTECT, related_name="+")
    placed_at = models.DateTimeField(default=timezone.now)
    preserved = models.JSONField(
        default=dict, blank=True, help_text="{system: count} put under the provider's own hold."
    )
    already_gone = models.JSONField(
        default=list, blank=True, help_text="What a provider had already accepted to delete."
    )
    in_doubt = models.JSONField(
        default=dict, blank=True, help_text="{system: deletions} sent before the hold and never answered."
    )
    release_requested_by = models.ForeignKey(
        "auth.User", on_delete=models.PROTECT, null=True, related_name="+"
    )
    release_requested_at = models.DateTimeField(null=True, blank=True)
    released_by = models.ForeignKey("auth.User", on_delete=models.PROTECT, null=True, related_name="+")
    released_at = models.DateTimeField(null=True, blank=True)
    sealed_release_reason = models.BinaryField(null=True)

    class Meta:
        ordering = ["-placed_at"]
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(state="released")
                | (
                    models.Q(released_by__isnull=False)
                    & ~models.Q(released_by=models.F("release_requested_by"))
                ),
                name="a_hold_is_released_by_two_people",
            )
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def hidden(self) -> bool:
        """Shown outside `legal` only as "retained under Art. 17(3)"."""
        return self.confidential or self.type == self.Type.CRIMINAL


class FenceBatch(models.Model):
    """One destructive batch in flight: committed before anything is sent, closed after, void past its deadline."""

    id = models.UUIDField(primary_key=True)
    tenant_id = models.CharField(max_length=64, db_index=True)
    subject_pseudonym = models.CharField(max_length=64, default="", blank=True)
    category = models.CharField(max_length=40, default="", blank=True)
    system = models.CharField(max_length=32)
    case_id = models.CharField(max_length=32, default="", blank=True)
    opened_at = models.DateTimeField()
    deadline = models.DateTimeField()
    closed_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=16, default="")

    class Meta:
        indexes = [
            models.Index(
                fields=["tenant_id", "deadline"], condition=models.Q(closed_at=None), name="open_batches"
            )
        ]

    def __str__(self) -> str:
        return str(self.id)


class RetentionRule(models.Model):
    """Keeps one data category of one type of tenant for a period, on a ground from a closed list."""

    class Basis(models.TextChoices):
        STATUTE = "statute", "statute (Art. 17(3)(b))"
        CONTRACT = "contract", "contract (delays an offboarding only)"

    class Ground(models.TextChoices):
        A = "a", "(a) freedom of expression"
        B = "b", "(b) legal obligation"
        C = "c", "(c) public health"
        D = "d", "(d) archiving, research"
        E = "e", "(e) legal claims"

    name = models.CharField(max_length=120, unique=True)
    tenant_kind = models.CharField(
        max_length=40, default="", blank=True, help_text="Empty: every type of tenant."
    )
    category = models.CharField(max_length=40, help_text="Data category of the data map; * for all.")
    basis = models.CharField(max_length=16, choices=Basis.choices)
    ground = models.CharField(max_length=1, choices=Ground.choices, default=Ground.B)
    citation = models.CharField(max_length=200)
    days = models.PositiveIntegerField(
        help_text="Kept this many days from the record's date (or from the request, where it has none)."
    )
    active = models.BooleanField(default=True)

    class Meta:
        ordering = ["category", "name"]

    def __str__(self) -> str:
        return self.name
