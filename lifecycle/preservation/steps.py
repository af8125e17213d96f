"""Put a hold's data under the provider's own hold, outside the fence's lock, as a durable run."""

from __future__ import annotations

import hashlib
from typing import Any

from compliance.actions import holds
from compliance.actors import SYSTEM
from compliance.keystore import default as keystore
from compliance.models import ErasureRequest, LegalHold
from compliance.sealing import seal, unseal
from lifecycle import places, tenants
from lifecycle.engine.outcomes import Done, More, Outcome
from lifecycle.engine.workflow import Context
from lifecycle.erasure.steps import plant
from lifecycle.models import ErasureCase, Preserved
from lifecycle.preservation import scopes
from lifecycle.systems.base import Item, Permanent
from lifecycle.systems.s3 import preserver as s3


def preserve(context: Context) -> Outcome:
    """One slice: legal holds on the objects in scope, counted by reference, so that another hold's release keeps them."""
    hold = LegalHold.objects.get(pk=context.run.subject)
    if hold.category and hold.category != "content":
        return Done({"preserved": 0})
    cursor: dict[str, Any] = context.cursor or {"environment": 0, "inner": None, "count": 0}
    found = scopes.environments(hold)
    scope = scopes.of(hold)
    key = keystore().get_or_create(f"hold/{hold.pk}")
    while cursor["environment"] < len(found):
        environment = found[cursor["environment"]]
        adapter = s3.connect(places.place(environment, "s3"), tenants.current_map())
        try:
            page = adapter.preserve(scope, cursor["inner"])
        except Permanent as failure:
            hold.already_gone = [*hold.already_gone, {"environment": environment.pk, "why": str(failure)}]
            hold.save(update_fields=["already_gone"])
            cursor = {"environment": cursor["environment"] + 1, "inner": None, "count": cursor["count"]}
            continue
        Preserved.objects.bulk_create(
            [
                Preserved(
                    hold=hold,
                    environment=environment,
                    system="s3",
                    key_hash=_hash(item),
                    sealed_key=seal(key, item.key.encode(), f"preserved/{hold.pk}"),
                )
                for item in page.entries
            ],
            ignore_conflicts=True,
        )
        context.heartbeat()
        cursor = {**cursor, "inner": page.cursor, "count": cursor["count"] + len(page.entries)}
        if page.cursor is None:
            cursor = {"environment": cursor["environment"] + 1, "inner": None, "count": cursor["count"]}
        elif context.time_left() <= 0:
            return More(cursor, done=cursor["count"], unit="objects")
    return Done({"preserved": cursor["count"]})


def lift_canaries(context: Context) -> Outcome:
    """Markers of ours come out of what is held; a case that goes on later plants new ones."""
    hold = LegalHold.objects.get(pk=context.run.subject)
    stopped = ErasureRequest.objects.filter(
        tenant_id=hold.tenant_id, state=ErasureRequest.State.BLOCKED_BY_HOLD
    )
    for case in ErasureCase.objects.filter(request__in=stopped):
        for system in sorted(set(case.lines.values_list("system", flat=True))):
            plant.lift(context.run, {"request": case.pk, "system": system})
            context.heartbeat()
    return Done()


def record(context: Context) -> Outcome:
    """The hold says how much it preserved."""
    hold = LegalHold.objects.get(pk=context.run.subject)
    count = Preserved.objects.filter(hold=hold).count()
    holds.record_preserved(hold, actor=SYSTEM, preserved={"s3": count}, already_gone=hold.already_gone)
    return Done({"preserved": count})


def release(hold: LegalHold) -> int:
    """Takes the provider's hold off what no other hold keeps. Returns how many objects were let go."""
    key = keystore().get_or_create(f"hold/{hold.pk}")
    freed = 0
    for environment in scopes.environments(hold):
        own = Preserved.objects.filter(hold=hold, environment=environment, system="s3")
        shared = set(
            Preserved.objects.filter(
                environment=environment, system="s3", key_hash__in=own.values("key_hash")
            )
            .exclude(hold=hold)
            .filter(hold__state__in=LegalHold.BLOCKING)
            .values_list("key_hash", flat=True)
        )
        items = [
            Item("object_version", unseal(key, bytes(each.sealed_key), f"preserved/{hold.pk}").decode())
            for each in own
            if each.key_hash not in shared
        ]
        if items:
            s3.connect(places.place(environment, "s3"), tenants.current_map()).release(items)
        freed += len(items)
        own.delete()
    return freed


def _hash(item: Item) -> str:
    return hashlib.sha256(f"{item.kind}\0{item.key}".encode()).hexdigest()
