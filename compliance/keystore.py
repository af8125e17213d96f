"""Keys on local files, each wrapped twice: under the root key, and for a recovery recipient. Knows no Django.

A key is one folder entry with two files: `NAME.key` (AES-256-GCM under the root key) and `NAME.recovery` (X25519, for
whoever holds the recovery key, which this program doesn't). Destroying overwrites and unlinks both and leaves
`NAME.gone`, which says when (SP 800-88r2 §3.2.3: all copies of the key). Names hold ids and pseudonyms, never a person.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from compliance.sealing import SealBroken, seal, unseal

ROOT_VARIABLE = "KEYSTORE_ROOT_KEY"
RECOVERY_VARIABLE = "KEYSTORE_RECOVERY_PUBLIC_KEY"
_SIZE = 32


class KeyMissing(Exception):
    """There is no such key, and none was destroyed under this name."""


class KeyDestroyed(Exception):
    """The key was destroyed; what it sealed can't be read by anyone."""


class KeyExists(Exception):
    """A key of this name stands already."""


class KeyStore:
    """The keys below one folder. `root_key` and `recovery_public` (32 bytes each) default to the environment
    (hexadecimal), then to the files `FOLDER.root` and `FOLDER.recovery-public`, which a new store makes beside itself."""

    def __init__(
        self, folder: Path | str, *, root_key: bytes | None = None, recovery_public: bytes | None = None
    ) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._root = root_key or _from_environment(ROOT_VARIABLE) or self._beside("root")
        self._recovery = recovery_public or _from_environment(RECOVERY_VARIABLE) or self._recovery_beside()

    def create(self, name: str, *, again: bool = False) -> bytes:
        """A new random key of 32 bytes. Raises KeyExists, or KeyDestroyed unless `again` says that a new life is meant."""
        path = self._path(name)
        if path.with_suffix(".gone").exists():
            if not again:
                raise KeyDestroyed(f"The key {name} was destroyed; create it anew only for new data.")
            self.destroy(name)  # ends what a crash may have left
            path.with_suffix(".gone").unlink()
        key = secrets.token_bytes(_SIZE)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        head = {"name": name, "created_at": _now()}
        wrapped = {**head, "wrapped": _text(seal(self._root, key, f"key:{name}"))}
        # The recovery copy first: a key in use without one could be lost with the root key. It bears a random suffix
        # until the key stands, so that a creator who lost the race can't replace the winner's.
        recovery = _write_new(
            path.with_suffix(f".recovery.{secrets.token_hex(8)}"),
            {**head, **_wrap_for(self._recovery, key, name)},
        )
        try:
            _publish(path.with_suffix(".key"), wrapped)
        except FileExistsError:
            recovery.unlink()
            raise KeyExists(f"The key {name} stands already.") from None
        recovery.rename(path.with_suffix(".recovery"))
        _sync_folder(path.parent)
        return key

    def get(self, name: str) -> bytes:
        """The key. Raises KeyMissing or KeyDestroyed."""
        path = self._path(name)
        if path.with_suffix(".gone").exists():
            raise KeyDestroyed(f"The key {name} was destroyed.")
        try:
            wrapped = json.loads(path.with_suffix(".key").read_bytes())["wrapped"]
        except FileNotFoundError:
            raise KeyMissing(f"There is no key {name}.") from None
        return unseal(self._root, base64.b64decode(wrapped), f"key:{name}")

    def get_or_create(self, name: str) -> bytes:
        """The key, made now where it is missing. Raises KeyDestroyed."""
        try:
            return self.get(name)
        except KeyMissing:
            pass
        try:
            return self.create(name)
        except KeyExists:
            return self.get(name)

    def destroy(self, name: str) -> datetime:
        """Destroys every wrapping and leaves a tombstone; returns when it was destroyed first. Idempotent, also after a
        crash in the middle. A name without a key gets a tombstone too, so that nothing creates it later unasked."""
        path = self._path(name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        gone = path.with_suffix(".gone")
        with suppress(FileExistsError):  # begun before
            _publish(gone, {"name": name, "destroyed_at": _now()})
        for wrapping in self._wrappings(path):
            _shred(wrapping)
        _sync_folder(path.parent)
        return datetime.fromisoformat(json.loads(gone.read_bytes())["destroyed_at"])

    def exists(self, name: str) -> bool:
        """True where the key can be had."""
        path = self._path(name)
        return path.with_suffix(".key").exists() and not path.with_suffix(".gone").exists()

    def destroyed_at(self, name: str) -> datetime | None:
        """When the key was destroyed; None while any wrapping of it is left, or where there was no destruction."""
        path = self._path(name)
        gone = path.with_suffix(".gone")
        if not gone.exists() or self._wrappings(path):
            return None
        return datetime.fromisoformat(json.loads(gone.read_bytes())["destroyed_at"])

    def names(self, prefix: str = "") -> list[str]:
        """Names of the keys that can be had and begin with `prefix`, sorted."""
        parts = prefix.split("/")
        below = self.folder / parts[0] if len(parts) > 1 else self.folder
        if len(parts) > 2:
            below = self._path(prefix).parent
        found = []
        for path in below.rglob("*.key") if below.exists() else ():
            with suppress(FileNotFoundError):  # destroyed just now
                found.append(json.loads(path.read_bytes())["name"])
        return sorted(name for name in found if name.startswith(prefix) and self.exists(name))

    def recover(self, name: str, recovery_key: bytes) -> bytes:
        """What the holder of the recovery key (32 bytes, X25519) gets: the key. Raises KeyMissing; used by drills."""
        path = self._path(name)
        for wrapping in self._wrappings(path):
            with suppress(
                SealBroken, ValueError, KeyError
            ):  # the root key's wrapping, or another recipient's
                return _unwrap_with(recovery_key, json.loads(wrapping.read_bytes()), name)
        raise KeyMissing(f"No wrapping of the key {name} opens with the recovery key.")

    def _path(self, name: str) -> Path:
        kind, _, rest = name.partition("/")
        if not kind.isidentifier() or "\0" in name:
            raise ValueError("A key's name begins with a word, as in case/ID.")
        group = _short(rest.partition("/")[0]) if "/" in rest else "-"
        return self.folder / kind / group / _short(name)

    def _wrappings(self, path: Path) -> list[Path]:
        # Also what a crash left: drafts, and the recovery copy of a creator who lost the race.
        return sorted(
            file
            for file in path.parent.glob(path.name + ".*")
            if not file.name.startswith(path.name + ".gone")
        )

    def _beside(self, suffix: str) -> bytes:
        path = self.folder.with_name(f"{self.folder.name}.{suffix}")
        if not path.exists():
            with suppress(FileExistsError):  # another process made it just now
                _publish(path, secrets.token_bytes(_SIZE).hex())
        return bytes.fromhex(json.loads(path.read_bytes()))

    def _recovery_beside(self) -> bytes:
        private = X25519PrivateKey.from_private_bytes(self._beside("recovery-key"))
        return private.public_key().public_bytes_raw()


def local_recovery_key(folder: Path | str) -> bytes:
    """The recovery key of a store of the local stack, as its recipient would hold it."""
    folder = Path(folder)
    return bytes.fromhex(json.loads(folder.with_name(f"{folder.name}.recovery-key").read_bytes()))


def default() -> KeyStore:
    """The key store of the settings. Outside the local stack both keys must come from the environment."""
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured

    if not settings.LOCAL_STACK:
        for name in (ROOT_VARIABLE, RECOVERY_VARIABLE):
            if not os.environ.get(name):
                raise ImproperlyConfigured(
                    f"{name} is not set. Give 32 bytes in hexadecimal, kept outside the key store."
                )
    return KeyStore(settings.KEYSTORE_DIR)


def _short(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:40]


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _from_environment(variable: str) -> bytes | None:
    value = os.environ.get(variable)
    if not value:
        return None
    key = bytes.fromhex(value)
    if len(key) != _SIZE:
        raise ValueError(f"{variable} must be 32 bytes in hexadecimal.")
    return key


def _derived(shared: bytes, name: str) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=_SIZE, salt=None, info=f"recovery:{name}".encode()).derive(
        shared
    )


def _wrap_for(recipient: bytes, key: bytes, name: str) -> dict[str, str]:
    ephemeral = X25519PrivateKey.generate()
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(recipient))
    sealed = seal(_derived(shared, name), key, f"key:{name}")
    return {"ephemeral": _text(ephemeral.public_key().public_bytes_raw()), "wrapped": _text(sealed)}


def _unwrap_with(recovery_key: bytes, content: dict[str, Any], name: str) -> bytes:
    ephemeral = X25519PublicKey.from_public_bytes(base64.b64decode(content["ephemeral"]))
    shared = X25519PrivateKey.from_private_bytes(recovery_key).exchange(ephemeral)
    return unseal(_derived(shared, name), base64.b64decode(content["wrapped"]), f"key:{name}")


def _write_new(path: Path, content: Any) -> Path:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(json.dumps(content).encode())
        out.flush()
        os.fsync(out.fileno())
    return path


def _publish(path: Path, content: Any) -> None:
    """Writes a whole file under its name at once; raises FileExistsError where it stands already."""
    draft = _write_new(path.with_name(f"{path.name}.{secrets.token_hex(8)}"), content)
    try:
        os.link(draft, path)
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _shred(path: Path) -> None:
    try:
        with path.open("r+b") as file:
            size = os.fstat(file.fileno()).st_size
            file.write(os.urandom(size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()
    except FileNotFoundError:
        return  # another process was quicker


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
