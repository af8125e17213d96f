"""The applier is a process that may die at any moment, and whose control database may: nothing is lost, nothing twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from psycopg2.extensions import make_dsn

from demo.stack.place import CHECKOUT
from lifecycle.applier.moves import Control
from lifecycle.models import Beat, Environment, Migration, Order, Tenant
from tests.lifecycle.applier.conftest import live, places, until
from tests.lifecycle.systems.moving.world import BLUE, GREEN, World

NOBODY = "postgres://nobody:none@127.0.0.1:1/none"


@contextmanager
def _process(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "LIFECYCLE_RUN_DIR": str(folder)}
    with (
        (folder / "applier.log").open("ab") as log,
        subprocess.Popen(
            [sys.executable, "manage.py", "applier"], cwd=CHECKOUT, env=environment, stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def _run_folder(folder: Path, stack: dict[str, Any], control: str) -> Path:
    """A run folder of the process's own, where the control database is another one."""
    page = {**stack, "control": control, "control_owner": control}
    (folder / "stack.json").write_text(json.dumps(page))
    return folder


@pytest.fixture
def folder(tmp_path: Path, stack: dict[str, Any]) -> Path:
    values = connection.get_connection_params()
    address = f"{values['user']}:{values['password']}@{values['host']}:{values['port']}/{values['dbname']}"
    return _run_folder(tmp_path, stack, f"postgres://{address}")


def _moving(world: World) -> Migration:
    tenant = Tenant.objects.create(id=world.tenant, name="moving", home_region=BLUE)
    sides = [
        Environment.objects.create(
            id=f"{world.tenant}-{r.name}", tenant=tenant, region=r.name, places=places(r)
        )
        for r in (world.blue, world.green)
    ]
    migration = Migration.objects.create(
        id=world.move_id, tenant=tenant, source=sides[0], target=sides[1], source_region=BLUE, target_region=GREEN,
        planned_by="engineer",
    )  # fmt: skip
    Order.objects.create(migration=migration, tenant_id=tenant.pk, owner=BLUE)
    return migration


@pytest.mark.timeout(300)
@pytest.mark.django_db(transaction=True)
def test_killed_again_and_again_it_brings_everything_once(world: World, folder: Path) -> None:
    _moving(world)
    written: dict[str, bytes] = {}
    over = threading.Event()

    def write() -> None:
        while not over.wait(0.02) and len(written) < 150:
            n = len(written)
            written[world.write(f"doc-{n}", f"text {n}".encode())] = f"text {n}".encode()
            world.write_vector(f"doc-{n}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        _kill_and_go_on(world, folder, over, writer, written)
    finally:
        over.set()
        writer.join()
    for key, body in written.items():
        assert world.green.get(key) == body
        assert len(world.green.history(key)) == 1
    ids = [f"doc-{n}#0" for n in range(len(written))]
    assert world.green.vectors(world.namespace, ids) == world.blue.vectors(world.namespace, ids)
    log = (folder / "applier.log").read_text()
    assert world.tenant not in log
    assert "doc-" not in log


@pytest.mark.django_db(transaction=True)
def test_a_closed_order_is_left_alone(world: World, folder: Path) -> None:
    Order.objects.filter(migration=_moving(world)).update(closed=True)
    world.write("a", b"a")
    with _process(folder):
        until(lambda: Beat.objects.filter(name="applier").exists(), 60)
        assert Beat.objects.get(name="applier").detail["moves"] == {}
    assert world.green.get(world.key("a")) is None


def test_without_its_control_database_it_goes_on_with_what_it_remembers(
    world: World, stack: dict[str, Any], tmp_path: Path
) -> None:
    folder = _run_folder(tmp_path, stack, NOBODY)
    Control(make_dsn(host="127.0.0.1", port=1), folder / "applier" / "moves.json").remember([live(world)])
    remembered = json.loads((folder / "applier" / "moves.json").read_text())
    assert [each["tenant"] for each in remembered] == [world.tenant]
    with _process(folder):
        key = world.write("a", b"a")
        until(lambda: world.green.get(key) == b"a", 60)


def _kill_and_go_on(
    world: World, folder: Path, over: threading.Event, writer: threading.Thread, written: dict[str, bytes]
) -> None:
    for kill in range(2):
        with _process(folder) as process:
            before = _applied(world)
            until(lambda seen=before: _applied(world) > seen + 10, 60)  # type: ignore[misc]
            if kill == 1:
                over.set()
                writer.join()
                until(lambda: _applied(world) == 2 * len(written), 60)
                until(lambda: _told(world, "s3", "behind") == 0 and _told(world, "pinecone", "behind") == 0)
                process.send_signal(signal.SIGTERM)
                assert process.wait(20) == 0
            else:
                process.kill()


def _applied(world: World) -> int:
    rows: list[tuple[Any, ...]] = world.green.sql(
        "SELECT count(*) FROM lifecycle.applied WHERE tenant_id = %s", world.tenant
    )
    return int(rows[0][0])


def _told(world: World, store: str, what: str) -> int:
    detail = Beat.objects.get(name="applier").detail
    return int(detail["moves"][world.move_id][GREEN][store][what])
