"""Put a hold's data under the provider's own hold, outside the fence's lock, as a durable run."""

from __future__ import annotations

import hashlib
from contextlib import closing
from datetime import timedelta
from typing import Any

from django.utils import timezone

from compliance.actions import holds
from compliance.actors import SYSTEM
from compliance.keystore import default as keystore
from compliance.models import ErasureRequest, LegalHold
from compliance.sealing import seal, unseal
from lifecycle import places, tenants
from lifecycle.engine import runs
from lifecycle.engine.outcomes import Done, More, Outcome, Wait
from lifecycle.engine.workflow import Context
from lifecycle.erasure import actions, gates
from lifecycle.erasure.freeing import PRESERVATION
from lifecycle.erasure.steps import plant
from lifecycle.models import Canary, Environment, ErasureCase, Preserved, Run
from lifecycle.preservation import expiry, scopes
from lifecycle.preservation.locking import alone
from lifecycle.systems import registry
from lifecycle.systems.base import Item, Page, Permanent, Preserver, Scope

LETTING_GO = "letting_go"
PAGE = 1_000


def preserve(context: Context) -> Outcome:
    """One slice: legal holds on the objects in scope, counted by reference, so that another hold's release keeps them."""
    hold = LegalHold.objects.get(pk=context.run.subject)
    if hold.category and hold.category != "content":
        return Done({"preserved": 0})
    cursor: dict[str, Any] = context.cursor or {"environment": 0, "inner": None, "count": 0}
    found = scopes.environments(hold)
    scope = scopes.of(hold)
    while cursor["environment"] < len(found):
        environment = found[cursor["environment"]]
        adapter = registry.preserver(places.place(environment, "s3"), tenants.current_map())
        try:
            page = _page(hold, environment, adapter, scope, cursor["inner"])
        except Permanent as failure:
            hold.already_gone = [*hold.already_gone, {"environment": environment.pk, "why": str(failure)}]
            hold.save(update_fields=["already_gone"])
            cursor = {"environment": cursor["environment"] + 1, "inner": None, "count": cursor["count"]}
            continue
        finally:
            adapter.close()
        context.heartbeat()
        cursor = {**cursor, "inner": page.cursor, "count": cursor["count"] + len(page.entries)}
        if page.cursor is None:
            cursor = {"environment": cursor["environment"] + 1, "inner": None, "count": cursor["count"]}
        hold.refresh_from_db()
        if (
            hold.state not in LegalHold.BLOCKING
        ):  # released meanwhile; `record` sees to what was held until now
            break
        if context.time_left() <= 0:
            return More(cursor, done=cursor["count"], unit="objects")
    return Done({"preserved": cursor["count"]})


def _page(
    hold: LegalHold, environment: Environment, adapter: Preserver, scope: Scope, inner: Any
) -> Page[Item]:
    """One page of objects held and remembered. Our own canaries are left out: they are lifted meanwhile."""
    key = keystore().get_or_create(f"hold/{hold.pk}")
    with alone(f"objects of {environment.pk}"):
        page = adapter.preserve(scope, inner, leave_out=_markers(hold))
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
    return page


def _markers(hold: LegalHold) -> tuple[str, ...]:
    planted = Canary.objects.filter(line__case__request__tenant_id=hold.tenant_id, line__system="s3").exclude(
        state=Canary.State.GONE
    )
    return tuple(planted.values_list("marker", flat=True))


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
    said = {"s3": count, **expiry.counts(hold)}
    holds.record_preserved(hold, actor=SYSTEM, preserved=said, already_gone=hold.already_gone)
    if hold.state not in LegalHold.BLOCKING:
        runs.start(LETTING_GO, hold.pk, tenant_id=hold.tenant_id, actor=SYSTEM)
    return Done(said)


def release(context: Context) -> Outcome:
    """One slice: takes the provider's hold off what no other hold keeps, a page of versions at a time."""
    hold = LegalHold.objects.get(pk=context.run.subject)
    if Run.objects.filter(workflow=PRESERVATION, subject=hold.pk, state=Run.State.RUNNING).exists():
        return Wait(timezone.now() + timedelta(seconds=2), "The hold's data is still being preserved.")
    freed = int((context.cursor or {}).get("freed", 0))
    for environment in scopes.environments(hold):
        with closing(registry.preserver(places.place(environment, "s3"), tenants.current_map())) as adapter:
            while page := list(
                Preserved.objects.filter(hold=hold, environment=environment, system="s3")[:PAGE]
            ):
                if context.time_left() <= 0:
                    return More({"freed": freed}, done=freed, unit="objects")
                freed += _let_go(hold, environment, adapter, page)
                context.heartbeat()
    _wake_waiting(hold.tenant_id)
    return Done({"released": freed})


def _wake_waiting(tenant_id: str) -> None:
    """Erasures that wait for this, or that met a lock without a date, which may have been the one that is off now."""
    for request in ErasureRequest.objects.filter(tenant_id=tenant_id, state__in=gates.WORKING):
        actions.wake(request)


def _let_go(hold: LegalHold, environment: Environment, adapter: Preserver, page: list[Preserved]) -> int:
    key = keystore().get(f"hold/{hold.pk}")
    with alone(f"objects of {environment.pk}"):
        shared = set(
            Preserved.objects.filter(
                environment=environment, system="s3", key_hash__in=[each.key_hash for each in page]
            )
            .exclude(hold=hold)
            .filter(hold__state__in=LegalHold.BLOCKING)
            .values_list("key_hash", flat=True)
        )
        items = [
            Item("object_version", unseal(key, bytes(each.sealed_key), f"preserved/{hold.pk}").decode())
            for each in page
            if each.key_hash not in shared
        ]
        adapter.release(items)
        Preserved.objects.filter(pk__in=[each.pk for each in page]).delete()
    return len(items)


def _hash(item: Item) -> str:
    return hashlib.sha256(f"{item.kind}\0{item.key}".encode()).hexdigest()
