"""Who may move: one move per tenant, never one under erasure; and whose turn it is to copy, first come, first served."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.db import connection, transaction
from django.db.models import QuerySet

from compliance.actors import SYSTEM
from compliance.models import ErasureRequest
from lifecycle.engine import runs
from lifecycle.migration import states
from lifecycle.models import Environment, Migration, Run, Tenant, Undo

S = Migration.State
_LOCK = 7_040_002
_ERASING = (
    ErasureRequest.State.SCHEDULED,
    ErasureRequest.State.EXECUTING,
    ErasureRequest.State.VERIFYING,
    ErasureRequest.State.CERTIFYING,
    ErasureRequest.State.REOPENED,
    ErasureRequest.State.BLOCKED_BY_HOLD,
)


def reasons(tenant: Tenant, region: str, *, besides: Migration | None = None) -> list[str]:
    """Why the tenant can't move to the region now; [] where nothing of ours stands in the way."""
    found: list[str] = []
    if tenant.status != Tenant.Status.ACTIVE:
        found.append(f"Tenant {tenant.pk} is {tenant.get_status_display()}: only an active one moves.")
    if tenant.home_region == region:
        found.append(f"Tenant {tenant.pk} is at home in {region} already.")
    others = Migration.objects.filter(tenant=tenant).exclude(pk=besides.pk if besides else "")
    live = others.exclude(state__in=Migration.ENDED).first()
    if live is not None:
        found.append(f"Tenant {tenant.pk} is being moved by {live.pk}. End that move first.")
    open_ = Undo.objects.filter(undone_at=None, run__in=others.values("run")).select_related("run").first()
    if open_ is not None and (live is None or open_.run.subject != live.pk):
        found.append(
            f"Move {open_.run.subject} has left things that are not undone yet. Cancel it, or wait until it is cleaned up."
        )
    kept = Environment.objects.filter(
        tenant=tenant, role=Environment.Role.KEPT_GREEN, gone_at=None, region=region
    ).first()
    if kept is not None:
        found.append(
            f"Green of an earlier move is kept in {region} for its post-mortem. Run `migration discard` first."
        )
    return found + erasing(tenant)


def erasing(tenant: Tenant) -> list[str]:
    """Why an erasure forbids the move."""
    under_way = ErasureRequest.objects.filter(tenant_id=tenant.pk, state__in=_ERASING).first()
    if under_way is None:
        return []
    return [
        f"Erasure {under_way.pk} of tenant {tenant.pk} is under way: a tenant moves before it or after it, not meanwhile."
    ]


def take_turn(migration: Migration) -> str:
    """Takes a place among the copying moves of both regions' databases; '' once it has one, else why it waits.

    At most `copying_per_database` copy at once; who was started first is served first. A paused move keeps its place in
    the copy, and gives up its place in the queue.
    """
    return _take(migration, S.PROVISIONING_GREEN, turn, S.INITIAL_SYNC)


def take_provisioning(migration: Migration) -> str:
    """Takes a place among the moves whose green is being made; '' once it has one, else why it waits.

    Each may start programs of the provisioner's; as many at once as copy, first come, first served.
    """
    return _take(migration, S.INITIATED, _making, S.PROVISIONING_GREEN)


def _take(
    migration: Migration,
    waits_in: Migration.State,
    why_it_waits: Callable[[Migration], str],
    goes_to: Migration.State,
) -> str:
    """One move at a time looks for a place and takes it. '' too where it went on already."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        row = states.locked(migration)
        if row.state != waits_in:
            return ""
        if why := why_it_waits(row):
            return why
        states.move(row, goes_to, actor=SYSTEM)
    migration.refresh_from_db()
    return ""


def _making(row: Migration) -> str:
    limit = int(settings.MIGRATION["copying_per_database"])
    running = Migration.objects.filter(
        run__state=Run.State.RUNNING, run__pause_requested=False, run__cancel_requested=False
    )
    making = running.filter(state=S.PROVISIONING_GREEN, target=None).count()
    before = running.filter(state=S.INITIATED, started_at__lt=row.started_at).exclude(pk=row.pk).count()
    if making + before >= limit:
        return f"Green of {making} moves is being made and {before} wait before this one; at most {limit} at once."
    return ""


def turn(migration: Migration) -> str:
    """Why it is not this move's turn yet, as it looks now; '' where it is. `take_turn` takes it."""
    if migration.state != S.PROVISIONING_GREEN:
        return ""
    limit = int(settings.MIGRATION["copying_per_database"])
    for region in (migration.source_region, migration.target_region):
        copying = _of(region, S.INITIAL_SYNC).count()
        before = _earlier(migration, region)
        if copying + before >= limit:
            return f"{copying} moves copy from or to {region} and {before} wait before this one; at most {limit} copy at once."
    return ""


def waiting() -> int:
    """How many moves wait for their turn: the more, the seldomer each looks. Whoever is next is woken (`call_next`)."""
    return Migration.objects.filter(state__in=(S.INITIATED, S.PROVISIONING_GREEN), run__isnull=False).count()


def call_next(migration: Migration) -> None:
    """A place is free: who waits for one at either database looks now."""
    for region in (migration.source_region, migration.target_region):
        _wake(_of(region, S.PROVISIONING_GREEN))


def call_next_provisioning() -> None:
    """Green of one move is made: who waits to have its own made looks now."""
    _wake(Migration.objects.filter(state=S.INITIATED))


def _wake(waiting: QuerySet[Migration]) -> None:
    first = waiting.filter(run__state=Run.State.RUNNING).order_by("started_at").first()
    if first is not None and first.run_id:
        runs.wake(Run.objects.get(pk=first.run_id))


def _of(region: str, state: Migration.State) -> QuerySet[Migration]:
    here = Migration.objects.filter(state=state)
    return here.filter(source_region=region) | here.filter(target_region=region)


def _earlier(row: Migration, region: str) -> int:
    waiting = _of(region, S.PROVISIONING_GREEN).filter(
        run__state=Run.State.RUNNING, run__pause_requested=False
    )
    return waiting.filter(started_at__lt=row.started_at).exclude(pk=row.pk).count()
