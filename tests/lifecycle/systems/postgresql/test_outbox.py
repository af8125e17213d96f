"""What taking part in moves leaves (schema `lifecycle`, beside the map's own): it goes with its user or tenant."""

from __future__ import annotations

import json
from dataclasses import replace

from lifecycle.systems.postgresql.drift import unclassified
from tests.lifecycle.systems.postgresql.world import World, erase_all, hits, neighbours, scope

_LEFT = "SELECT tenant_id, user_id FROM lifecycle.{} ORDER BY 1, 2"


def _leave(w: World) -> None:
    for tenant, user in (("1", "u"), ("1", "u-1"), ("17", "u")):
        for store, key in (
            ("s3", f"tenant-{tenant}/user-{user}/0"),
            ("pinecone", json.dumps([f"tenant-{tenant}", f"{tenant}/{user}/0#0"])),
        ):
            w.run(
                "INSERT INTO lifecycle.change (tenant_id, user_id, store, key, op) VALUES (%s, %s, %s, %s, 'put')",
                [tenant, user, store, key],
            )
            # As an applier notes it: it does not know whose it is.
            w.run(
                "INSERT INTO lifecycle.applied (tenant_id, store, key, version, op) VALUES (%s, %s, %s, 1, 'put')",
                [tenant, store, key],
            )
        w.run(
            "INSERT INTO lifecycle.route (tenant_id, owner) VALUES (%s, 'us-east-1') ON CONFLICT DO NOTHING",
            [tenant],
        )
        w.run("INSERT INTO lifecycle.probe VALUES (%s, 'us-east-1', 1) ON CONFLICT DO NOTHING", [tenant])
        w.run(
            "INSERT INTO lifecycle.tombstone VALUES (%s, 'notes', '[\"1\"]') ON CONFLICT DO NOTHING", [tenant]
        )


def test_the_map_knows_every_table_of_it(bare: World) -> None:
    assert unclassified(bare.place, bare.datamap) == []
    relations = bare.datamap.relations
    fewer = tuple(table for table in relations.tables if table.name != "lifecycle.change")
    less = replace(bare.datamap, relations=replace(relations, tables=fewer))
    assert unclassified(bare.place, less) == ["PostgreSQL: nobody classified table lifecycle.change."]


def test_a_user_goes_and_the_others_stay(platform: World) -> None:
    _leave(platform)
    verifier = platform.verifier()
    before = neighbours(verifier, scope("1", "u"))
    tally = erase_all(platform.eraser(), scope("1", "u"))
    for table in ("change", "applied"):
        assert platform.run(_LEFT.format(table)) == [("1", "u-1")] * 2 + [("17", "u")] * 2
    assert platform.one("SELECT count(*) FROM lifecycle.route") == 2
    assert [hit for hit in hits(verifier, scope("1", "u")) if hit.belongs] == []
    assert neighbours(verifier, scope("1", "u")) == before
    assert tally.erased > 4


def test_a_tenant_goes_and_its_twin_stays(platform: World) -> None:
    _leave(platform)
    erase_all(platform.eraser(), scope("1"))
    for table in ("change", "applied", "route", "probe", "tombstone"):
        assert platform.run(f"SELECT DISTINCT tenant_id FROM lifecycle.{table}") == [("17",)], table
    assert platform.one("SELECT region FROM lifecycle.here") == "us-east-1"


def test_a_canary_in_the_outbox_is_seen(platform: World) -> None:
    eraser, verifier, marker = platform.eraser(), platform.verifier(), "canary-5f2c1e9ab0"
    of = scope("1", "u", canaries=(marker,))
    shape = "row:lifecycle.change"
    assert shape in eraser.shapes(of)
    planted = eraser.plant(of, shape, marker)
    assert "lifecycle.change" in {hit.kind for hit in hits(verifier, of)}
    erase_all(eraser, of)
    eraser.lift(planted)
    assert [hit for hit in hits(verifier, of) if hit.belongs] == []
