"""Says of every part of a certificate whether it is genuine. Works offline and without GnuPG, in process.

`verify_certificate.py` is the second implementation, for anyone else: standard library and `gpg` only. Whom to trust is
given from outside, never taken from the files.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pikepdf

from compliance.certificate import canonical, document, openpgp, parts, seal, signing
from compliance.certificate.parts import PART_OF, PUBLIC_KEY, SIGNATURE, SUFFIXES, Bundle, Finding, Part

_SEAL_HASHES = {"json_sha256": ".json", "pdf_sha256": ".pdf"}


def verify(paths: Iterable[Path | str], *, trusted: Sequence[str] | None = None) -> list[Finding]:
    """What is wrong with the certificates in `paths` (files or folders); empty only when all is genuine and complete.

    `trusted` are full fingerprints of keys that may sign; by default our own, of the settings. Several certificates must
    also form a chain without a gap.
    """
    bundles, findings = parts.collect(Path(path) for path in paths)
    return findings + verify_bundles(
        bundles, trusted=[signing.default().fingerprint] if trusted is None else trusted
    )


def verify_bundles(bundles: Sequence[Bundle], *, trusted: Sequence[str]) -> list[Finding]:
    """As `verify`, for files that are in memory already."""
    wanted = {fingerprint.replace(" ", "").upper() for fingerprint in trusted}
    checks = [_Check(bundle, wanted) for bundle in bundles]
    findings = [finding for check in checks for finding in check.run()]
    return findings + list(
        _chain([check for check in checks if check.sealed and not check.failed(Part.SEAL)])
    )


@dataclass(slots=True)
class _Check:
    """One certificate under examination."""

    bundle: Bundle
    trusted: set[str]
    document: dict[str, Any] = field(default_factory=dict)
    sealed: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def run(self) -> list[Finding]:
        self.findings += self.bundle.missing()
        self.document = self._decoded(".json", document.FORMAT)
        self.sealed = self._decoded(".seal.json", seal.FORMAT)
        bad = self._signatures(self._key())
        self._contents(bad)
        if ".pdf" in self.bundle.files and not self.failed(Part.PDF):
            self._attachment()
        return self.findings

    def _find(self, part: Part, ending: str, sentence: str) -> None:
        self.findings.append(
            Finding(part, ending if ending == PUBLIC_KEY else self.bundle.name(ending), sentence)
        )

    def failed(self, part: Part) -> bool:
        """Whether a finding names this part."""
        return any(finding.part is part for finding in self.findings)

    def _decoded(self, ending: str, wanted: str) -> dict[str, Any]:
        data = self.bundle.files.get(ending)
        if data is None:
            return {}
        try:
            value = canonical.decode(data)
        except ValueError:
            self._find(
                PART_OF[ending], ending, "It is not canonical JSON (RFC 8785), so it is not as it was issued."
            )
            return {}
        if not isinstance(value, dict) or value.get("format") != wanted:
            self._find(PART_OF[ending], ending, f"It is not of the format {wanted}.")
            return {}
        return value

    def _key(self) -> openpgp.PublicKey | None:
        if self.bundle.public_key is None:
            return None
        try:
            keys = openpgp.read_keys(self.bundle.public_key)
        except openpgp.NotCanonical as error:
            self._find(Part.SIGNER, PUBLIC_KEY, str(error))
            return None
        found = next((key for key in keys if key.fingerprint in self.trusted), None)
        if found is None:
            self._find(
                Part.SIGNER, PUBLIC_KEY, f"The key is {keys[0].fingerprint}, which is not the one you trust."
            )
        return found

    def _signatures(self, key: openpgp.PublicKey | None) -> set[str]:
        """The endings whose bytes and signature don't fit; which of the two was changed is told by the seal."""
        bad: set[str] = set()
        for ending in SUFFIXES:
            name, data = f"{ending}{SIGNATURE}", self.bundle.files.get(ending)
            if name not in self.bundle.files:
                continue
            try:
                signature = openpgp.read_signature(self.bundle.files[name])
                if signature.fingerprint not in self.trusted:
                    self._find(
                        Part.SIGNER,
                        name,
                        f"Key {signature.fingerprint} signed, which is not the one you trust.",
                    )
                elif key is not None and signature.fingerprint != key.fingerprint:
                    text = f"Key {signature.fingerprint} signed, which {PUBLIC_KEY} does not hold."
                    self._find(Part.SIGNER, name, text)
                elif key is not None and data is not None:
                    openpgp.check(signature, key, data)
            except openpgp.NotCanonical as error:
                self._find(Part.SIGNATURE, name, str(error))
            except openpgp.WrongSignature:
                bad.add(ending)
        return bad

    def _contents(self, bad: set[str]) -> None:
        """Compares the seal with what it must say, and blames the part that its own signature does not cover."""
        differs = self._differences()
        for field_name, ending in _SEAL_HASHES.items():
            if field_name in differs and (ending in bad or self.failed(PART_OF[ending])):
                differs.discard(field_name)
                bad.discard(ending)
                self._changed(ending)
        if "public_key_sha256" in differs and ".seal.json" not in bad:
            differs.discard("public_key_sha256")
            if not self.failed(Part.SIGNER):
                self._find(
                    Part.SIGNER, PUBLIC_KEY, "It is not the key file that was sealed with the certificate."
                )
        if not self.sealed and ".seal.json" in bad:
            bad.discard(".seal.json")  # reported when it was read
        elif differs and not self.failed(Part.JSON):
            bad.discard(".seal.json")
            self._find(
                Part.SEAL, ".seal.json", f"It does not fit the other files: {', '.join(sorted(differs))}."
            )
        for ending in sorted(bad):
            self._unfit(ending)

    def _changed(self, ending: str) -> None:
        if not self.failed(PART_OF[ending]):
            self._find(PART_OF[ending], ending, "It was changed: neither its seal nor its signature fits.")

    def _unfit(self, ending: str) -> None:
        if self.sealed and (ending != ".seal.json" or self.document):
            self._find(Part.SIGNATURE, f"{ending}{SIGNATURE}", "The signature does not fit the file.")
        elif not self.failed(PART_OF[ending]):
            self._find(PART_OF[ending], ending, "It was changed, or its signature was: they don't fit.")

    def _differences(self) -> set[str]:
        files, public = self.bundle.files, self.bundle.public_key
        if not self.sealed:
            return set()
        actual: dict[str, Any] = {
            name: canonical.sha256(files[ending]) for name, ending in _SEAL_HASHES.items() if ending in files
        }
        if public is not None:
            actual["public_key_sha256"] = canonical.sha256(public)
        same = ("id", "number", "issued_at", "signing_key", "previous_seal")
        actual |= {name: self.document.get(name) for name in same if self.document}
        unknown = set(self.sealed) - set(_SEAL_HASHES) - {"format", "public_key_sha256", *same}
        return {name for name, value in actual.items() if self.sealed.get(name, "") != value} | unknown

    def _attachment(self) -> None:
        try:
            with pikepdf.open(io.BytesIO(self.bundle.files[".pdf"])) as pdf:
                attached = [bytes(spec.get_file().read_bytes()) for spec in pdf.attachments.values()]
        except (pikepdf.PdfError, ValueError, KeyError):
            self._find(Part.PDF, ".pdf", "It can't be read as a PDF.")
            return
        if (
            ".json" in self.bundle.files
            and not self.failed(Part.JSON)
            and attached != [self.bundle.files[".json"]]
        ):
            self._find(Part.PDF, ".pdf", "What it carries as attachment is not the certificate's JSON.")


def _chain(checks: Sequence[_Check]) -> Iterator[Finding]:
    """Numbers without a gap, each sealing the one before; or later certificates of one request, each naming the last."""
    for check in checks:
        number, previous = _number(check), check.sealed.get("previous_seal")
        if number < 1 or (number == 1) != (previous is None):
            yield Finding(
                Part.CHAIN,
                check.bundle.name(".seal.json"),
                "Its number and the seal before it don't fit together.",
            )
    ordered = sorted(checks, key=_number)
    for before, after in pairwise(ordered):
        if not _follows(before, after):
            gap = f"{_number(before)} and {_number(after)}"
            sentence = f"It does not continue the one before: between numbers {gap} a certificate is missing or was replaced."
            yield Finding(Part.CHAIN, after.bundle.name(".seal.json"), sentence)


def _number(check: _Check) -> int:
    number = check.sealed.get("number")
    return number if isinstance(number, int) else 0


def _follows(before: _Check, after: _Check) -> bool:
    if before.bundle.files[".seal.json"] == after.bundle.files[".seal.json"]:
        return True  # the same certificate twice, under two names
    seal_hash = canonical.sha256(before.bundle.files[".seal.json"])
    if _number(after) == _number(before) + 1:
        return bool(after.sealed.get("previous_seal") == seal_hash)
    refers = after.document.get("refers_to")
    same_request = _request(before.document) == _request(after.document)
    return isinstance(refers, Mapping) and refers.get("seal") == seal_hash and same_request


def _request(found: Mapping[str, Any]) -> Any:
    request = found.get("request")
    return request.get("id") if isinstance(request, Mapping) else None
