"""People and a tenant, as the tests of the judging side have them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.compliance.conftest import acme, actors

__all__ = ["acme", "actors"]


@pytest.fixture(autouse=True)
def _people(actors: object, acme: object) -> Iterator[None]:
    """Every test has them."""
    yield
