"""The sample platform honours a freeze: sessions, API keys, ingestion and queue workers refuse the subject."""

from collections.abc import Iterator
from typing import Any

import boto3
import psycopg2
import pytest
import redis

from demo.platform import own_rows
from demo.platform.application import Application, Closed, Session
from lifecycle.datamap.loader import load
from lifecycle.systems.base import Subject
from lifecycle.systems.postgresql.freeze import freeze, thaw

TENANT = "test-application"
DATAMAP = load(own_rows.DATAMAP.read_text())


@pytest.fixture(scope="module")
def place(stack: dict[str, Any]) -> dict[str, Any]:
    region: dict[str, Any] = stack["regions"]["us-east-1"]
    own_rows.apply_schema(region["postgres"], "us-east-1")
    return region


@pytest.fixture(scope="module")
def application(place: dict[str, Any]) -> Iterator[Application]:
    _run(
        place,
        "INSERT INTO users VALUES (%s, 'ann', 'ann@app.example', 'Ann A'), (%s, 'ben', 'ben@app.example', 'Ben B')",
    )
    with Application(place) as made:
        yield made
    for table in ("queries", "api_keys"):
        _run(place, f"DELETE FROM {table} WHERE tenant_id IN (%s, %s)")
    _run(place, "DELETE FROM chunks USING documents d WHERE d.id = document_id AND d.tenant_id IN (%s, %s)")
    for table in ("documents", "users"):
        _run(place, f"DELETE FROM {table} WHERE tenant_id IN (%s, %s)")
    with redis.Redis.from_url(place["redis"]) as keys:
        keys.delete(*keys.scan_iter(match=f"*:{TENANT}*"))


@pytest.fixture
def frozen(place: dict[str, Any], application: Application) -> Iterator[Session]:
    """Ann's session, made before her freeze."""
    session = application.login(TENANT, "ann")
    subject = Subject(TENANT, "ann")
    freeze({"dsn": place["postgres"]}, DATAMAP, subject)
    yield session
    thaw({"dsn": place["postgres"]}, DATAMAP, subject)


def test_a_frozen_user_cannot_sign_in_or_search(application: Application, frozen: Session) -> None:
    with pytest.raises(Closed, match="erasure"):
        application.login(TENANT, "ann")
    with pytest.raises(Closed, match="erasure"):
        application.search(frozen, "figures")


def test_an_api_key_opens_nothing_once_its_owner_is_frozen(
    application: Application, place: dict[str, Any]
) -> None:
    key = application.new_key(application.login(TENANT, "ann"))
    assert application.by_key(key).user == "ann"
    subject = Subject(TENANT, "ann")
    freeze({"dsn": place["postgres"]}, DATAMAP, subject)
    try:
        with pytest.raises(Closed, match="erasure"):
            application.by_key(key)
    finally:
        thaw({"dsn": place["postgres"]}, DATAMAP, subject)


def test_ingestion_of_a_frozen_user_leaves_nothing(
    application: Application, frozen: Session, place: dict[str, Any]
) -> None:
    with pytest.raises(Closed, match="erasure"):
        application.ingest(frozen, "Late", "late text")
    assert _documents(place, "ann") == 0


def test_a_freeze_that_overtakes_an_ingestion_takes_it_back(
    application: Application, place: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    session, subject = application.login(TENANT, "ann"), Subject(TENANT, "ann")
    index = application._index

    def freeze_after_indexing(*arguments: Any) -> None:
        index(*arguments)
        freeze({"dsn": place["postgres"]}, DATAMAP, subject)

    monkeypatch.setattr(application, "_index", freeze_after_indexing)
    try:
        with pytest.raises(Closed, match="erasure"):
            application.ingest(session, "Overtaken", "overtaken text")
    finally:
        thaw({"dsn": place["postgres"]}, DATAMAP, subject)
    assert _documents(place, "ann") == 0
    assert _objects(place, "ann") == 0


def test_a_question_queued_before_the_freeze_is_dropped_and_others_are_answered(
    application: Application, place: dict[str, Any]
) -> None:
    ann, ben = application.login(TENANT, "ann"), application.login(TENANT, "ben")
    application.ingest(ben, "Figures", "figures of the quarter")
    application.ask(ann, "what did I ask")
    answered = application.ask(ben, "figures of the quarter")
    subject = Subject(TENANT, "ann")
    freeze({"dsn": place["postgres"]}, DATAMAP, subject)
    try:
        assert application.work(TENANT) == [answered]
    finally:
        thaw({"dsn": place["postgres"]}, DATAMAP, subject)
    assert _count(place, "queries", "user_id", "ann") == 0
    assert _count(place, "queries", "user_id", "ben") == 1


def test_a_frozen_tenant_closes_all_its_users(application: Application, place: dict[str, Any]) -> None:
    freeze({"dsn": place["postgres"]}, DATAMAP, Subject(TENANT))
    try:
        with pytest.raises(Closed, match="erasure"):
            application.login(TENANT, "ben")
    finally:
        thaw({"dsn": place["postgres"]}, DATAMAP, Subject(TENANT))
    assert application.login(TENANT, "ben").user == "ben"


def test_a_stolen_session_name_without_its_token_opens_nothing(application: Application) -> None:
    application.login(TENANT, "ben")
    with pytest.raises(Closed, match="signed in"):
        application.search(Session(TENANT, "ben", "guessed"), "figures")


def _documents(place: dict[str, Any], user: str) -> int:
    return _count(place, "documents", "owner_id", user)


def _count(place: dict[str, Any], table: str, column: str, user: str) -> int:
    with psycopg2.connect(place["postgres"]) as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table} WHERE tenant_id = %s AND {column} = %s", [TENANT, user])
        found = cursor.fetchone()
        return int(found[0]) if found else 0


def _objects(place: dict[str, Any], user: str) -> int:
    store = place["s3"]
    client = boto3.client(
        "s3",
        endpoint_url=store["endpoint"],
        aws_access_key_id=store["key"],
        aws_secret_access_key=store["secret"],
        region_name="us-east-1",
    )
    answer = client.list_object_versions(Bucket=store["bucket"], Prefix=f"tenant-{TENANT}/user-{user}/")
    return len(answer.get("Versions", []))


def _run(place: dict[str, Any], statement: str) -> None:
    with psycopg2.connect(place["postgres"]) as connection, connection.cursor() as cursor:
        cursor.execute(statement, [TENANT, TENANT])
