"""One local Pinecone: listens, checks keys, disturbs on request, routes, and writes the access log."""

from __future__ import annotations

import asyncio
import hmac
import socket
from dataclasses import dataclass
from pathlib import Path

from demo.servers.pinecone import limits
from demo.servers.pinecone.control_plane import ControlPlane, description
from demo.servers.pinecone.data_plane import DataPlane
from demo.servers.pinecone.limits import ApiError
from demo.servers.pinecone.store import Index, Store
from demo.servers.trial import AccessLog, Entry, Trial
from demo.servers.web import LOOPBACK, Request, Response, json_response, listen


@dataclass(frozen=True)
class Config:
    """How one server is started; see `__main__` for the meaning of each."""

    port: int
    key: str
    reader_key: str | None
    index: str
    dimension: int
    metric: str
    region: str
    state: Path


class Service:
    """The server. The index named in the configuration is served on the main port, each other one on its own."""

    def __init__(self, config: Config, trial: Trial) -> None:
        self._config = config
        self._trial = trial
        self._store = Store(config.state)
        self._log = AccessLog(config.state / "access.log")
        self._data = DataPlane(self._store, trial)
        self._control = ControlPlane(self._store, trial, self._port_for)
        self._listening: dict[int, asyncio.Server] = {}
        self._apply_lag()

    async def start(self) -> None:
        """Create the configured index on the very first start, then listen."""
        config = self._config
        self._store.create_first(
            description(config.index, config.dimension, config.metric, config.port, region=config.region)
        )
        await self._listen(self._config.port)
        await self._open_indexes()

    async def _listen(self, port: int) -> None:
        self._listening[port] = await listen(self.handle, port)

    def _port_for(self, name: str) -> int:
        if name == self._config.index:
            return self._config.port
        with socket.socket() as probe:
            probe.bind((LOOPBACK, 0))
            return int(probe.getsockname()[1])

    async def _open_indexes(self) -> None:
        """Listen for every index that has no listener; one whose port was taken meanwhile moves to another."""
        for index in list(self._store.indexes.values()):
            known = dict(index.description)
            if index.name == self._config.index:
                known["port"] = self._config.port
            if known["port"] not in self._listening:
                try:
                    await self._listen(known["port"])
                except OSError:
                    known["port"] = self._port_for(index.name)
                    await self._listen(known["port"])
            known["host"] = f"http://{LOOPBACK}:{known['port']}"
            if known != index.description:
                self._store.save_index(known)

    def _apply_lag(self) -> None:
        self._store.lag.reads_s = self._trial.lag_ms / 1000
        self._store.lag.counts_s = self._trial.stats_lag_ms / 1000

    async def handle(self, request: Request) -> Response:
        """Answer any request and log it."""
        if request.path == "/healthz":
            return json_response({"status": "ok", "indexes": len(self._store.indexes)})
        if request.path == "/_trial":
            return self._handle_trial(request)
        entry = Entry(request.method, request.path)
        control = self._control.serves(request.path)
        try:
            response = await self._handle_api(request, entry, control)
        except ApiError as error:
            response = error.response(control=control)
        self._log.write(entry, response.status)
        return response

    async def _handle_api(self, request: Request, entry: Entry, control: bool) -> Response:
        self._authorise(request, control)
        if self._trial.over_rate():
            raise ApiError(429, "Too many requests; wait as long as Retry-After says.")
        fault = self._trial.take_fault(request.path)
        if fault is not None:
            raise ApiError(fault, "The service is unavailable (asked for by a trial).")
        await self._trial.hang(request.path)
        if control:
            response = self._control.handle(request, entry)
            if request.method == "POST":
                await self._open_indexes()
            return response
        index = self._index_at(request.port)
        entry.index = index.name
        return self._data.handle(index, request, entry)

    def _authorise(self, request: Request, control: bool) -> None:
        given = request.headers.get("api-key", "").encode()
        if hmac.compare_digest(given, self._config.key.encode()):
            return
        reader = self._config.reader_key
        if reader is None or not hmac.compare_digest(given, reader.encode()):
            raise ApiError(401, "Invalid API key")
        if (request.method != "GET") if control else self._data.is_write(request):
            raise ApiError(403, "This API key may only read.")

    def _index_at(self, port: int) -> Index:
        for index in self._store.indexes.values():
            if index.description["port"] == port:
                return index
        raise ApiError(404, "No index is served at this host.")

    def _handle_trial(self, request: Request) -> Response:
        if request.headers.get("x-trial") != "1":
            return ApiError(404, "There is no such path.").response(control=False)
        try:
            if request.method == "POST":
                self._trial.change(limits.parse_object(request.body))
                self._apply_lag()
        except (ApiError, ValueError) as error:
            return json_response({"message": str(error)}, 400)
        return json_response(self._trial.shown())
