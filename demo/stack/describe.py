"""The page that tells programs where the servers of a stack are: stack.json."""

from collections.abc import Mapping
from typing import Any

from demo.stack import gnupg, haproxy, moto, ours, postgres, prometheus, seaweed, valkey
from demo.stack.place import REGIONS, Place, read_json, write_private

USERS = ("officer", "officer2", "legal", "legal2", "engineer", "engineer2", "auditor")


def region(place: Place, region: str) -> dict[str, Any]:
    """Return where the servers of one region are."""
    cluster, store = postgres.region_name(region), seaweed.region_name(region)
    pinecone = ours.address(place, ours.pinecone_name(region))
    return {
        "postgres": postgres.dsn(place, cluster, "app", "app"),
        "postgres_mover": postgres.dsn(place, cluster, "mover", "app"),
        "postgres_reader": postgres.dsn(place, cluster, "app_reader", "app"),
        "redis": valkey.url(place, region),
        "redis_reader": valkey.reader_url(place, region),
        "s3": {**seaweed.access(place, store, seaweed.region_bucket(region)), **seaweed.reader(place, store)},
        "pinecone": {
            "control_host": pinecone,
            "index_host": pinecone,
            "index": ours.INDEX,
            "key": place.secrets.get(ours.pinecone_name(region)),
            "reader_key": ours.pinecone_reader_key(place, region),
        },
        "logs": {"endpoint": moto.endpoint(place), "region": region},
        "prometheus": prometheus.url(place, region),
        "datadog": ours.address(place, ours.DATADOG),
        "app": haproxy.app_url(place, region),
        "datadog_key": place.secrets.get(ours.DATADOG),
    }


def trial_key(place: Place) -> str:
    """Return what a trial says to switch faults of the services on."""
    return place.secrets.get("trial")


def describe(place: Place, servers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the content of stack.json; `servers` has pid, port and log of each by name."""
    control = postgres.CONTROL
    return {
        "regions": {name: region(place, name) for name in REGIONS},
        "control": postgres.dsn(place, control, "lifecycle_app", "control"),
        "control_owner": postgres.dsn(place, control, "lifecycle_owner", "control"),
        "control_auditor": postgres.dsn(place, control, "lifecycle_auditor", "control"),
        "certificates": seaweed.access(place, seaweed.VAULT, seaweed.CERTIFICATES),
        "backups": seaweed.access(place, seaweed.VAULT, seaweed.BACKUPS),
        "traffic": haproxy.describe(place),
        "trial_key": trial_key(place),
        "mail": str(place.root / "mail"),
        "smtp": {"host": "127.0.0.1", "port": place.ports.get(ours.MAIL)},
        "signing_fingerprint": gnupg.signing_fingerprint(place),
        "gnupg_home": str(gnupg.home(place)),
        "keystore": str(place.root / "keystore"),
        "secret_key": place.secrets.get("django"),
        "demo": {
            "users": {user: place.secrets.get(f"user/{user}") for user in USERS},
            "admins": read_json(place.root / "admins.json"),
        },
        "servers": {name: dict(facts) for name, facts in servers.items()},
    }


def record_admins(place: Place, admins: Mapping[str, str]) -> None:
    """Remember the administrator's mail address of each tenant of the sample platform, also in stack.json."""
    write_private(place.root / "admins.json", admins)
    page = read_json(place.root / "stack.json")
    if page:
        page["demo"]["admins"] = dict(admins)
        write_private(place.root / "stack.json", page)
