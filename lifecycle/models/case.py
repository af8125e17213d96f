"""What an erasure's execution keeps: manifest, canaries, bystanders, lines. All that names a person is sealed."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class ErasureCase(models.Model):
    """The executing side of one request."""

    request = models.OneToOneField(
        "compliance.ErasureRequest", on_delete=models.PROTECT, primary_key=True, related_name="case"
    )
    run = models.ForeignKey("lifecycle.Run", on_delete=models.SET_NULL, null=True, related_name="+")
    round = models.PositiveIntegerField(default=0, help_text="One more per reopening.")
    sealed_anchors = models.BinaryField(
        null=True, help_text="Sealed JSON: what the subject's rows lead to (document ids ...)."
    )
    anchors_digest = models.CharField(max_length=64, default="", blank=True)
    frozen_at = models.DateTimeField(null=True, blank=True)
    as_of = models.DateTimeField(null=True, blank=True)
    evidence = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering = ["request"]

    def __str__(self) -> str:
        return str(self.pk)


class SystemLine(models.Model):
    """One system of one environment in a case: the counts that status and certificate show."""

    class State(models.TextChoices):
        WAITING = "waiting", "waiting"
        DISCOVERED = "discovered", "discovered"
        ERASING = "erasing", "erasing"
        VERIFYING = "verifying", "verifying"
        ERASED = "erased", "erased, verified"
        ANONYMISED = "anonymised", "anonymised"
        PENDING_PURGE = "pending_purge", "logically deleted, provider purge pending"
        RETAINED = "retained", "retained"
        LOCKED = "locked", "not erased: locked"
        FAILED = "failed", "failed"

    case = models.ForeignKey(ErasureCase, on_delete=models.CASCADE, related_name="lines")
    environment = models.ForeignKey("lifecycle.Environment", on_delete=models.PROTECT, related_name="+")
    system = models.CharField(max_length=32)
    state = models.CharField(max_length=16, choices=State.choices, default=State.WAITING)
    found = models.BigIntegerField(default=0)
    erased = models.BigIntegerField(default=0)
    anonymised = models.BigIntegerField(default=0)
    retained = models.BigIntegerField(default=0)
    residue = models.BigIntegerField(null=True)
    mentions = models.BigIntegerField(default=0)
    rounds = models.PositiveIntegerField(default=0, help_text="How often residue sent it back.")
    purge_by = models.DateTimeField(null=True, blank=True)
    locked_until = models.DateTimeField(null=True, blank=True)
    verified_at = models.DateTimeField(null=True, blank=True)
    detail = models.JSONField(
        default=dict, blank=True, help_text="Method, verifier, kinds; no personal data."
    )

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["case", "environment", "system"], name="one_line_per_place")
        ]

    def __str__(self) -> str:
        return f"{self.case_id} {self.system}"


class ManifestChunk(models.Model):
    """One page of what was found before anything is destroyed, sealed under the case key (zstd inside)."""

    line = models.ForeignKey(SystemLine, on_delete=models.CASCADE, related_name="chunks")
    index = models.PositiveIntegerField()
    pass_number = models.PositiveIntegerField(
        default=0, help_text="0: before anything was destroyed; later passes add what came since."
    )
    count = models.PositiveIntegerField()
    kinds = models.JSONField(default=dict)
    sealed = models.BinaryField()
    digest = models.CharField(
        max_length=64, help_text="SHA-256 of the plain items, chained to the chunk before."
    )
    taken = models.PositiveIntegerField(
        default=0,
        help_text="So many of the items to erase, from the first on, are done; the next slice goes on there.",
    )
    erased_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["line", "index"]
        constraints = [models.UniqueConstraint(fields=["line", "index"], name="one_chunk_per_index")]

    def __str__(self) -> str:
        return f"{self.line_id} #{self.index}"


class Canary(models.Model):
    """A marker planted on purpose, to prove that the verifier can see. Its marker is random and names nobody."""

    class State(models.TextChoices):
        INTENDED = "intended", "intended"
        PLANTED = "planted", "planted"
        SEEN = "seen", "seen by the verifier before erasure"
        GONE = "gone", "gone, verified"
        LIFTED = "lifted", "removed again"

    line = models.ForeignKey(SystemLine, on_delete=models.CASCADE, related_name="canaries")
    shape = models.CharField(max_length=60)
    marker = models.CharField(max_length=64, unique=True)
    sealed_place = models.BinaryField(null=True)
    state = models.CharField(max_length=16, choices=State.choices, default=State.INTENDED)
    planted_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.marker


class BystanderGroup(models.Model):
    """Somebody else's data that shares a container with the subject: its digest before and after.

    `sealed_entries` holds 16 bytes per item (8 of the key's hash, 8 of the content's), so that a loss can be named.
    """

    class Verdict(models.TextChoices):
        OPEN = "open", "open"
        UNCHANGED = "unchanged", "unchanged"
        CHANGED = "changed", "changed by its owner"
        UNEXPLAINED = "unexplained", "unexplained"

    line = models.ForeignKey(SystemLine, on_delete=models.CASCADE, related_name="bystanders")
    owner = models.CharField(max_length=64, help_text="Pseudonym of the owner of the group.")
    count = models.BigIntegerField()
    digest = models.CharField(max_length=64)
    sealed_entries = models.BinaryField(null=True)
    count_after = models.BigIntegerField(null=True)
    digest_after = models.CharField(max_length=64, default="", blank=True)
    lost = models.BigIntegerField(default=0)
    verdict = models.CharField(max_length=16, choices=Verdict.choices, default=Verdict.OPEN)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["line", "owner"], name="one_group_per_owner")]

    def __str__(self) -> str:
        return f"{self.line_id} {self.verdict}"


class ErasureLedger(models.Model):
    """Keyed HMAC of each erased identifier with the time, kept until the last archive that holds it is purged.

    A copy goes to the vault bucket, outside every database that a restore could bring back.
    """

    tenant_id = models.CharField(max_length=64, db_index=True)
    identifier_hmac = models.CharField(max_length=64)
    erased_at = models.DateTimeField()
    case_id = models.CharField(max_length=32)
    keep_until = models.DateTimeField(null=True)

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "identifier_hmac", "case_id"], name="one_ledger_entry"
            )
        ]

    def __str__(self) -> str:
        return f"{self.tenant_id} {self.case_id}"


class Suspended(models.Model):
    """A rule by which a provider deletes by age, stopped while a hold stands; reference-counted across holds.

    `key_hash` names the rule wherever it lives, since environments share buckets; `sealed` is its name and what it was.
    """

    hold = models.ForeignKey("compliance.LegalHold", on_delete=models.CASCADE, related_name="suspended_rules")
    environment = models.ForeignKey("lifecycle.Environment", on_delete=models.PROTECT, related_name="+")
    system = models.CharField(max_length=32)
    key_hash = models.CharField(max_length=64, db_index=True)
    sealed = models.BinaryField()

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["hold", "key_hash"], name="suspended_once_per_hold")]

    def __str__(self) -> str:
        return f"{self.hold_id} {self.system}"


class Preserved(models.Model):
    """Something a legal hold keeps at the provider itself, reference-counted across holds."""

    hold = models.ForeignKey("compliance.LegalHold", on_delete=models.CASCADE, related_name="preserved_items")
    environment = models.ForeignKey("lifecycle.Environment", on_delete=models.PROTECT, related_name="+")
    system = models.CharField(max_length=32)
    key_hash = models.CharField(max_length=64)
    sealed_key = models.BinaryField()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["hold", "environment", "system", "key_hash"], name="once_per_hold"
            )
        ]
        indexes = [models.Index(fields=["system", "key_hash"])]

    def __str__(self) -> str:
        return f"{self.hold_id} {self.system}"
