"""How often the API was called, counted for all web processes together."""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.utils import timezone

KEPT = timedelta(days=2)  # longer than the longest window that a rate can name


class ApiRate(models.Model):
    """Calls of one caller since a window began. The key is a keyed hash: neither an account nor an address stands here."""

    key = models.CharField(max_length=64, primary_key=True)
    began = models.DateTimeField()
    calls = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.calls} calls since {self.began:%Y-%m-%d %H:%M:%S}"

    @classmethod
    def forget(cls) -> int:
        """Drops windows that ended long ago; how many."""
        return cls.objects.filter(began__lt=timezone.now() - KEPT).delete()[0]
