"""The legal clock: pure functions of a regime and the moment of receipt. All times are aware; days are 24 hours in UTC.

gdpr17, art28: GDPR Art. 12(3), one month. We take the earlier of 30 days and one calendar month (a request of 31
    January ends on 28 February); one extension by two further months, its notice inside the first.
ccpa: 11 CCR § 7021: confirm receipt within 10 business days, answer within 45 calendar days, once 45 more.
dpdpa: DPDP Rules 2025, rule 14(3): grievances within a published period of at most 90 days. We take 90, no extension.
"""

from __future__ import annotations

import calendar
from datetime import datetime, timedelta

REGIMES = ("gdpr17", "art28", "ccpa", "dpdpa")
REMINDER_DAYS = (7, 3, 1)


def months_later(moment: datetime, months: int) -> datetime:
    """The same day and time `months` later, or that month's last day where it is shorter (Reg. 1182/71 Art. 3(2)(c))."""
    total = moment.year * 12 + moment.month - 1 + months
    year, month = divmod(total, 12)
    day = min(moment.day, calendar.monthrange(year, month + 1)[1])
    return moment.replace(year=year, month=month + 1, day=day)


def _known(regime: str) -> None:
    if regime not in REGIMES:
        raise ValueError(f"There is no clock for the regime {regime}; known are {', '.join(REGIMES)}.")


def deadline(regime: str, received_at: datetime) -> datetime:
    """When the answer is due."""
    _known(regime)
    if regime == "ccpa":
        return received_at + timedelta(days=45)
    if regime == "dpdpa":
        return received_at + timedelta(days=90)
    return min(received_at + timedelta(days=30), months_later(received_at, 1))


def extended(regime: str, received_at: datetime) -> datetime:
    """When the answer is due after the one extension. Raises ValueError where the regime has none."""
    _known(regime)
    if regime == "dpdpa":
        raise ValueError("The DPDPA's 90 days can't be extended.")
    if regime == "ccpa":
        return received_at + timedelta(days=90)
    return min(received_at + timedelta(days=90), months_later(received_at, 3))


def extension_allowed_until(regime: str, received_at: datetime) -> datetime | None:
    """Until when the extension and its notice must be made: the first deadline. None: no extension."""
    return None if regime == "dpdpa" else deadline(regime, received_at)


def confirm_by(regime: str, received_at: datetime) -> datetime | None:
    """Until when receipt must be confirmed (CCPA: 10 business days; public holidays are not subtracted); else None."""
    if regime != "ccpa":
        return None
    moment, left = received_at, 10
    while left:
        moment += timedelta(days=1)
        left -= moment.weekday() < 5
    return moment


def reminders(due: datetime) -> list[tuple[int, datetime]]:
    """(days before, moment) of each reminder, earliest first."""
    return [(days, due - timedelta(days=days)) for days in REMINDER_DAYS]
