"""Keys: wrapped twice, and gone for everyone once destroyed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from compliance import keystore as module
from compliance.keystore import KeyDestroyed, KeyExists, KeyMissing, KeyStore, local_recovery_key
from compliance.sealing import SealBroken, seal, seal_json, unseal, unseal_json

NAMES = ("case/er-1", "person/1*/" + "a" * 64, "person/ténant-ß-" + "語" * 20 + "/" + "b" * 64, "pseudonyms")


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys")


def everything(store: KeyStore) -> bytes:
    return b"".join(path.read_bytes() for path in store.folder.rglob("*") if path.is_file())


def test_a_destroyed_key_opens_for_nobody(store: KeyStore) -> None:
    recovery = local_recovery_key(store.folder)
    for name in NAMES:
        key = store.create(name)
        assert store.recover(name, recovery) == key == store.get(name)
        at = store.destroy(name)
        assert store.destroyed_at(name) == at == store.destroy(name)
        for get in (store.get, store.create, store.get_or_create):
            with pytest.raises(KeyDestroyed):
                get(name)
        with pytest.raises(KeyMissing):
            store.recover(name, recovery)
    assert store.names() == []
    assert b"wrapped" not in everything(store)


def test_destroying_ends_what_a_crash_left(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    key = store.create("case/er-1")
    left: list[Path] = []
    real = module._shred

    def crash(path: Path) -> None:
        if left:
            raise KeyboardInterrupt
        left.append(path)
        real(path)

    monkeypatch.setattr(module, "_shred", crash)
    with pytest.raises(KeyboardInterrupt):
        store.destroy("case/er-1")
    monkeypatch.undo()
    # Halfway: nobody gets the key any more, and nobody is told that it is gone.
    with pytest.raises(KeyDestroyed):
        store.get("case/er-1")
    assert store.destroyed_at("case/er-1") is None
    assert not store.exists("case/er-1")
    store.destroy("case/er-1")
    assert store.destroyed_at("case/er-1") is not None
    assert key not in everything(store)


def test_shredding_overwrites_before_it_unlinks(store: KeyStore) -> None:
    store.create("case/er-1")
    wrapping = next(store.folder.rglob("*.key"))
    kept = wrapping.with_name("kept")
    os.link(wrapping, kept)
    before = kept.read_bytes()
    store.destroy("case/er-1")
    assert kept.read_bytes() != before
    assert len(kept.read_bytes()) == len(before)


def test_only_a_new_life_gets_a_new_key(store: KeyStore) -> None:
    first = store.create("person/acme/p")
    with pytest.raises(KeyExists):
        store.create("person/acme/p")
    store.destroy("person/acme/p")
    second = store.create("person/acme/p", again=True)
    assert store.get("person/acme/p") == second != first
    assert store.recover("person/acme/p", local_recovery_key(store.folder)) == second
    with pytest.raises(KeyMissing):
        store.get("person/acme/q")


def test_many_creators_get_one_key(store: KeyStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: KeyStore(store.folder).get_or_create("tenant/acme"), range(40)))
    assert (
        found
        == {store.get("tenant/acme")}
        == {store.recover("tenant/acme", local_recovery_key(store.folder))}
    )


def test_names_by_prefix_touch_no_twin(store: KeyStore) -> None:
    for name in ("person/1/a", "person/1/b", "person/17/a", "person/1*/a", "tenant/1"):
        store.create(name)
    assert store.names("person/1/") == ["person/1/a", "person/1/b"]
    assert store.names("person/") == ["person/1*/a", "person/1/a", "person/1/b", "person/17/a"]
    assert store.names("case/") == []


def test_another_root_key_opens_nothing(store: KeyStore) -> None:
    store.create("case/er-1")
    other = KeyStore(store.folder, root_key=b"x" * 32)
    with pytest.raises(SealBroken):
        other.get("case/er-1")
    with pytest.raises(KeyMissing):
        store.recover("case/er-1", b"y" * 32)
    assert store.folder.with_name("keys.root").stat().st_mode & 0o077 == 0


def test_a_seal_shows_every_flipped_bit() -> None:
    key, blob = os.urandom(32), seal(b"k" * 32, b"secret", "case/1")
    for index in range(len(blob) * 8):
        flipped = bytearray(blob)
        flipped[index // 8] ^= 1 << index % 8
        with pytest.raises(SealBroken):
            unseal(b"k" * 32, bytes(flipped), "case/1")
    for wrong in ((key, blob, "case/1"), (b"k" * 32, blob, "case/2"), (b"k" * 32, b"", "case/1")):
        with pytest.raises(SealBroken):
            unseal(*wrong)
    value = {"user": "ü", "n": [1, None]}
    assert unseal_json(key, memoryview(seal_json(key, value, "c")), "c") == value
