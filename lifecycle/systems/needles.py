"""What a verifier looks for in raw text: the subject's identifiers in every form, and the case's canaries.

One rule for all systems. A match is a literal from a fixed list (so that a server can prefilter with the same
list) that stands alone: user `u-1` is not in `u-12`. Forms of each identifier: case, NFC and NFD, URL-encoded
(once and twice), JSON- and HTML-escaped, hexadecimal, and base64 at its three offsets (confirmed by decoding).

`scope.anchors` may narrow the search: `twins` are identifiers of other people that contain the subject's, so that a
match inside one of them is theirs; `namesakes` are tenants with a user of the same id, where an id proves nothing.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from os.path import commonprefix
from urllib.parse import quote, quote_plus

from lifecycle.systems.base import Scope

ID, MAIL, NAME, CANARY = "id", "mail", "name", "canary"
_SPACES = (" ", "  ", "\u00a0", "\n", "_", ".", "-", "+")
_WEAK_BEFORE = tuple(
    f"{word}{join}"
    for word in ("user", "user_id", "user-id", "userid", "uid")
    for join in (
        "-",
        "_",
        "/",
        ":",
        "=",
        ": ",
        '":"',
        '": "',
        '":',
        '": ',
        '\\":\\"',
        '\\": \\"',
        "%2f",
        "%3d",
    )
)
_SHORT_BEFORE = ('"user_id": "', '"user_id":"', "user_id=", "user-")
# What may end right before an identifier although its last character is a letter or digit.
_ESCAPE_BEFORE = re.compile(
    r"(?:%[0-9a-f]{2}|\\[nrtbfv]|\\u[0-9a-f]{4}|&(?:#x?[0-9a-f]+|[a-z]+);)$", re.IGNORECASE
)
# A file named after a mail address: what follows is an ending, no further part of a host.
_ENDING = re.compile(
    r"(?:\.(?:avro|bak|csv|dat|docx?|eml|gz|html?|jpe?g|jsonl?|log|mbox|ndjson|old|orc|parquet|pdf|png|sql|tar|tmp|tsv|txt"
    r"|vcf|xlsx?|xml|ya?ml|zip))+(?![\w.-]*\w)",
    re.IGNORECASE,
)
_BASE64_RUN = re.compile(r"[A-Za-z0-9+/_-]*")
_SHORTEST_BASE64 = 6  # characters; a shorter core says nothing about the bytes around it
_SHORTEST_HEX = 8
_SHORT_ID = 7
_SHORTEST_SEED = 5
_UNCHANGING = re.compile(r"[a-z0-9._~-]+")  # no escaping changes these


@dataclass(frozen=True, slots=True)
class Found:
    """One match: the kind of identifier (id, mail, name, canary) and where in the text it stands."""

    kind: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Literal:
    kind: str
    text: str  # exactly as it stands in the text, lower case unless `exact`
    exact: bool = False  # base64: case matters, neighbours are letters, confirmed by decoding
    plain: str = ""  # what the decoded bytes must hold


def is_weak(identifier: str) -> bool:
    """Whether an id is so short that it stands in any text by chance ("7", "al"): it needs a word like user_id before it."""
    return len(identifier) < 3 or (identifier.isdigit() and len(identifier) < 6)


class Needles:
    """The compiled search of one scope. `literals` is its prefilter: a text matches only if it holds, in lower case, one of
    them, or is (without blanks and quotes around it) one of `whole`."""

    def __init__(
        self,
        ids: Iterable[str],
        mails: Iterable[str],
        names: Iterable[str],
        canaries: Iterable[str],
        twins: Iterable[str] = (),
    ) -> None:
        self._literals: dict[str, _Literal] = {}
        self._seeds: set[str] = set()
        ids, canaries = list(ids), list(canaries)
        weak = {identifier for identifier in ids if is_weak(identifier)}
        self.whole: frozenset[str] = frozenset(weak | {base64.b64encode(i.encode()).decode() for i in ids})
        for identifier in ids:
            forms = [before + identifier for before in _WEAK_BEFORE]
            for form in forms if identifier in weak else [identifier]:
                self._add(ID, form, encodings=identifier not in weak)
            if len(identifier) < _SHORT_ID:  # too short for base64 of its own: with the field name before it
                for before in _SHORT_BEFORE:
                    self._add_binary(ID, before + identifier)
        for mail in mails:
            self._add(MAIL, mail)
        for name in names:
            for spelling in _spellings(name):
                self._add(NAME, spelling, encodings=spelling == " ".join(name.split()))
        for canary in canaries:
            self._literals.setdefault(canary.lower(), _Literal(CANARY, canary.lower()))
        self._seeds |= _canary_seeds([canary.lower() for canary in canaries])
        self._twins = tuple(sorted({unicodedata.normalize("NFC", twin).lower() for twin in twins}))
        self._pattern = self._compile()

    @classmethod
    def of(cls, scope: Scope, *, foreign: bool = False) -> Needles:
        """The needles of a scope. `foreign`: for other tenants' data, where an id that others use too proves nothing.

        A whole tenant has no id here: its own id is looked for exactly, in tenant columns and prefixes, by each system.
        """
        subject = scope.subject
        ids = [subject.user] if subject.user else []
        if foreign:
            ids = [i for i in ids if not is_weak(i) and not scope.anchors.get("namesakes")]
        return cls(ids, subject.mails, subject.names, scope.canaries, scope.anchors.get("twins", ()))

    def __bool__(self) -> bool:
        return bool(self._literals)

    @property
    def literals(self) -> tuple[str, ...]:
        """Every form in lower case, for a server's prefilter (compare with the lower-cased text)."""
        return tuple(sorted({literal.text.lower() for literal in self._literals.values()}))

    @property
    def seeds(self) -> tuple[str, ...]:
        """Few short texts for a fast first sieve: a text matches only if its lower case holds one, or by `whole`."""
        return tuple(sorted(self._seeds))

    def find(self, text: str | bytes) -> Found | None:
        """The first match in `text` (bytes are read as UTF-8, anything else in them is kept), or None."""
        return next(self.find_all(text), None)

    def find_all(self, text: str | bytes) -> Iterator[Found]:
        """Every match in `text`, in order."""
        if isinstance(text, bytes | bytearray | memoryview):
            text = bytes(text).decode("utf-8", "surrogateescape")
        if text.strip(" \t\r\n\"'") in self.whole:
            yield Found(ID, 0, len(text))
            return
        low = text.lower()
        if self._pattern is None or not any(seed in low for seed in self._seeds):
            return
        at = 0
        while match := self._pattern.search(text, at):
            literal = self._literals.get(match.group()) or self._literals.get(match.group().lower())
            if literal is not None and self._stands(literal, text, match.start(), match.end()):
                yield Found(literal.kind, match.start(), match.end())
                at = match.end()
            else:
                at = match.start() + 1

    def excerpt(self, text: str | bytes, found: Found, around: int = 60) -> str:
        """The match with what stands around it, for the officer who judges it. Personal: seal it, never log it."""
        if isinstance(text, bytes | bytearray | memoryview):
            text = bytes(text).decode("utf-8", "surrogateescape")
        piece = text[max(0, found.start - around) : found.end + around]
        return piece.encode("utf-8", "replace").decode("utf-8", "replace").replace("\x00", " ")

    def _add(self, kind: str, text: str, encodings: bool = True) -> None:
        text = text.strip()
        if not text:
            return
        seed = max(_UNCHANGING.findall(unicodedata.normalize("NFC", text).lower()), key=len, default="")
        if len(seed) >= _SHORTEST_SEED or seed == text.lower():
            self._seeds.add(seed)
        for form in {unicodedata.normalize(n, text) for n in ("NFC", "NFD")}:
            for spelled in _escaped(form):
                for cased in {spelled.lower(), spelled.upper().lower(), spelled.casefold()}:
                    self._literals.setdefault(cased, _Literal(kind, cased))
                    if len(seed) < _SHORTEST_SEED and seed != text.lower():
                        self._seeds.add(cased)
            if encodings:
                for raw in {form, form.lower()}:
                    self._add_binary(kind, raw)

    def _add_binary(self, kind: str, raw: str) -> None:
        data = raw.encode()
        if len(data) * 2 >= _SHORTEST_HEX:
            self._literals.setdefault(data.hex(), _Literal(kind, data.hex()))
            self._seeds.add(data.hex())
        for core in _base64_cores(data):
            if len(core) >= _SHORTEST_BASE64:
                self._literals.setdefault(core, _Literal(kind, core, exact=True, plain=raw))
                self._seeds.add(core.lower())

    def _compile(self) -> re.Pattern[str] | None:
        if not self._literals:
            return None
        folded = sorted((x.text for x in self._literals.values() if not x.exact), key=len, reverse=True)
        exact = sorted((x.text for x in self._literals.values() if x.exact), key=len, reverse=True)
        parts = [f"(?i:{'|'.join(map(re.escape, folded))})"] if folded else []
        parts += ["|".join(map(re.escape, exact))] if exact else []
        return re.compile("|".join(parts))

    def _stands(self, literal: _Literal, text: str, start: int, end: int) -> bool:
        if literal.exact:
            return self._decodes(literal, text, start)
        if literal.kind == CANARY:
            return True
        if not _alone(literal, text, start, end):
            return False
        return not any(_covered(twin, text, start, end) for twin in self._twins)

    def _decodes(self, literal: _Literal, text: str, start: int) -> bool:
        """Whether the base64 run around `start` really holds the identifier, standing alone in the decoded text."""
        begin = start
        while begin > 0 and start - begin < 4096 and _BASE64_RUN.fullmatch(text[begin - 1]):
            begin -= 1
        run = _BASE64_RUN.match(text, begin, start + 4096)
        letters = run.group().replace("-", "+").replace("_", "/") if run else ""
        plain = _Literal(literal.kind, unicodedata.normalize("NFC", literal.plain).lower())
        for offset in range(4):  # where the encoding began is unknown: letters may touch it
            tail = letters[offset:]
            tail = tail[:-1] if len(tail) % 4 == 1 else tail
            try:
                decoded = base64.b64decode(tail + "=" * (-len(tail) % 4)).decode("utf-8", "replace")
            except (binascii.Error, ValueError):
                continue
            if self._in_decoded(plain, unicodedata.normalize("NFC", decoded).lower()):
                return True
        return False

    def _in_decoded(self, plain: _Literal, decoded: str) -> bool:
        at = decoded.find(plain.text)
        while at >= 0:
            if self._stands(plain, decoded, at, at + len(plain.text)):
                return True
            at = decoded.find(plain.text, at + 1)
        return False


def _canary_seeds(canaries: list[str]) -> set[str]:
    common = commonprefix(canaries)  # noqa: RUF071 (characters are meant)
    return {common} if len(common) >= _SHORTEST_SEED else set(canaries)


def _escaped(text: str) -> set[str]:
    once = quote(text, safe="")
    return {text, once, quote(once, safe=""), quote_plus(text), json.dumps(text)[1:-1], html.escape(text)}


def _spellings(name: str) -> set[str]:
    parts = name.split()
    if len(parts) < 2:
        return {name}
    turned = f"{parts[-1]}, {' '.join(parts[:-1])}"
    return {space.join(parts) for space in _SPACES} | {turned}


def _base64_cores(data: bytes) -> set[str]:
    """The base64 characters that depend on `data` alone, for each of the three offsets, in both alphabets."""
    cores = set()
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        first = -(-offset * 8 // 6)
        core = encoded[first : (offset + len(data)) * 8 // 6]
        cores |= {core, core.replace("+", "-").replace("/", "_")}
    return cores


def _alone(literal: _Literal, text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 2]
    if (
        before
        and literal.text[0].isalnum()
        and before.isalnum()
        and not _ESCAPE_BEFORE.search(text[max(0, start - 12) : start])
    ):
        return False
    if literal.kind == MAIL and before and before in "._+-" and text[max(0, start - 2) : start - 1].isalnum():
        return False
    if not after or not literal.text[-1].isalnum():
        return True
    if literal.kind == MAIL and after[0] in ".-" and after[1:].isalnum():
        return _ENDING.match(text, end) is not None
    return not (after[0].isalnum() or unicodedata.combining(after[0]))


def _covered(twin: str, text: str, start: int, end: int) -> bool:
    """Whether the match lies inside an occurrence of a longer identifier of somebody else."""
    margin = 3 * len(twin)
    low, high = max(0, start - margin), end + margin
    window = text[low:high].lower()
    at = window.find(twin)
    while at >= 0:
        if low + at <= start and end <= low + at + len(twin) and len(twin) > end - start:
            return True
        at = window.find(twin, at + 1)
    return False
