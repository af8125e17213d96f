"""Fixtures of the analytics tests: the stack's Prometheus and Datadog."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lifecycle.systems.analytics.eraser import AnalyticsEraser
from lifecycle.systems.analytics.eraser import connect as connect_eraser
from lifecycle.systems.analytics.verifier import AnalyticsVerifier
from lifecycle.systems.analytics.verifier import connect as connect_verifier
from tests.lifecycle.systems.analytics.parts import MAP, Platform


@pytest.fixture(scope="session")
def platform(stack: dict[str, Any]) -> Platform:
    region = stack["regions"]["us-west-2"]
    return Platform({name: region[name] for name in ("prometheus", "datadog", "datadog_key")})


@pytest.fixture
def eraser(platform: Platform) -> Iterator[AnalyticsEraser]:
    made = connect_eraser(platform.place, MAP)
    yield made
    made.close()


@pytest.fixture
def verifier(platform: Platform) -> Iterator[AnalyticsVerifier]:
    made = connect_verifier(platform.place, MAP)
    yield made
    made.close()
