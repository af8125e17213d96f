"""Tenants, their environments, the data map's versions."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Tenant(models.Model):
    """A customer of the platform. Its id is the platform's own."""

    class Tier(models.TextChoices):
        PLATINUM = "platinum", "platinum"
        GOLD = "gold", "gold"
        SILVER = "silver", "silver"
        BRONZE = "bronze", "bronze"

    class Status(models.TextChoices):
        ACTIVE = "active", "active"
        FROZEN = "frozen", "frozen"
        ERASED = "erased", "erased"

    id = models.CharField(primary_key=True, max_length=64)
    name = models.CharField(max_length=200)
    kind = models.CharField(
        max_length=40, default="standard", help_text="Type of tenant, for retention rules."
    )
    tier = models.CharField(max_length=16, choices=Tier.choices, default=Tier.SILVER)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.ACTIVE)
    home_region = models.CharField(max_length=40)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.id


class Contact(models.Model):
    """A person at the tenant who may speak for it. The address is sealed under key tenant/<id>."""

    class Role(models.TextChoices):
        ADMIN = "admin", "admin"
        DPO = "dpo", "data protection officer"
        BILLING = "billing", "billing"

    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="contacts")
    role = models.CharField(max_length=16, choices=Role.choices)
    mail_hmac = models.CharField(max_length=64, db_index=True)
    sealed_mail = models.BinaryField(null=True)
    public_key = models.TextField(
        default="", blank=True, help_text="Ed25519 public key (PEM) for signed requests."
    )

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["tenant", "role", "mail_hmac"], name="one_contact_per_role")
        ]

    def __str__(self) -> str:
        return f"{self.role} of {self.tenant_id}"


class Environment(models.Model):
    """One tenant's place in one region: where its rows, vectors, objects, keys, logs and metrics are.

    `places` maps a system's name to settings and secret references (`env:NAME`, `file:PATH#/json/pointer`,
    `aws-sm:ARN`); a secret itself is never stored here.
    """

    class Role(models.TextChoices):
        HOME = "home", "home"
        GREEN = "green", "green of a move"
        SOAKING_BLUE = "soaking_blue", "soaking blue"
        KEPT_GREEN = "kept_green", "kept green"
        RESTORED = "restored", "restored version"
        CLONE = "clone", "clone"

    id = models.CharField(primary_key=True, max_length=96)
    tenant = models.ForeignKey(Tenant, on_delete=models.CASCADE, related_name="environments")
    region = models.CharField(max_length=40)
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.HOME)
    places = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)
    gone_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.id


class DataMapVersion(models.Model):
    """One version of the YAML data map. The newest one is in force."""

    version = models.PositiveIntegerField(primary_key=True)
    text = models.TextField()
    digest = models.CharField(max_length=64, unique=True)
    published_by = models.CharField(max_length=80)
    published_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["-version"]

    def __str__(self) -> str:
        return f"v{self.version}"
