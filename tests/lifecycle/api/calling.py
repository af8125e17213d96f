"""A caller of the API: one bearer token, paths below /api/v1/."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from compliance.actions import tokens
from compliance.actors import AUDITOR, SYSTEM, person
from tests.compliance import building

SCOPES = ("read", "request", "decide", "hold", "run")


@dataclass
class Caller:
    """Calls with one token; without one where `token` is empty."""

    token: str = ""
    client: Client = field(default_factory=Client)

    def get(self, path: str) -> Any:
        """GET."""
        return self.client.get(f"/api/v1/{path}", headers=self._headers())

    def post(self, path: str, **body: Any) -> Any:
        """POST of a JSON document."""
        return self.client.post(
            f"/api/v1/{path}", body, content_type="application/json", headers=self._headers()
        )

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


def caller(name: str, *scopes: str, tenant_id: str = "acme", requested_by: str = building.ADMIN) -> Caller:
    """One whose token, with these scopes (all where none is given), belongs to the account `name`."""
    user = User.objects.get(username=name)
    actor = person(user)
    own = actor.roles not in (frozenset(), frozenset({AUDITOR}))
    wanted = scopes or (SCOPES if own else SCOPES[:2])
    _, clear = tokens.issue(
        actor=actor if own else SYSTEM,
        user=user,
        tenant_id=tenant_id,
        name="test",
        scopes=wanted,
        requested_by=requested_by,
    )
    return Caller(clear)


def reasons(response: Any, status: int = 409) -> str:
    """Why it was refused, with this status."""
    assert response.status_code == status, (response.status_code, response.content)
    said = response.json()
    assert set(said) == {"error", "reasons"}
    return " ".join([said["error"], *said["reasons"]])


def answer(response: Any, status: int = 200) -> Any:
    """What was answered."""
    assert response.status_code == status, (response.status_code, response.content)
    return response.json()
