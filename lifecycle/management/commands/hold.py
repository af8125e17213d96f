"""`manage.py hold VERB`: place, release, list legal holds."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime

from compliance import statements
from compliance.actions import holds
from compliance.models import LegalHold
from lifecycle.management.nouns import Answer, NounCommand, Options, misuse, table
from lifecycle.management.people import acting_user, add_as
from lifecycle.models import Run
from lifecycle.preservation import workflow

# Seconds that a count of what is preserved is worth; never beyond what is left of a command's ten seconds.
A_MOMENT, AT_MOST = 1.5, 7.5


class Command(NounCommand):
    """The command line's door to holds."""

    help = "Legal holds: place, release, list, show."

    def add_verbs(self) -> None:
        place = self.verb(
            "place", self.place, "place a hold; when it returns, no deletion in its scope is in flight"
        )
        place.add_argument("--tenant", required=True)
        place.add_argument("--user", help="one custodian; the whole tenant where it is missing")
        place.add_argument("--category", default="", help="one data category; every one where it is missing")
        place.add_argument("--case", required=True, metavar="ID", help="the legal team's own reference")
        place.add_argument("--type", required=True, choices=LegalHold.Type.values)
        place.add_argument("--until", metavar="DATE")
        place.add_argument("--confidential", action="store_true")
        place.add_argument("--reason", default="")
        add_as(place)
        release = self.verb("release", self.release, "ask for release, or, as a second person, release")
        release.add_argument("id", metavar="ID")
        release.add_argument("--reason", required=True)
        add_as(release)
        listing = self.verb("list", self.list_, "holds")
        listing.add_argument("--tenant")
        add_as(listing, required=False)
        show = self.verb("show", self.show, "one hold")
        show.add_argument("id", metavar="ID")
        add_as(show, required=False)

    def place(self, options: Options) -> dict[str, Any]:
        """Places a hold and gives preserving a moment, so that its count can be said."""
        began = time.monotonic()
        hold = holds.place(
            actor=acting_user(options),
            tenant_id=options["tenant"],
            user=options["user"],
            category=options["category"],
            case_reference=options["case"],
            type=options["type"],
            until=_until(options["until"]),
            confidential=options["confidential"],
            reason=options["reason"],
        )
        return self._answer(hold, began + AT_MOST)

    def release(self, options: Options) -> dict[str, Any]:
        """Releases in two steps, by two people."""
        actor = acting_user(options)
        hold = statements.visible_holds(actor).get(pk=options["id"])
        hold = holds.release(hold, actor=actor, reason=options["reason"])
        return self._answer(hold, time.monotonic() + A_MOMENT)

    def list_(self, options: Options) -> Answer:
        """Holds; confidential ones are listed to legal only."""
        actor = acting_user(options) if options["as_user"] else None
        found = statements.visible_holds(actor)
        if options["tenant"]:
            found = found.filter(tenant_id=options["tenant"])
        rows = [statements.describe_hold(each, actor) for each in found]
        heads = ("id", "tenant", "state", "what", "placed_at")
        return Answer(rows, table(heads, [[row.get(head, "") for head in heads] for row in rows]))

    def show(self, options: Options) -> dict[str, Any]:
        """One hold; to others than legal a confidential one does not exist."""
        actor = acting_user(options) if options["as_user"] else None
        return statements.describe_hold(statements.visible_holds(actor).get(pk=options["id"]), actor)

    def _answer(self, hold: LegalHold, latest: float) -> dict[str, Any]:
        ends = min(time.monotonic() + A_MOMENT, latest)
        while hold.state == LegalHold.State.PRESERVING and time.monotonic() < ends:
            run = Run.objects.filter(workflow=workflow.NAME, subject=hold.pk).first()
            if run is not None and run.state != Run.State.RUNNING:
                break
            time.sleep(0.1)
            hold.refresh_from_db()
        return statements.brief_hold(hold)


def _until(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        moment, day = parse_datetime(text), parse_date(text)
    except ValueError:
        moment = day = None
    if moment is not None and moment.tzinfo is not None:
        return moment
    if day is None:
        raise misuse(f"{text!r} is no date such as 2027-01-31.")
    return datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)
