"""CloudWatch Logs as the adapters use it: reads with retries, destructive calls once and within the batch's time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
import httpx
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError, ClientError

from lifecycle.systems import clients
from lifecycle.systems.base import Gate, Permanent, Transient

PAGE = 10_000
MOST_BYTES = 1_000_000  # a PutLogEvents call: 1,048,576 bytes, 26 of them for each event
SPAN = 24 * 3600 * 1000 - 1000
GONE = ("ResourceNotFoundException",)
TRANSIENT = (
    "ThrottlingException",
    "ServiceUnavailableException",
    "OperationAbortedException",
    "InternalFailure",
    "500",
    "503",
)


@dataclass(frozen=True, slots=True)
class Line:
    """One log event: milliseconds since the epoch, and the text."""

    timestamp: int
    message: str


@dataclass(frozen=True, slots=True)
class Stream:
    """A stream of this very creation: a new one of the same name has another `created`."""

    name: str
    created: int


@contextmanager
def translated() -> Iterator[None]:
    """The provider's errors as Transient or Permanent; their own text may quote a stream's name."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code in TRANSIENT or status >= 500 or status == 429:
            raise Transient(f"CloudWatch Logs answered {code} to {error.operation_name}.") from None
        raise Permanent(f"CloudWatch Logs refused {error.operation_name}: {code}.") from None
    except (BotoCoreError, httpx.HTTPError, OSError):
        raise Transient("CloudWatch Logs, or the S3 archive of its old lines, did not answer.") from None


def credentials(place: Mapping[str, str]) -> Credentials:
    """The place's own keys, else those that AWS's default chain finds. A server on this machine needs none."""
    if place.get("key"):
        return Credentials(place["key"], place["secret"])
    host = urlsplit(place.get("endpoint") or "").hostname
    if host in ("127.0.0.1", "localhost") and not os.environ.get("AWS_ACCESS_KEY_ID"):
        return Credentials("local", "local")
    found = boto3.Session().get_credentials()
    if found is None:
        raise Permanent("No AWS credentials were found for CloudWatch Logs.")
    frozen = found.get_frozen_credentials()
    return Credentials(frozen.access_key or "", frozen.secret_key or "", frozen.token)


class Service:
    """The logs of one region. Names of groups and streams are exact everywhere: no prefix is ever deleted."""

    def __init__(self, place: Mapping[str, str]) -> None:
        self.region = place.get("region") or "us-east-1"
        self.endpoint = place.get("endpoint") or f"https://logs.{self.region}.amazonaws.com"
        self._credentials = credentials(place)
        self._client: Any = clients.aws(
            "logs",
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=self._credentials.access_key,
            aws_secret_access_key=self._credentials.secret_key,
            aws_session_token=self._credentials.token,
            config={
                "connect_timeout": 5,
                "read_timeout": 60,
                "retries": {"mode": "standard", "max_attempts": 4},
            },
        )
        self._http = httpx.Client(verify=clients.trust())

    # Reading

    def groups(self) -> Iterator[dict[str, Any]]:
        """Every group that the credentials see: name, retention in days."""
        for page in self._client.get_paginator("describe_log_groups").paginate():
            yield from page["logGroups"]

    def retention(self, group: str) -> int | None:
        """The group's retention in days (None: for ever), or -1 where there is no such group."""
        for found in self._client.describe_log_groups(logGroupNamePrefix=group)["logGroups"]:
            if found["logGroupName"] == group:
                days = found.get("retentionInDays")
                return int(days) if days else None
        return -1

    def exists(self, group: str) -> bool:
        return self.retention(group) != -1

    def streams(self, group: str) -> list[Stream]:
        """Every stream of a group, by name; [] where the group does not exist."""
        found = []
        try:
            for page in self._client.get_paginator("describe_log_streams").paginate(logGroupName=group):
                found += [
                    Stream(each["logStreamName"], int(each["creationTime"])) for each in page["logStreams"]
                ]
        except ClientError as error:
            if error.response["Error"]["Code"] not in GONE:
                raise
        return sorted(found, key=lambda stream: stream.name)

    def last_ingested(self, group: str, stream: str) -> int:
        """When the stream last took a line, in milliseconds; the service may say so late. 0 where it says nothing."""
        pages = self._client.get_paginator("describe_log_streams").paginate(
            logGroupName=group, logStreamNamePrefix=stream
        )
        for page in pages:
            for each in page["logStreams"]:
                if each["logStreamName"] == stream:
                    return int(each.get("lastIngestionTime", 0))
        return 0

    def page(
        self, group: str, stream: str, token: str | None, start: int = 0
    ) -> tuple[list[Line], str | None]:
        """One page of a stream, oldest first, and the token of the next (None at the end or where it is gone)."""
        more: dict[str, Any] = {"nextToken": token} if token else {}
        if start:
            more["startTime"] = start
        try:
            answer = self._client.get_log_events(
                logGroupName=group, logStreamName=stream, startFromHead=True, limit=PAGE, **more
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in GONE:
                return [], None
            raise
        lines = [Line(int(event["timestamp"]), event["message"]) for event in answer["events"]]
        following = answer["nextForwardToken"]
        return lines, following if following != token else None

    def pages(self, group: str, stream: str, start: int = 0) -> Iterator[list[Line]]:
        """All pages of a stream from `start` on."""
        token: str | None = None
        while True:
            lines, token = self.page(group, stream, token, start)
            if lines:
                yield lines
            if token is None:
                return

    # Writing

    def create(self, group: str, stream: str) -> None:
        """Makes a stream unless it is there."""
        try:
            self._client.create_log_stream(logGroupName=group, logStreamName=stream)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceAlreadyExistsException":
                raise

    def put(self, group: str, stream: str, lines: Sequence[Line]) -> None:
        """Puts lines (in order of time) in calls of the service's size. Raises Transient when one was rejected."""
        for part in _calls(lines):
            answer = self._client.put_log_events(
                logGroupName=group,
                logStreamName=stream,
                logEvents=[{"timestamp": line.timestamp, "message": line.message} for line in part],
            )
            if answer.get("rejectedLogEventsInfo") or answer.get("rejectedEntityInfo"):
                raise Transient(
                    "CloudWatch Logs rejected some of the lines that were copied; the source stays."
                )

    def keep_for_ever(self, group: str) -> None:
        """Takes the group's retention off; a group that is gone needs none."""
        try:
            self._client.delete_retention_policy(logGroupName=group)
        except ClientError as error:
            if error.response["Error"]["Code"] not in GONE:
                raise

    def keep_for(self, group: str, days: int) -> None:
        """Sets the group's retention in days (a number that the service knows)."""
        self._client.put_retention_policy(logGroupName=group, retentionInDays=days)

    # Destroying

    def delete_stream(self, group: str, stream: str, gate: Gate) -> bool:
        """Deletes one stream; False where it was gone already."""
        return self._send("DeleteLogStream", {"logGroupName": group, "logStreamName": stream}, gate)

    def delete_group(self, group: str, gate: Gate) -> bool:
        """Deletes one group with its filters; False where it was gone already."""
        return self._send("DeleteLogGroup", {"logGroupName": group}, gate)

    def delete_filter(self, group: str, kind: str, name: str, gate: Gate) -> bool:
        """Deletes one metric or subscription filter."""
        action = "DeleteMetricFilter" if kind == "metricFilters" else "DeleteSubscriptionFilter"
        return self._send(action, {"logGroupName": group, "filterName": name}, gate)

    def _send(self, action: str, body: dict[str, str], gate: Gate) -> bool:
        request = AWSRequest(
            "POST",
            self.endpoint,
            data=json.dumps(body),
            headers={"X-Amz-Target": f"Logs_20140328.{action}", "Content-Type": "application/x-amz-json-1.1"},
        )
        SigV4Auth(self._credentials, "logs", self.region).add_auth(request)
        signed = request.prepare()
        gate.check()
        answer = self._http.post(
            signed.url,
            content=json.dumps(body),
            headers=dict(signed.headers),
            timeout=max(0.1, gate.remaining()),
        )
        if answer.status_code == 200:
            return True
        kind = str(_json(answer).get("__type", "")).rpartition("#")[2]
        if kind in GONE:
            return False
        if answer.status_code >= 500 or answer.status_code == 429 or kind in TRANSIENT:
            raise Transient(f"CloudWatch Logs answered {answer.status_code} to {action}.")
        raise Permanent(f"CloudWatch Logs refused {action}: {kind or answer.status_code}.")

    def close(self) -> None:
        self._http.close()


def _calls(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """Lines in parts that one PutLogEvents call takes: 10,000 events, 1 MiB, 24 hours."""
    start = size = 0
    for index, line in enumerate(lines):
        weight = len(line.message.encode()) + 26
        full = index - start >= PAGE or size + weight > MOST_BYTES
        if index > start and (full or line.timestamp - lines[start].timestamp > SPAN):
            yield lines[start:index]
            start, size = index, 0
        size += weight
    if start < len(lines):
        yield lines[start:]


def _json(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
