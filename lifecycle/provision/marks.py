"""What the Terraform module `local` makes and unmakes: a move's schema, bucket marker and namespace on green.

`python -m lifecycle.provision.marks create|destroy KIND ID`, with PROVISION_PLACES naming a private file of resolved
places. Each is idempotent. All are the move's own, beside the tenant's data: unmaking them never touches the tenant.
Terraform starts a process for each of them, so each loads what it needs and no SDK, whose import takes longer than the rest.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

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
    from lifecycle.systems.s3 import listing
    from lifecycle.systems.s3.kinds import UPLOAD
    from lifecycle.systems.s3.wire import Wire

    key = f"{FOLDER}{name}"
    with closing(Wire(place, place["key"], place["secret"])) as wire:
        if make:
            _allow("The object storage", wire.send("PUT", key).status, {200}, name)
            return
        while found := [each for each in listing.of_key(wire, key) if each.kind != UPLOAD]:
            for each in found:
                status = wire.send("DELETE", key, {"versionId": each.mark}).status
                _allow("The object storage", status, {200, 204, 404}, name)


def namespace(place: Place, name: str, make: bool) -> None:
    """Namespace `move-<id>`, empty."""
    wanted = f"move-{name}"
    if make:
        status = _pinecone(place, "POST", "/namespaces", json.dumps({"name": wanted}))
        _allow("Pinecone", status, {200, 201, 409}, name)
    else:
        _allow("Pinecone", _pinecone(place, "DELETE", f"/namespaces/{wanted}"), {200, 202, 404}, name)


def _pinecone(place: Place, method: str, path: str, body: str | None = None) -> int:
    host = urlsplit(place["index_host"])
    kind = HTTPSConnection if host.scheme == "https" else HTTPConnection
    headers = {
        "Api-Key": place["key"],
        "X-Pinecone-Api-Version": _VERSION,
        "Content-Type": "application/json",
    }
    with closing(kind(host.netloc, timeout=20)) as link:
        link.request(method, path, body, headers)
        return link.getresponse().status


def _allow(who: str, status: int, allowed: set[int], name: str) -> None:
    if status not in allowed:
        raise SystemExit(f"{who} answered {status} for the marks of move {name}.")


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
