"""Faults of five kinds planted in green while the application goes on writing: all found, none false, all mended."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from lifecycle.participation.digests import of_object
from lifecycle.systems.movable import Kind
from lifecycle.systems.pinecone.moving import PineconeMover
from lifecycle.systems.s3.moving import S3Mover
from tests.lifecycle.applier.conftest import applying, until
from tests.lifecycle.systems.moving.world import BLUE, MAP, World, differences

T = TypeVar("T")
R = TypeVar("R")


@pytest.mark.timeout(400)
def test_faults_of_every_kind_are_found_and_mended(world: World, tmp_path: Path) -> None:
    _trial(world, tmp_path, number=15)


@pytest.mark.chaos
@pytest.mark.timeout(400)
def test_a_thousand_faults(world: World, tmp_path: Path) -> None:
    _trial(world, tmp_path, number=100)


def _trial(world: World, tmp_path: Path, number: int) -> None:
    """Plants `number` faults of each kind, in each store."""
    with applying(world, tmp_path):
        names = _platform(world, number)
        with _writing(world):
            planted = _plant_objects(world, names, number) | _plant_vectors(world, names, number)
            assert len(planted) == 10 * number
            movers = (S3Mover(world.move("s3"), MAP), PineconeMover(world.move("pinecone"), MAP))
            for mover in movers:
                wanted = {key: kind for (store, key), kind in planted.items() if store == mover.name}
                found = differences(mover.compare, 10)
                assert {each.key: each.kind for each in found} == wanted
                assert mover.repair(found) == len(found)
                assert differences(mover.compare, 10) == []
                mover.close()


def _platform(world: World, number: int) -> list[str]:
    """What the tenant has before anything goes wrong: each key written twice, some deleted again, all on green."""
    names = [f"doc-{n}" for n in range(3 * number + 50)]
    deleted = [f"gone-{n}" for n in range(number)]
    _bulk(world, "draft", names[number : 2 * number])
    _bulk(world, "final", [*names, *deleted])
    _caught_up(world)
    _side_by_side(lambda name: world.blue.drop_versions(world.key(name)), deleted)
    world.blue.delete_vectors(world.namespace, [f"{name}#0" for name in deleted])
    rows = [("s3", world.key(name), "delete", "") for name in deleted]
    rows += [("pinecone", _vector_key(world, name), "delete", "") for name in deleted]
    world.say_all(rows)
    _caught_up(world)
    return names


def _bulk(world: World, text: str, names: list[str]) -> None:
    _side_by_side(lambda name: world.blue.put(world.key(name), _body(name, text)), names)
    made = [world.vector(name, text) for name in names]
    world.blue.upsert(world.namespace, made)
    rows = [("s3", world.key(name), "put", of_object(_body(name, text))) for name in names]
    rows += [
        ("pinecone", _vector_key(world, name), "put", world.digest(vector))
        for name, vector in zip(names, made, strict=True)
    ]
    world.say_all(rows)


def _caught_up(world: World) -> None:
    def level() -> bool:
        return not world.green.sql(
            "SELECT 1 FROM (SELECT DISTINCT ON (store, key) * FROM lifecycle.change WHERE tenant_id = %s AND origin = %s "
            "ORDER BY store, key, version DESC) c LEFT JOIN lifecycle.applied a USING (tenant_id, store, key) "
            "WHERE a.version IS NULL OR a.version < c.version LIMIT 1",
            *(world.tenant, BLUE),
        )

    until(level, 60)


def _plant_objects(world: World, names: list[str], number: int) -> dict[tuple[str, str], Kind]:
    green = world.green

    def plant(n: int) -> dict[tuple[str, str], Kind]:
        missing, stale, corrupted = (names[n + at * number] for at in range(3))
        if n % 2:
            green.drop_versions(world.key(missing))
        else:
            green.s3.delete_object(Bucket=green.bucket, Key=world.key(missing))
        green.put(world.key(stale), _body(stale, "draft"))
        green.put(world.key(corrupted), _body(corrupted, "fiNal"))
        green.put(world.key(f"gone-{n}"), _body(f"gone-{n}", "final"))
        green.put(world.key(f"foreign-{n}"), b"whose?")
        return {
            ("s3", world.key(missing)): Kind.MISSING,
            ("s3", world.key(stale)): Kind.STALE,
            ("s3", world.key(corrupted)): Kind.CORRUPTED,
            ("s3", world.key(f"gone-{n}")): Kind.RESURRECTED,
            ("s3", world.key(f"foreign-{n}")): Kind.FOREIGN,
        }

    return {at: kind for found in _side_by_side(plant, range(number)) for at, kind in found.items()}


def _side_by_side(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    with ThreadPoolExecutor(12) as pool:
        return list(pool.map(work, items))


def _plant_vectors(world: World, names: list[str], number: int) -> dict[tuple[str, str], Kind]:
    planted: dict[tuple[str, str], Kind] = {}
    parts = [names[at * number : (at + 1) * number] for at in range(3)]
    gone, foreign = [f"gone-{n}" for n in range(number)], [f"foreign-{n}" for n in range(number)]
    world.green.delete_vectors(world.namespace, [f"{name}#0" for name in parts[0]])
    world.green.upsert(world.namespace, [world.vector(name, "draft") for name in parts[1]])
    world.green.upsert(world.namespace, [world.vector(name, "fiNal") for name in parts[2]])
    world.green.upsert(world.namespace, [world.vector(name, "final") for name in gone])
    world.green.upsert(world.namespace, [world.vector(name) for name in foreign])
    kinds = (Kind.MISSING, Kind.STALE, Kind.CORRUPTED, Kind.RESURRECTED, Kind.FOREIGN)
    for kind, chosen in zip(kinds, (*parts, gone, foreign), strict=True):
        planted |= {("pinecone", _vector_key(world, name)): kind for name in chosen}
    until(lambda: len(world.green.vectors(world.namespace, [f"{n}#0" for n in foreign])) == number)
    return planted


@contextmanager
def _writing(world: World) -> Iterator[None]:
    """The application goes on: new documents, overwritten ones, deleted ones."""
    over = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            n = 0
            while not over.wait(0.03):
                n += 1
                name = f"live-{n % 60}"
                if n % 7 == 0:
                    world.remove(name)
                    world.remove_vector(name)
                else:
                    world.write(name, f"{name} {n}".encode())
                    world.write_vector(name, str(n))
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(30)
    assert not failures, failures


def _body(name: str, text: str) -> bytes:
    return f"{text} of {name}".encode()


def _vector_key(world: World, name: str) -> str:
    return json.dumps([world.namespace, f"{name}#0"])
