"""The certificate's fixed words. Media-sanitisation words (NIST SP 800-88) are not among them: nothing here wipes media."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

REGIMES = {
    "gdpr17": "Right to erasure, Art. 17 GDPR",
    "art28": "End of processing, Art. 28(3)(g) GDPR",
    "ccpa": "Right to delete, Cal. Civ. Code § 1798.105 (CCPA)",
    "dpdpa": "Right to erasure, Section 12 DPDP Act 2023",
}
GROUNDS = {
    "a": "no longer necessary for the purpose",
    "b": "consent withdrawn",
    "c": "objection",
    "d": "unlawful processing",
    "e": "legal obligation to erase",
    "f": "information society services offered to a child",
}
SYSTEMS = {
    "postgresql": "PostgreSQL rows",
    "pinecone": "Pinecone vectors",
    "s3": "S3 objects",
    "redis": "Redis keys",
    "cloudwatch": "CloudWatch log lines",
    "backups": "Backup archives",
    "analytics": "Analytics series and events",
}
TITLES = {
    "certificate": "Certificate of Erasure",
    "addendum": "Addendum to a Certificate of Erasure",
    "correction": "Correction of a Certificate of Erasure",
}
NOTES = [
    "This certificate is evidence of what was done and found. It is no legal advice.",
    "Deletion here is logical deletion through each system's own interface, verified by searching again with other code. "
    "It makes no statement about the sanitisation of storage media.",
    "The canonical JSON file is the document; the PDF is its rendering and carries the same JSON as an attachment.",
    "A certificate that proves wrong is corrected by a further certificate. None is ever edited.",
]


def day(moment: str) -> str:
    """`2027-02-23` of an RFC 3339 time."""
    return moment[:10]


def human(moment: str) -> str:
    """`25 November 2026, 19:05 UTC` of an RFC 3339 time."""
    at = datetime.fromisoformat(moment)
    return f"{at.day} {at:%B %Y, %H:%M} UTC"


def ground(request: Mapping[str, Any]) -> str:
    """The ground of a request in words, with its letter where the regime has letters."""
    letter = str(request.get("ground") or "")
    if request.get("regime") == "gdpr17" and letter in GROUNDS:
        return f"Art. 17(1)({letter}): {GROUNDS[letter]}"
    return letter or "not stated"


def retention(entry: Mapping[str, Any]) -> str:
    """`retained on Art. 17(3)(b), § 147 AO until 2033-12-31` of one retained part."""
    until = f"until {day(entry['until'])}" if entry.get("until") else "with no fixed end"
    citation = f", {entry['citation']}" if entry.get("citation") else ""
    return f"retained on Art. 17(3)({entry['ground']}){citation} {until}"


def anonymisation(detail: Mapping[str, Any]) -> str:
    """Anonymised only where an attack was scored and no mapping is kept; anything else is a pseudonym."""
    score = detail.get("attack_score")
    if score is not None and detail.get("mapping_kept") is False:
        return f"anonymised, attack score {score}, no mapping kept"
    return "pseudonymised, not erased"


def statement(line: Mapping[str, Any], retained: Sequence[Mapping[str, Any]]) -> str:
    """What became of one system's line, in the closed list of phrases that a certificate may use.

    `retained` are the certificate's retained parts, for the ground and date of what the line keeps.
    """
    state, detail = line["state"], line.get("detail") or {}
    if state == "locked":
        phrases = [f"not erased: locked until {day(line['locked_until'])}"]
    elif state == "pending_purge":
        phrases = [f"logically deleted, provider purge by {day(line['purge_by'])}"]
    elif state == "anonymised":
        phrases = [anonymisation(detail)]
    elif state == "retained":
        phrases = []
    else:
        phrases = [
            f"erased, verified as of {line['verified_at']}"
            + ("" if line["found"] else " (nothing was found)")
        ]
    if line["anonymised"] and state != "anonymised":
        phrases.append(f"{line['anonymised']} {anonymisation(detail)}")
    if line["retained"] or state == "retained":
        grounds = dict.fromkeys(retention(entry) for entry in _kept(line, retained))
        phrases.append(f"{line['retained']} " + "; ".join(grounds))
    return "; ".join(phrases)


def _kept(line: Mapping[str, Any], retained: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    named = (line.get("detail") or {}).get("retained")
    return named if isinstance(named, list) and named else retained
