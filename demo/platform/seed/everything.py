"""One tenant's data, or every tenant's, in every system of its region: the same on each run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from demo.platform.cast import CUSTOMERS, Customer
from demo.platform.seed import archives, rows, stores, traces

Written = dict[str, int]  # system -> records


def seed(stack: dict[str, Any], customers: Iterable[Customer] = CUSTOMERS, *, scale: int = 1) -> Written:
    """Replaces the data of `customers` in their home regions; `scale` multiplies the documents of tenant 17.

    Returns how many records each system got.
    """
    written: Written = {}
    for customer in customers:
        backups = {**stack["backups"], "keystore": stack["keystore"]}
        for system, count in _tenant(stack["regions"][customer.region], backups, customer, scale).items():
            written[system] = written.get(system, 0) + count
    return written


def seed_missing(stack: dict[str, Any], known: Iterable[str]) -> Written:
    """Seeds tenants that `known` does not name. The others keep what was erased from them erased.

    Those only get their log lines back where a restart of the stack lost them (CloudWatch is held in memory),
    and only the lines of users who are still there.
    """
    known = set(known)
    written = seed(stack, [each for each in CUSTOMERS if each.id not in known])
    for customer in (each for each in CUSTOMERS if each.id in known):
        place = stack["regions"][customer.region]
        users = rows.living(place["postgres"], customer)
        if users and not traces.has_logs(place["logs"], customer):
            count = traces.logs(place["logs"], replace(customer, users=users), 1)
            written["cloudwatch"] = written.get("cloudwatch", 0) + count
    return written


def _tenant(place: dict[str, Any], backups: dict[str, str], customer: Customer, scale: int) -> Written:
    return {
        "postgresql": rows.seed(place["postgres"], customer, scale),
        "s3": stores.objects(place["s3"], customer, scale),
        "pinecone": stores.vectors(place["pinecone"], customer, scale),
        "redis": stores.keys(place["redis"], customer, scale),
        "cloudwatch": traces.logs(place["logs"], customer, scale),
        "backups": archives.archives(backups, customer, scale),
        "analytics": traces.metrics(place, customer),
    }
