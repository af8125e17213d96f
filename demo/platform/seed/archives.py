"""One archive per tenant in the backups' catalogue, sealed per person."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from demo.platform.cast import Customer, full_name, mail
from demo.platform.seed.content import DAWN, documents
from lifecycle.systems.backups import archive
from lifecycle.systems.backups.keys import Keys
from lifecycle.systems.backups.layout import Row

NAME = "seeded"


def archives(place: dict[str, str], customer: Customer, scale: int) -> int:
    """Rows archived; 0 where the archive stands, because archives are never written again."""
    catalogue = archive.connect(place)
    if catalogue.manifest(customer.id, NAME) is not None:
        return 0
    made = archive.create(catalogue, customer.id, _rows(catalogue.keys, customer, scale), archive=NAME)
    return sum(part.rows for part in made.parts)


def _rows(keys: Keys, customer: Customer, scale: int) -> Iterator[Row]:
    tenant = customer.id
    person = {user: keys.pseudonym(tenant, user) for user in customer.users}
    for user in customer.users:
        account = {"user_id": user, "email": mail(tenant, user), "full_name": full_name(tenant, user)}
        invoice = {
            "user_id": user,
            "amount_cents": 990,
            "billed_to": full_name(tenant, user),
            "issued_at": str(DAWN),
        }
        yield Row(person[user], "account", "users", _json(account))
        yield Row(person[user], "invoices", "invoices", _json(invoice))
    for each in documents(customer, scale):
        row = {"id": each.id, "owner_id": each.owner, "title": each.title, "s3_key": each.s3_key}
        yield Row(person[each.owner], "content", "documents", _json(row))
        yield Row(person[each.owner], "content", "object", each.body)
    yield Row("", "messages", "conversations", _json({"topic": "quarter"}))


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
