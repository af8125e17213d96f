"""Signing keys of the tests' own, in a folder of their own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from compliance.certificate.parts import Bundle
from compliance.certificate.signing import Signer
from tests.compliance.certificate import making


@pytest.fixture(scope="session")
def gnupg_home() -> Iterator[Path]:
    """A GnuPG folder; in /tmp, since a socket's path must be short."""
    home = Path(tempfile.mkdtemp(prefix="cert-", dir="/tmp"))
    yield home
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=False, capture_output=True)
    shutil.rmtree(home)


def new_key(home: Path, name: str, algorithm: str = "ed25519") -> Signer:
    """Makes a signing key and returns its signer."""
    gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
    subprocess.run(
        [*gpg, "--quick-generate-key", f"{name} <{name}@cert.invalid>", algorithm, "sign", "never"],
        check=True,
    )
    listed = subprocess.run(
        [*gpg, "--with-colons", "--list-keys", f"{name}@cert.invalid"],
        check=True,
        capture_output=True,
        text=True,
    )
    return Signer(
        str(home), next(row.split(":")[9] for row in listed.stdout.splitlines() if row.startswith("fpr:"))
    )


@pytest.fixture(scope="session")
def signer(gnupg_home: Path) -> Signer:
    """The issuer's key, made first: GnuPG's default."""
    return new_key(gnupg_home, "issuer")


@pytest.fixture(scope="session")
def stranger(gnupg_home: Path, signer: Signer) -> Signer:
    """Somebody else's key."""
    return new_key(gnupg_home, "stranger")


@pytest.fixture(scope="session")
def genuine(signer: Signer) -> Bundle:
    """One genuine certificate, number 1."""
    return making.bundle(signer)
