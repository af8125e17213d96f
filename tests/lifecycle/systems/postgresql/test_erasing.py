"""Erasing rows: everything of the subject, nothing of the twins."""

from __future__ import annotations

import pytest

from lifecycle.systems.base import Action
from tests.lifecycle.systems.postgresql.world import (
    TENANTS,
    USERS,
    World,
    erase_all,
    found,
    mail,
    scope,
    snapshot,
)


def lost(
    before: dict[str, list[tuple[str, ...]]], after: dict[str, list[tuple[str, ...]]]
) -> dict[str, list[str]]:
    gone = {name: sorted(r[0] for r in set(rows) - set(after[name])) for name, rows in before.items()}
    return {name: rows for name, rows in gone.items() if rows}


@pytest.mark.parametrize("tenant", ["1", "1*", "a_b", "Größe"])
def test_a_tenant_goes_and_its_twins_stay(platform: World, tenant: str) -> None:
    """Tenants 1, 17, 117, 1*, a_b, aXb: only the one that was asked for."""
    before = snapshot(platform)
    eraser = platform.eraser()
    items = found(eraser, scope(tenant))
    erase_all(eraser, scope(tenant))
    after = snapshot(platform)
    gone = lost(before, after)
    for table in (
        "users",
        "documents",
        "queries",
        "api_keys",
        "invoices",
        "messages",
        "conversations",
        "access_controls",
        "feedback",
    ):
        assert platform.one(f"SELECT count(*) FROM {table} WHERE tenant_id = %s", [tenant]) == 0, table
        own = gone[table]
        starts = tuple(f"({t}," for t in (tenant, f'"{tenant}"'))
        assert all(row.startswith(starts) or f",{tenant}," in row for row in own), (table, own[:3])
    survivors = len(TENANTS) - 1
    assert platform.one("SELECT count(*) FROM chunks") == survivors * len(USERS) * 2
    assert platform.one("SELECT count(*) FROM highlights") == survivors * len(USERS) * 2
    assert platform.one("SELECT count(*) FROM pg_largeobject_metadata") == survivors * len(USERS) * 2
    assert platform.one("SELECT count(*) FROM user_activity WHERE tenant_id = %s", [tenant]) == 0
    assert platform.run(
        "SELECT DISTINCT actor_id, ip, detail::text FROM audit_logs WHERE tenant_id = %s", [tenant]
    ) == [("erased-0123456789", None, "{}")]
    assert len(items) == len({(i.kind, i.key) for i in items})


@pytest.mark.parametrize("user", ["u", "u-1", "ü"])
def test_a_user_goes_and_users_whose_ids_contain_it_stay(platform: World, user: str) -> None:
    before = snapshot(platform)
    eraser = platform.eraser()
    subject = eraser.identify(scope("1", user)).__class__("1", user)
    known = eraser.identify(scope("1", user))
    assert known.mails == (mail("1", user),)
    assert subject.user == user
    items = found(eraser, scope("1", user))
    tally = erase_all(eraser, scope("1", user))
    after = snapshot(platform)
    gone = lost(before, after)
    assert all(row.startswith(f"(1,{user},") for row in gone["users"])
    assert len(gone["users"]) == 1
    assert (
        len(gone["documents"])
        == len(gone["chunks"])
        == len(gone["highlights"])
        == len(gone["large objects"])
        == 2
    )
    assert len(gone["queries"]) == len(gone["api_keys"]) == len(gone["invoices"]) == 1
    assert len(before["feedback"]) - len(after["feedback"]) == 2
    assert len(before["conversations"]) - len(after["conversations"]) == 1
    assert len(before["messages"]) - len(after["messages"]) == 2
    assert len(before["access_controls"]) - len(after["access_controls"]) == 2 * (len(USERS) - 1)
    assert len(before["audit_logs"]) == len(after["audit_logs"])
    assert platform.one("SELECT count(*) FROM audit_logs WHERE actor_id = 'erased-0123456789'") == 1
    assert (
        platform.one("SELECT count(*) FROM conversations WHERE started_by = %s AND tenant_id = '1'", [user])
        == 0
    )
    assert (
        platform.one("SELECT count(*) FROM messages WHERE author_id = %s AND tenant_id = '17'", [user]) == 2
    )
    assert len(after["user_activity"]) == len(before["user_activity"]) - 1
    assert tally.taken == len([i for i in items if i.action != Action.RETAIN])
    assert tally.erased + tally.anonymised == tally.taken


def test_a_user_without_a_users_row_is_found(platform: World) -> None:
    platform.run("INSERT INTO queries (tenant_id, user_id, body) VALUES ('1', 'ghost', 'boo')")
    items = found(platform.eraser(), scope("1", "ghost"))
    assert [item.kind for item in items] == ["queries"]


def test_a_second_erasure_finds_nothing(platform: World) -> None:
    erase_all(platform.eraser(), scope("17", "u-1"))
    assert found(platform.eraser(), scope("17", "u-1")) == []
    erase_all(platform.eraser(), scope("17"))
    assert found(platform.eraser(), scope("17")) == []
