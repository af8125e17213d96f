"""Failures that a desk shows as sentences."""

from __future__ import annotations

from compliance.admin.desk import EXPECTED as JUDGING
from compliance.fence import HoldInForce
from lifecycle.systems.base import Permanent, Transient

EXPECTED: tuple[type[Exception], ...] = (*JUDGING, Permanent, Transient, HoldInForce)
