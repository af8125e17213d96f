"""The little of OpenPGP (RFC 4880, EdDSA by RFC 9580 section 5.2.3.3) that a certificate's signatures use, read strictly.

GnuPG signs. Here a signature is checked without it: the file must equal its own canonical re-armouring, the packet its
own re-encoding, and every part that the signature does not cover must have its one allowed value. So no byte is free.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, utils

SIGNATURE, PUBLIC_KEY = "SIGNATURE", "PUBLIC KEY BLOCK"
_TAG_SIGNATURE, _TAG_KEY, _TAG_SUBKEY = 2, 6, 14
_RSA, _EDDSA = 1, 22
_ED25519_OID = bytes.fromhex("092b06010401da470f01")
_DIGESTS = {8: hashlib.sha256, 9: hashlib.sha384, 10: hashlib.sha512}
_RSA_DIGESTS: dict[int, Callable[[], hashes.HashAlgorithm]] = {
    8: hashes.SHA256,
    9: hashes.SHA384,
    10: hashes.SHA512,
}
_CREATED, _ISSUER, _ISSUER_FINGERPRINT = 2, 16, 33


class NotCanonical(ValueError):
    """The text is no signature or key in the one form that is allowed. The message is a sentence."""


class WrongSignature(ValueError):
    """The signature does not fit the data. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """One key that can sign: its fingerprint (40 upper-case hex digits) and its numbers."""

    fingerprint: str
    algorithm: int
    numbers: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """A detached version 4 signature over a binary document."""

    fingerprint: str
    algorithm: int
    digest: int
    hashed: bytes  # from the version octet to the end of the hashed subpackets
    left: bytes
    numbers: tuple[bytes, ...]


def armour(data: bytes, kind: str) -> bytes:
    """The canonical ASCII armour: no headers, 64 characters a line, CRC-24, line feeds."""
    text = base64.b64encode(data).decode()
    lines = [text[start : start + 64] for start in range(0, len(text), 64)]
    check = base64.b64encode(_crc24(data).to_bytes(3, "big")).decode()
    return "\n".join(
        [f"-----BEGIN PGP {kind}-----", "", *lines, f"={check}", f"-----END PGP {kind}-----", ""]
    ).encode()


def dearmour(text: bytes, kind: str) -> bytes:
    """The bytes in the armour. Raises NotCanonical unless `text` equals its own canonical re-armouring."""
    lines = text.split(b"\n")
    try:
        data = base64.b64decode(b"".join(lines[2:-3]), validate=True)
    except ValueError:
        raise NotCanonical("It is not ASCII armour with plain base64 inside.") from None
    if armour(data, kind) != text:
        raise NotCanonical(
            "It is not its own canonical armour: no header, comment, line end or checksum may differ."
        )
    return data


def _crc24(data: bytes) -> int:
    crc = 0xB704CE
    for octet in data:
        crc ^= octet << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc


def _packets(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """(tag, header, body) of each packet; old format with definite length, which GnuPG writes."""
    at = 0
    while at < len(data):
        first = data[at]
        size = {0x80: 1, 0x81: 2}.get(first & 0xC3)
        if size is None or first & 0x40:
            raise NotCanonical("A packet header is not of the form that GnuPG writes.")
        length = int.from_bytes(data[at + 1 : at + 1 + size], "big")
        if size == 2 and length < 256:
            raise NotCanonical("A packet length is not in its shortest form.")
        start = at + 1 + size
        if start + length > len(data):
            raise NotCanonical("A packet is cut short.")
        yield (first >> 2) & 0x0F, data[at:start], data[start : start + length]
        at = start + length


def _numbers(data: bytes) -> tuple[bytes, ...]:
    """The multiprecision integers in `data`, which must hold nothing else, each in its one form."""
    found, at = [], 0
    while at < len(data):
        bits = int.from_bytes(data[at : at + 2], "big")
        body = data[at + 2 : at + 2 + (bits + 7) // 8]
        if len(body) != (bits + 7) // 8 or int.from_bytes(body, "big").bit_length() != bits:
            raise NotCanonical("A number in the packet is not in its one form.")
        found.append(body)
        at += 2 + len(body)
    return tuple(found)


def _subpackets(area: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(area):
        length = area[at]
        if length == 0 or length >= 192 or at + 1 + length > len(area):
            raise NotCanonical("A subpacket of the signature has a wrong length.")
        kind = area[at + 1]
        if kind in found:
            raise NotCanonical("A subpacket of the signature stands there twice.")
        found[kind] = area[at + 2 : at + 1 + length]
        at += 1 + length
    return found


def read_signature(text: bytes) -> Signature:
    """The signature in an armoured file. Raises NotCanonical when any byte of it could be different."""
    packets = list(_packets(dearmour(text, SIGNATURE)))
    if len(packets) != 1 or packets[0][0] != _TAG_SIGNATURE:
        raise NotCanonical("It must hold one signature and nothing else.")
    body = packets[0][2]
    if len(body) < 12 or body[0] != 4 or body[1] != 0:
        raise NotCanonical("It is not a version 4 signature of a binary document.")
    end = 6 + int.from_bytes(body[4:6], "big")
    rest = end + 2 + int.from_bytes(body[end : end + 2], "big")
    if rest + 2 > len(body):
        raise NotCanonical("The signature is cut short.")
    signed, free = _subpackets(body[6:end]), _subpackets(body[end + 2 : rest])
    issuer = signed.get(_ISSUER_FINGERPRINT, b"")
    if len(issuer) != 21 or issuer[0] != 4 or _CREATED not in signed:
        raise NotCanonical("The signature does not say which key made it and when.")
    # Only this one unsigned entry is allowed, and its value follows from the signed fingerprint.
    if free != {_ISSUER: issuer[-8:]}:
        raise NotCanonical(
            "The unsigned part of the signature differs from what follows from the signed part."
        )
    return Signature(
        fingerprint=issuer[1:].hex().upper(),
        algorithm=body[2],
        digest=body[3],
        hashed=body[:end],
        left=body[rest : rest + 2],
        numbers=_numbers(body[rest + 2 :]),
    )


def read_keys(text: bytes) -> list[PublicKey]:
    """The primary key, then its subkeys, of an armoured public key. Raises NotCanonical for more than one primary key."""
    keys, tags = [], []
    for tag, _, body in _packets(dearmour(text, PUBLIC_KEY)):
        if tag not in (_TAG_KEY, _TAG_SUBKEY):
            continue
        tags.append(tag)
        if len(body) < 6 or body[0] != 4:
            raise NotCanonical("The key is not a version 4 key.")
        fingerprint = hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body, usedforsecurity=False)
        numbers = body[6:]
        if body[5] == _EDDSA:
            if not numbers.startswith(_ED25519_OID):
                raise NotCanonical("The key is on a curve other than Ed25519.")
            numbers = numbers[len(_ED25519_OID) :]
        parsed = _numbers(numbers) if body[5] in (_RSA, _EDDSA) else ()
        keys.append(PublicKey(fingerprint.hexdigest().upper(), body[5], parsed))
    if tags[:1] != [_TAG_KEY] or tags.count(_TAG_KEY) != 1:
        raise NotCanonical("It must hold exactly one public key.")
    return keys


def check(signature: Signature, key: PublicKey, data: bytes) -> None:
    """Raises WrongSignature unless `key` made `signature` over `data`."""
    if signature.algorithm != key.algorithm or signature.digest not in _DIGESTS:
        raise WrongSignature(
            "The signature's algorithm is not the key's, or its digest is not of the SHA-2 family."
        )
    trailer = b"\x04\xff" + len(signature.hashed).to_bytes(4, "big")
    digest = _DIGESTS[signature.digest](data + signature.hashed + trailer).digest()
    if digest[:2] != signature.left:
        raise WrongSignature("The signature was made over other data.")
    try:
        if key.algorithm == _EDDSA:
            r, s = (number.rjust(32, b"\0") for number in signature.numbers)
            ed25519.Ed25519PublicKey.from_public_bytes(key.numbers[0][1:]).verify(r + s, digest)
        elif key.algorithm == _RSA:
            modulus, exponent = (int.from_bytes(number, "big") for number in key.numbers)
            value = signature.numbers[0].rjust((modulus.bit_length() + 7) // 8, b"\0")
            scheme = utils.Prehashed(_RSA_DIGESTS[signature.digest]())
            rsa.RSAPublicNumbers(exponent, modulus).public_key().verify(
                value, digest, padding.PKCS1v15(), scheme
            )
        else:
            raise WrongSignature("Only Ed25519 and RSA keys can be checked. Sign with one of these.")
    except (InvalidSignature, ValueError, IndexError) as error:
        if isinstance(error, WrongSignature):
            raise
        raise WrongSignature("The signature does not fit the data and the key.") from None
