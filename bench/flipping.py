"""How long writes pause when a tenant's owner changes, seen by writers of 300 writes a second."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Mapping
from functools import partial

import psycopg2

from lifecycle.participation import Fenced, NotOwner, OutcomeUnknown, Participant
from lifecycle.watchdog import flip
from lifecycle.watchdog.flip import Change, Side
from lifecycle.watchdog.leases import Leases
from lifecycle.watchdog.lines import Line

RATE, THREADS = 300.0, 8
_BETWEEN = 1.0
_WRITE = "INSERT INTO queries (tenant_id, user_id, body) VALUES (%s, 'u0', 'What is in the report?')"


def pause_of_writes(dsn: Mapping[str, str], name: str, tenant: str, flips: int) -> float:
    """Flips forth and back; the median of the longest times without an acknowledged write, in ms.

    `dsn` by region, blue first; `name` of the move whose streams stand in both directions.
    """
    blue, green = dsn
    acknowledged: list[float] = []
    stop = threading.Event()
    writers = [
        threading.Thread(target=_write, args=(dsn, tenant, acknowledged, stop), daemon=True)
        for _ in range(THREADS)
    ]
    for each in writers:
        each.start()
    pauses: list[float] = []
    try:
        time.sleep(_BETWEEN)
        for number in range(flips):
            forth = number % 2 == 0
            old, new = (blue, green) if forth else (green, blue)
            began = time.monotonic()
            flip.run(
                Change(
                    tenant,
                    Side(old, Line(dsn[old]), Leases()),
                    Side(new, Line(dsn[new]), Leases()),
                    epoch=number + 2,
                    lease=False,
                    stream=f"mv_{name}_{'fwd' if forth else 'rev'}",
                    lossy=False,
                )
            )
            time.sleep(_BETWEEN)
            seen = sorted(at for at in acknowledged if at >= began)
            pauses.append(max(b - a for a, b in itertools.pairwise(seen)))
    finally:
        stop.set()
        for each in writers:
            each.join()
    return sorted(pauses)[len(pauses) // 2] * 1000


def _write(dsn: Mapping[str, str], tenant: str, acknowledged: list[float], stop: threading.Event) -> None:
    doors = {region: Participant(region, partial(psycopg2.connect, at)) for region, at in dsn.items()}
    region = next(iter(dsn))
    while not stop.is_set():
        began = time.monotonic()
        try:
            with doors[region].write(tenant) as writing:
                writing.cursor.execute(_WRITE, [tenant])
            acknowledged.append(time.monotonic())
        except NotOwner:
            region = next(each for each in dsn if each != region)
            continue
        except (Fenced, OutcomeUnknown):
            stop.wait(0.002)
            continue
        stop.wait(max(0.0, THREADS / RATE - (time.monotonic() - began)))
    for each in doors.values():
        each.close()
