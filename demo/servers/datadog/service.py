"""One local Datadog: checks keys, disturbs on request, routes, writes the access log, runs deletions."""

from __future__ import annotations

import asyncio
import hmac
from pathlib import Path
from typing import Any

import orjson

from demo.servers.datadog.api_error import ApiError
from demo.servers.datadog.deletion import Deletions
from demo.servers.datadog.events import Events
from demo.servers.datadog.store import Store
from demo.servers.trial import AccessLog, Entry, Trial
from demo.servers.web import Request, Response, json_response, listen

TICK_S = 0.2
INTAKE = ("/api/v2/logs", "/api/v2/rum", "/api/v2/series")


class Service:
    """The server. `key` is the API key, `app_key` the application key that everything but intake needs too."""

    def __init__(self, port: int, key: str, app_key: str, state: Path, trial: Trial) -> None:
        self._port = port
        self._key = key
        self._app_key = app_key
        self._trial = trial
        self._store = Store(state)
        self._log = AccessLog(state / "access.log")
        self._events = Events(self._store, trial)
        self._deletions = Deletions(self._store, trial, self._log)
        self._listening: asyncio.Server | None = None

    async def run(self, stopped: asyncio.Event) -> None:
        """Listen, and carry out deletions, until `stopped`."""
        self._listening = await listen(self.handle, self._port)
        while not stopped.is_set():
            self._deletions.advance()
            await asyncio.sleep(TICK_S)

    async def handle(self, request: Request) -> Response:
        """Answer any request and log it."""
        if request.path == "/healthz":
            return json_response({"status": "ok"})
        if request.path == "/_trial":
            return self._handle_trial(request)
        entry = Entry(request.method, request.path)
        try:
            response = await self._handle_api(request, entry)
        except ApiError as error:
            response = error.response()
        self._log.write(entry, response.status)
        return response

    async def _handle_api(self, request: Request, entry: Entry) -> Response:
        self._authorise(request)
        if self._trial.over_rate():
            raise ApiError(429, "Too many requests; wait as long as X-RateLimit-Reset says.")
        fault = self._trial.take_fault(request.path)
        if fault is not None:
            raise ApiError(fault, "The service is unavailable (asked for by a trial).")
        await self._trial.hang(request.path)
        self._deletions.advance()
        return self._route(request, entry)

    def _authorise(self, request: Request) -> None:
        def right(header: str, key: str) -> bool:
            return hmac.compare_digest(request.headers.get(header, "").encode(), key.encode())

        needs_app_key = request.path not in INTAKE
        if not right("dd-api-key", self._key) or (
            needs_app_key and not right("dd-application-key", self._app_key)
        ):
            raise ApiError(403, "Forbidden")

    def _route(self, request: Request, entry: Entry) -> Response:
        match request.method, request.segments():
            case "POST", ["api", "v2", "logs" | "rum" as product]:
                return self._events.intake(product, request, entry)
            case "POST", ["api", "v2", "logs" | "rum" as product, "events", "search"]:
                return self._events.search(product, request, entry)
            case "POST", ["api", "v2", "series"]:
                return self._events.series(request, entry)
            case "GET", ["api", "v1", "query"]:
                return self._events.query_metric(request)
            case "POST", ["api", "v2", "deletion", "data", product]:
                return self._deletions.create(product, _object(request.body))
            case "GET", ["api", "v2", "deletion", "requests"]:
                return self._deletions.page(request)
            case "PUT", ["api", "v2", "deletion", "requests", deletion_id, "cancel"]:
                return self._deletions.cancel(deletion_id)
        raise ApiError(404, "There is no such path.")

    def _handle_trial(self, request: Request) -> Response:
        if request.headers.get("x-trial") != "1":
            return ApiError(404, "There is no such path.").response()
        try:
            if request.method == "POST":
                self._trial.change(_object(request.body))
        except (ApiError, ValueError) as error:
            return json_response({"message": str(error)}, 400)
        return json_response(self._trial.shown())


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ApiError(400, "The body is not valid JSON.") from error
    if not isinstance(value, dict):
        raise ApiError(400, "The body must be a JSON object.")
    return value
