"""One delete request: what it holds, how it is sent, and what its answer means for each key."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from xml.sax.saxutils import escape

from lifecycle.systems.base import Gate, Item, Locked, Permanent, Transient
from lifecycle.systems.s3.kinds import UPLOAD, split
from lifecycle.systems.s3.wire import Answer, Busy, Wire

_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
_CHARACTERS = {"\r": "&#13;", "\n": "&#10;", "\t": "&#9;", '"': "&quot;"}
_GONE = {"NoSuchKey", "NoSuchVersion", "NoSuchUpload"}
_DENIED = {"AccessDenied", "ObjectLocked", "InvalidRequest", "MethodNotAllowed"}


@dataclass(frozen=True, slots=True)
class Send:
    """Consecutive items of one request: up to 1,000 versions, or one upload, or one key that XML can't spell."""

    items: tuple[Item, ...]
    pairs: tuple[tuple[str, str], ...]
    alone: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of one send. `taken` items from its start are finished; `complete` when all are."""

    taken: int = 0
    erased: int = 0
    locked: list[Locked] = field(default_factory=list)
    complete: bool = False
    busy: bool = False
    error: Exception | None = None
    seconds: float = 0.0


def sends(items: Sequence[Item], size: int) -> list[Send]:
    """`items`, in their order, as requests of at most `size` keys (the API takes 1,000)."""
    made: list[Send] = []
    waiting: list[tuple[Item, tuple[str, str]]] = []

    def flush() -> None:
        if waiting:
            made.append(Send(tuple(i for i, _ in waiting), tuple(p for _, p in waiting)))
            waiting.clear()

    for item in items:
        key, mark = split(item.key)
        if item.kind == UPLOAD or _NOT_XML.search(key):
            flush()
            made.append(Send((item,), ((key, mark),), alone=True))
            continue
        waiting.append((item, (key, mark)))
        if len(waiting) >= min(size, 1000):
            flush()
    flush()
    return made


def carry_out(wire: Wire, send: Send, gate: Gate) -> Outcome:
    """Sends, and reads what became of each key. Raises Transient when that is unknown, BatchOver when time is up.

    A service that asks for fewer requests is given time, as much as the batch has.
    """
    wait = 0.1
    while True:
        try:
            return _attempt(wire, send, gate)
        except Busy:
            if gate.remaining() < 1 + wait:
                return Outcome(busy=True)
        time.sleep(wait)
        wait *= 2
        gate.check()


def _attempt(wire: Wire, send: Send, gate: Gate) -> Outcome:
    if send.alone:
        errors = _alone(wire, send, gate)
    else:
        errors = _together(wire, send.pairs, gate)
        again = tuple(pair for pair, code in errors.items() if code not in _DENIED | _GONE)
        if again:
            gate.check()
            errors = {p: c for p, c in errors.items() if p not in again} | _together(wire, again, gate)
    outcome = Outcome()
    for item, pair in zip(send.items, send.pairs, strict=True):
        code = errors.get(pair, "")
        if code in _DENIED:
            outcome.locked.append(_locked(wire, item, pair))
        elif code and code not in _GONE:
            outcome.busy = True
            return outcome
        else:
            outcome.erased += not code
        outcome.taken += 1
    outcome.complete = True
    return outcome


def _together(wire: Wire, pairs: Sequence[tuple[str, str]], gate: Gate) -> dict[tuple[str, str], str]:
    """DeleteObjects; the error code of each key that has one (an answer of 200 may hold errors)."""
    objects = "".join(
        f"<Object><Key>{escape(key, _CHARACTERS)}</Key><VersionId>{escape(mark)}</VersionId></Object>"
        for key, mark in pairs
    )
    body = (
        f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>{objects}</Delete>'
    ).encode()
    answer = wire.send("POST", query={"delete": ""}, body=body, ends=gate.deadline, seconds=gate.remaining())
    if answer.status != 200:
        raise _refusal(answer)
    try:
        root = ET.fromstring(answer.body)  # noqa: S314 - from the configured storage service
    except ET.ParseError as error:
        raise Transient("The object storage broke off its answer to a deletion; try again.") from error
    found = {}
    for element in root:
        if element.tag.rpartition("}")[2] == "Error":
            values = {child.tag.rpartition("}")[2]: child.text or "" for child in element}
            found[values.get("Key", ""), values.get("VersionId", "")] = values.get("Code", "InternalError")
    unknown = [pair for pair in found if pair not in set(pairs)]
    if unknown:
        raise Transient("The object storage reported an error for a key that was not sent; try again.")
    return found


def _alone(wire: Wire, send: Send, gate: Gate) -> dict[tuple[str, str], str]:
    ((key, mark),) = send.pairs
    query = {"uploadId" if send.items[0].kind == UPLOAD else "versionId": mark}
    answer = wire.send("DELETE", key, query, ends=gate.deadline, seconds=gate.remaining())
    if answer.status in (200, 204):
        return {}
    code = answer.code() or ("NoSuchKey" if answer.status == 404 else "")
    if (code in _GONE | _DENIED and send.items[0].kind != UPLOAD) or code in _GONE:
        return {(key, mark): code}
    raise _refusal(answer)


def _locked(wire: Wire, item: Item, pair: tuple[str, str]) -> Locked:
    """Why a version can't be deleted, as the storage itself says. Raises Permanent when it is no lock."""
    key, mark = pair
    head = wire.send("HEAD", key, {"versionId": mark}).headers
    hold, mode = head.get("x-amz-object-lock-legal-hold", ""), head.get("x-amz-object-lock-mode", "")
    until = _moment(head.get("x-amz-object-lock-retain-until-date", ""))
    if hold != "ON" and until is None:  # the headers are left out where the key may not read locks
        hold = _text(wire.send("GET", key, {"legal-hold": "", "versionId": mark}), "Status")
        retention = wire.send("GET", key, {"retention": "", "versionId": mark})
        mode, until = _text(retention, "Mode"), _moment(_text(retention, "RetainUntilDate"))
    if hold == "ON":
        return Locked(item, None, "The object version is under an S3 legal hold.")
    if until and until > datetime.now(UTC):
        return Locked(item, until, f"The object version is under S3 Object Lock ({mode.lower()}).")
    if until:
        raise Transient("An S3 retention ended while its object version was being deleted; try again.")
    raise Permanent(
        "The object storage refuses to delete a version that is under no lock: give the key the right to delete "
        "object versions, or switch off MFA delete."
    )


def _text(answer: Answer, name: str) -> str:
    if answer.status != 200:
        return ""
    for element in ET.fromstring(answer.body).iter():  # noqa: S314 - from the configured storage service
        if element.tag.rpartition("}")[2] == name:
            return (element.text or "").strip()
    return ""


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        moment = parsedate_to_datetime(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _refusal(answer: Answer) -> Permanent:
    return Permanent(
        f"The object storage refused a deletion (status {answer.status} {answer.code()}); the key needs the right to "
        "delete object versions and to abort uploads."
    )
