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
import psycopg2
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.lifecycle.trials.live import Live
from tests.lifecycle.trials.relay import Relay

REGION = "us-east-1"
SERVER = f"s3-{REGION}"


class Scene:
    """A tenant whose user has `objects` more objects, behind a relay, with an approved request."""

    def __init__(self, live: Live, relay_delay: float, objects: int) -> None:
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
        self.tenant, self.admin = live.tenant(self.user, f"o{secrets.token_hex(4)}")
        self.prefix = f"tenant-{self.tenant}/user-{self.user}/more/"
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(self._put, range(objects)))
        self.sql(
            "UPDATE lifecycle_environment SET places = jsonb_set(places, '{s3,endpoint}', to_jsonb(%s::text))"
            " WHERE tenant_id = %s RETURNING id",
            self.relay.endpoint, self.tenant,
        )  # fmt: skip
        self.request = live.request(self.tenant, self.admin, self.user)
        self._start = self.log.stat().st_size

    def _put(self, number: int) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=f"{self.prefix}{number}", Body=b"text")

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """One statement on the control database, as the application's role."""
        connection = psycopg2.connect(self.stack["control"])
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, values)
                return cursor.fetchall()
        finally:
            connection.close()

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
