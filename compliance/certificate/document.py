"""The certificate itself: one JSON object, made from evidence that allows it. The PDF is only its rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compliance.certificate import canonical, evidence, wording
from compliance.errors import Refused

FORMAT = "erasure-certificate/1"
SOFTWARE = "tenant-lifecycle 1.0.0"
_EVIDENCE = (*evidence.SHAPE,)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a certificate is besides its evidence. `previous_seal` is the SHA-256 of the seal before; None for number 1.

    `refers_to` ({id, number, seal}) is the certificate that an addendum or a correction is about.
    """

    id: str
    number: int
    kind: str
    issued_at: str
    issuer: str
    fingerprint: str
    previous_seal: str | None = None
    refers_to: Mapping[str, Any] | None = None


def build(given: Mapping[str, Any], identity: Identity) -> dict[str, Any]:
    """The document of a certificate from the evidence of an erasure. Raises Refused with every reason against it."""
    given = textual(given)
    reasons = evidence.problems(given)
    if reasons:
        raise Refused(*reasons)
    retained = given["retained"]
    document = _head(identity) | {name: given.get(name) for name in _EVIDENCE}
    document["lines"] = [{**line, "statement": wording.statement(line, retained)} for line in given["lines"]]
    document["outcome"] = outcome(given)
    return _finished(document)


def build_closing(given: Mapping[str, Any], identity: Identity) -> dict[str, Any]:
    """The document of an addendum that closes provider-pending items, or of a correction.

    `given` holds {request: {id, tenant}, as_of, statement, closed: [{system, environment, until, observed_at, how}],
    corrects: {id, number, seal} or None, software}. Raises Refused when it refers to no certificate, or says nothing.
    """
    reasons = (
        []
        if identity.refers_to
        else ["It refers to no certificate. Name the one that it adds to or corrects."]
    )
    reasons += _closing_reasons(given)
    if reasons:
        raise Refused(*reasons)
    names = ("request", "as_of", "statement", "closed", "corrects", "software")
    return _finished(_head(identity) | {name: given.get(name) for name in names})


def textual(value: Any) -> Any:
    """`value` with every floating-point number as text of at most four digits: a score of 0.0125 is "0.0125"."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return {name: textual(inner) for name, inner in value.items()}
    return [textual(inner) for inner in value] if isinstance(value, list | tuple) else value


def _closing_reasons(given: Mapping[str, Any]) -> list[str]:
    reasons = []
    if not given.get("closed") and not given.get("statement"):
        reasons.append("It says nothing. Name the items that closed, or state the correction.")
    if not canonical.is_time(given.get("as_of")):
        reasons.append("It has no time. Give as_of as an RFC 3339 time in UTC.")
    for index, row in enumerate(given.get("closed") or []):
        late = [name for name in ("until", "observed_at") if not canonical.is_time(row.get(name))]
        if late or not row.get("system") or not row.get("how"):
            reasons.append(f"closed[{index}] needs system, how, and times until and observed_at.")
    return reasons + list(evidence.mails(given, "evidence"))


def outcome(given: Mapping[str, Any]) -> str:
    """`complete`, or `partial` where a part is retained or locked."""
    kept = any(line["retained"] or line["state"] in ("retained", "locked") for line in given["lines"])
    return "partial" if kept or given["retained"] else "complete"


def _head(identity: Identity) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "id": identity.id,
        "number": identity.number,
        "kind": identity.kind,
        "issued_at": identity.issued_at,
        "issuer": identity.issuer,
        "signing_key": identity.fingerprint,
        "previous_seal": identity.previous_seal,
        "refers_to": dict(identity.refers_to) if identity.refers_to else None,
        "notes": list(wording.NOTES),
    }


def _finished(document: dict[str, Any]) -> dict[str, Any]:
    """The document as it reads back from its canonical bytes, so that both are the same thing."""
    try:
        plain: dict[str, Any] = canonical.decode(canonical.encode(document))
    except (ValueError, TypeError) as error:
        raise Refused(f"The evidence can't be written as canonical JSON: {error}") from error
    return plain
