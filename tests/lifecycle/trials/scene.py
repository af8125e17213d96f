"""One user's erasure that takes a while, seen from outside: the S3 server's own access log and the control database."""

from __future__ import annotations

import json
import secrets
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import boto3
import httpx
import psycopg2
import redis
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.lifecycle.trials.live import Live
from tests.lifecycle.trials.relay import Relay

REGION = "us-east-1"
SERVER = f"s3-{REGION}"
SYSTEMS = ("postgresql", "s3", "redis", "pinecone")


class Scene:
    """A tenant whose user has `objects` more objects and unfinished `uploads`, behind a relay, with an approved request.

    Sixty-four objects are deleted at once, of uploads one a request: many holds can fall among a few hundred of those.
    """

    def __init__(self, live: Live, relay_delay: float, objects: int, uploads: int = 0) -> None:
        self.live = live
        self.stack: dict[str, Any] = json.loads((live.run_dir / "stack.json").read_text())
        place = self.stack["regions"][REGION]["s3"]
        self._bucket: str = place["bucket"]
        self._s3 = boto3.client(
            "s3", endpoint_url=place["endpoint"], aws_access_key_id=place["key"],
            aws_secret_access_key=place["secret"], region_name=REGION,
            config=Config(max_pool_connections=16, s3={"addressing_style": "path"}),
        )  # fmt: skip
        self.log = Path(self.stack["servers"][SERVER]["access_log"])
        self.relay = Relay(place["endpoint"], relay_delay)
        # Nobody of another trial has this name: it would be a mention that an officer must decide.
        self.user = f"u{secrets.token_hex(4)}"
        self.tenant, admin = live.tenant(self.user, f"o{secrets.token_hex(4)}", systems=SYSTEMS)
        self.prefix = f"tenant-{self.tenant}/user-{self.user}/more/"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._put, range(objects)))
            list(pool.map(self._begin_upload, range(uploads)))
        self.sql(
            "UPDATE lifecycle_environment SET places = jsonb_set(places, '{s3,endpoint}', to_jsonb(%s::text))"
            " WHERE tenant_id = %s RETURNING id",
            self.relay.endpoint, self.tenant,
        )  # fmt: skip
        self.request = live.request(self.tenant, admin, self.user)
        self._start = self.log.stat().st_size
        self._seeded: dict[str, set[str]] = {}
        self._seeded = self.present()
        assert all(self._seeded.values()), "the user has nothing in one of the systems"

    def _put(self, number: int) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=f"{self.prefix}{number}", Body=b"text")

    def _begin_upload(self, number: int) -> None:
        self._s3.create_multipart_upload(Bucket=self._bucket, Key=f"{self.prefix}upload-{number}")

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """One statement on the control database, as the application's role."""
        return self.live.control.rows(statement, *values)

    def present(self) -> dict[str, set[str]]:
        """What the user has in PostgreSQL, Redis and Pinecone now, of what was seeded; markers of ours come later."""
        place = self.stack["regions"][REGION]
        found = {
            "postgresql": _rows(place["postgres"], self.tenant, self.user),
            "redis": _keys(place["redis"], self.tenant, self.user),
            "pinecone": self._vectors(place["pinecone"]),
        }
        return {system: now & self._seeded.get(system, now) for system, now in found.items()}

    def _vectors(self, place: dict[str, Any]) -> set[str]:
        wanted = {"namespace": f"tenant-{self.tenant}", "filter": {"user_id": {"$eq": self.user}}}
        answer = httpx.post(
            f"{place['index_host']}/query", headers={"Api-Key": place["key"]}, timeout=20,
            json={**wanted, "topK": 1000, "vector": [0.1] * 8},
        )  # fmt: skip
        if answer.status_code == httpx.codes.NOT_FOUND:
            return set()
        return {str(each["id"]) for each in answer.raise_for_status().json()["matches"]}

    def steps(self) -> str:
        """The steps of the erasure that are under way, for what a trial prints."""
        found = self.sql(
            "SELECT DISTINCT s.name || ' ' || s.lane FROM lifecycle_step s JOIN lifecycle_run r ON r.id = s.run_id"
            " WHERE r.subject = %s AND s.state = 'running' ORDER BY 1",
            self.request,
        )  # fmt: skip
        return ", ".join(str(row[0]).strip() for row in found) or "no step"

    def state(self) -> str:
        """The request's."""
        return str(self.sql("SELECT state FROM compliance_erasurerequest WHERE id = %s", self.request)[0][0])

    def until(self, wanted: Callable[[], bool], what: str, timeout: float = 90) -> None:
        """Polls; fails with `what` after `timeout` seconds."""
        ends = time.monotonic() + timeout
        while not wanted():
            assert time.monotonic() < ends, f"{what}: not within {timeout} s; the request is {self.state()}"
            time.sleep(0.1)

    def audited(self, hold: str, verb: str) -> float:
        """The moment (seconds since 1970) of a hold's audit event: `hold.placed`, or `hold.in_force` when it was certain."""
        found = self.sql(
            "SELECT extract(epoch FROM at)::float FROM compliance_auditevent WHERE case_id = %s AND verb = %s",
            hold, verb,
        )  # fmt: skip
        return float(found[0][0])

    def deletions(self, since: float) -> list[dict[str, Any]]:
        """The log's lines of this user's objects that the server removed after the moment; the log is up to date first.

        Markers of ours are not among them: they are taken out of what is held.
        """
        self._catch_up()
        return [each for each in self._lines() if each["deleted"] and each["at"] > since and self._ours(each)]

    def _ours(self, line: dict[str, Any]) -> bool:
        return str(line["key"] or "").lstrip("/").startswith(self.prefix)

    def _lines(self) -> list[dict[str, Any]]:
        with self.log.open() as file:
            file.seek(self._start)
            return [json.loads(line) for line in file if line.endswith("\n")]

    def _catch_up(self) -> None:
        mark = f"caught-up-{uuid.uuid4().hex}"
        with suppress(ClientError):
            self._s3.head_object(Bucket=self._bucket, Key=mark)
        self.until(lambda: any(mark in str(each["key"]) for each in self._lines()), "the access log", 20)


def _rows(dsn: str, tenant: str, user: str) -> set[str]:
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT 'document ' || id FROM documents WHERE tenant_id = %(t)s AND owner_id = %(u)s"
                " UNION ALL SELECT 'chunk ' || c.id FROM chunks c JOIN documents d ON d.id = c.document_id"
                " WHERE d.tenant_id = %(t)s AND d.owner_id = %(u)s"
                " UNION ALL SELECT 'query ' || id FROM queries WHERE tenant_id = %(t)s AND user_id = %(u)s"
                " UNION ALL SELECT 'user ' || user_id FROM users WHERE tenant_id = %(t)s AND user_id = %(u)s",
                {"t": tenant, "u": user},
            )
            return {str(row[0]) for row in cursor.fetchall()}
    finally:
        connection.close()


def _keys(url: str, tenant: str, user: str) -> set[str]:
    with redis.Redis.from_url(url) as client:
        names = [each.decode() for each in client.scan_iter(match=f"*:{tenant}:{user}", count=1000)]
        return {name for name in names if not 0 <= int(client.ttl(name)) < 600}
