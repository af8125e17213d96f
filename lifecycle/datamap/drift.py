"""Names of columns, fields and labels that give personal data away. Shared by every system's drift check."""

from __future__ import annotations

import re

_PERSONAL = re.compile(
    r"(^|_)(e?mails?|phone|mobile|fax|telephone|surname|"
    r"(full|first|last|middle|given|family|nick|user|display|maiden)_?names?|"
    r"(post|street|home|billing|shipping)_?(address|code)|address|street|birth(day|date)?|dob|gender|ssn|passport|iban|"
    r"ip|ip_?addr(ess)?|user_?agent|national_id|tax_id|avatar|signature)(_|$)"
)
_NAMES_A_USER = re.compile(
    r"(^|_)(user|owner|author|actor|person|member|customer|employee)_?(id|uuid)$|_by(_id)?$"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def looks_personal(name: str) -> bool:
    """Whether a name (`billing_address`, `userAgent`, `client-ip`) is one that usually holds personal data."""
    return bool(_PERSONAL.search(_snake(name)))


def names_a_user(name: str) -> bool:
    """Whether a name (`owner_id`, `approved_by`) is one that usually points to a person."""
    return bool(_NAMES_A_USER.search(_snake(name)))


def _snake(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "_", _CAMEL.sub("_", name)).lower()
