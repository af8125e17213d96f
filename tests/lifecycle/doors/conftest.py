"""The application's own database role, people and a tenant: as in production, with real commits."""

from __future__ import annotations

import pytest

from compliance.actors import Actor
from tests.compliance import building
from tests.compliance.conftest import application_role

__all__ = ["application_role"]


@pytest.fixture
def actors(application_role: str) -> dict[str, Actor]:
    """People of every role, and their tenant."""
    building.tenant()
    return building.people()
