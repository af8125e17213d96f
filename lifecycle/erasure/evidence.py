"""The evidence that a certificate is made of: read from rows, with no personal data."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from django.db.models import Q, Sum
from django.utils import timezone

from compliance.actions import certifying
from compliance.models import AuditEvent, Decision, LegalHold, Mention, Recipient
from compliance.sealing import seal_json, unseal_json
from lifecycle.engine.progress import moment
from lifecycle.erasure import manifest
from lifecycle.erasure.cases import CaseFile
from lifecycle.models import BystanderGroup, Canary, ErasureLedger, SystemLine

SOFTWARE = "tenant-lifecycle 1.0.0"


def build(file: CaseFile) -> tuple[dict[str, Any], bytes]:
    """(evidence, salt). The same round gives the same evidence: it is kept sealed with the case when first built."""
    kept = file.case.evidence.get(str(file.case.round))
    if kept:
        found = unseal_json(file.key, bytes.fromhex(kept), f"evidence/{file.request.pk}/{file.case.round}")
        return found["evidence"], bytes.fromhex(found["salt"])
    salt = hashlib.sha256(b"salt" + file.key + str(file.case.round).encode()).digest()
    proof = _collect(file, salt)
    sealed = seal_json(
        file.key, {"evidence": proof, "salt": salt.hex()}, f"evidence/{file.request.pk}/{file.case.round}"
    )
    file.case.evidence = {**file.case.evidence, str(file.case.round): sealed.hex()}
    file.case.save(update_fields=["evidence"])
    return proof, salt


def _collect(file: CaseFile, salt: bytes) -> dict[str, Any]:
    request, subject = file.request, file.scope.subject
    return {
        "request": {
            "id": request.pk,
            "regime": request.regime,
            "ground": request.ground,
            "subject_kind": request.subject_kind,
            "tenant": request.tenant_id,
            "subject_commitment": certifying.commitment(salt, subject.tenant, subject.user),
            "received_at": moment(request.received_at),
            "deadline": moment(request.deadline),
            "extended_at": moment(request.extended_at),
        },
        "round": file.case.round,
        "as_of": moment(timezone.now()),
        "frozen_at": moment(file.case.frozen_at),
        "timeline": _timeline(file),
        "approvals": [
            {"at": moment(each.decided_at), "role": each.role, "digest": each.digest}
            for each in request.decisions.filter(kind=Decision.Kind.APPROVE, voided_at=None)
        ],
        "holds": _holds(file),
        "lines": [_line(each) for each in file.case.lines.select_related("environment")],
        "retained": _retained(file),
        "canaries": canaries(file.case.lines.values_list("pk", flat=True)),
        "bystanders": bystanders(file.case.lines.values_list("pk", flat=True)),
        "mentions": _mentions(file),
        "recipients": [_recipient(each) for each in request.recipients.all()],
        "keys_destroyed": sorted(
            {name for line in file.case.lines.all() for name in line.detail.get("keys_destroyed", [])}
        ),
        "ledger": _ledger(file),
        "datamap_version": file.datamap.version,
        "manifest_digest": _manifest_digest(file),
        "software": SOFTWARE,
        "pending": [
            {
                "system": each.system,
                "until": moment(each.purge_by),
                "why": "the provider keeps deleted data, out of reach",
            }
            for each in file.case.lines.exclude(purge_by=None)
        ],
    }


def _line(line: SystemLine) -> dict[str, Any]:
    return {
        "system": line.system,
        "environment": line.environment_id,
        "region": line.environment.region,
        "state": line.state,
        "found": line.found,
        "erased": line.erased,
        "anonymised": line.anonymised,
        "retained": line.retained,
        "residue": line.residue if line.residue is not None else -1,
        "method": line.detail.get("method", ""),
        "verifier": line.detail.get("verifier", ""),
        "verified_at": moment(line.verified_at),
        "purge_by": moment(line.purge_by),
        "locked_until": moment(line.locked_until),
        "detail": {
            name: line.detail[name]
            for name in ("attack_score", "mapping_kept", "notes")
            if name in line.detail
        },
    }


def _timeline(file: CaseFile) -> list[dict[str, Any]]:
    # The engine's own steps are in the audit; a reader of the certificate looks for what people and the law did.
    engine = Q(verb__startswith="step.") | Q(verb__startswith="run.")
    events = AuditEvent.objects.filter(case_id=file.request.pk).exclude(engine).order_by("seq")
    return [{"at": moment(each.at), "what": each.verb, "who": _who(each.actor)} for each in events]


def _who(actor: str) -> str:
    from django.contrib.auth.models import User

    groups = User.objects.filter(username=actor).values_list("groups__name", flat=True)
    return next((str(name) for name in groups if name), "system" if actor == "system" else "staff")


def _holds(file: CaseFile) -> list[dict[str, Any]]:
    found = LegalHold.objects.filter(
        tenant_id=file.request.tenant_id, subject_pseudonym__in=["", file.request.subject_pseudonym]
    )
    since = file.request.received_at
    return [
        {
            "placed_at": moment(each.placed_at),
            "released_at": moment(each.released_at),
            "what": "retained under Art. 17(3)" if each.hidden else f"legal hold ({each.type})",
            "state": each.state,
        }
        for each in found
        if each.released_at is None or each.released_at >= since
    ]


def _retained(file: CaseFile) -> list[dict[str, Any]]:
    counts: Counter[str] = Counter()
    for line in file.case.lines.all():
        for chunk in line.chunks.filter(pass_number=0):
            for run in manifest.items(chunk, file.key).runs:
                if run.action == "retain" or run.category in file.scope.held_categories:
                    counts[run.category] += len(run.keys)
    rows = []
    for category, number in sorted(counts.items()):
        rule = file.judgement.retained.get(category)
        rows.append(
            {
                "category": category,
                "ground": rule.ground if rule else "e",
                "citation": rule.citation if rule else "legal hold, Art. 17(3)(e)",
                "until": moment(rule.until) if rule else None,
                "count": number,
            }
        )
    return rows


def canaries(line_ids: Any) -> dict[str, Any]:
    """{planted, remaining, by_shape} over some lines."""
    rows = Canary.objects.filter(line__in=list(line_ids)).exclude(
        state__in=[Canary.State.INTENDED, Canary.State.LIFTED]
    )
    gone = rows.filter(state=Canary.State.GONE).count()
    return {
        "planted": rows.count(),
        "remaining": rows.count() - gone,
        "by_shape": dict(
            sorted(Counter(f"{s}:{n}" for s, n in rows.values_list("line__system", "shape")).items())
        ),
    }


def bystanders(line_ids: Any) -> dict[str, int]:
    """{unchanged, changed, unexplained} groups over some lines."""
    rows = BystanderGroup.objects.filter(line__in=list(line_ids))
    return {
        "unchanged": rows.filter(verdict=BystanderGroup.Verdict.UNCHANGED).count(),
        "changed": rows.filter(verdict=BystanderGroup.Verdict.CHANGED).count(),
        "unexplained": rows.filter(
            verdict__in=[BystanderGroup.Verdict.UNEXPLAINED, BystanderGroup.Verdict.OPEN]
        ).count(),
        "items": rows.aggregate(total=Sum("count"))["total"] or 0,
    }


def _mentions(file: CaseFile) -> dict[str, int]:
    rows = file.request.mentions.all()
    decided = Counter(each.decided_as or each.choice for each in rows)
    return {
        "total": len(rows),
        "erased": decided[Mention.Choice.ERASE],
        "redacted": decided[Mention.Choice.REDACT],
        "not_this_person": decided[Mention.Choice.NOT_THIS_PERSON],
    }


def _recipient(each: Recipient) -> dict[str, Any]:
    return {
        "name": each.name,
        "kind": each.kind,
        "state": each.state,
        "at": moment(each.settled_at),
        "role": each.settled_role,
        "evidence_sha256": each.evidence_hash,
    }


def _ledger(file: CaseFile) -> dict[str, Any]:
    rows = ErasureLedger.objects.filter(case_id=file.request.pk)
    last = rows.order_by("-keep_until").first()
    return {"entries": rows.count(), "keep_until": moment(last.keep_until) if last else None}


def _manifest_digest(file: CaseFile) -> str:
    total = hashlib.sha256()
    for line in file.case.lines.order_by("id"):
        total.update(manifest.digest(line).encode())
    return total.hexdigest()
