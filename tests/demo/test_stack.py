"""The local stack keeps its promises: idempotent, supervised, private, gone after `down`."""

import json
import os
import re
import signal
import smtplib
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import boto3
import psycopg2
import psycopg2.errors
import pytest
import redis
from botocore.exceptions import ClientError

from demo.stack import control
from demo.stack.place import CHECKOUT, REGIONS
from demo.stack.ports import is_free
from demo.stack.process import Identity, is_alive

Found = TypeVar("Found")
STANDARD_PORTS = (5432, 6379, 8333, 8888, 9333, 9090, 5000, 25_000, 1025)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a stack for this file alone, started while the usual ports are taken."""
    folder = tmp_path_factory.mktemp("stack") / "run"
    squatters = []
    for port in STANDARD_PORTS:
        squatter = socket.socket()
        squatters.append(squatter)
        if is_free(port):
            squatter.bind(("127.0.0.1", port))
            squatter.listen()
    try:
        control.up(folder)
        yield folder
    finally:
        control.down(folder)
        for squatter in squatters:
            squatter.close()


@pytest.fixture
def page(root: Path) -> dict[str, Any]:
    """stack.json of the running stack, brought up again if the test before ended it."""
    found: dict[str, Any] = json.loads(control.up(root).read_text())
    return found


def _until(look: Callable[[], Found | None], seconds: float = 20.0) -> Found:
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)
    return found


def _identity(facts: dict[str, Any]) -> Identity:
    return Identity(facts["pid"], facts["started"])


def test_the_description_is_private_and_complete(root: Path, page: dict[str, Any]) -> None:
    assert stat.S_IMODE((root / "stack.json").stat().st_mode) == 0o600
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    assert set(page["regions"]) == set(REGIONS)
    for region in page["regions"].values():
        assert set(region) >= {
            "postgres",
            "postgres_reader",
            "redis",
            "redis_reader",
            "s3",
            "pinecone",
            "logs",
            "prometheus",
            "datadog",
        }
        assert set(region["s3"]) == {"endpoint", "bucket", "key", "secret", "reader_key", "reader_secret"}
        assert set(region["pinecone"]) == {"control_host", "index_host", "index", "key", "reader_key"}
        assert set(region["logs"]) == {"endpoint", "region"}
    for store in ("certificates", "backups"):
        assert set(page[store]) == {"endpoint", "bucket", "key", "secret"}
    assert set(page["demo"]["users"]) == {
        *("officer", "officer2", "legal", "legal2", "engineer", "engineer2", "auditor")
    }
    assert re.fullmatch("[0-9A-F]{40}", page["signing_fingerprint"])
    assert Path(page["mail"]).is_dir()


def test_no_server_listens_on_a_taken_port_or_beyond_loopback(page: dict[str, Any]) -> None:
    for name, facts in page["servers"].items():
        assert facts["port"] not in STANDARD_PORTS
        assert not is_free(facts["port"]), name
    listening = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True).stdout
    pids = {facts["pid"] for facts in page["servers"].values()}
    ours = [line for line in listening.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    assert ours
    assert [line for line in ours if not line.split()[3].startswith("127.0.0.1:")] == []


def test_up_again_changes_nothing(root: Path, page: dict[str, Any]) -> None:
    control.up(root)
    assert json.loads((root / "stack.json").read_text()) == page


@pytest.mark.parametrize("name", ["redis-us-east-1", "postgres-us-west-2", "pinecone-us-east-1", "mail"])
def test_a_killed_server_comes_back_on_the_same_port(root: Path, page: dict[str, Any], name: str) -> None:
    before = page["servers"][name]
    control.signal_server(root, name, signal.SIGKILL)

    def returned() -> dict[str, Any] | None:
        now: dict[str, Any] = json.loads((root / "stack.json").read_text())["servers"][name]
        return now if now["pid"] not in (None, before["pid"]) and now["state"] == "ready" else None

    after = _until(returned)
    assert after["port"] == before["port"]
    assert not is_alive(_identity(before))
    assert is_alive(_identity(after))


def test_what_was_written_outlives_a_kill(root: Path, page: dict[str, Any]) -> None:
    with redis.Redis.from_url(page["regions"]["us-east-1"]["redis"]) as client:
        client.set("kept", "yes")
        time.sleep(1.1)  # the append-only file is synced once a second
    control.restart(root, "redis-us-east-1")
    with redis.Redis.from_url(page["regions"]["us-east-1"]["redis"]) as client:
        assert client.get("kept") == b"yes"
        client.delete("kept")


def test_a_stopped_server_stays_down_until_started(root: Path, page: dict[str, Any]) -> None:
    url = page["regions"]["us-west-2"]["redis"]
    control.stop(root, "redis-us-west-2")
    with redis.Redis.from_url(url) as client, pytest.raises(redis.ConnectionError):
        client.ping()
    assert is_free(page["servers"]["redis-us-west-2"]["port"])
    control.start(root, "redis-us-west-2")
    with redis.Redis.from_url(url) as client:
        assert client.ping()


def test_unknown_names_are_refused_with_the_known_ones(root: Path, page: dict[str, Any]) -> None:
    for refused in (control.stop, control.start, control.restart):
        with pytest.raises(control.StackError, match="postgres-control"):
            refused(root, "nothing")
    with pytest.raises(control.StackError, match="nothing"):
        control.signal_server(root, "nothing", signal.SIGTERM)


def _refused(dsn: str, statement: str) -> None:
    connection = psycopg2.connect(dsn)
    try:
        with connection.cursor() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute(statement)
    finally:
        connection.close()


def _run(dsn: str, statement: str) -> Any:
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchone() if cursor.description else None
    finally:
        connection.close()


def test_database_roles_may_do_what_their_name_says_and_no_more(page: dict[str, Any]) -> None:
    region = page["regions"]["us-east-1"]
    _run(region["postgres"], "CREATE TABLE seen (id int); INSERT INTO seen VALUES (1)")
    large_object = _run(region["postgres"], "SELECT lo_from_bytea(0, 'large')")[0]
    try:
        _refused(region["postgres_reader"], "DELETE FROM seen")
        _refused(region["postgres_reader"], "CREATE TABLE mine (id int)")
        assert _run(region["postgres_reader"], "SELECT count(*) FROM seen") == (1,)
        assert bytes(_run(region["postgres_reader"], f"SELECT lo_get({large_object})")[0]) == b"large"
        assert _run(region["postgres"], "SELECT '[1,2]'::vector <-> '[1,2]'::vector") == (0.0,)
    finally:
        _run(region["postgres"], f"DROP TABLE seen; SELECT lo_unlink({large_object})")
    _run(page["control_owner"], "CREATE TABLE seen (id int)")
    try:
        _refused(page["control"], "DROP TABLE seen")
        _refused(page["control"], "CREATE TABLE mine (id int)")
        _refused(page["control"], "TRUNCATE seen")
        _refused(page["control_auditor"], "INSERT INTO seen VALUES (1)")
        _run(page["control"], "INSERT INTO seen VALUES (1)")
        assert _run(page["control_auditor"], "SELECT count(*) FROM seen") == (1,)
    finally:
        _run(page["control_owner"], "DROP TABLE seen")


def test_no_statement_or_parameter_reaches_the_database_log(page: dict[str, Any]) -> None:
    connection = psycopg2.connect(page["regions"]["us-east-1"]["postgres"])
    with connection.cursor() as cursor, pytest.raises(psycopg2.errors.UndefinedTable):
        cursor.execute("SELECT * FROM missing WHERE mail = %s", ["ada@person.example"])
    connection.close()
    text = _until(
        lambda: Path(page["servers"]["postgres-us-east-1"]["log"]).read_text().partition("missing")[2]
    )
    assert text
    assert "ada@person.example" not in Path(page["servers"]["postgres-us-east-1"]["log"]).read_text()


def _s3(place: dict[str, str], prefix: str = "") -> Any:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=place["endpoint"],
        aws_access_key_id=place[f"{prefix}key"],
        aws_secret_access_key=place[f"{prefix}secret"],
        region_name="us-east-1",
    )


def test_the_verifiers_s3_key_reads_only_and_the_access_log_tells_of_deletions(page: dict[str, Any]) -> None:
    place = page["regions"]["us-east-1"]["s3"]
    bucket, writer, reader = place["bucket"], _s3(place), _s3(place, "reader_")
    began = time.time()
    version = writer.put_object(Bucket=bucket, Key="a/b", Body=b"x")["VersionId"]
    for refused in (reader.put_object, reader.delete_object):
        with pytest.raises(ClientError, match="AccessDenied"):
            refused(Bucket=bucket, Key="a/b")
    one = {"Objects": [{"Key": "a/b", "VersionId": version}]}
    # A refusal of a batch stands in the answer, key by key.
    assert reader.delete_objects(Bucket=bucket, Delete=one)["Errors"][0]["Code"] == "AccessDenied"
    assert [found["VersionId"] for found in reader.list_object_versions(Bucket=bucket)["Versions"]] == [
        version
    ]
    writer.delete_objects(Bucket=bucket, Delete=one)

    log = Path(page["servers"]["s3-us-east-1"]["access_log"])

    def deletion() -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        return [each for each in lines if each["key"] == "a/b" and each["deleted"]]

    (found,) = {each["request_id"]: each for each in _until(deletion)}.values()
    assert began < found["began"] <= found["at"] < time.time()


def test_certificates_are_in_a_bucket_under_object_lock(page: dict[str, Any]) -> None:
    store = _s3(page["certificates"])
    lock = store.get_object_lock_configuration(Bucket="certificates")["ObjectLockConfiguration"]
    assert lock == {"ObjectLockEnabled": "Enabled"}
    assert store.get_bucket_versioning(Bucket="backups")["Status"] == "Enabled"


def test_a_mail_lands_as_one_file(page: dict[str, Any]) -> None:
    folder = Path(page["mail"])
    before = set(folder.iterdir())
    with smtplib.SMTP(page["smtp"]["host"], page["smtp"]["port"]) as client:
        client.sendmail("a@lifecycle.example", ["b@lifecycle.example"], "Subject: proof\r\n\r\nText\r\n")
    (mail,) = set(folder.iterdir()) - before
    assert mail.suffix == ".eml"
    assert "Subject: proof" in mail.read_text()


def test_a_killed_supervisor_leaves_no_orphan_and_is_replaced(root: Path, page: dict[str, Any]) -> None:
    supervisor = control.supervisor(root)
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    _until(lambda: not any(is_alive(_identity(each)) for each in page["servers"].values()))
    after: dict[str, Any] = json.loads(control.up(root).read_text())
    assert control.supervisor(root) not in (None, supervisor)
    assert {name: each["port"] for name, each in after["servers"].items()} == {
        name: each["port"] for name, each in page["servers"].items()
    }
    assert {key: value for key, value in after.items() if key != "servers"} == {
        key: value for key, value in page.items() if key != "servers"
    }


def test_down_ends_everything_and_wipe_leaves_no_data(root: Path, page: dict[str, Any]) -> None:
    with pytest.raises(control.StackError, match="end it first"):
        control.wipe(root)
    stranger = root / "not-ours"
    stranger.touch()
    assert control.down(root)
    assert not any(is_alive(_identity(each)) for each in page["servers"].values())
    assert all(is_free(each["port"]) for each in page["servers"].values())
    assert not (root / "stack.json").exists()
    assert not control.down(root)
    control.wipe(root)
    assert list(root.iterdir()) == [stranger]


def test_with_real_services_no_embedded_server_starts(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demo.stack", "up", "--bare"],
        cwd=CHECKOUT,
        env={
            **os.environ,
            "DATABASE_URL": "postgres://real.example/db",
            "LIFECYCLE_RUN_DIR": str(tmp_path / "run"),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert "No embedded server was started" in done.stdout
    assert not (tmp_path / "run").exists()
