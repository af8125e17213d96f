"""The audit trail: one hash chain, written inside the transaction of what it records. No personal data.

hash = SHA-256(previous hash + canonical JSON (RFC 8785) of {seq, at, actor, verb, tenant_id, case_id, data}).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from typing import Any, TextIO

import rfc8785
from django.db import connection, transaction
from django.utils import timezone

from compliance.actors import Actor
from compliance.models import AuditEvent, AuditHead, Certificate

GENESIS = "0" * 64
# One number for the whole program: the last lock that any transaction takes (fence, then rows, then this).
HEAD_LOCK = 0x6C63_6175_6469_74
# A process that is stopped, or whose machine is, inside such a transaction would keep everybody waiting. The database
# ends its session after this time without a word: what it was about to record is not recorded, and is done again.
SILENCE = "2s"
_HEAD = "SELECT pg_advisory_xact_lock(%s), set_config('idle_in_transaction_session_timeout', %s, true)"


def stamp(moment: datetime) -> str:
    """RFC 3339 in UTC with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _hash(event: AuditEvent) -> str:
    facts = {
        "seq": event.seq, "at": stamp(event.at), "actor": event.actor, "verb": event.verb,
        "tenant_id": event.tenant_id, "case_id": event.case_id, "data": event.data,
    }  # fmt: skip
    return sha256(event.previous.encode() + rfc8785.dumps(facts)).hexdigest()


def record(
    verb: str, *, actor: Actor, tenant_id: str = "", case_id: str = "", data: dict[str, Any] | None = None
) -> AuditEvent:
    """Appends one event inside the caller's transaction. Call it after every row lock of that transaction.

    `data` holds JSON values without personal data: ids of ours, counts, digests, roles.
    """
    if not connection.in_atomic_block:
        raise RuntimeError(
            "An audit event is written inside the transaction of what it records; open one first."
        )
    with connection.cursor() as cursor:
        cursor.execute(_HEAD, [HEAD_LOCK, "0" if in_test_case() else SILENCE])
    last = AuditEvent.objects.order_by("-seq").only("seq", "hash").first()
    plain = json.loads(json.dumps({"role": _role(actor), "via": actor.via, **(data or {})}))
    event = AuditEvent(
        seq=last.seq + 1 if last else 1, at=timezone.now(), actor=actor.name, verb=verb, tenant_id=tenant_id,
        case_id=case_id, data=plain, previous=last.hash if last else GENESIS,
    )  # fmt: skip
    event.hash = _hash(event)
    event.save(force_insert=True)
    return event


def record_now(
    verb: str, *, actor: Actor, tenant_id: str = "", case_id: str = "", data: dict[str, Any] | None = None
) -> AuditEvent:
    """The same in a transaction of its own, for what changes nothing else of ours."""
    with transaction.atomic():
        return record(verb, actor=actor, tenant_id=tenant_id, case_id=case_id, data=data)


def in_test_case() -> bool:
    """Whether the transaction is one that Django's TestCase puts around a whole test."""
    return any(getattr(block, "_from_testcase", False) for block in connection.atomic_blocks)


def _role(actor: Actor) -> str:
    return ", ".join(sorted(actor.roles)) or "none"


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain on one day, as it is signed."""

    day: str
    seq: int
    hash: str
    latest_seal: str
    signed_at: str

    def document(self) -> bytes:
        """Canonical JSON."""
        return rfc8785.dumps({"type": "audit-head", **asdict(self)})


def sign_head(
    day: date,
    *,
    sign: Callable[[bytes], str],
    fingerprint: str,
    store: Callable[[str, bytes, str], str] | None = None,
) -> AuditHead | None:
    """Signs the last event of `day` (UTC) with the latest certificate's seal, once; None where there is no event yet.

    `sign` returns an armoured detached signature; `store(day, document, signature)` puts both in the locked bucket and
    returns the key. A head that was signed but not stored is stored by the next call.
    """
    end = datetime.combine(day + timedelta(days=1), time.min, UTC)
    last = AuditEvent.objects.filter(at__lt=end).order_by("-seq").first()
    if last is None:
        return None
    head = AuditHead.objects.filter(day=day).first()
    if head is None:
        certificate = Certificate.objects.filter(issued_at__lt=end).order_by("-number").first()
        seal_hash = certificate.seal_hash if certificate else ""
        document = Head(str(day), last.seq, last.hash, seal_hash, stamp(timezone.now())).document()
        signature = sign(document)
        head, _ = AuditHead.objects.get_or_create(
            day=day,
            defaults={
                "seq": last.seq, "hash": last.hash, "latest_seal": seal_hash,
                "document": document.decode(), "signature": signature, "fingerprint": fingerprint,
            },
        )  # fmt: skip
    if store is not None and not head.stored_key:
        head.stored_key = store(str(day), head.document.encode(), head.signature)
        head.save(update_fields=["stored_key"])
    return head


def verify(check_signature: Callable[[bytes, str, str], bool] | None = None) -> list[str]:
    """Every break of the chain and of its signed heads as a sentence; empty where all is genuine.

    `check_signature(document, signature, fingerprint)` also checks the heads' signatures.
    """
    problems: list[str] = []
    heads = {head.seq: head for head in AuditHead.objects.order_by("day")}
    previous, expected = GENESIS, 1
    for event in AuditEvent.objects.order_by("seq").iterator(chunk_size=2000):
        if event.seq != expected:
            problems.append(f"Audit events {expected} to {event.seq - 1} are missing.")
        elif event.previous != previous:
            problems.append(f"Audit event {event.seq} does not continue the one before it.")
        if event.hash != _hash(event):
            problems.append(f"Audit event {event.seq} was edited: its hash does not fit its content.")
        head = heads.pop(event.seq, None)
        if head is not None and head.hash != event.hash:
            problems.append(f"Audit event {event.seq} is not the one that was signed on {head.day}.")
        previous, expected = event.hash, event.seq + 1
    problems += [f"Audit event {head.seq}, signed on {head.day}, is missing." for head in heads.values()]
    problems += _head_problems(check_signature)
    return problems


def _head_problems(check_signature: Callable[[bytes, str, str], bool] | None) -> Iterator[str]:
    for head in AuditHead.objects.order_by("day"):
        stated = json.loads(head.document)
        if (stated.get("seq"), stated.get("hash"), stated.get("day")) != (head.seq, head.hash, str(head.day)):
            yield f"The audit head of {head.day} differs from the document that was signed."
        if check_signature and not check_signature(head.document.encode(), head.signature, head.fingerprint):
            yield f"The signature of the audit head of {head.day} is not genuine."
        if head.latest_seal and not Certificate.objects.filter(seal_hash=head.latest_seal).exists():
            yield f"The certificate whose seal the audit head of {head.day} names is missing."


def events() -> Iterator[dict[str, Any]]:
    """Every event as JSON values, in order."""
    for event in AuditEvent.objects.order_by("seq").iterator(chunk_size=2000):
        yield {
            "seq": event.seq, "at": stamp(event.at), "actor": event.actor, "verb": event.verb, "tenant_id": event.tenant_id,
            "case_id": event.case_id, "data": event.data, "previous": event.previous, "hash": event.hash,
        }  # fmt: skip


def export(out: TextIO) -> int:
    """Writes every event as one line of JSON; returns how many."""
    count = 0
    for line in events():
        out.write(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n")
        count += 1
    return count
