"""Models of the executing side."""

from lifecycle.models.case import (
    BystanderGroup,
    Canary,
    ErasureCase,
    ErasureLedger,
    ManifestChunk,
    Preserved,
    Suspended,
    SystemLine,
)
from lifecycle.models.migration import Beat, Migration, Order, Reading
from lifecycle.models.run import Heartbeat, Run, Step, Undo
from lifecycle.models.tenant import Contact, DataMapVersion, Environment, Tenant

__all__ = [
    "Beat",
    "BystanderGroup",
    "Canary",
    "Contact",
    "DataMapVersion",
    "Environment",
    "ErasureCase",
    "ErasureLedger",
    "Heartbeat",
    "ManifestChunk",
    "Migration",
    "Order",
    "Preserved",
    "Reading",
    "Run",
    "Step",
    "Suspended",
    "SystemLine",
    "Tenant",
    "Undo",
]
