"""What a certificate may be built from: the shape of the evidence, and every reason to refuse it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from compliance.certificate import canonical, wording

TIME, TIME_OR_NONE, TEXT, COUNT, MAPPING, LIST, HASH = (
    "time",
    "time or null",
    "text",
    "count",
    "object",
    "list",
    "hash",
)
SHAPE: dict[str, str] = {
    "as_of": TIME, "frozen_at": TIME_OR_NONE, "round": COUNT, "datamap_version": COUNT, "manifest_digest": HASH,
    "software": TEXT, "request": MAPPING, "ledger": MAPPING, "canaries": MAPPING, "bystanders": MAPPING,
    "mentions": MAPPING, "lines": LIST, "timeline": LIST, "approvals": LIST, "holds": LIST, "retained": LIST,
    "recipients": LIST, "keys_destroyed": LIST, "pending": LIST,
}  # fmt: skip
INNER: dict[str, dict[str, str]] = {
    "request": {
        "id": TEXT, "regime": TEXT, "ground": TEXT, "subject_kind": TEXT, "tenant": TEXT, "subject_commitment": HASH,
        "received_at": TIME, "deadline": TIME, "extended_at": TIME_OR_NONE,
    },
    "canaries": {"planted": COUNT, "remaining": COUNT, "by_shape": MAPPING},
    "bystanders": {"unchanged": COUNT, "changed": COUNT, "unexplained": COUNT},
    "mentions": {"total": COUNT, "erased": COUNT, "redacted": COUNT, "not_this_person": COUNT},
    "ledger": {"entries": COUNT, "keep_until": TIME_OR_NONE},
}  # fmt: skip
ROWS: dict[str, dict[str, str]] = {
    "lines": {
        "system": TEXT, "environment": TEXT, "region": TEXT, "state": TEXT, "found": COUNT, "erased": COUNT,
        "anonymised": COUNT, "retained": COUNT, "method": TEXT, "verifier": TEXT, "purge_by": TIME_OR_NONE,
        "locked_until": TIME_OR_NONE, "detail": MAPPING,
    },
    "timeline": {"at": TIME, "what": TEXT, "who": TEXT},
    "approvals": {"at": TIME, "role": TEXT, "digest": HASH},
    "retained": {"category": TEXT, "ground": TEXT, "citation": TEXT, "until": TIME_OR_NONE, "count": COUNT},
    "recipients": {"name": TEXT, "kind": TEXT, "state": TEXT, "at": TIME_OR_NONE, "role": TEXT, "evidence_sha256": TEXT},
    "pending": {"system": TEXT, "until": TIME, "why": TEXT},
}  # fmt: skip
FINAL_STATES = ("erased", "anonymised", "pending_purge", "retained", "locked")
SETTLED = ("erased", "notified", "attested")
_MAIL = re.compile(r"[^\s@/]+@[^\s@/]+\.[^\s@/]+")
_HASH = re.compile(r"[0-9a-f]{64}")


def problems(evidence: Mapping[str, Any]) -> list[str]:
    """Sentences that say why no certificate may be built from `evidence`; empty when one may."""
    found = list(_shape(evidence))
    if found:
        return found
    found += [reason for line in evidence["lines"] for reason in _line(line, evidence["retained"])]
    return found + list(_counts(evidence)) + list(_settled(evidence)) + list(mails(evidence, "evidence"))


def _shape(evidence: Mapping[str, Any]) -> Iterator[str]:
    yield from _fields(evidence, SHAPE, "evidence")
    for name, fields in INNER.items():
        if isinstance(evidence.get(name), Mapping):
            yield from _fields(evidence[name], fields, name)
    for name, fields in ROWS.items():
        for index, row in enumerate(_list(evidence.get(name))):
            if isinstance(row, Mapping):
                yield from _fields(row, fields, f"{name}[{index}]")
            else:
                yield f"{name}[{index}] is not an object. Give one with {', '.join(fields)}."


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _fields(given: Mapping[str, Any], fields: Mapping[str, str], where: str) -> Iterator[str]:
    for name, kind in fields.items():
        if name not in given and not kind.endswith("null"):
            yield f"{where}.{name} is missing. Give a {kind}."
        elif not _is(given.get(name), kind):
            yield f"{where}.{name} is not a {kind}. Correct the evidence and certify again."


def _is(value: Any, kind: str) -> bool:
    if kind == TIME_OR_NONE:
        return value is None or canonical.is_time(value)
    if kind == COUNT:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    checks = {
        TIME: canonical.is_time(value),
        TEXT: isinstance(value, str),
        HASH: isinstance(value, str) and _HASH.fullmatch(value) is not None,
        MAPPING: isinstance(value, Mapping),
        LIST: isinstance(value, list),
    }
    return checks[kind]


def _line(line: Mapping[str, Any], retained: list[Mapping[str, Any]]) -> Iterator[str]:
    where = f"{line['system']} in {line['environment']}"
    if line["state"] not in FINAL_STATES:
        yield f"{where} stands at {line['state']!r}. Certify only once every system is finished."
    if not canonical.is_time(line.get("verified_at")):
        yield f"{where} was not verified. Verify it before a certificate is issued."
    if not _is(line.get("residue"), COUNT):
        yield f"{where} has no residue count. Verify it before a certificate is issued."
    elif line["residue"] > 0:
        yield f"{where} still holds {line['residue']} items of the subject. Erase them and verify again."
    if not line["method"] or not line["verifier"]:
        yield f"{where} does not say how it was erased and verified. Name both methods."
    for state, date in (("locked", "locked_until"), ("pending_purge", "purge_by")):
        if line["state"] == state and not line.get(date):
            yield f"{where} is {state!r} but has no {date}. Give the date."
    if (
        (line["retained"] or line["state"] == "retained")
        and not retained
        and not line["detail"].get("retained")
    ):
        yield f"{where} keeps items, but no retained part names the ground. Name it, or erase them."
    left = line["found"] - line["erased"] - line["anonymised"] - line["retained"]
    if left > 0 and line["state"] != "locked":
        yield f"{where}: {left} of {line['found']} items found are neither erased, anonymised nor retained. Account for them."


def _counts(evidence: Mapping[str, Any]) -> Iterator[str]:
    if not evidence["lines"]:
        yield "There is no line of any system. A certificate lists every system that was searched."
    if evidence["round"] == 0 and not any(line["found"] for line in evidence["lines"]):
        yield "Nothing was found in any system. A search that finds nothing proves no erasure, so nothing is certified."
    canaries, bystanders = evidence["canaries"], evidence["bystanders"]
    if canaries["remaining"]:
        yield f"{canaries['remaining']} of {canaries['planted']} planted markers are still there. Erase and verify again."
    if evidence["round"] == 0 and not canaries["planted"]:
        yield "No marker was planted, so nothing shows that the verifiers can see. Plant markers before erasing."
    if bystanders["unexplained"]:
        yield f"{bystanders['unexplained']} groups of other people's data changed unexplained. Find out why before certifying."
    mentions = evidence["mentions"]
    still_open = mentions["total"] - mentions["erased"] - mentions["redacted"] - mentions["not_this_person"]
    if still_open > 0 or mentions.get("open"):
        yield f"{mentions.get('open') or still_open} mentions of the subject are not decided. Decide each before certifying."
    if not evidence["approvals"]:
        yield "No approval stands behind this erasure. A certificate names its approvals."


def _settled(evidence: Mapping[str, Any]) -> Iterator[str]:
    for entry in evidence["recipients"]:
        if entry["state"] not in SETTLED:
            yield f"Recipient {entry['name']} is {entry['state']}. Settle it (erased, notified or attested) before certifying."
    if evidence["request"]["regime"] not in wording.REGIMES:
        yield f"Regime {evidence['request']['regime']!r} is unknown. Use one of {', '.join(wording.REGIMES)}."


def mails(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, str) and _MAIL.search(value):
        yield f"{where} holds a mail address in clear. A certificate carries no personal data: leave it out."
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from mails(inner, f"{where}.{name}")
            yield from mails(name, f"a key of {where}")
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from mails(inner, f"{where}[{index}]")
