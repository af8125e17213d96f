"""`manage.py certificate verify FILE...`, `list`, `salt`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings

from compliance.actions import certifying
from compliance.certificate import verification
from compliance.models import Certificate, SaltEscrow
from lifecycle.management.nouns import Answer, NounCommand, Options, table
from lifecycle.management.people import acting_user, add_as


class Command(NounCommand):
    """Deletion certificates."""

    help = "Deletion certificates: verify, list, salt."

    def add_verbs(self) -> None:
        verify = self.verb("verify", self.verify, "exit code 0 only when everything is genuine and complete")
        verify.add_argument(
            "files", nargs="+", metavar="FILE", help="the files of certificates, or folders of them"
        )
        self.verb("list", self.list_, "certificates in the order of their chain")
        salt = self.verb("salt", self.salt, "open the escrowed salt of a commitment; needs two people")
        salt.add_argument("id", metavar="ID")
        add_as(salt)

    def verify(self, options: Options) -> Answer:
        """Every finding, by part."""
        found = verification.verify(
            [Path(each) for each in options["files"]], trusted=[settings.SIGNING_FINGERPRINT]
        )
        rows = [{"part": str(each.part), "file": each.file, "problem": each.sentence} for each in found]
        lines = [f"{row['part']}: {row['problem']} ({row['file']})" for row in rows] or [
            "genuine and complete"
        ]
        return Answer({"genuine": not rows, "findings": rows}, lines, code=1 if rows else 0)

    def list_(self, _options: Options) -> Answer:
        """The chain."""
        rows = [
            {
                "number": each.number,
                "id": each.pk,
                "request": each.request_id,
                "kind": each.kind,
                "issued_at": f"{each.issued_at:%Y-%m-%dT%H:%M:%SZ}",
            }
            for each in Certificate.objects.order_by("number")
        ]
        heads = ("number", "id", "request", "kind", "issued_at")
        return Answer(rows, table(heads, [[row[head] for head in heads] for row in rows]))

    def salt(self, options: Options) -> dict[str, Any]:
        """The first person asks, a second one opens."""
        certificate = Certificate.objects.get(pk=options["id"])
        actor = acting_user(options)
        escrow = SaltEscrow.objects.filter(certificate=certificate).first()
        if escrow is None or escrow.asked_by_id is None:
            certifying.ask_salt(certificate, actor=actor)
            return {"certificate": certificate.pk, "salt": None, "waits_for": "a second person"}
        return {"certificate": certificate.pk, "salt": certifying.open_salt(escrow, actor=actor)}
