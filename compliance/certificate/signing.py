"""Detached signatures by GnuPG, with one key and no other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast

import gnupg

from compliance.certificate import openpgp
from compliance.errors import Refused

# python-gnupg signs with a default key when the asked one is missing; `--local-user` with the full
# fingerprint fails instead. No comment and no version, so that the armour has one form only.
_PLAIN = ["--no-emit-version", "--no-comments", "--digest-algo", "SHA512"]


@dataclass(frozen=True, slots=True)
class Signer:
    """A GnuPG folder and the full fingerprint (40 hex digits) of the key in it that signs."""

    home: str
    fingerprint: str

    def _gpg(self) -> gnupg.GPG:
        if not re.fullmatch(r"[0-9A-F]{40}", self.fingerprint):
            raise Refused(
                "SIGNING_FINGERPRINT is not a full fingerprint. Give all 40 hex digits, in upper case."
            )
        try:
            made = gnupg.GPG(gnupghome=self.home, options=["--no-auto-check-trustdb"])
        except (ValueError, OSError) as error:
            raise Refused(
                "GnuPG can't be started in GNUPG_HOME. Install gpg and give a folder of mode 0700."
            ) from error
        made.encoding = "utf-8"
        return made

    def sign(self, data: bytes) -> str:
        """An armoured detached signature of `data`. Raises Refused when another key, or none, would sign."""
        asked = ["--local-user", f"{self.fingerprint}!", *_PLAIN]
        result = self._gpg().sign(data, detach=True, binary=False, extra_args=asked)
        text = cast("bytes", result.data).decode("ascii", "replace")
        if not result or str(result.fingerprint).upper() != self.fingerprint:
            raise Refused(f"The key {self.fingerprint} did not sign. Put its secret key into GNUPG_HOME.")
        made = openpgp.read_signature(text.encode())
        if made.fingerprint != self.fingerprint:
            raise Refused("Another key than SIGNING_FINGERPRINT signed. Nothing was issued.")
        key = next((key for key in self.keys() if key.fingerprint == self.fingerprint), None)
        if key is None:
            raise Refused(
                "The public key of SIGNING_FINGERPRINT can't be exported. Import it into GNUPG_HOME."
            )
        openpgp.check(made, key, data)
        return text

    def public_key(self) -> str:
        """The armoured public key, in the one form that verifiers accept."""
        text = str(self._gpg().export_keys(self.fingerprint, minimal=True))
        if not text:
            raise Refused(f"The key {self.fingerprint} is not in GNUPG_HOME. Import it there.")
        openpgp.dearmour(text.encode(), openpgp.PUBLIC_KEY)
        return text

    def keys(self) -> list[openpgp.PublicKey]:
        """The primary key and its subkeys."""
        return openpgp.read_keys(self.public_key().encode())


def default() -> Signer:
    """The signer of the settings GNUPG_HOME and SIGNING_FINGERPRINT."""
    from django.conf import settings

    return Signer(home=settings.GNUPG_HOME, fingerprint=settings.SIGNING_FINGERPRINT.upper())
