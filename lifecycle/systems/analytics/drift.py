"""Labels of the live Prometheus that look personal and that the data map does not classify."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx

from lifecycle.datamap.model import DataMap
from lifecycle.systems import clients
from lifecycle.systems.analytics.prometheus import CANARY_LABEL, EVER, translated

# Parts of a label's name that say it names a person, a tenant or what identifies them.
_PERSONAL = {
    "user", "users", "username", "userid", "uid", "customer", "account", "email", "mail", "person", "owner",
    "author", "member", "subject", "tenant", "org", "organisation", "organization", "ip", "phone",
}  # fmt: skip
_COMMON = {
    "__name__",
    "job",
    "instance",
    "le",
    "quantile",
    "code",
    "status",
    "method",
    "handler",
    CANARY_LABEL,
}
_MAIL = re.compile(r"[^@\s/]+@[^@\s/]+\.[a-z]{2,}", re.IGNORECASE)


def unclassified(place: Mapping[str, str], datamap: DataMap) -> list[str]:
    """Sentences that name each label that looks personal (by its name, mail addresses or users' ids in its values) and
    that nobody classified; [] when there is none."""
    if not place.get("prometheus"):
        return []
    metrics = datamap.metrics
    with (
        httpx.Client(base_url=place["prometheus"], timeout=60, verify=clients.trust()) as client,
        translated("Prometheus"),
    ):
        names = (
            set(_get(client, "labels"))
            - _COMMON
            - {metrics.tenant_label, metrics.user_label, *metrics.kept_labels}
        )
        known = {each for each in _get(client, f"label/{metrics.user_label}/values") if _telling(each)}
        found = [
            (name, reason)
            for name in sorted(names)
            if (reason := _reason(name, _get(client, f"label/{name}/values"), known))
            and _has_samples(client, name)
        ]
    return [
        f"Prometheus label `{name}` {reason}, but the data map does not classify it."
        for name, reason in found
    ]


def _get(client: httpx.Client, path: str) -> list[str]:
    answer = client.get(f"/api/v1/{path}")
    answer.raise_for_status()
    values: list[str] = answer.json()["data"]
    return values


def _has_samples(client: httpx.Client, name: str) -> bool:
    """Whether a label is still in use: the index lists it for hours after its last sample was deleted."""
    query = f'count(last_over_time({{{name}!=""}}[{EVER}]))'
    answer = client.post("/api/v1/query", data={"query": query})
    answer.raise_for_status()
    return bool(answer.json()["data"]["result"])


def _telling(user: str) -> bool:
    """Whether an id is long enough that it does not stand in other labels by chance."""
    return len(user) >= 4 and not user.isdigit()


def _reason(name: str, values: list[str], users: set[str]) -> str:
    words = set(re.split(r"[_\W]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    if words & _PERSONAL:
        return "looks personal by its name"
    if any(_MAIL.fullmatch(value) for value in values):
        return "holds mail addresses"
    if any(value in users for value in values):
        return "holds ids of users"
    return ""
