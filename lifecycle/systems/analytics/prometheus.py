"""What the eraser asks of Prometheus (2.x and 3.x with `--web.enable-admin-api`).

A series counts as present while it has samples: the head block goes on listing a series' labels after its samples
are deleted, until it is compacted. Samples that came out of order lie in a part of the head that `delete_series` does not
reach before that compaction (2.42: measured).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx

from lifecycle.datamap.model import Metrics
from lifecycle.systems import clients
from lifecycle.systems.analytics.remote_write import HEADERS, one_sample
from lifecycle.systems.base import Gate, Permanent, Scope, Transient

EVER = "100y"
CANARY_LABEL = "lifecycle_canary"
CANARY_METRIC = "lifecycle_canary"


def quoted(value: str) -> str:
    """A label value inside a matcher."""
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def matcher(labels: Mapping[str, str], unlike: Mapping[str, tuple[str, ...]] | None = None) -> str:
    """A selector of exact matches, never of patterns; `unlike` excludes values."""
    parts = [f"{name}={quoted(value)}" for name, value in labels.items()]
    parts += [f"{name}!={quoted(value)}" for name, values in (unlike or {}).items() for value in values]
    return "{" + ",".join(parts) + "}"


def key_of(labels: Mapping[str, str]) -> str:
    """The key of a series' item."""
    return json.dumps(dict(sorted(labels.items())))


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Failures of HTTP as Transient or Permanent, without what was asked."""
    try:
        yield
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status in (401, 403):
            raise Permanent(f"{what} refuses these credentials ({status}).") from None
        if status == 429 or status >= 500:
            raise Transient(f"{what} answered {status}.") from None
        raise Permanent(f"{what} refused a request ({status}).") from None
    except httpx.HTTPError:
        raise Transient(f"{what} did not answer.") from None


class Prometheus:
    """One server. Times are Unix seconds, of samples milliseconds."""

    def __init__(self, place: Mapping[str, str], metrics: Metrics) -> None:
        self._http = httpx.Client(base_url=place["prometheus"], timeout=60, verify=clients.trust())
        self._metrics = metrics

    def selector(self, scope: Scope) -> str:
        """The subject's series: exactly its tenant and user label."""
        labels = {self._metrics.tenant_label: scope.subject.tenant}
        if scope.subject.user is not None:
            labels[self._metrics.user_label] = scope.subject.user
        spared = tuple(sorted(scope.spared_users)) if scope.subject.user is None else ()
        return matcher(labels, {self._metrics.user_label: spared})

    def owns(self, scope: Scope, labels: Mapping[str, str]) -> bool:
        """Whether `selector` covers a series of these labels."""
        if labels.get(self._metrics.tenant_label) != scope.subject.tenant:
            return False
        user = labels.get(self._metrics.user_label)
        return user not in scope.spared_users if scope.subject.user is None else user == scope.subject.user

    def present(self, selector: str, at: float | None = None) -> list[dict[str, str]]:
        """Labels of every series of a selector that has samples up to `at` (now and an hour, if not given)."""
        when = at if at is not None else time.time() + 3600
        with translated("Prometheus"):
            answer = self._http.post(
                "/api/v1/query", data={"query": f"last_over_time({selector}[{EVER}])", "time": f"{when:.3f}"}
            )
            answer.raise_for_status()
        return [each["metric"] for each in answer.json()["data"]["result"]]

    def listed(self, selector: str) -> list[dict[str, str]]:
        """Labels of every series that the index still lists, with or without samples."""
        with translated("Prometheus"):
            answer = self._http.post(
                "/api/v1/series", data={"match[]": selector, "start": "0", "end": f"{time.time() + 3600:.0f}"}
            )
            answer.raise_for_status()
        found: list[dict[str, str]] = answer.json()["data"]
        return found

    def delete(self, selector: str, gate: Gate) -> None:
        """Marks all samples of a selector as deleted."""
        gate.check()
        self._admin("delete_series", gate, data={"match[]": selector})

    def clean(self, gate: Gate) -> None:
        """Removes what is marked as deleted from the disk."""
        gate.check()
        self._admin("clean_tombstones", gate)

    def _admin(self, action: str, gate: Gate, data: Mapping[str, str] | None = None) -> None:
        with translated("Prometheus"):
            answer = self._http.post(
                f"/api/v1/admin/tsdb/{action}", data=data, timeout=max(0.1, gate.remaining())
            )
            if answer.status_code == 404 or "admin APIs disabled" in answer.text:
                raise Permanent("Prometheus can't delete: start it with --web.enable-admin-api.")
            answer.raise_for_status()

    # Canaries

    def takes_writes(self) -> bool:
        """Whether samples can be written to it from outside."""
        with translated("Prometheus"):
            return self._http.post("/api/v1/write", content=b"", headers=HEADERS).status_code != 404

    def plant(self, scope: Scope, marker: str) -> dict[str, str]:
        """Writes a series of one sample with the marker as a label; returns its labels."""
        labels = {
            "__name__": CANARY_METRIC,
            CANARY_LABEL: marker,
            self._metrics.tenant_label: scope.subject.tenant,
        }
        if scope.subject.user is not None:
            labels[self._metrics.user_label] = scope.subject.user
        if self.present(matcher(labels)):
            return labels
        with translated("Prometheus"):
            body = one_sample(labels, int(time.time() * 1000), 1.0)
            self._http.post("/api/v1/write", content=body, headers=HEADERS).raise_for_status()
        return labels

    def close(self) -> None:
        self._http.close()


def labels_of(item_key: str) -> dict[str, str]:
    """The labels that an item's key holds."""
    found: dict[str, str] = json.loads(item_key)
    return found
