"""What the eraser asks of Datadog: log search by HTTP, deletion through the official client's DataDeletionApi.

A deletion is asked for, starts hours later at the real service, and takes nothing that arrives after it was asked for.
Datadog can't delete metrics, those derived from logs included.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx
import urllib3
from datadog_api_client import ApiClient, Configuration
from datadog_api_client.exceptions import ApiException
from datadog_api_client.v2.api.data_deletion_api import DataDeletionApi
from datadog_api_client.v2.model.create_data_deletion_request_body import CreateDataDeletionRequestBody
from datadog_api_client.v2.model.create_data_deletion_request_body_attributes import (
    CreateDataDeletionRequestBodyAttributes,
)
from datadog_api_client.v2.model.create_data_deletion_request_body_data import (
    CreateDataDeletionRequestBodyData,
)
from datadog_api_client.v2.model.create_data_deletion_request_body_data_type import (
    CreateDataDeletionRequestBodyDataType,
)

from lifecycle.datamap.model import Metrics
from lifecycle.systems import clients
from lifecycle.systems.analytics.prometheus import translated
from lifecycle.systems.base import Gate, Permanent, Scope, Transient

# The official client has no annotations on these.
_UNTYPED: dict[str, Any] = {
    "configuration": Configuration,
    "deletions": DataDeletionApi,
    "type": CreateDataDeletionRequestBodyDataType,
}
ACTIVE = ("pending", "running")
PAGE = 1_000
_PLAIN = re.compile(r"[\w\-./]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Log:
    """One log event, with what names its owner: attributes first, tags where there are none."""

    id: str
    timestamp: int
    tenants: frozenset[str]
    users: frozenset[str]
    by_attribute: bool
    raw: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    """What one deletion request asks for: {tag or @attribute: value}."""

    parts: tuple[tuple[str, str], ...]

    @property
    def text(self) -> str:
        """As the search takes it."""
        return " ".join(f"{name}:{value}" for name, value in self.parts)


def tag(value: str) -> str:
    """A tag's value as Datadog stores it: lower case, unusual characters replaced, so that ids may become alike."""
    return re.sub(r"[^\w\-:./]", "_", value.strip().lower())[:200]


def exact(value: str) -> str:
    """A value that a query takes literally, without wildcards."""
    if _PLAIN.fullmatch(value):
        return value
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Datadog:
    """One organisation. Only logs are searched: the only product whose deletion the service offers."""

    def __init__(self, place: Mapping[str, str], metrics: Metrics) -> None:
        key, app_key = place["datadog_key"], place.get("datadog_app_key") or place["datadog_key"]
        self._metrics = metrics
        self._http = httpx.Client(
            base_url=place["datadog"],
            headers={"DD-API-KEY": key, "DD-APPLICATION-KEY": app_key},
            timeout=60,
            verify=clients.trust(),
        )
        self._configuration: Any = _UNTYPED["configuration"](host=place["datadog"])
        self._configuration.api_key = {"apiKeyAuth": key, "appKeyAuth": app_key}
        self._deletions: Any = _UNTYPED["deletions"](ApiClient(self._configuration))

    # Queries

    def queries(self, scope: Scope, user: str | None) -> list[Query]:
        """By attribute (exact), and by tag where the ids stay themselves as tags."""
        names = {self._metrics.datadog_tenant_tag: scope.subject.tenant}
        if user is not None:
            names[self._metrics.datadog_user_tag] = user
        found = [Query(tuple((f"@{name}", exact(value)) for name, value in names.items()))]
        if all(tag(value) == value for value in names.values()):
            found.append(Query(tuple((name, exact(value)) for name, value in names.items())))
        return found

    def search(self, query: str, cursor: str | None = None) -> tuple[list[Log], str | None]:
        """One page of logs of any age, oldest first, and the cursor of the next."""
        page: dict[str, Any] = {"limit": PAGE, **({"cursor": cursor} if cursor else {})}
        body = {
            "filter": {"query": query, "from": "0", "to": str(int(time.time() * 1000) + 3_600_000)},
            "sort": "timestamp",
            "page": page,
        }
        with translated("Datadog"):
            answer = self._http.post("/api/v2/logs/events/search", json=body)
            answer.raise_for_status()
        found = answer.json()
        following = found.get("meta", {}).get("page", {}).get("after")
        return [self._log(each) for each in found.get("data", [])], following

    def every(self, query: str) -> Iterator[Log]:
        """All logs of a query."""
        cursor: str | None = None
        while True:
            logs, cursor = self.search(query, cursor)
            yield from logs
            if cursor is None:
                return

    def _log(self, event: Mapping[str, Any]) -> Log:
        attributes = event.get("attributes", {})
        inner, tags = attributes.get("attributes", {}), attributes.get("tags", [])
        tenant, user = self._metrics.datadog_tenant_tag, self._metrics.datadog_user_tag
        by_attribute = tenant in inner or user in inner

        def values(name: str) -> frozenset[str]:
            if by_attribute:
                return frozenset([str(inner[name])] if name in inner else [])
            return frozenset(each.partition(":")[2] for each in tags if each.startswith(f"{name}:"))

        stamp = datetime.fromisoformat(str(attributes.get("timestamp", "1970-01-01T00:00:00Z")))
        moment = int(stamp.timestamp() * 1000)
        return Log(str(event["id"]), moment, values(tenant), values(user), by_attribute, event)

    def owns(self, scope: Scope, log: Log) -> bool:
        """Whether a log is the subject's own. By tag only where the id stays itself as a tag."""
        subject = scope.subject
        if any(canary in str(log.raw) for canary in scope.canaries):
            return True
        if subject.tenant not in log.tenants:
            return False
        if subject.user is None:
            return not log.users & scope.spared_users
        return subject.user in log.users

    # Deletions

    def requests(self) -> list[Any]:
        """Every deletion request that the service remembers."""
        found: list[Any] = []
        with _client_errors():
            following: str | None = None
            while True:
                answer = self._deletions.get_data_deletion_requests(
                    page_size=50, **({"next_page": following} if following else {})
                )
                found += answer.data or []
                following = getattr(answer.meta, "next_page", None)
                if not following:
                    return found

    def active(self, queries: list[Query]) -> list[tuple[str, int]]:
        """(query, `to` in ms) of each request for one of these queries that is not finished."""
        texts = {query.text for query in queries}
        rows = [each.attributes for each in self.requests()]
        return [(row.query, int(row.to_time)) for row in rows if row.query in texts and row.status in ACTIVE]

    def delete(self, query: Query, total: int, gate: Gate) -> None:
        """Asks for the deletion of all logs of a query up to now."""
        attributes = CreateDataDeletionRequestBodyAttributes(
            _from=0, to=int(time.time() * 1000), query=dict(query.parts), displayed_total=max(1, total)
        )
        body = CreateDataDeletionRequestBody(
            data=CreateDataDeletionRequestBodyData(
                attributes=attributes, type=_UNTYPED["type"]("create_deletion_req")
            )
        )
        gate.check()
        self._configuration.request_timeout = max(0.1, gate.remaining())
        with _client_errors():
            self._deletions.create_data_deletion_request(product="logs", body=body)

    # Canaries

    def plant(self, scope: Scope, marker: str) -> None:
        """Sends one log of the subject with the marker as an attribute."""
        names = {self._metrics.datadog_tenant_tag: scope.subject.tenant}
        if scope.subject.user is not None:
            names[self._metrics.datadog_user_tag] = scope.subject.user
        if next(self.every(f"@canary:{marker}"), None) is not None:
            return
        log = {"message": "lifecycle canary", "service": "lifecycle", "canary": marker, **names}
        with translated("Datadog"):
            self._http.post("/api/v2/logs", json=[log]).raise_for_status()

    def close(self) -> None:
        self._http.close()


@contextmanager
def _client_errors() -> Iterator[None]:
    try:
        yield
    except ApiException as error:
        if error.status in (401, 403):
            raise Permanent(f"Datadog refuses these credentials ({error.status}).") from None
        if error.status == 429 or error.status >= 500:
            raise Transient(f"Datadog answered {error.status}.") from None
        raise Permanent(f"Datadog refused a deletion request ({error.status}).") from None
    except (urllib3.exceptions.HTTPError, OSError):
        raise Transient("Datadog did not answer.") from None
