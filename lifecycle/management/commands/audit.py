"""`manage.py audit verify|export|head`: the audit trail."""

from __future__ import annotations

import json
from typing import Any

from django.utils import timezone

from compliance import audit
from compliance.actions import heads
from lifecycle.management.nouns import Answer, NounCommand, Options


class Command(NounCommand):
    """The audit trail: append-only, hash-chained, its head signed every day."""

    help = "The audit trail: verify, export, head."

    def add_verbs(self) -> None:
        self.verb("verify", self.verify, "recompute the chain and check the signed heads")
        self.verb("export", self.export, "every event as a JSON line")
        self.verb("head", self.head, "sign today's head now and store it in the locked bucket")

    def verify(self, _options: Options) -> Answer:
        """Every break as a sentence."""
        problems = heads.verify()
        return Answer(
            {"whole": not problems, "problems": problems},
            problems or ["The chain is whole."],
            code=1 if problems else 0,
        )

    def export(self, options: Options) -> Any:
        """JSON lines, or one JSON list with --json."""
        if options["as_json"]:
            return list(audit.events())
        for event in audit.events():
            self.stdout.write(json.dumps(event, ensure_ascii=False, sort_keys=True))
        return Answer(None, [])

    def head(self, _options: Options) -> dict[str, Any]:
        """Today's signed head."""
        head = heads.sign(timezone.now().date())
        return {"day": str(head.day), "seq": head.seq, "hash": head.hash} if head else {"day": None}
