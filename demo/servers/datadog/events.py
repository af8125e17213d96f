"""Intake and search of logs and RUM events, intake and query of metrics."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import orjson

from demo.servers.datadog.api_error import ApiError
from demo.servers.datadog.query import (
    METRIC_QUERY,
    RESERVED,
    Event,
    QueryError,
    compile_query,
    compile_scope,
    normalise_tag,
)
from demo.servers.datadog.store import Store, now_ms
from demo.servers.trial import Entry, Trial
from demo.servers.web import Request, Response, json_response

MAX_INTAKE_EVENTS = 1_000
MAX_INTAKE_BYTES = 5 * 1024 * 1024
MAX_SEARCH_PAGE = 1_000
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Events:
    """Takes events and points and finds them again."""

    def __init__(self, store: Store, trial: Trial) -> None:
        self._store = store
        self._trial = trial

    def intake(self, product: str, request: Request, entry: Entry) -> Response:
        """Take one event or a list of them; JSON in the message becomes attributes, as Datadog's pipeline does."""
        if len(request.body) > MAX_INTAKE_BYTES:
            raise ApiError(413, "The payload is larger than 5 MB.")
        body = _parse(request.body)
        items = body if isinstance(body, list) else [body]
        if len(items) > MAX_INTAKE_EVENTS:
            raise ApiError(413, f"The payload has more than {MAX_INTAKE_EVENTS} events.")
        if not all(isinstance(item, dict) for item in items):
            raise ApiError(400, "Each event must be an object.")
        common = request.param("ddtags") or ""
        self._store.add_events(_event(product, item, common) for item in items)
        entry.ids = len(items)
        return json_response({}, 202)

    def search(self, product: str, request: Request, entry: Entry) -> Response:
        """One page of matching events, newest first unless `sort` is `timestamp`."""
        body = _parse(request.body) if request.body else {}
        if not isinstance(body, dict):
            raise ApiError(400, "The body must be an object.")
        condition, page = body.get("filter") or {}, body.get("page") or {}
        try:
            matches = compile_query(str(condition.get("query") or "*"))
        except QueryError as error:
            raise ApiError(400, str(error)) from error
        begin, end = _moment(condition.get("from", "now-15m")), _moment(condition.get("to", "now"))
        seen = now_ms() - self._trial.lag_ms
        found = [
            event for event in self._store.events.values()
            if event.product == product and begin <= event.timestamp_ms <= end and event.arrived_ms <= seen
            and matches(event)
        ]  # fmt: skip
        found.sort(key=lambda event: (event.timestamp_ms, event.id), reverse=body.get("sort") != "timestamp")
        limit, start = page.get("limit", 10), str(page.get("cursor") or "0")
        if not isinstance(limit, int) or not 1 <= limit <= MAX_SEARCH_PAGE or not start.isdigit():
            raise ApiError(
                400, f"page.limit must be between 1 and {MAX_SEARCH_PAGE}, page.cursor one given here."
            )
        last = int(start) + limit
        shown = found[int(start) : last]
        entry.ids = len(shown)
        meta: dict[str, Any] = {"status": "done", "elapsed": 1, "request_id": uuid.uuid4().hex}
        if last < len(found):
            meta["page"] = {"after": str(last)}
        return json_response({"data": [_shown(event) for event in shown], "meta": meta})

    def series(self, request: Request, entry: Entry) -> Response:
        """Take metric points."""
        body = _parse(request.body)
        rows = []
        try:
            for item in body["series"]:
                hosts = [f"host:{r['name']}" for r in item.get("resources", []) if r.get("type") == "host"]
                tags = [normalise_tag(tag) for tag in [*item.get("tags", []), *hosts]]
                for point in item["points"]:
                    rows.append((str(item["metric"]), int(point["timestamp"]), float(point["value"]), tags))
        except (KeyError, TypeError, ValueError) as error:
            raise ApiError(
                400, "series must be a list of metrics with points of timestamp and value."
            ) from error
        self._store.add_points(rows)
        entry.ids = len(rows)
        return json_response({"errors": []}, 202)

    def query_metric(self, request: Request) -> Response:
        """`avg:NAME{SCOPE} by {TAGS}` over a time span in seconds: one series per combination of tags."""
        text = request.param("query") or ""
        parsed = METRIC_QUERY.fullmatch(text.strip())
        begin, end = request.param("from") or "", request.param("to") or ""
        if parsed is None or not begin.isdigit() or not end.isdigit():
            raise ApiError(400, "Give query=AGGREGATION:METRIC{SCOPE} with from and to in seconds.")
        scope, names = (
            compile_scope(parsed["scope"]),
            [n.strip() for n in (parsed["group"] or "").split(",") if n],
        )
        groups: dict[tuple[str, ...], dict[int, list[float]]] = {}
        for at, value, tags in self._store.points(parsed["metric"], int(begin), int(end)):
            if scope(tags):
                key = tuple(tag for tag in tags if tag.split(":")[0] in names)
                groups.setdefault(key, {}).setdefault(at, []).append(value)
        shown = [
            _series(text, parsed["metric"], parsed["aggregation"], key, rows) for key, rows in groups.items()
        ]
        return json_response({
            "status": "ok", "res_type": "time_series", "resp_version": 1, "query": text, "group_by": names,
            "from_date": int(begin) * 1000, "to_date": int(end) * 1000, "series": shown, "message": "",
        })  # fmt: skip


def _series(
    text: str, metric: str, aggregation: str, tags: tuple[str, ...], rows: dict[int, list[float]]
) -> dict[str, Any]:
    points = [[at * 1000.0, _aggregate(aggregation, values)] for at, values in sorted(rows.items())]
    return {
        "metric": metric, "display_name": metric, "aggr": aggregation, "expression": text, "interval": 1,
        "scope": ",".join(tags) or "*", "tag_set": list(tags), "pointlist": points, "length": len(points),
        "start": int(points[0][0]), "end": int(points[-1][0]),
    }  # fmt: skip


def _aggregate(name: str, values: list[float]) -> float:
    if name == "count":
        return float(len(values))
    if name == "min":
        return min(values)
    if name == "max":
        return max(values)
    return sum(values) / (len(values) if name == "avg" else 1)


def _parse(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "The body is not valid JSON.") from error


def _event(product: str, item: dict[str, Any], common: str) -> Event:
    fields = dict(item)
    message = str(fields.pop("message", ""))
    tags = f"{fields.pop('ddtags', '')},{common}".split(",")
    reserved = {"service": fields.pop("service", None), "host": fields.pop("hostname", fields.pop("host", None)),
                "source": fields.pop("ddsource", None), "status": fields.pop("status", None)}  # fmt: skip
    attributes = {**_json_object(message), **fields}
    arrived = now_ms()
    stamp = attributes.get("timestamp", attributes.get("date", arrived))
    return Event(
        id=uuid.uuid4().hex, product=product, arrived_ms=arrived, timestamp_ms=_stamp(stamp, arrived),
        message=message, tags=sorted({normalise_tag(tag) for tag in tags if tag.strip()}), attributes=attributes,
        reserved={name: str(reserved[name]) for name in RESERVED if reserved[name] is not None},
    )  # fmt: skip


def _json_object(text: str) -> dict[str, Any]:
    if not text.startswith("{"):
        return {}
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _stamp(value: Any, otherwise: int) -> int:
    """An event's own time in ms, from a number or RFC 3339 text; else the time it arrived."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.isdigit():
        return int(value)
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return otherwise
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _moment(value: Any) -> int:
    """A search bound in ms: milliseconds, RFC 3339, `now` or `now-15m`."""
    text = str(value)
    if text == "now":
        return now_ms()
    if text.startswith("now-") and text[4:-1].isdigit() and text[-1] in _UNITS:
        return now_ms() - int(text[4:-1]) * _UNITS[text[-1]] * 1000
    moment = _stamp(value, -1)
    if moment < 0:
        raise ApiError(400, "from and to must be milliseconds, RFC 3339 times, now or now-15m.")
    return moment


def _shown(event: Event) -> dict[str, Any]:
    moment = datetime.fromtimestamp(event.timestamp_ms / 1000, UTC).isoformat(timespec="milliseconds")
    attributes: dict[str, Any] = {
        "timestamp": moment.replace("+00:00", "Z"), "tags": event.tags, "attributes": event.attributes
    }  # fmt: skip
    if event.product == "logs":
        shown = {name: value for name, value in event.reserved.items() if name != "source"}
        attributes |= {"message": event.message, **shown}
    elif "service" in event.reserved:
        attributes["service"] = event.reserved["service"]
    return {"id": event.id, "type": "log" if event.product == "logs" else "rum", "attributes": attributes}
