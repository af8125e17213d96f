"""What the tests of this folder share."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.demo.servers.running import Running

READER = "reader-key"


class Project:
    """Plants and looks with plain requests."""

    def __init__(self, server: Running, key: str) -> None:
        self.server = server
        self._http = httpx.Client(headers={"Api-Key": key}, verify=False)  # noqa: S501 - plain loopback
        self.place = {
            "control_host": server.url,
            "index_host": server.url,
            "index": "rag",
            "key": key,
            "reader_key": READER,
        }

    def ask(self, method: str, path: str, url: str = "", **more: Any) -> dict[str, Any]:
        """One request as administrator."""
        answer = self._http.request(method, (url or self.server.url) + path, **more)
        assert answer.status_code < 300, answer.text
        return dict(answer.json()) if answer.content else {}

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def put(self, namespace: str, vector_id: str, url: str = "", /, **metadata: Any) -> None:
        """Stores one vector; without metadata where none are given."""
        vector = {"id": vector_id, "values": [0.5] * 8} | ({"metadata": metadata} if metadata else {})
        self.ask("POST", "/vectors/upsert", url, json={"vectors": [vector], "namespace": namespace})

    def user(self, tenant: str, user: str, documents: int = 2) -> tuple[str, ...]:
        """Some documents of a user, the last vector of each without metadata; gives their ids."""
        names = tuple(f"doc-{tenant}-{user}-{n}".encode("ascii", "ignore").decode() for n in range(documents))
        for name in names:
            fields = {"tenant_id": tenant, "user_id": user, "document_id": name}
            self.put(f"tenant-{tenant}", f"{name}#0", **fields)
            self.put(f"tenant-{tenant}", f"{name}#1")
        return names

    def ids(self, namespace: str, url: str = "") -> set[str]:
        """What reads show now."""
        body = self.ask("GET", "/vectors/list", url, params={"namespace": namespace, "limit": 100})
        assert not body.get("pagination"), "plant less"
        return {each["id"] for each in body["vectors"]}

    def names(self) -> set[str]:
        """Every namespace that exists."""
        return {each["name"] for each in self.ask("GET", "/namespaces")["namespaces"]}

    def settle(self) -> None:
        """Wait until a write of now is visible: then every one before it in that namespace is, too."""
        marker = f"settle-{time.monotonic_ns()}"
        self.put("settling", marker)
        until(lambda: marker in self.ids("settling"))
        self.ask("DELETE", "/namespaces/settling")
        until(lambda: "settling" not in self.names())


def until(check: Any, seconds: float = 5) -> None:
    """Poll until `check` holds."""
    ends = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < ends, "it did not become true in time"
        time.sleep(0.02)
