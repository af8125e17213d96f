"""From a request to its answer: who may, where it belongs, what is tried again, what is said when nothing is known."""

from __future__ import annotations

import hmac
import http.client
import json
import select
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from demo.platform.parts import Closed
from demo.service.faults import Faults
from demo.service.metrics import Metrics
from demo.service.rag import Absent, Behind, Service, new_id
from demo.service.stores import Document
from lifecycle.participation import Fenced, NotOwner, OutcomeUnknown

TRIES_FOR = 2.0  # seconds in which a fence passes
FORWARD_TIMEOUT = 4.0
LOOKS_AGAIN = 0.25  # how long another region may take to answer before we look whether it is still the owner
MISDIRECTED = 421


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def tenant(self) -> str:
        return self.headers.get("x-tenant", "") or parse_qs(urlsplit(self.path).query).get("tenant", [""])[0]

    @property
    def user(self) -> str:
        return self.headers.get("x-user", "")

    @property
    def route(self) -> str:
        return urlsplit(self.path).path

    def json(self, *names: str) -> list[str]:
        """Text fields of the body. Raises ValueError naming what is missing."""
        value = json.loads(self.body or b"{}")
        found = [value.get(name) if isinstance(value, dict) else None for name in names]
        if not all(isinstance(each, str) and each for each in found):
            raise ValueError(f"The body must be JSON with the texts {', '.join(names)}.")
        return [str(each) for each in found]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"


def said(status: int, value: Any, **headers: str) -> Answer:
    """An answer with a JSON body; `_` in a header's name stands for `-`."""
    return Answer(
        status, json.dumps(value).encode(), {name.replace("_", "-"): text for name, text in headers.items()}
    )


def sorry(sentence: str) -> Answer:
    """503: nothing is known to be written."""
    return said(503, {"error": sentence}, Retry_After="1")


class Desk:
    """Answers every request of one region's service. `peers`: address of each region's service."""

    def __init__(self, service: Service, peers: Mapping[str, str], trial_key: str) -> None:
        self._service, self._peers, self._trial_key = service, peers, trial_key
        self.faults, self.metrics = Faults(), Metrics(service.region)

    def answer(self, request: Request) -> Answer:
        """Never raises."""
        counted = request.route.startswith(("/documents", "/search"))
        began = time.monotonic()
        answer = self._guarded(request)
        if counted and request.tenant:
            kind = "read" if request.method == "GET" or request.route.startswith("/search") else "write"
            self.metrics.count(request.tenant, kind, answer.status, time.monotonic() - began)
        return answer

    def _guarded(self, request: Request) -> Answer:
        if request.route == "/_alive":
            return said(200, {})
        if request.route == "/metrics":
            return Answer(200, self.metrics.text().encode(), kind="text/plain; version=0.0.4")
        if request.route == "/_faults":
            return self._switch(request)
        self.faults.hold_up(request.tenant)
        if request.route != "/healthz" and self.faults.meets("errors", request.tenant):
            return said(500, {"error": "A trial's fault."})
        try:
            return self._routed(request)
        except Closed as error:
            return said(403, {"error": str(error)})
        except Absent as error:
            return said(404, {"error": str(error)})
        except ValueError as error:
            return said(400, {"error": str(error) if "texts" in str(error) else "The request is malformed."})
        except Exception as error:  # whatever a store raises; its text may quote data
            return sorry(f"A store of this region does not answer ({type(error).__name__}); try again.")

    def _switch(self, request: Request) -> Answer:
        if not hmac.compare_digest(request.headers.get("x-trial-key", ""), self._trial_key):
            return said(403, {"error": "Only a trial that knows its key switches faults."})
        if request.method == "DELETE":
            self.faults.clear()
        else:
            try:
                self.faults.switch_on(json.loads(request.body))
            except (ValueError, TypeError) as error:
                return said(400, {"error": str(error)})
        return said(200, {})

    def _routed(self, request: Request) -> Answer:
        if request.route == "/healthz":
            self._service.check()
            return said(200, {"region": self._service.region})
        if not request.tenant:
            raise ValueError("malformed")
        match request.method, request.route.strip("/").split("/"):
            case "POST", ["documents"]:
                title, text = request.json("title", "text")
                document = Document(request.tenant, self._user(request), new_id(), title, text)
                return self._written(request, lambda: (201, document.id, self._service.ingest(document)))
            case "DELETE", ["documents", name]:
                user = self._user(request)
                return self._written(
                    request, lambda: (200, name, self._service.delete(request.tenant, user, name))
                )
            case "GET", ["documents"]:
                return self._read(
                    request, lambda mark: {"documents": self._service.documents(request.tenant, mark)}
                )
            case "POST", ["search"]:
                (question,) = request.json("question")
                return self._read(request, lambda mark: self._search(request, question, mark))
            case "GET", ["_golden"]:
                return self._golden(request)
            case "POST", ["_golden"]:
                tenant = request.tenant
                return self._written(request, lambda: (200, str(self._service.golden_write(tenant)), ""))
        raise Absent("There is nothing under this address.")

    def _search(self, request: Request, question: str, mark: str) -> dict[str, list[str]]:
        found = self._service.search(request.tenant, self._user(request), question, mark)
        if self.faults.meets("wrong", request.tenant):
            found["answers"] = ["A wrong answer." for _ in found["answers"]]
        return found

    def _golden(self, request: Request) -> Answer:
        if self.faults.meets("wrong", request.tenant):
            return said(200, {"answer": "0" * 64})
        try:
            return said(200, {"answer": self._service.golden(request.tenant)})
        except Absent:
            made = self._routed(Request("POST", request.path, request.headers, b""))
            if made.status != 200:
                return made
            return said(200, {"answer": self._service.golden(request.tenant)})

    def _user(self, request: Request) -> str:
        if not request.user:
            raise ValueError("malformed")
        return request.user

    def _read(self, request: Request, work: Callable[[str], Any]) -> Answer:
        forwarded = "x-forwarded-region" in request.headers
        try:
            return said(200, work("" if forwarded else request.headers.get("x-last-write", "")))
        except Behind as behind:
            return self._forward(request, behind.owner) or sorry(
                "The owner's region does not answer; try again."
            )

    def _written(self, request: Request, work: Callable[[], tuple[int, str, str]]) -> Answer:
        """Here if this region owns the tenant, else at the owner's; again while the owner is being changed."""
        ends = time.monotonic() + TRIES_FOR
        while True:
            try:
                status, name, mark = work()
                region = self._service.region
                return said(status, {"id": name, "region": region, "owner": region}, x_last_write=mark)
            except NotOwner as error:
                if "x-forwarded-region" in request.headers:
                    return said(MISDIRECTED, {"error": "This region does not own the tenant either."})
                answer = self._forward(request, error.owner)
                if answer is not None and answer.status != MISDIRECTED:
                    return answer
            except OutcomeUnknown as error:
                return sorry(str(error))
            except Fenced:
                pass  # tried again below
            if time.monotonic() > ends:
                return sorry("Writes of this tenant are fenced; try again.")
            time.sleep(0.005)

    def _wait(self, asked: socket.socket, tenant: str) -> None:
        """Until the other region answers. Raises TimeoutError once the tenant is owned here: whoever is ill there may
        never answer, and who asked should ask again here."""
        ends = time.monotonic() + FORWARD_TIMEOUT
        answer = select.poll()
        answer.register(asked, select.POLLIN)
        while not answer.poll(LOOKS_AGAIN * 1000):
            if time.monotonic() > ends or self._service.owns(tenant):
                raise TimeoutError

    def _forward(self, request: Request, region: str) -> Answer | None:
        """The answer of another region's service; None where it could not be asked, so that nothing happened there."""
        parts = urlsplit(self._peers.get(region, ""))
        line = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=FORWARD_TIMEOUT)
        try:
            try:
                line.connect()
            except OSError:
                return None
            headers = {
                name: request.headers[name] for name in ("x-tenant", "x-user") if name in request.headers
            }
            headers["x-forwarded-region"] = self._service.region
            line.request(request.method, request.path, request.body, headers)
            self._wait(line.sock, request.tenant)
            response = line.getresponse()
            body = response.read()
            kept = {
                name: response.headers[name]
                for name in ("x-last-write", "Retry-After")
                if name in response.headers
            }
            return Answer(response.status, body, kept)
        except (OSError, http.client.HTTPException):
            return sorry("The outcome is unknown: the owner's region did not answer.")
        finally:
            line.close()
