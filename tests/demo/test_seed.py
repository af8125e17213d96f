"""`demo seed`: the same data each time, in every system, with twins that are easily taken for each other."""

import json
from collections import Counter
from typing import Any

import boto3
import psycopg2
import pytest

from demo import reading
from demo.platform import own_rows
from demo.platform.cast import CUSTOMERS, customer, full_name, mail
from demo.platform.seed import everything
from demo.platform.seed.content import documents
from demo.reading import Record
from lifecycle.datamap.loader import load

TENANTS = ("a_b", "größe")  # one with a wildcard of SQL, one beyond ASCII


@pytest.fixture(scope="module")
def east(stack: dict[str, Any]) -> dict[str, Any]:
    for name, region in stack["regions"].items():
        own_rows.apply_schema(region["postgres"], name)
    place: dict[str, Any] = stack["regions"]["us-east-1"]
    return place


@pytest.fixture(scope="module")
def seeded(stack: dict[str, Any], east: dict[str, Any]) -> list[Record]:
    """What lies in the region after seeding twice."""
    chosen = [customer(tenant) for tenant in TENANTS]
    everything.seed(stack, chosen)
    first = _read(east)
    everything.seed(stack, chosen)
    second = _read(east)
    assert _steady(first) == _steady(second)
    return second


def test_each_user_stands_in_every_system(seeded: list[Record]) -> None:
    systems = {"postgresql", "s3", "pinecone", "redis", "cloudwatch", "prometheus", "datadog"}
    for tenant in TENANTS:
        for user in customer(tenant).users:
            assert {each.system for each in seeded if each.owner == (tenant, user)} == systems


def test_objects_are_the_documents_with_a_noncurrent_version(seeded: list[Record]) -> None:
    for tenant in TENANTS:
        found = Counter(
            each.key.split(" ")[0] for each in seeded if each.system == "s3" and each.owner[0] == tenant
        )
        assert found == {each.s3_key: 2 for each in documents(customer(tenant), 1)}


def test_every_table_of_the_map_has_rows_of_the_tenant(seeded: list[Record]) -> None:
    tables = {each.key for each in seeded if each.system == "postgresql" and each.owner[0] == "a_b"}
    # What taking part in moves leaves is another schema's, and nobody has moved.
    relations = load(own_rows.DATAMAP.read_text()).relations
    mapped = {table.name for table in relations.tables if not table.elsewhere}
    assert mapped - tables == {"plans", "frozen_subjects"}


def test_logs_hold_history_that_the_api_refuses(seeded: list[Record]) -> None:
    oldest = min(int(each.key.rpartition(" ")[2]) for each in seeded if each.system == "cloudwatch")
    newest = max(int(each.key.rpartition(" ")[2]) for each in seeded if each.system == "cloudwatch")
    assert newest - oldest > 14 * 86_400_000


def test_archives_are_sealed(stack: dict[str, Any]) -> None:
    held = [each for each in reading.backups(stack["backups"]) if "seeded" in each.key]
    assert held
    assert not [
        each.key for each in held if mail("a_b", "ada") in each.text or full_name("a_b", "ada") in each.text
    ]


def test_no_object_key_is_the_folder_of_another() -> None:
    keys = {each.s3_key for customer in CUSTOMERS for each in documents(customer, 2)}
    assert not [key for key in keys if any(key.rsplit("/", cut)[0] in keys for cut in (1, 2))]


def test_mails_and_names_are_unique_on_the_platform() -> None:
    people = [(each.id, user) for each in CUSTOMERS for user in each.users]
    for of in (mail, full_name):
        assert len({of(tenant, user).lower() for tenant, user in people}) == len(people)


def test_the_scale_multiplies_only_the_big_tenant() -> None:
    many = {each.id: sum(1 for _ in documents(each, 20)) for each in CUSTOMERS}
    few = {each.id: sum(1 for _ in documents(each, 1)) for each in CUSTOMERS}
    assert {tenant for tenant in many if many[tenant] != few[tenant]} == {"17"}
    assert many["17"] == 20 * few["17"]


def test_an_erased_user_stays_erased_when_lost_logs_are_written_again(
    stack: dict[str, Any], east: dict[str, Any]
) -> None:
    everything.seed(stack, [customer("a_b")])
    with psycopg2.connect(east["postgres"]) as connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM users WHERE tenant_id = 'a_b' AND user_id = 'bob'")
    client = boto3.client(
        "logs",
        endpoint_url=east["logs"]["endpoint"],
        region_name="us-east-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )
    client.delete_log_group(logGroupName="/ecs/tenant-a_b")
    everything.seed_missing(stack, [each.id for each in CUSTOMERS])
    logged = {each.owner[1] for each in reading.cloudwatch(east["logs"]) if each.owner[0] == "a_b"}
    assert logged == {"ada", "cyd"}
    assert "bob" not in {
        each.owner[1]
        for each in reading.postgresql(east["postgres_reader"])
        if each.owner[0] == "a_b" and each.key == "users"
    }


def _read(place: dict[str, Any]) -> list[Record]:
    found = [each for tenant in TENANTS for each in reading.s3(place["s3"], f"tenant-{tenant}/")]
    found += reading.postgresql(place["postgres_reader"])
    found += reading.pinecone(place["pinecone"])
    found += reading.valkey(place["redis"])
    found += reading.cloudwatch(place["logs"])
    found += reading.prometheus(place["prometheus"])
    found += reading.datadog(place["datadog"], place["datadog_key"])
    return [each for each in found if each.owner[0] in TENANTS]


def _steady(records: list[Record]) -> Counter[tuple[str, ...]]:
    """Everything but what is the server's own: moments of arrival, numbers of sequences and large objects."""
    return Counter((each.system, *each.owner, each.key.split(" ")[0], _content(each)) for each in records)


def _content(record: Record) -> str:
    match record.system:
        case "postgresql":
            row = json.loads(record.text)
            return json.dumps({key: value for key, value in row.items() if key not in ("id", "original")})
        case "redis" if record.key.startswith("events:"):
            return ""
        case "prometheus" | "datadog":
            return ""
        case _:
            return record.text
