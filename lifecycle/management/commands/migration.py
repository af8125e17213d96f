"""`manage.py migration VERB`: move a tenant between regions while it is used, and back."""

from __future__ import annotations

import json
import time
from typing import Any

from django.db.models import Q

from lifecycle.management.nouns import Answer, NounCommand, Options, misuse, table
from lifecycle.management.people import acting_user, add_as
from lifecycle.migration import actions, status
from lifecycle.models import Migration


class Command(NounCommand):
    """The command line's door to moves; every rule is in the actions."""

    help = "Moves between regions: plan, start, status, advance, pause, resume, rollback, verify, complete, cancel, list ..."

    def add_verbs(self) -> None:
        self._add_plan()
        start = self._verb("start", self.start, "approve the plan and start it")
        start.add_argument("--digest", help="the digest of the plan that was read")
        self._of("status", self.status, "state, steps, traffic, lag, gates, the way back")
        watch = self._of("watch", self.watch, "follow a move until it ends or waits for a person")
        watch.add_argument("--timeout", type=float, default=86_400.0, help="seconds")
        for name, text in (
            ("advance", "end this step's soak period; the gates are asked all the same"),
            ("pause", "no step goes on; traffic stays as it is"),
            ("resume", "take up a paused move, or try a failed step again"),
            ("complete", "the second person's word: blue is cleared"),
            ("cancel", "before the cutover: what was made is undone"),
        ):
            self._verb(name, self._simple(name), text)
        back = self._verb("rollback", self.rollback, "all traffic and writes to blue, at once")
        back.add_argument("--reason", required=True)
        verify = self._verb("verify", self.verify, "compare blue and green, key by key")
        verify.add_argument("--repair", action="store_true", help="mend what differs and compare again")
        self._verb("discard", self.discard, "give up the green that a rollback kept")
        listing = self.verb("list", self.list_, "moves, the newest first")
        listing.add_argument("--state", choices=Migration.State.values)
        listing.add_argument("--tenant")

    def _add_plan(self) -> None:
        parser = self.verb("plan", self.plan, "what stands in the way, how much there is, what would be made")
        parser.add_argument("--tenant", required=True)
        parser.add_argument("--to", required=True, metavar="REGION")
        parser.add_argument(
            "--soak", choices=Migration.Soak.values, help="default: safe for platinum, else fast"
        )
        parser.add_argument(
            "--override-reason", default="", help="why a platinum tenant moves without a rehearsal"
        )
        parser.add_argument("--window-from", metavar="TIME", help="bronze: cut over no earlier (RFC 3339)")
        parser.add_argument("--window-until", metavar="TIME", help="bronze: cut over no later (RFC 3339)")
        parser.add_argument("--steps", help="percentages, comma-separated, the last one 100")
        parser.add_argument("--step-seconds", type=float, help="soak of each step")
        parser.add_argument("--soak-seconds", type=float, help="soak after the flip")
        parser.add_argument(
            "--hold-seconds", type=float, help="how long missing data holds it before it goes back"
        )
        parser.add_argument("--gates", help="limits of the gates, as JSON")
        parser.add_argument(
            "--no-prometheus",
            action="store_true",
            help="green has none: the watchdog's readings alone decide",
        )
        add_as(parser)

    def _of(self, name: str, function: Any, text: str) -> Any:
        parser = self.verb(name, function, text)
        parser.add_argument("id", metavar="ID")
        return parser

    def _verb(self, name: str, function: Any, text: str) -> Any:
        parser = self._of(name, function, text)
        add_as(parser)
        return parser

    def plan(self, options: Options) -> dict[str, Any]:
        """Plans; refused with every reason that stands in the way."""
        window = None
        if options["window_from"] or options["window_until"]:
            window = {"from": options["window_from"] or "", "until": options["window_until"] or ""}
        made = actions.plan(
            actor=acting_user(options),
            tenant_id=options["tenant"],
            region=options["to"],
            soak=options["soak"],
            override_reason=options["override_reason"],
            window=window,
            own=_own(options),
        )
        return {**status.brief(made), "soak": made.soak, "digest": made.plan_digest, "plan": _shown(made)}

    def start(self, options: Options) -> dict[str, Any]:
        """Starts; without --digest what stands now is approved."""
        found = _found(options)
        actions.start(found, actor=acting_user(options), digest=options["digest"])
        return {**status.brief(found), "run": found.run_id}

    def status(self, options: Options) -> dict[str, Any]:
        """The whole status."""
        return status.of(_found(options))

    def watch(self, options: Options) -> dict[str, Any]:
        """Follows a move; one line on standard error whenever something changed."""
        ends, before = time.monotonic() + options["timeout"], ""
        while True:
            now = status.of(_found(options))
            line = f"{now['state']}, {now['share']} % on green, {now['owner']} owns" + (
                f": {now['why']}" if now["why"] else ""
            )
            if line != before:
                self.stderr.write(line)
                before = line
            waits = now["run_state"] in ("paused", "blocked", "failed", "") or "second person" in now["why"]
            if now["state"] in Migration.ENDED or waits:
                return now
            if time.monotonic() > ends:
                raise TimeoutError(f"Move {now['id']} is still {now['state']}.")
            time.sleep(0.5)

    def _simple(self, name: str) -> Any:
        def work(options: Options) -> dict[str, Any]:
            found = _found(options)
            getattr(actions, name)(found, actor=acting_user(options))
            found.refresh_from_db()
            return status.brief(found)

        return work

    def rollback(self, options: Options) -> dict[str, Any]:
        """Goes back."""
        found = _found(options)
        actions.rollback(found, actor=acting_user(options), reason=options["reason"])
        found.refresh_from_db()
        return status.brief(found)

    def verify(self, options: Options) -> Answer:
        """Compares; exit code 1 where something differs."""
        made = actions.verify(_found(options), actor=acting_user(options), repair=options["repair"])
        return Answer(made, code=0 if made["clean"] else 1)

    def discard(self, options: Options) -> dict[str, Any]:
        """Gives up kept green."""
        found = _found(options)
        run = actions.discard(found, actor=acting_user(options))
        return {**status.brief(found), "run": run.pk}

    def list_(self, options: Options) -> Answer:
        """Moves, the newest first."""
        wanted = Q()
        if options["state"]:
            wanted &= Q(state=options["state"])
        if options["tenant"]:
            wanted &= Q(tenant=options["tenant"])
        rows = [status.brief(each) for each in Migration.objects.filter(wanted)]
        heads = ("id", "tenant", "state", "source", "target", "share")
        return Answer(rows, table(heads, [[row[head] for head in heads] for row in rows]))


def _found(options: Options) -> Migration:
    return Migration.objects.select_related("tenant", "source", "target").get(pk=options["id"])


def _shown(migration: Migration) -> dict[str, Any]:
    return {name: value for name, value in migration.plan.items() if name != "places"}


def _own(options: Options) -> dict[str, Any]:
    """The settings that this plan names for itself."""
    own = {
        name: options[name]
        for name in ("step_seconds", "soak_seconds", "hold_seconds")
        if options[name] is not None
    }
    try:
        if options["steps"]:
            own["steps"] = [int(each) for each in options["steps"].split(",")]
        if options["gates"]:
            own["gates"] = dict(json.loads(options["gates"]))
    except (ValueError, TypeError):
        raise misuse("Give --steps as numbers with commas between, and --gates as a JSON object.") from None
    return own | ({"prometheus": False} if options["no_prometheus"] else {})
