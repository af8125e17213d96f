"""What the Terraform module `local` makes and unmakes: a move's schema, bucket marker and namespace on green.

`python -m lifecycle.provision.marks create|destroy KIND ID`, with PROVISION_PLACES naming a private file of resolved
places. Each is idempotent. All are the move's own, beside the tenant's data: unmaking them never touches the tenant.
Terraform starts a process for each of them, so each loads its own client only.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

Place = Mapping[str, str]
_ID = re.compile(r"[a-z0-9_]{1,40}")
_VERSION = "2025-10"
FOLDER = "moves/"


def schema(place: Place, name: str, make: bool) -> None:
    """Schema `move_<id>`: it shows that the move may create in the database."""
    import psycopg2
    from psycopg2 import sql

    wanted = sql.Identifier(f"move_{name}")
    statement = (
        sql.SQL("CREATE SCHEMA IF NOT EXISTS {}") if make else sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE")
    )
    dsn = place.get("mover_dsn") or place["dsn"]
    with closing(psycopg2.connect(dsn, connect_timeout=10)) as connection, connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = '5s'")
        cursor.execute(statement.format(wanted))
        connection.commit()


def marker(place: Place, name: str, make: bool) -> None:
    """Object `moves/<id>`, outside every tenant's prefix; all its versions go again."""
    import boto3
    from botocore.config import Config

    client = boto3.session.Session().client(
        "s3",
        endpoint_url=place.get("endpoint"),
        aws_access_key_id=place["key"],
        aws_secret_access_key=place["secret"],
        region_name=place.get("region") or "us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    key = f"{FOLDER}{name}"
    if make:
        client.put_object(Bucket=place["bucket"], Key=key, Body=b"")
        return
    while True:
        page = client.list_object_versions(Bucket=place["bucket"], Prefix=key)
        found = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
        mine = [each for each in found if each["Key"] == key]
        if not mine:
            return
        for each in mine:
            client.delete_object(Bucket=place["bucket"], Key=key, VersionId=each["VersionId"])


def namespace(place: Place, name: str, make: bool) -> None:
    """Namespace `move-<id>`, empty."""
    import httpx

    wanted = f"move-{name}"
    with httpx.Client(
        base_url=place["index_host"],
        headers={"Api-Key": place["key"], "X-Pinecone-Api-Version": _VERSION},
        timeout=20,
    ) as http:
        if make:
            answer = http.post("/namespaces", json={"name": wanted})
            allowed = {200, 201, 409}
        else:
            answer = http.delete(f"/namespaces/{wanted}")
            allowed = {200, 202, 404}
    if answer.status_code not in allowed:
        raise SystemExit(f"Pinecone answered {answer.status_code} for the namespace of move {name}.")


KINDS: Mapping[str, tuple[str, Callable[[Place, str, bool], None]]] = {
    "schema": ("postgresql", schema),
    "marker": ("s3", marker),
    "namespace": ("pinecone", namespace),
}


def main(verb: str, kind: str, name: str) -> None:
    """Does one thing. Ends with a sentence where it was called wrongly."""
    if verb not in ("create", "destroy") or kind not in KINDS or not _ID.fullmatch(name):
        raise SystemExit("Call it as: marks create|destroy schema|marker|namespace ID.")
    places: Mapping[str, Place] = json.loads(Path(os.environ["PROVISION_PLACES"]).read_text())
    system, work = KINDS[kind]
    work(places[system], name, verb == "create")


if __name__ == "__main__":
    main(*sys.argv[1:4])
