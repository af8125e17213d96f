"""One tenant's data, or every tenant's, in every system of its region: the same on each run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from demo.platform.cast import CUSTOMERS, Customer
from demo.platform.seed import rows, stores, traces

Written = dict[str, int]  # system -> records


def seed(stack: dict[str, Any], customers: Iterable[Customer] = CUSTOMERS, *, scale: int = 1) -> Written:
    """Replaces the data of `customers` in their home regions; `scale` multiplies the documents of tenant 17.

    Returns how many records each system got.
    """
    written: Written = {}
    for customer in customers:
        for system, count in _tenant(stack["regions"][customer.region], customer, scale).items():
            written[system] = written.get(system, 0) + count
    return written


def _tenant(place: dict[str, Any], customer: Customer, scale: int) -> Written:
    return {
        "postgresql": rows.seed(place["postgres"], customer, scale),
        "s3": stores.objects(place["s3"], customer, scale),
        "pinecone": stores.vectors(place["pinecone"], customer, scale),
        "redis": stores.keys(place["redis"], customer, scale),
        "cloudwatch": traces.logs(place["logs"], customer, scale),
        "analytics": traces.metrics(place, customer),
    }
