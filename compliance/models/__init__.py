"""Models of the judging side."""

from compliance.models.hold import FenceBatch, LegalHold, RetentionRule
from compliance.models.proof import ApiToken, AuditEvent, AuditHead, Certificate, SaltEscrow
from compliance.models.rate import ApiRate
from compliance.models.request import Decision, ErasureRequest, Mention, Notice, Recipient

__all__ = [
    "ApiRate",
    "ApiToken",
    "AuditEvent",
    "AuditHead",
    "Certificate",
    "Decision",
    "ErasureRequest",
    "FenceBatch",
    "LegalHold",
    "Mention",
    "Notice",
    "Recipient",
    "RetentionRule",
    "SaltEscrow",
]
