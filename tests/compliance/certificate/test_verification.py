"""Both verifiers find every change, name the part, and agree. Whom to trust is given, never read from the files."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import verify_certificate
from compliance.certificate import canonical, document, openpgp, verification
from compliance.certificate.parts import Bundle, Part
from compliance.certificate.signing import Signer
from compliance.errors import Refused
from tests.compliance.certificate import making, samples
from tests.compliance.certificate.conftest import new_key

PART = {".json": Part.JSON, ".pdf": Part.PDF, ".seal.json": Part.SEAL}
EVERY_FILE = [*PART, *(f"{ending}.asc" for ending in PART), "public.asc"]


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def with_file(made: Bundle, name: str, data: bytes) -> Bundle:
    if name == "public.asc":
        return Bundle(made.stem, made.files, data)
    return Bundle(made.stem, made.files | {name: data}, made.public_key)


def content(made: Bundle, name: str) -> bytes:
    return (made.public_key or b"") if name == "public.asc" else made.files[name]


def both(folder: Path, *trusted: str, paths: list[Path] | None = None) -> list[tuple[str, str]]:
    """(part, file) of each finding, once both verifiers gave the same ones."""
    given = paths if paths is not None else [folder]
    ours = [(str(found.part), found.file) for found in verification.verify(given, trusted=trusted)]
    theirs = [(found.part, found.file) for found in verify_certificate.verify(given, trusted)]
    assert ours == theirs
    return ours


@pytest.mark.parametrize("name", EVERY_FILE)
def test_every_flipped_bit_is_found_and_its_part_named(genuine: Bundle, signer: Signer, name: str) -> None:
    data, chance = content(genuine, name), random.Random(name)
    # The first and last bytes always, and the rest sampled over the whole file.
    bits = {
        *range(16),
        *range(len(data) * 8 - 16, len(data) * 8),
        *(chance.randrange(len(data) * 8) for _ in range(40)),
    }
    wanted = Part.SIGNER if name == "public.asc" else PART.get(name, Part.SIGNATURE)
    for bit in bits:
        findings = verification.verify_bundles(
            [with_file(genuine, name, flipped(data, bit))], trusted=[signer.fingerprint]
        )
        assert [found.part for found in findings] == [wanted], (name, bit, findings)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_the_script_finds_the_same(genuine: Bundle, signer: Signer, name: str, tmp_path: Path) -> None:
    data, chance = content(genuine, name), random.Random(name)
    for index, bit in enumerate([0, len(data) * 8 - 1, chance.randrange(len(data) * 8)]):
        folder = making.write(with_file(genuine, name, flipped(data, bit)), tmp_path / str(index))
        wanted = Part.SIGNER if name == "public.asc" else PART.get(name, Part.SIGNATURE)
        assert both(folder, signer.fingerprint) == [
            (wanted, name if name == "public.asc" else f"{genuine.stem}{name}")
        ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text + b"\n",
        lambda text: text.replace(b"\n", b"\r\n"),
        lambda text: text.replace(b"\n\n", b"\nComment: free\n\n", 1),
        lambda text: text.replace(b"\n=", b"\n\n=", 1),
        lambda text: b"\n".join(line for line in text.split(b"\n") if not line.startswith(b"=")),
        lambda text: text + text,
    ],
)
def test_no_byte_of_a_signature_file_is_free(genuine: Bundle, signer: Signer, damage, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    changed = with_file(genuine, ".pdf.asc", damage(genuine.files[".pdf.asc"]))
    assert both(making.write(changed, tmp_path / "c"), signer.fingerprint) == [
        ("signature", f"{genuine.stem}.pdf.asc")
    ]


def test_signed_by_another_key(genuine: Bundle, signer: Signer, stranger: Signer, tmp_path: Path) -> None:
    forged = making.bundle(stranger, pdf=genuine.files[".pdf"])
    parts = {part for part, _ in both(making.write(forged, tmp_path / "whole"), signer.fingerprint)}
    assert parts == {"signer", "PDF"}  # its PDF carries the genuine JSON
    swapped = with_file(genuine, ".json.asc", stranger.sign(genuine.files[".json"]).encode())
    assert both(making.write(swapped, tmp_path / "one"), signer.fingerprint) == [
        ("signer", f"{genuine.stem}.json.asc")
    ]
    assert both(making.write(swapped, tmp_path / "one"), signer.fingerprint, stranger.fingerprint)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_part_is_named(genuine: Bundle, signer: Signer, name: str, tmp_path: Path) -> None:
    folder = making.write(genuine, tmp_path / "c")
    gone = name if name == "public.asc" else f"{genuine.stem}{name}"
    (folder / gone).unlink()
    assert ("missing part", gone) in both(folder, signer.fingerprint)


def test_an_extra_file_and_no_file(genuine: Bundle, signer: Signer, tmp_path: Path) -> None:
    folder = making.write(genuine, tmp_path / "c")
    (folder / "note.txt").write_text("trust me")
    assert both(folder, signer.fingerprint) == [("extra file", "note.txt")]
    assert both(tmp_path, signer.fingerprint, paths=[]) == [("missing part", "certificate")]
    assert ("missing part", "gone.json") in both(tmp_path, signer.fingerprint, paths=[folder / "gone.json"])


def test_json_that_is_not_canonical_is_found_even_when_sealed_and_signed(
    signer: Signer, genuine: Bundle, tmp_path: Path
) -> None:
    made = json.loads(genuine.files[".json"])
    spaced = json.dumps(made).encode()
    sealed = canonical.encode(
        json.loads(genuine.files[".seal.json"]) | {"json_sha256": canonical.sha256(spaced)}
    )
    changed = making.copy(
        genuine,
        json=spaced,
        json_asc=signer.sign(spaced).encode(),
        seal_json=sealed,
        seal_json_asc=signer.sign(sealed).encode(),
    )
    assert both(making.write(changed, tmp_path / "c"), signer.fingerprint) == [
        ("JSON", f"{genuine.stem}.json")
    ]


def test_a_pdf_that_carries_another_json_is_found(signer: Signer, genuine: Bundle, tmp_path: Path) -> None:
    other = document.build(samples.user(datamap_version=99), making.identity(fingerprint=signer.fingerprint))
    changed = making.bundle(signer, other, pdf=genuine.files[".pdf"])
    assert both(making.write(changed, tmp_path / "c"), signer.fingerprint) == [("PDF", f"{changed.stem}.pdf")]


def small(signer: Signer, made: Mapping[str, Any]) -> Bundle:
    return making.bundle(signer, made, pdf=making.small_pdf(canonical.encode(made)))


def chain(signer: Signer, genuine: Bundle) -> list[Bundle]:
    """Numbers 1 to 3; 3 is an addendum to the request of 1."""
    made, refers = [genuine], {"id": genuine.stem, "number": 1, "seal": making.seal_hash(genuine)}
    for number in (2, 3):
        evidence = samples.user()
        evidence["request"]["id"] = "er-7k2m9qpxw4" if number == 3 else "er-other"
        facts = {"fingerprint": signer.fingerprint, "previous_seal": making.seal_hash(made[-1])}
        more = {"refers_to": refers, "kind": "addendum"} if number == 3 else {}
        made.append(small(signer, document.build(evidence, making.identity(number, **facts, **more))))
    return made


def test_one_missing_from_the_chain(
    signer: Signer, stranger: Signer, genuine: Bundle, tmp_path: Path
) -> None:
    first, second, third = chain(signer, genuine)
    for made in (first, second, third):
        making.write(made, tmp_path / "all")
    assert both(tmp_path / "all", signer.fingerprint) == []
    # An addendum names the certificate of its request, so these two need no stranger's certificate between them.
    pair = making.write(third, making.write(first, tmp_path / "pair"))
    assert both(pair, signer.fingerprint) == []
    fourth = document.build(
        samples.user() | {"request": samples.user()["request"] | {"id": "er-fourth"}},
        making.identity(4, fingerprint=signer.fingerprint, previous_seal=making.seal_hash(third)),
    )
    last = small(signer, fourth)
    gap = making.write(last, making.write(second, tmp_path / "gap"))
    assert both(gap, signer.fingerprint) == [("chain", f"{last.stem}.seal.json")]
    replaced = document.build(
        samples.user(), making.identity(3, fingerprint=signer.fingerprint, previous_seal="12" * 32)
    )
    wrong = making.write(small(signer, replaced), making.write(second, tmp_path / "wrong"))
    assert both(wrong, signer.fingerprint) == [("chain", f"{third.stem}.seal.json")]
    unrooted = document.build(
        samples.user(), making.identity(2, fingerprint=signer.fingerprint, previous_seal=None)
    )
    alone = making.write(small(signer, unrooted), tmp_path / "alone")
    assert both(alone, signer.fingerprint) == [("chain", f"{second.stem}.seal.json")]


def test_the_script_by_itself(genuine: Bundle, signer: Signer, stranger: Signer, tmp_path: Path) -> None:
    folder = making.write(genuine, tmp_path / "c")
    # -I -S: no site packages, no environment, nothing of ours.
    script = [sys.executable, "-I", "-S", verify_certificate.__file__]
    good = subprocess.run(
        [*script, "--signer", signer.fingerprint.lower(), str(folder)], capture_output=True, text=True
    )
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout.startswith("Genuine and complete")
    wrong = subprocess.run(
        [*script, "--signer", stranger.fingerprint, str(folder)], capture_output=True, text=True
    )
    assert wrong.returncode == 1
    assert "FAILED signer: public.asc" in wrong.stdout
    for arguments in ([str(folder)], ["--signer", signer.fingerprint[-16:], str(folder)]):
        assert subprocess.run([*script, *arguments], capture_output=True).returncode == 2


def test_a_missing_key_signs_nothing(gnupg_home: Path, signer: Signer) -> None:
    # python-gnupg alone would sign with the default key here.
    with pytest.raises(Refused, match="did not sign"):
        Signer(str(gnupg_home), "0123456789ABCDEF0123456789ABCDEF01234567").sign(b"data")
    with pytest.raises(Refused, match="full fingerprint"):
        Signer(str(gnupg_home), signer.fingerprint[-16:]).sign(b"data")


def test_an_rsa_key_may_sign_too(gnupg_home: Path, signer: Signer, genuine: Bundle) -> None:
    other = new_key(gnupg_home, "rsa", "rsa3072")
    made = openpgp.read_signature(other.sign(b"data").encode())
    openpgp.check(made, other.keys()[0], b"data")
    with pytest.raises(openpgp.WrongSignature):
        openpgp.check(made, other.keys()[0], b"Data")
    with pytest.raises(openpgp.WrongSignature):
        openpgp.check(made, signer.keys()[0], b"data")
