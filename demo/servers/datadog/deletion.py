"""Datadog's Data Deletion API: only logs and RUM, only by tag or attribute, delayed, deaf to late arrivals."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

from demo.servers.datadog.api_error import ApiError
from demo.servers.datadog.query import QueryError, compile_query
from demo.servers.datadog.store import Deletion, Store, now_ms
from demo.servers.trial import AccessLog, Entry, Trial
from demo.servers.web import Request, Response, json_response

PRODUCTS = ("logs", "rum")
MAX_PAGE = 50


class Deletions:
    """Takes, lists, cancels and carries out deletion requests. It is pending for `trial.delay_s`, running for `trial.run_s`."""

    def __init__(self, store: Store, trial: Trial, log: AccessLog) -> None:
        self._store = store
        self._trial = trial
        self._log = log

    def create(self, product: str, body: dict[str, Any]) -> Response:
        """A new request, which will start after the delay."""
        if product not in PRODUCTS:
            raise ApiError(400, f"Data of this product can't be deleted; only {' and '.join(PRODUCTS)} can.")
        attributes = (body.get("data") or {}).get("attributes")
        if not isinstance(attributes, dict) or body["data"].get("type") != "create_deletion_req":
            raise ApiError(400, "data must have the type create_deletion_req and attributes.")
        query = _query(attributes.get("query"))
        begin, end = attributes.get("from"), attributes.get("to")
        if not isinstance(begin, int) or not isinstance(end, int) or not 0 <= begin < end:
            raise ApiError(400, "from and to must be milliseconds since the epoch, from before to.")
        displayed = attributes.get("displayed_total")
        if not isinstance(displayed, int) or displayed < 1:
            raise ApiError(400, "displayed_total must be a number from 1 on.")
        now = now_ms()
        deletion = Deletion(
            product=product, query=query, from_ms=begin, to_ms=end, status="pending",
            displayed_total=displayed, indexes=attributes.get("indexes") or [],
            created_ms=now, updated_ms=now, starting_ms=now + int(self._trial.delay_s * 1000), total=0,
        )  # fmt: skip
        deletion.total = len(self._targets(deletion))
        self._store.add_deletion(deletion)
        return json_response(
            {"data": _item(deletion), "meta": {"product": product, "request_status": "pending"}}
        )

    def cancel(self, deletion_id: str) -> Response:
        """Cancel a request that is still pending."""
        for deletion in self._store.deletions():
            if str(deletion.id) == deletion_id:
                break
        else:
            raise ApiError(404, "There is no deletion request of this id.")
        if deletion.status != "pending":
            raise ApiError(400, f"A deletion request that is {deletion.status} can't be cancelled.")
        self._move(deletion, "canceled")
        return json_response({"data": _item(deletion), "meta": {"request_status": "canceled"}})

    def page(self, request: Request) -> Response:
        """One page of the history, newest first."""
        size = request.param("page_size") or str(MAX_PAGE)
        if not size.isdigit() or not 1 <= int(size) <= MAX_PAGE:
            raise ApiError(400, f"page_size must be between 1 and {MAX_PAGE}.")
        page = request.param("next_page") or "0"
        if not page.isdigit():
            raise ApiError(400, "next_page is not one this server gave.")
        wanted = {name: request.param(name) for name in ("product", "status", "query")}
        rows = [
            deletion for deletion in self._store.deletions()
            if all(value is None or getattr(deletion, name) == value for name, value in wanted.items())
        ]  # fmt: skip
        start, end = int(page), int(page) + int(size)
        meta: dict[str, Any] = {
            "count_product": Counter(row.product for row in rows),
            "count_status": Counter(row.status for row in rows),
        }
        if end < len(rows):
            meta["next_page"] = str(end)
        return json_response({"data": [_item(row) for row in rows[start:end]], "meta": meta})

    def advance(self) -> None:
        """Move every request on whose time has come."""
        now = now_ms()
        for deletion in self._store.active():
            if deletion.status == "pending" and deletion.created_ms + self._trial.delay_s * 1000 <= now:
                self._move(deletion, "running")
            elif deletion.status == "running" and deletion.updated_ms + self._trial.run_s * 1000 <= now:
                self._complete(deletion)

    def _move(self, deletion: Deletion, status: str) -> None:
        deletion.status, deletion.updated_ms = status, now_ms()
        self._store.save_deletion(deletion)

    def _complete(self, deletion: Deletion) -> None:
        targets = self._targets(deletion)
        deletion.status, deletion.updated_ms, deletion.total = "completed", now_ms(), len(targets)
        self._store.delete_events(targets, deletion)
        self._log.write(Entry("JOB", f"/deletion/{deletion.product}", ids=len(targets)), 200)

    def _targets(self, deletion: Deletion) -> list[str]:
        """What the request covers: in its time span, and arrived before its end."""
        matches = compile_query(deletion.query)
        return [
            event.id for event in self._store.events.values()
            if event.product == deletion.product and deletion.from_ms <= event.timestamp_ms <= deletion.to_ms
            and event.arrived_ms <= deletion.to_ms and matches(event)
        ]  # fmt: skip


def _query(parts: Any) -> str:
    """The search text that an object of names and values stands for; a value's `*` stays a wildcard."""
    if not isinstance(parts, dict) or not parts:
        raise ApiError(400, "query must be an object that names at least one tag or attribute.")
    terms = []
    for name, value in parts.items():
        if (
            not isinstance(value, str)
            or not value
            or name in ("", "*", "query")
            or set(name) & set(' ()"\\*:')
        ):
            raise ApiError(400, "Each entry of query must be the name of a tag or @attribute with its value.")
        if value.strip("*") == "":
            raise ApiError(400, "A query that only asks for a tag's or attribute's presence is not accepted.")
        terms.append(f"{name}:{value}")
    text = " ".join(terms)
    try:
        compile_query(text)
    except QueryError as error:
        raise ApiError(400, str(error)) from error
    return text


def _item(deletion: Deletion) -> dict[str, Any]:
    attributes = {
        "created_at": _time(deletion.created_ms), "created_by": "local", "displayed_total": deletion.displayed_total,
        "from_time": deletion.from_ms, "to_time": deletion.to_ms, "indexes": deletion.indexes, "is_created": True,
        "org_id": 1, "product": deletion.product, "query": deletion.query, "status": deletion.status,
        "starting_at": _time(deletion.starting_ms), "total_unrestricted": deletion.total,
        "updated_at": _time(deletion.updated_ms),
    }  # fmt: skip
    return {"id": str(deletion.id), "type": "deletion_request", "attributes": attributes}


def _time(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
