"""`manage.py erasure VERB`: request, look, decide, retry, take the certificate."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils.dateparse import parse_datetime

from compliance import statements
from compliance.actions import deciding, mentions, recipients
from compliance.actors import COMPLIANCE, ENGINEER, Actor
from compliance.certificate import bundle
from compliance.errors import Refused
from compliance.models import Certificate, ErasureRequest
from lifecycle.erasure import actions, intake, status
from lifecycle.management.nouns import Answer, NounCommand, Options, misuse, table
from lifecycle.management.people import acting_user, add_as

INTAKE = Actor(name="intake", roles=frozenset(), user_id=None, via="cli")


class Command(NounCommand):
    """The command line's door to erasure; every rule is in the actions."""

    help = "Erasure requests: request, preview, approve, reject, extend, cancel, retry, status, list, certificate ..."

    def add_verbs(self) -> None:
        self._add_request()
        self._of_request("preview", self.preview, "count what every system holds")
        approve = self._decision("approve", self.approve, "approve what was previewed")
        approve.add_argument("--digest", help="the digest of the preview that was looked at")
        for name, function, text in (
            ("reject", self.reject, "reject, with reasons and remedies to the requester"),
            ("extend", self.extend, "extend the clock once, with its notice"),
        ):
            self._decision(name, function, text).add_argument("--reason", required=True)
        around = self._decision(
            "around-hold", self.around_hold, "erase a tenant around its held users (legal)"
        )
        around.add_argument("--reason", required=True)
        cancel = self._of_request("cancel", self.cancel, "cancel; what was planted is taken out again")
        add_as(cancel, required=False)
        cancel.add_argument("--reason", default="")
        retry = self._of_request("retry", self.retry, "go on with what failed")
        add_as(retry, required=False)
        retry.add_argument("--system", help="only this system")
        self._of_request("status", self.status, "state, systems, canaries, bystanders, certificate")
        self._of_request(
            "watch", self.watch, "follow a request until it ends or waits for a person"
        ).add_argument("--timeout", type=float, default=3600.0, help="seconds (default 3600)")
        self.verb("list", self.list_, "requests by deadline").add_argument(
            "--state", choices=ErasureRequest.State.values
        )
        out = self._of_request("certificate", self.certificate, "write the certificate's files")
        out.add_argument("--out", required=True, metavar="DIR")
        self._add_people()

    def _add_request(self) -> None:
        parser = self.verb("request", self.request, "ask for the erasure of a tenant or of one user of it")
        parser.add_argument("--tenant", required=True)
        parser.add_argument("--user", help="one user; the whole tenant where it is missing")
        parser.add_argument("--requested-by", required=True, metavar="MAIL")
        parser.add_argument("--regime", default="gdpr17", choices=ErasureRequest.Regime.values)
        parser.add_argument("--ground", default="b", choices=list("abcdef"), help="letter of Art. 17(1)")
        parser.add_argument("--received-at", metavar="TIME", help="RFC 3339; starts the clock")
        parser.add_argument("--reason", default="")
        parser.add_argument(
            "--signature", help="detached Ed25519 signature of the person's own request (base64)"
        )
        add_as(parser, required=False)

    def _add_people(self) -> None:
        listing = self._of_request(
            "mentions", self.mentions_, "mentions of the person in other people's data"
        )
        add_as(listing)
        decide = self._decision("decide", self.decide, "decide one mention")
        decide.add_argument("--mention", type=int, required=True)
        decide.add_argument("--choice", required=True, choices=["erase", "redact", "not_this_person"])
        settle = self._decision("settle", self.settle, "settle a recipient that no adapter reaches")
        settle.add_argument("--recipient", required=True, metavar="NAME")
        settle.add_argument("--state", required=True, choices=["erased", "notified", "attested"])
        settle.add_argument(
            "--evidence", required=True, help="what proves it; only its hash is kept in clear"
        )

    def _of_request(self, name: str, function: Any, text: str) -> Any:
        parser = self.verb(name, function, text)
        parser.add_argument("id", metavar="ID")
        return parser

    def _decision(self, name: str, function: Any, text: str) -> Any:
        parser = self._of_request(name, function, text)
        add_as(parser)
        return parser

    def request(self, options: Options) -> dict[str, Any]:
        """Files and previews."""
        made = intake.request(
            actor=acting_user(options) if options["as_user"] else INTAKE,
            tenant_id=options["tenant"],
            user=options["user"],
            requested_by=options["requested_by"],
            regime=options["regime"],
            ground=options["ground"],
            received_at=_time(options["received_at"]),
            reason=options["reason"],
            signature=options["signature"],
            progress=self._progress,
        )
        return {"id": made.pk, "state": made.state, "deadline": f"{made.deadline:%Y-%m-%dT%H:%M:%SZ}"}

    def preview(self, options: Options) -> dict[str, Any]:
        """Counts again while nothing is decided, else shows what the approvers saw."""
        request = _request(options)
        if request.state in (
            ErasureRequest.State.RECEIVED,
            ErasureRequest.State.VALIDATED,
            ErasureRequest.State.AWAITING_APPROVAL,
        ):
            request = intake.preview(request, actor=INTAKE, progress=self._progress)
        systems = {
            name: {"found": each["found"], "kinds": each.get("kinds", {})}
            for name, each in request.preview.items()
        }
        return {"id": request.pk, "state": request.state, "digest": request.digest, "systems": systems}

    def approve(self, options: Options) -> dict[str, Any]:
        """Approves; without --digest what stands now is approved."""
        request = _request(options)
        done = deciding.approve(
            request, actor=acting_user(options), digest=options["digest"] or request.digest
        )
        return _brief(done)

    def reject(self, options: Options) -> dict[str, Any]:
        """Rejects."""
        return _brief(
            deciding.reject(_request(options), actor=acting_user(options), reason=options["reason"])
        )

    def extend(self, options: Options) -> dict[str, Any]:
        """Extends."""
        return _brief(
            deciding.extend(_request(options), actor=acting_user(options), reason=options["reason"])
        )

    def around_hold(self, options: Options) -> dict[str, Any]:
        """Erases the rest of a tenant around held users."""
        return _brief(
            deciding.choose_around_hold(
                _request(options), actor=acting_user(options), reason=options["reason"]
            )
        )

    def cancel(self, options: Options) -> dict[str, Any]:
        """Cancels."""
        actor = _someone(options, COMPLIANCE)
        return _brief(actions.cancel(_request(options), actor=actor, reason=options["reason"]))

    def retry(self, options: Options) -> dict[str, Any]:
        """Retries what failed."""
        request = _request(options)
        run = actions.retry(request, actor=_someone(options, ENGINEER), system=options["system"])
        request.refresh_from_db()
        return {**_brief(request), "run": run.pk}

    def status(self, options: Options) -> dict[str, Any]:
        """The whole status."""
        return _status(_request(options))

    def watch(self, options: Options) -> dict[str, Any]:
        """Follows a request; one line on standard error whenever something changed."""
        request, ends, before = _request(options), time.monotonic() + options["timeout"], ""
        while True:
            request.refresh_from_db()
            now = _status(request)
            line = f"{now['state']}: " + ", ".join(
                f"{name} {each['state']} {each['erased'] + each['anonymised']}/{each['found']}"
                for name, each in now["systems"].items()
            )
            if line != before:
                self.stderr.write(line)
                before = line
            if request.state not in ("scheduled", "executing", "verifying", "certifying", "reopened"):
                return now
            if time.monotonic() > ends:
                raise TimeoutError(f"Request {request.pk} is still {request.state}.")
            time.sleep(0.5)

    def list_(self, options: Options) -> Answer:
        """Requests by deadline."""
        found = ErasureRequest.objects.all()
        if options["state"]:
            found = found.filter(state=options["state"])
        rows = [{**_brief(each), "tenant": each.tenant_id, "subject": each.subject_kind} for each in found]
        heads = ("id", "tenant", "subject", "state", "deadline")
        return Answer(rows, table(heads, [[row[head] for head in heads] for row in rows]))

    def certificate(self, options: Options) -> dict[str, Any]:
        """Writes the files of a request's certificate, named by the id that was given, and of each addendum to it,
        named by its own; with a certificate's id, of that one only."""
        given, folder = options["id"], Path(options["out"])
        chosen = list(Certificate.objects.filter(pk=given))
        if not chosen:
            request = _request(options)
            chosen = list(request.certificates.order_by("number"))
            if not chosen:
                raise Refused(
                    f"Request {request.pk} is {statements.shown_state(request)}: it has no certificate yet."
                )
        stems = [given, *(each.pk for each in chosen[1:])]
        written = [
            path
            for each, stem in zip(chosen, stems, strict=True)
            for path in bundle.write(each, folder, stem)
        ]
        return {"certificate": chosen[-1].pk, "files": sorted({str(path) for path in written})}

    def mentions_(self, options: Options) -> list[dict[str, Any]]:
        """Mentions with what surrounds them; reading them is audited."""
        return mentions.read(_request(options), actor=acting_user(options))

    def decide(self, options: Options) -> dict[str, Any]:
        """Decides one mention; the run looks again."""
        request = _request(options)
        mention = request.mentions.get(pk=options["mention"])
        mentions.decide(mention, actor=acting_user(options), choice=options["choice"])
        actions.wake(request)
        return _brief(request)

    def settle(self, options: Options) -> dict[str, Any]:
        """Settles one recipient; the run looks again."""
        request = _request(options)
        recipient = request.recipients.get(name=options["recipient"])
        recipients.settle(
            recipient, actor=acting_user(options), state=options["state"], evidence=options["evidence"]
        )
        actions.wake(request)
        return _brief(request)

    def _progress(self, system: str, count: int) -> None:
        if count and count % 50_000 == 0:
            self.stderr.write(f"{system}: {count} items counted")


def _request(options: Options) -> ErasureRequest:
    return ErasureRequest.objects.select_related("tenant").get(pk=options["id"])


def _status(request: ErasureRequest) -> dict[str, Any]:
    """In the words that everybody may read: a hidden hold is legal's alone, and nobody says who sits at this keyboard."""
    return {**status.of(request), "state": statements.shown_code(request)}


def _brief(request: ErasureRequest) -> dict[str, Any]:
    return {
        "id": request.pk,
        "state": statements.shown_code(request),
        "deadline": f"{request.deadline:%Y-%m-%dT%H:%M:%SZ}",
        "reason": request.state_reason,
    }


def _someone(options: Options, role: str) -> Actor:
    """The user of `--as`; on a local stack the person at the keyboard may leave it out."""
    if options["as_user"] or not settings.LOCAL_STACK:
        return acting_user(options)
    return Actor(name="operator", roles=frozenset({role}), user_id=None, via="cli")


def _time(text: str | None) -> datetime | None:
    if not text:
        return None
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise misuse(f"{text!r} is no RFC 3339 time with a zone, such as 2026-01-31T12:00:00Z.")
    return found
