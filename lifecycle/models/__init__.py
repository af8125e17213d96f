"""Models of the executing side."""

from lifecycle.models.case import (
    BystanderGroup,
    Canary,
    ErasureCase,
    ErasureLedger,
    ManifestChunk,
    Preserved,
    SystemLine,
)
from lifecycle.models.run import Heartbeat, Run, Step, Undo
from lifecycle.models.tenant import Contact, DataMapVersion, Environment, Tenant

__all__ = [
    "BystanderGroup",
    "Canary",
    "Contact",
    "DataMapVersion",
    "Environment",
    "ErasureCase",
    "ErasureLedger",
    "Heartbeat",
    "ManifestChunk",
    "Preserved",
    "Run",
    "Step",
    "SystemLine",
    "Tenant",
    "Undo",
]
