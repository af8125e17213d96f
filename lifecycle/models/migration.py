"""A tenant's move between regions, the orders that the watchdog follows, and what it reads."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from compliance.models.base import new_id


def _migration_id() -> str:
    return new_id("mig")


class Migration(models.Model):
    """One move of one tenant. Its stages are steps of `run`; what traffic does is in `order`."""

    class State(models.TextChoices):
        INITIATED = "initiated", "initiated"
        PROVISIONING_GREEN = "provisioning_green", "provisioning green"
        INITIAL_SYNC = "initial_sync", "initial sync"
        DUAL_WRITE_ENABLED = "dual_write_enabled", "dual write enabled"
        INCREMENTAL_SYNC = "incremental_sync", "incremental sync"
        CUTOVER_STARTED = "traffic_cutover_started", "traffic cutover started"
        CUTOVER_COMPLETE = "traffic_cutover_complete", "traffic cutover complete"
        BLUE_DECOMMISSIONED = "blue_decommissioned", "blue decommissioned"
        COMPLETED = "completed", "completed"
        FAILED = "failed", "failed"
        ROLLED_BACK = "rolled_back", "rolled back"

    class Soak(models.TextChoices):
        SAFE = "safe", "safe: a write is answered once both regions have it"
        FAST = "fast", "fast: a write is answered by its owner alone"

    ENDED = (State.COMPLETED, State.FAILED, State.ROLLED_BACK)

    id = models.CharField(primary_key=True, max_length=32, default=_migration_id, editable=False)
    tenant = models.ForeignKey("lifecycle.Tenant", on_delete=models.PROTECT, related_name="migrations")
    source = models.ForeignKey("lifecycle.Environment", on_delete=models.PROTECT, related_name="+")
    target = models.ForeignKey("lifecycle.Environment", on_delete=models.PROTECT, null=True, related_name="+")
    source_region = models.CharField(max_length=40)
    target_region = models.CharField(max_length=40)
    state = models.CharField(max_length=32, choices=State.choices, default=State.INITIATED, db_index=True)
    reason = models.CharField(max_length=500, default="", blank=True, help_text="Why it failed or went back.")
    soak = models.CharField(max_length=8, choices=Soak.choices, default=Soak.FAST)
    settings = models.JSONField(default=dict, blank=True, help_text="Steps, soak seconds, gates, limits.")
    plan = models.JSONField(default=dict, blank=True, help_text="Findings and sizes; no personal data.")
    plan_digest = models.CharField(max_length=64, default="", blank=True)
    override_reason = models.CharField(max_length=500, default="", blank=True)
    planned_by = models.CharField(max_length=80)
    started_by = models.CharField(max_length=80, default="", blank=True)
    completed_by = models.CharField(max_length=80, default="", blank=True)
    run = models.ForeignKey("lifecycle.Run", on_delete=models.SET_NULL, null=True, related_name="+")
    verification = models.JSONField(default=dict, blank=True, help_text="Counts of the last comparison.")
    report = models.JSONField(default=dict, blank=True, help_text="Why it went back, with the last readings.")
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True, blank=True)
    flipped_at = models.DateTimeField(null=True, blank=True)
    rolled_back_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant"],
                condition=~models.Q(state__in=["completed", "failed", "rolled_back"]),
                name="one_move_per_tenant",
            )
        ]

    def __str__(self) -> str:
        return self.id


class Order(models.Model):
    """What the watchdog shall bring about for one move. A new decision raises `epoch`; old epochs are refused.

    The watchdog writes `done_epoch`, `outcome` and the latch. A latch refuses every order but the way back, until a
    person decides anew.
    """

    migration = models.OneToOneField(
        Migration, on_delete=models.CASCADE, primary_key=True, related_name="order"
    )
    tenant_id = models.CharField(max_length=64, db_index=True)
    epoch = models.BigIntegerField(default=1)
    share = models.PositiveSmallIntegerField(default=0, help_text="Percent of users sent to green.")
    owner = models.CharField(max_length=40, help_text="Region that owns the writes.")
    watched = models.BooleanField(default=False, help_text="Gates are judged every second.")
    settings = models.JSONField(default=dict, blank=True, help_text="Limits of the gates, lease, soak.")
    done_epoch = models.BigIntegerField(default=0)
    done_at = models.DateTimeField(null=True, blank=True)
    outcome = models.JSONField(default=dict, blank=True)
    latched = models.BooleanField(default=False)
    latch_reason = models.CharField(max_length=500, default="", blank=True)
    latched_at = models.DateTimeField(null=True, blank=True)
    closed = models.BooleanField(default=False, help_text="The move ended: nothing is asserted any more.")

    class Meta:
        ordering = ["migration"]

    def __str__(self) -> str:
        return f"{self.migration_id} {self.share} %"


class Reading(models.Model):
    """What the watchdog saw of one move in one second. No personal data."""

    migration = models.ForeignKey(Migration, on_delete=models.CASCADE, related_name="readings")
    at = models.DateTimeField(default=timezone.now)
    data = models.JSONField(default=dict)

    class Meta:
        ordering = ["id"]
        indexes = [models.Index(fields=["migration", "at"])]

    def __str__(self) -> str:
        return f"{self.migration_id} {self.at:%H:%M:%S}"


class Beat(models.Model):
    """A process of ours that must be alive: the watchdog, the applier. Written by itself about every second."""

    name = models.CharField(primary_key=True, max_length=40)
    at = models.DateTimeField()
    pid = models.PositiveIntegerField(default=0)
    detail = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
