"""Archives on the real vault: what is erased opens for nobody, what is others' restores byte for byte."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compliance import pseudonyms
from compliance.keystore import KeyStore, local_recovery_key
from lifecycle.datamap.model import DataMap
from lifecycle.systems.backups import archive, drift, layout
from lifecycle.systems.backups.catalogue import Catalogue
from lifecycle.systems.backups.eraser import BackupsEraser
from lifecycle.systems.backups.eraser import connect as connect_eraser
from lifecycle.systems.backups.keys import Keys
from lifecycle.systems.backups.layout import Manifest, Row
from lifecycle.systems.backups.verifier import BackupsVerifier
from lifecycle.systems.backups.verifier import connect as connect_verifier
from lifecycle.systems.base import Action, BatchOver, Hit, Item, Permanent, Scope, Subject, Tally

MAP = DataMap(version=1, digest="x")


@dataclass
class Open:
    """A gate that stays open for five seconds, or is over from the start."""

    deadline: datetime = field(default_factory=lambda: datetime.now(UTC) + timedelta(seconds=5))
    over: bool = False

    def check(self) -> None:
        if self.over:
            raise BatchOver

    def remaining(self) -> float:
        return max(0.0, (self.deadline - datetime.now(UTC)).total_seconds())


@dataclass
class World:
    """One key store of the test's own, tenants of its own in the stack's vault."""

    place: dict[str, str]
    tag: str

    def __post_init__(self) -> None:
        self.catalogue: Catalogue = archive.connect(self.place)
        self.eraser: BackupsEraser = connect_eraser(self.place, MAP)
        self.verifier: BackupsVerifier = connect_verifier(self.place, MAP)

    def tenant(self, name: str) -> str:
        return f"{self.tag}{name}"

    def person(self, tenant: str, user: str) -> str:
        return self.catalogue.keys.pseudonym(tenant, user)

    def back_up(self, tenant: str, *users: str, archive_: str = "", extra: tuple[Row, ...] = ()) -> Manifest:
        rows = [
            Row(
                self.person(tenant, user),
                category,
                "row",
                f'{{"of": "{user}", "in": "{category}"}}\u2028'.encode(),
            )
            for user in users
            for category in ("content", "invoices")
        ]
        return archive.create(self.catalogue, tenant, [*rows, *extra], archive=archive_)

    def found(self, scope: Scope) -> list[Item]:
        items: list[Item] = []
        cursor: Any = None
        while True:
            page = self.eraser.discover(scope, cursor)
            items, cursor = [*items, *page.entries], page.cursor
            if cursor is None:
                return items

    def erase(self, scope: Scope) -> tuple[list[Item], Tally]:
        items = self.found(scope)
        self.eraser.erase(scope, [item for item in items if item.action == Action.ERASE], Open())
        return items, self.eraser.finish(scope, Open())

    def hits(self, scope: Scope) -> list[Hit]:
        hits: list[Hit] = []
        cursor: Any = None
        while True:
            page = self.verifier.search(scope, cursor)
            hits, cursor = [*hits, *page.entries], page.cursor
            if cursor is None:
                return hits

    def restored(self, manifest: Manifest, **given: Any) -> list[tuple[str, str, bytes]]:
        return [
            (each.row.person, each.row.category, each.row.data)
            for each in archive.restore(self.catalogue, manifest, **given)
        ]


@pytest.fixture(scope="module")
def world(stack: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(
        {**stack["backups"], "keystore": str(tmp_path_factory.mktemp("keys") / "keystore")},
        f"b{secrets.token_hex(3)}-",
    )
    yield made
    made.eraser.close()
    made.verifier.close()


def whose(world: World, tenant: str, user: str | None = "u-1", **given: Any) -> Scope:
    return Scope(Subject(tenant, user), **given)


@contextmanager
def unchanged(world: World, scope: Scope) -> Iterator[None]:
    """Nobody else's part changes or stops opening."""
    before = sorted((entry.owner, entry.key, entry.content) for entry in world.verifier.bystanders(scope))
    assert before
    yield
    assert (
        sorted((entry.owner, entry.key, entry.content) for entry in world.verifier.bystanders(scope))
        == before
    )


def test_one_person_goes_and_everyone_else_restores_byte_for_byte(world: World) -> None:
    tenant = world.tenant("acme")
    nobody = Row("", "content", "plan", b"\xff\x00 plain bytes")
    first = world.back_up(tenant, "u-1", "u-12", "u-2", extra=(nobody,))
    second = world.back_up(tenant, "u-1", "u-2")
    for twin in ("acme2", "acme*", "acm\u00e9"):
        world.back_up(world.tenant(twin), "u-1")
    full, scope = world.restored(first), whose(world, tenant)
    assert len(full) == 7
    assert (nobody.person, nobody.category, nobody.data) in full
    with unchanged(world, scope):
        items, tally = world.erase(scope)
        assert len(items) == 4
        assert all(item.action == Action.ERASE and item.category == "" for item in items)
        assert tally.detail["keys_destroyed"] == [
            f"person/{layout.quoted(tenant)}/{world.person(tenant, 'u-1')}"
        ]
        assert first.purge_at.date().isoformat() in tally.detail["notes"]
        assert world.found(scope) == []
        assert world.verifier.remaining(scope, items) == []
        assert world.hits(scope) == []
        # The sealed parts still lie there: it is the key that is gone, not the archive.
        assert all(world.catalogue.vault.get(first.path(part.name)) for part in first.parts)
    subject = world.person(tenant, "u-1")
    assert world.restored(first) == [row for row in full if row[0] != subject]
    assert subject not in {row[0] for row in world.restored(second)}
    again = world.back_up(tenant, "u-1", "u-2")
    assert (again.left_out, {part.person for part in again.parts}) == (2, {world.person(tenant, "u-2")})
    tally = world.eraser.erase(scope, items, Open())
    assert (tally.taken, tally.erased) == (4, 0)


def test_the_recovery_key_in_hand_opens_nothing(world: World) -> None:
    tenant = world.tenant("drill")
    made = world.back_up(tenant, "u-1", "u-2")
    scope, folder = whose(world, tenant), Path(world.place["keystore"])
    recovery = local_recovery_key(folder)
    name = world.catalogue.keys.name(tenant, world.person(tenant, "u-1"))
    assert KeyStore(folder).recover(name, recovery) == KeyStore(folder).get(name)
    assert "recovery key in hand" in world.verifier.method
    items = world.found(scope)
    # A destruction that forgets the recovery wrapping: the verifier opens the parts with it.
    saved = {path: path.read_bytes() for path in folder.rglob("*.recovery") if name in path.read_text()}
    assert len(saved) == 1
    world.eraser.erase(scope, items, Open())
    for path, content in saved.items():
        path.write_bytes(content)
    assert world.verifier.remaining(scope, items) == items
    assert {hit.belongs for hit in world.hits(scope)} == {True}
    world.eraser.finish(scope, Open())
    assert world.verifier.remaining(scope, items) == []
    assert world.hits(scope) == []
    assert not any(path.exists() for path in saved)
    assert world.restored(made)


def test_a_key_lives_while_anything_under_it_is_kept(world: World) -> None:
    tenant = world.tenant("kept")
    made = world.back_up(tenant, "u-1", "u-2")
    subject = world.person(tenant, "u-1")
    for kept in ({"retained": {"invoices": None}}, {"held_categories": frozenset({"invoices"})}):
        scope = whose(world, tenant, **kept)
        items, tally = world.erase(scope)
        assert [item.category for item in items if item.action == Action.RETAIN] == ["invoices"]
        assert tally.detail["keys_destroyed"] == []
        assert {row[1] for row in world.restored(made, for_legal=True) if row[0] == subject} == {"invoices"}
        assert subject not in {row[0] for row in world.restored(made)}
        gone = [item for item in items if item.action == Action.ERASE]
        assert world.verifier.remaining(scope, gone) == []
        assert world.hits(scope) == []
        assert [item.action for item in world.found(scope)] == [Action.RETAIN]
    items, tally = world.erase(whose(world, tenant))
    assert len(tally.detail["keys_destroyed"]) == 1
    assert subject not in {row[0] for row in world.restored(made, for_legal=True)}


def test_a_whole_tenant_goes_around_a_held_user(world: World) -> None:
    tenant = world.tenant("whole")
    made = world.back_up(tenant, "u-1", "u-2", "held", extra=(Row("", "content", "plan", b"gold"),))
    world.back_up(world.tenant("whole1"), "u-1")
    scope = whose(world, tenant, None, spared_users=frozenset({"held"}))
    with unchanged(world, scope):
        items, tally = world.erase(scope)
        assert sorted(item.action for item in items) == [Action.ERASE] * 5 + [Action.RETAIN] * 2
        assert len(tally.detail["keys_destroyed"]) == 3
    assert {row[0] for row in world.restored(made)} == {world.person(tenant, "held")}
    assert world.hits(scope) == []
    world.erase(whose(world, tenant, None))
    assert world.restored(made) == []
    assert world.catalogue.keys.names(tenant) == []


def test_canaries_are_seen_before_and_not_after(world: World) -> None:
    tenant = world.tenant("canary")
    world.back_up(tenant, "u-1", "u-2")
    for user in ("u-1", None):
        markers = {
            shape: f"canary{secrets.token_hex(12)}"
            for shape in world.eraser.shapes(whose(world, tenant, user))
        }
        scope = whose(world, tenant, user, canaries=tuple(markers.values()))
        planted = [world.eraser.plant(scope, shape, marker) for shape, marker in markers.items()]
        assert [world.eraser.plant(scope, each.shape, each.marker) for each in planted] == planted
        seen = " ".join(hit.excerpt for hit in world.hits(scope) if hit.needle == "canary")
        assert all(marker in seen for marker in markers.values())
        world.erase(scope)
        assert world.hits(scope) == []
        assert world.found(scope) == []
    again = world.eraser.plant(scope, "archive_part", markers["archive_part"])
    assert [hit.needle for hit in world.hits(scope)] == ["canary"]
    world.eraser.lift(again)
    assert world.hits(scope) == []


def test_somebody_elses_part_is_never_touched(world: World) -> None:
    tenant = world.tenant("foreign")
    made = world.back_up(tenant, "u-1", "u-2")
    other = world.found(whose(world, tenant, "u-2"))
    with pytest.raises(Permanent, match="somebody else"):
        world.eraser.erase(whose(world, tenant), other, Open())
    with pytest.raises(BatchOver):
        world.eraser.erase(whose(world, tenant, "u-2"), other, Open(over=True))
    assert len(world.restored(made)) == 2
    assert world.verifier.remaining(whose(world, tenant, "u-2"), other) == other


def test_where_no_archive_holds_the_person_only_the_exclusion_stands(world: World) -> None:
    tenant = world.tenant("empty")
    items, tally = world.erase(whose(world, tenant, "u-9"))
    assert (items, tally.detail) == ([], {"keys_destroyed": []})
    assert [each.person for each in world.catalogue.exclusions(tenant)] == [world.person(tenant, "u-9")]
    assert world.back_up(tenant, "u-9").left_out == 2


def test_a_mention_in_nobodys_part_is_redacted_or_dropped(world: World) -> None:
    tenant = world.tenant("mention")
    rows = tuple(
        Row("", "content", "plan", text)
        for text in (b"sold to ann@x.example", b"asked ann@x.example twice", b"plain")
    )
    made = world.back_up(tenant, "u-1", extra=rows)
    scope = Scope(Subject(tenant, "u-1", mails=("ann@x.example",)))
    world.erase(scope)
    first, second = (hit for hit in world.hits(scope) if not hit.belongs)
    assert "ann@x.example" in first.excerpt
    assert world.eraser.redact(scope, Item(first.kind, first.key), Open()).anonymised == 1
    (second,) = world.hits(scope)
    assert world.eraser.erase(scope, [Item(second.kind, second.key)], Open()).erased == 1
    assert world.hits(scope) == []
    left = world.restored(world.catalogue.manifest(tenant, made.archive) or made)
    assert {row[2] for row in left} in (
        {b"sold to [redacted]", b"plain"},
        {b"asked [redacted] twice", b"plain"},
    )


def test_a_returning_person_is_backed_up_again_and_their_past_is_not_restored(world: World) -> None:
    tenant = world.tenant("return")
    old = world.back_up(tenant, "u-1")
    world.erase(whose(world, tenant))
    with pytest.raises(Permanent, match="Nobody of that id"):
        world.catalogue.readmit(tenant, "u-2", datetime.now(UTC))
    world.catalogue.readmit(tenant, "u-1", datetime.now(UTC))
    new = world.back_up(tenant, "u-1")
    assert (world.restored(old), len(world.restored(new))) == ([], 2)
    items, _ = world.erase(whose(world, tenant))
    assert len(items) == 2
    assert world.restored(new) == []


def test_a_changed_part_and_a_second_archive_of_the_name_are_refused(world: World) -> None:
    tenant = world.tenant("changed")
    made = world.back_up(tenant, "u-1", archive_="first")
    with pytest.raises(Permanent, match="never written again"):
        world.back_up(tenant, "u-1", archive_="first")
    data = world.catalogue.vault.get(made.path(made.parts[0].name)) or b""
    world.catalogue.vault.put(made.path(made.parts[0].name), data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(Permanent, match="changed"):
        world.restored(made)


def test_large_archives_are_cut_into_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "PART_BYTES", 10_000)
    monkeypatch.setattr(archive, "TOTAL_BYTES", 30_000)
    tenant = world.tenant("large")
    rows = [
        Row(world.person(tenant, f"u-{n % 7}"), "content", "row", f"{n}:{'x' * 100}".encode())
        for n in range(1_000)
    ]
    made = archive.create(world.catalogue, tenant, iter(rows))
    assert len(made.parts) > 10
    assert sorted(row[2] for row in world.restored(made)) == sorted(row.data for row in rows)


def test_drift_names_what_nobody_classified(world: World) -> None:
    assert not [each for each in drift.unclassified(world.place, MAP) if world.tag in each]
    stray = f"{world.tag}stray"
    world.catalogue.vault.put(f"{stray}/dump.sql", b"x")
    try:
        assert [each for each in drift.unclassified(world.place, MAP) if stray in each]
    finally:
        world.catalogue.vault.remove(f"{stray}/dump.sql")


def test_an_object_named_after_the_person_is_a_mention(world: World) -> None:
    tenant, user = world.tenant("named"), f"user-{secrets.token_hex(4)}"
    world.back_up(tenant, user)
    stray = f"ledger/{world.tag}export-of-{user}.csv"
    world.catalogue.vault.put(stray, b"x")
    scope = whose(world, tenant, user)
    world.erase(scope)
    (hit,) = world.hits(scope)
    assert (hit.kind, hit.belongs) == ("object_name", False)
    assert world.eraser.erase(scope, [Item(hit.kind, hit.key)], Open()).erased == 1
    assert world.hits(scope) == []


@pytest.mark.parametrize("tenant", ["1", "1*", "a_b", "a/b", "..", "=31", "acm\u00e9", "a b+c%2F"])
def test_every_tenant_has_a_prefix_of_its_own(tenant: str) -> None:
    assert layout.tenant_of(layout.tenant_prefix(tenant) + "x/manifest.json") == tenant
    assert layout.quoted(tenant).replace("=", "").replace("_", "").replace("-", "").isalnum()


def test_names_and_hashes_are_those_of_the_judging_side(stack: dict[str, Any]) -> None:
    keys = Keys({"keystore": stack["keystore"]})
    assert keys.pseudonym("acme", "u-1") == pseudonyms.of_user("acme", "u-1")
    assert keys.ledger("acme", "u-1") == pseudonyms.ledger_hmac("acme", "u-1")
