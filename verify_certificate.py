#!/usr/bin/env python3
"""Checks certificates of erasure offline. Needs Python 3.10 or later and GnuPG (`gpg`), and nothing else.

    python3 verify_certificate.py --signer FINGERPRINT FILE_OR_FOLDER...

FINGERPRINT is the full fingerprint of the issuer's signing key, learned by another way than these files. Give all
seven files of a certificate (ID.json, ID.pdf, ID.seal.json, an .asc of each, public.asc); of several certificates
the chain is checked too. Exit code: 0 when all is genuine and complete, 1 when something failed (each part with a
sentence), 2 when it was called wrongly. Nothing is written outside a temporary folder.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

PARTS = {".json": "JSON", ".pdf": "PDF", ".seal.json": "seal"}
FORMATS = {".json": "erasure-certificate/1", ".seal.json": "erasure-seal/1"}
ENDINGS = [".seal.json.asc", ".seal.json", ".json.asc", ".pdf.asc", ".json", ".pdf"]
SHARED = ("id", "number", "issued_at", "signing_key", "previous_seal")
HASHES = {"json_sha256": ".json", "pdf_sha256": ".pdf"}
ALL_SEVEN = "Give all seven files of the certificate."


class Finding(NamedTuple):
    """What is wrong: the part, the file, a sentence."""

    part: str
    file: str
    sentence: str


class Certificate:
    """The files that share a folder and a stem, and what is found of them."""

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.files: dict[str, bytes] = {}
        self.public: bytes | None = None
        self.values: dict[str, dict[str, Any]] = {".json": {}, ".seal.json": {}}
        self.findings: list[Finding] = []

    def find(self, part: str, ending: str, sentence: str) -> None:
        name = ending if ending == "public.asc" else self.stem + ending
        self.findings.append(Finding(part, name, sentence))

    def failed(self, part: str) -> bool:
        return any(finding.part == part for finding in self.findings)

    @property
    def number(self) -> int:
        number = self.values[".seal.json"].get("number")
        return number if isinstance(number, int) else 0


# Canonical JSON (RFC 8785). Certificates hold no floating-point number, so this is all of it.


def canonical(value: Any) -> bytes:
    if isinstance(value, float):
        raise ValueError("a floating-point number")
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return b"{" + b",".join(canonical(name) + b":" + canonical(value[name]) for name in names) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(canonical(inner) for inner in value) + b"]"
    return json.dumps(value, ensure_ascii=False).encode("utf-8")


def decoded(certificate: Certificate, ending: str) -> dict[str, Any]:
    data = certificate.files.get(ending)
    if data is None:
        return {}
    try:
        value = json.loads(data.decode("utf-8"))
        if canonical(value) != data:
            raise ValueError("not canonical")
    except (ValueError, RecursionError):
        certificate.find(
            PARTS[ending], ending, "It is not canonical JSON (RFC 8785), so it is not as it was issued."
        )
        return {}
    if not isinstance(value, dict) or value.get("format") != FORMATS[ending]:
        certificate.find(PARTS[ending], ending, "It is not of the format " + FORMATS[ending] + ".")
        return {}
    return value


# OpenPGP: no byte of a signature file may be free. What is signed is checked by gpg, the rest here.


def crc24(data: bytes) -> int:
    crc = 0xB704CE
    for octet in data:
        crc ^= octet << 16
        for _ in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc & 0xFFFFFF


def unarmoured(text: bytes, kind: str) -> bytes:
    """The bytes in ASCII armour; ValueError unless `text` is the one canonical armour of them."""
    data = base64.b64decode(b"".join(text.split(b"\n")[2:-3]), validate=True)
    plain = base64.b64encode(data).decode()
    rows = [plain[start : start + 64] for start in range(0, len(plain), 64)]
    rows = ["-----BEGIN PGP " + kind + "-----", "", *rows]
    rows += [
        "=" + base64.b64encode(crc24(data).to_bytes(3, "big")).decode(),
        "-----END PGP " + kind + "-----",
        "",
    ]
    if "\n".join(rows).encode() != text:
        raise ValueError("not its own canonical armour")
    return data


def require(condition: bool) -> None:
    if not condition:
        raise ValueError("not of the one form that is allowed")


def signer_of(text: bytes) -> str:
    """The fingerprint that a signature names; ValueError when any byte outside the signed part is not as it must be."""
    data = unarmoured(text, "SIGNATURE")
    wide = data[:1] == b"\x89"
    require(data[:1] in (b"\x88", b"\x89"))
    body = data[3:] if wide else data[2:]
    length = int.from_bytes(data[1 : 3 if wide else 2], "big")
    require(length == len(body) and (not wide or length > 255) and body[:2] == b"\x04\x00")
    end = 6 + int.from_bytes(body[4:6], "big")
    signed = body[6:end]
    issuer = b""
    while signed:
        size = signed[0]
        require(0 < size < 192 and size < len(signed))
        if signed[1] == 33:
            issuer = signed[2 : 1 + size]
        signed = signed[1 + size :]
    require(len(issuer) == 21 and issuer[0] == 4)
    free = (
        b"\x00\x0a\x09\x10" + issuer[-8:]
    )  # the unsigned area: the key's id, which follows from its fingerprint
    require(body[end : end + len(free)] == free)
    numbers = body[end + len(free) + 2 :]
    while numbers:
        bits = int.from_bytes(numbers[:2], "big")
        value = numbers[2 : 2 + (bits + 7) // 8]
        require(len(value) == (bits + 7) // 8 and int.from_bytes(value, "big").bit_length() == bits)
        numbers = numbers[2 + len(value) :]
    return issuer[1:].hex().upper()


class Gpg:
    """A GnuPG folder that lives for one run and holds one public key."""

    def __init__(self, home: str) -> None:
        self.home = home

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["gpg", "--homedir", self.home, "--batch", "--no-tty", "--status-fd", "1", *arguments]
        return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)

    def import_key(self, key: bytes) -> list[str]:
        """Fingerprints of the primary key and its subkeys; empty when it is no single usable key."""
        path = Path(self.home) / "key.asc"
        path.write_bytes(key)
        self.run("--import", str(path))
        rows = [line.split(":") for line in self.run("--with-colons", "--list-keys").stdout.splitlines()]
        if [row[0] for row in rows].count("pub") != 1:
            return []
        return [row[9].upper() for row in rows if row[0] == "fpr"]

    def signed_by(self, data: bytes, signature: bytes) -> str | None:
        """The fingerprint of the key whose valid signature this is, else None."""
        folder = Path(self.home)
        (folder / "data").write_bytes(data)
        (folder / "data.asc").write_bytes(signature)
        status = self.run(
            "--trust-model", "always", "--verify", str(folder / "data.asc"), str(folder / "data")
        ).stdout
        valid = re.findall(r"^\[GNUPG:\] VALIDSIG ([0-9A-F]{40})", status, re.MULTILINE)
        return valid[0] if len(valid) == 1 and "BADSIG" not in status else None


# One certificate


def examine(certificate: Certificate, signers: set[str]) -> list[Finding]:
    for ending in (".json", ".pdf", ".seal.json", ".json.asc", ".pdf.asc", ".seal.json.asc"):
        if ending not in certificate.files:
            certificate.find("missing part", ending, "This part is missing. " + ALL_SEVEN)
    if certificate.public is None:
        certificate.find("missing part", "public.asc", "The public key is missing. " + ALL_SEVEN)
    certificate.values = {ending: decoded(certificate, ending) for ending in FORMATS}
    with tempfile.TemporaryDirectory(prefix="verify-") as home:
        gpg = Gpg(home)
        bad = check_signatures(certificate, gpg, check_key(certificate, gpg, signers), signers)
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], capture_output=True, check=False)
    check_seal(certificate, bad)
    if ".pdf" in certificate.files and not certificate.failed("PDF"):
        check_attachment(certificate)
    return certificate.findings


def check_key(certificate: Certificate, gpg: Gpg, signers: set[str]) -> str | None:
    if certificate.public is None:
        return None
    try:
        unarmoured(certificate.public, "PUBLIC KEY BLOCK")
        keys = gpg.import_key(certificate.public)
        require(bool(keys))
    except ValueError:
        certificate.find("signer", "public.asc", "It is not one public key in its canonical armour.")
        return None
    found = next((key for key in keys if key in signers), None)
    if found is None:
        certificate.find(
            "signer", "public.asc", "The key is " + keys[0] + ", which is not the one you trust."
        )
    return found


def check_signatures(certificate: Certificate, gpg: Gpg, key: str | None, signers: set[str]) -> set[str]:
    """The endings whose bytes and signature don't fit; which of the two was changed is told by the seal."""
    bad: set[str] = set()
    for ending in PARTS:
        signature, data = certificate.files.get(ending + ".asc"), certificate.files.get(ending)
        if signature is None:
            continue
        try:
            named = signer_of(signature)
        except ValueError:
            certificate.find("signature", ending + ".asc", "It is not a signature in its one canonical form.")
            continue
        if named not in signers:
            certificate.find(
                "signer", ending + ".asc", "Key " + named + " signed, which is not the one you trust."
            )
        elif key is not None and named != key:
            sentence = "Key " + named + " signed, which public.asc does not hold."
            certificate.find("signer", ending + ".asc", sentence)
        elif key is not None and data is not None and gpg.signed_by(data, signature) != key:
            bad.add(ending)
    return bad


def check_seal(certificate: Certificate, bad: set[str]) -> None:
    """Compares the seal with what it must say, and blames the part that its own signature does not cover."""
    sealed, document = certificate.values[".seal.json"], certificate.values[".json"]
    differs = differences(certificate) if sealed else set()
    for name, ending in HASHES.items():
        if name in differs and (ending in bad or certificate.failed(PARTS[ending])):
            differs.discard(name)
            bad.discard(ending)
            if not certificate.failed(PARTS[ending]):
                certificate.find(
                    PARTS[ending], ending, "It was changed: neither its seal nor its signature fits."
                )
    if "public_key_sha256" in differs and ".seal.json" not in bad:
        differs.discard("public_key_sha256")
        if not certificate.failed("signer"):
            certificate.find(
                "signer", "public.asc", "It is not the key file that was sealed with the certificate."
            )
    if not sealed:
        bad.discard(".seal.json")
    elif differs and not certificate.failed("JSON"):
        bad.discard(".seal.json")
        sentence = "It does not fit the other files: " + ", ".join(sorted(differs)) + "."
        certificate.find("seal", ".seal.json", sentence)
    for ending in sorted(bad):
        if sealed and (ending != ".seal.json" or document):
            certificate.find("signature", ending + ".asc", "The signature does not fit the file.")
        elif not certificate.failed(PARTS[ending]):
            certificate.find(PARTS[ending], ending, "It was changed, or its signature was: they don't fit.")


def differences(certificate: Certificate) -> set[str]:
    sealed, document = certificate.values[".seal.json"], certificate.values[".json"]
    actual: dict[str, Any] = {
        name: hashlib.sha256(certificate.files[ending]).hexdigest()
        for name, ending in HASHES.items()
        if ending in certificate.files
    }
    if certificate.public is not None:
        actual["public_key_sha256"] = hashlib.sha256(certificate.public).hexdigest()
    if document:
        actual.update({name: document.get(name) for name in SHARED})
    unknown = set(sealed) - set(HASHES) - set(SHARED) - {"format", "public_key_sha256"}
    return {name for name, value in actual.items() if sealed.get(name, "") != value} | unknown


def check_attachment(certificate: Certificate) -> None:
    """The PDF carries exactly one file, and it is the JSON."""
    pdf = certificate.files[".pdf"]
    attached = []
    for found in re.finditer(rb"/Type\s*/EmbeddedFile\b", pdf):
        begin = re.compile(rb"stream\r?\n").search(pdf, found.end())
        try:
            require(begin is not None and pdf.startswith(b"%PDF-"))
            attached.append(zlib.decompressobj().decompress(pdf[begin.end() :]) if begin else b"")
        except (ValueError, zlib.error):
            certificate.find("PDF", ".pdf", "It can't be read as a PDF.")
            return
    if (
        ".json" in certificate.files
        and not certificate.failed("JSON")
        and attached != [certificate.files[".json"]]
    ):
        certificate.find("PDF", ".pdf", "What it carries as attachment is not the certificate's JSON.")


# Several certificates


def check_chain(certificates: Iterable[Certificate]) -> list[Finding]:
    findings = []
    ordered = sorted(
        (one for one in certificates if one.values[".seal.json"] and not one.failed("seal")),
        key=lambda one: one.number,
    )
    for one in ordered:
        first = one.values[".seal.json"].get("previous_seal") is None
        if one.number < 1 or (one.number == 1) != first:
            sentence = "Its number and the seal before it don't fit together."
            findings.append(Finding("chain", one.stem + ".seal.json", sentence))
    for before, after in pairwise(ordered):
        if not follows(before, after):
            sentence = "It does not continue the one before: between numbers {} and {} a certificate is missing or was replaced."
            findings.append(
                Finding("chain", after.stem + ".seal.json", sentence.format(before.number, after.number))
            )
    return findings


def follows(before: Certificate, after: Certificate) -> bool:
    if before.files[".seal.json"] == after.files[".seal.json"]:
        return True  # the same certificate twice, under two names
    seal = hashlib.sha256(before.files[".seal.json"]).hexdigest()
    if after.number == before.number + 1:
        return bool(after.values[".seal.json"].get("previous_seal") == seal)
    refers = after.values[".json"].get("refers_to")
    return isinstance(refers, dict) and refers.get("seal") == seal and request_of(before) == request_of(after)


def request_of(certificate: Certificate) -> Any:
    request = certificate.values[".json"].get("request")
    return request.get("id") if isinstance(request, dict) else None


def collect(paths: Iterable[Path]) -> tuple[list[Certificate], list[Finding]]:
    certificates: dict[tuple[Path, str], Certificate] = {}
    keys: dict[Path, bytes] = {}
    findings = []
    given = [file for path in paths for file in (sorted(path.iterdir()) if path.is_dir() else [path])]
    for file in dict.fromkeys(one.resolve() for one in given):
        ending = next((ending for ending in ENDINGS if file.name.endswith(ending)), None)
        if not file.is_file():
            findings.append(Finding("missing part", file.name, "There is no such file."))
        elif file.name == "public.asc":
            keys[file.parent] = file.read_bytes()
        elif ending:
            stem = file.name[: -len(ending)]
            certificates.setdefault((file.parent, stem), Certificate(stem)).files[ending] = file.read_bytes()
        else:
            findings.append(
                Finding("extra file", file.name, "This file belongs to no certificate. Take it out.")
            )
    for (folder, _), certificate in certificates.items():
        certificate.public = keys.get(folder)
    if not certificates:
        findings.append(Finding("missing part", "certificate", "No certificate was given. " + ALL_SEVEN))
    return list(certificates.values()), findings


def verify(paths: Iterable[Path], signers: Iterable[str]) -> list[Finding]:
    """Everything that is wrong; empty only when all is genuine and complete."""
    trusted = {signer.replace(" ", "").upper() for signer in signers}
    certificates, findings = collect(paths)
    for certificate in certificates:
        findings += examine(certificate, trusted)
    return findings + check_chain(certificates)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Checks certificates of erasure offline.")
    parser.add_argument(
        "--signer", action="append", required=True, help="full fingerprint of a key you trust"
    )
    parser.add_argument("path", nargs="+", type=Path, help="the files of certificates, or folders of them")
    options = parser.parse_args(arguments)
    if not all(re.fullmatch(r"[0-9A-Fa-f]{40}", signer.replace(" ", "")) for signer in options.signer):
        parser.error("--signer needs a full fingerprint of 40 hex digits.")
    try:
        findings = verify(options.path, options.signer)
    except FileNotFoundError as error:
        print(
            "gpg was not found. Install GnuPG." if error.filename in ("gpg", "gpgconf") else str(error),
            file=sys.stderr,
        )
        return 2
    for finding in findings:
        print("FAILED {}: {}: {}".format(*finding))
    if not findings:
        print("Genuine and complete: JSON, PDF, seal, signatures, signer, chain.")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
