"""Durable runs: a workflow's instance, its steps, what must be undone."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from compliance.models.base import new_id
from lifecycle.models.sealed import SealedJSONField


def _run_id() -> str:
    return new_id("run")


class Run(models.Model):
    """One durable workflow. `subject` names what it works on by our own id (a request, a hold), never a person."""

    class State(models.TextChoices):
        RUNNING = "running", "running"
        PAUSED = "paused", "paused"
        BLOCKED = "blocked", "blocked"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    id = models.CharField(primary_key=True, max_length=32, default=_run_id, editable=False)
    workflow = models.CharField(max_length=40)
    subject = models.CharField(max_length=64, db_index=True)
    tenant_id = models.CharField(max_length=64, default="", blank=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.RUNNING, db_index=True)
    reason = models.CharField(max_length=500, default="", blank=True)
    pause_requested = models.BooleanField(default=False)
    cancel_requested = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["workflow", "subject"],
                condition=models.Q(state__in=["running", "paused", "blocked"]),
                name="one_live_run_per_subject",
            )
        ]

    def __str__(self) -> str:
        return self.id


class Step(models.Model):
    """One part of a run: claimed by lease, worked in slices of at most 30 s.

    A step may start when every step of every earlier stage is settled (done or failed) and those of its own lane,
    and those with no lane, are done. A step with no lane needs all earlier steps done.
    """

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        RUNNING = "running", "running"
        BLOCKED = "blocked", "blocked"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="steps")
    name = models.CharField(max_length=60)
    lane = models.CharField(max_length=40, default="", blank=True)
    stage = models.PositiveIntegerField()
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    cursor = SealedJSONField(null=True, blank=True)
    result = models.JSONField(null=True, blank=True)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(null=True, blank=True)
    unit = models.CharField(max_length=20, default="", blank=True)
    attempts = models.PositiveIntegerField(default=0, help_text="Claims since the last progress.")
    failures = models.PositiveIntegerField(default=0, help_text="Transient failures since the last progress.")
    total_attempts = models.PositiveIntegerField(default=0)
    lease_token = models.UUIDField(null=True, blank=True)
    lease_until = models.DateTimeField(null=True, blank=True)
    not_before = models.DateTimeField(default=timezone.now)
    enqueued_at = models.DateTimeField(null=True, blank=True)
    heartbeat_at = models.DateTimeField(null=True, blank=True)
    error = models.CharField(
        max_length=500, default="", blank=True, help_text="A sentence; no personal data."
    )
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    busy_seconds = models.FloatField(default=0)

    class Meta:
        ordering = ["run", "stage", "id"]
        constraints = [
            models.UniqueConstraint(fields=["run", "name", "lane"], name="one_step_of_a_name_per_lane")
        ]
        indexes = [models.Index(fields=["state", "lease_until"])]

    def __str__(self) -> str:
        return f"{self.run_id} {self.name} {self.lane}".rstrip()


class Undo(models.Model):
    """Committed before a step makes something in the outside world; cancel and rollback work through these."""

    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="undos")
    step = models.ForeignKey(Step, on_delete=models.CASCADE, related_name="undos")
    action = models.CharField(max_length=60, help_text="Name registered with the engine.")
    arguments = models.JSONField(default=dict, help_text="Our own ids only.")
    created_at = models.DateTimeField(default=timezone.now)
    undone_at = models.DateTimeField(null=True, blank=True)
    attempts = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ["-id"]

    def __str__(self) -> str:
        return f"{self.run_id} {self.action}"


class Heartbeat(models.Model):
    """Touched by a canary task through the real queue; `manage.py worker_health` reads it."""

    queue = models.CharField(primary_key=True, max_length=40)
    at = models.DateTimeField()

    class Meta:
        ordering = ["queue"]

    def __str__(self) -> str:
        return self.queue
