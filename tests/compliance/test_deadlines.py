"""The legal clock, over leap years, month ends and weekends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compliance import deadlines

START = datetime(2020, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(0, 40 * 366 * 86_400).map(lambda seconds: START + timedelta(seconds=seconds))


def at(text: str) -> datetime:
    return datetime.fromisoformat(text + "T15:30:00+00:00")


@pytest.mark.parametrize(
    ("regime", "received", "due", "longest"),
    [
        ("gdpr17", "2027-01-31", "2027-02-28", "2027-04-30"),
        ("gdpr17", "2028-01-31", "2028-02-29", "2028-04-30"),
        ("gdpr17", "2027-02-01", "2027-03-01", "2027-05-01"),
        ("gdpr17", "2026-12-05", "2027-01-04", "2027-03-05"),
        ("art28", "2026-04-30", "2026-05-30", "2026-07-29"),
        ("ccpa", "2026-11-25", "2027-01-09", "2027-02-23"),
    ],
)
def test_known_days(regime: str, received: str, due: str, longest: str) -> None:
    assert deadlines.deadline(regime, at(received)) == at(due)
    assert deadlines.extended(regime, at(received)) == at(longest)
    assert deadlines.extension_allowed_until(regime, at(received)) == at(due)


@given(MOMENTS)
def test_a_month_is_never_longer_than_either_reading(received: datetime) -> None:
    due = deadlines.deadline("gdpr17", received)
    assert timedelta(days=28) <= due - received <= timedelta(days=30)
    assert due <= deadlines.months_later(received, 1)
    assert due < deadlines.extended("gdpr17", received) <= received + timedelta(days=90)
    assert deadlines.months_later(received, 12).year == received.year + 1


@given(MOMENTS)
def test_ten_business_days(received: datetime) -> None:
    by = deadlines.confirm_by("ccpa", received)
    assert by is not None and by.weekday() < 5
    passed = [received + timedelta(days=day) for day in range(1, (by - received).days + 1)]
    assert sum(day.weekday() < 5 for day in passed) == 10
    assert deadlines.confirm_by("gdpr17", received) is None


def test_reminders_and_refusals() -> None:
    due = at("2026-12-25")
    assert [(days, due - moment) for days, moment in deadlines.reminders(due)] == [
        (n, timedelta(days=n)) for n in (7, 3, 1)
    ]
    assert deadlines.deadline("dpdpa", due) == due + timedelta(days=90)
    assert deadlines.extension_allowed_until("dpdpa", due) is None
    with pytest.raises(ValueError, match="can't be extended"):
        deadlines.extended("dpdpa", due)
    with pytest.raises(ValueError, match="no clock"):
        deadlines.deadline("lgpd", due)
