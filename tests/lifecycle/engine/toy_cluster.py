"""A process of its own: the real supervisor and workers on the test database, with a workflow that leaves traces.

`python -m tests.lifecycle.engine.toy_cluster DATABASE FOLDER`. Each slice leaves one file in FOLDER, as an idempotent
call to the outside world would, and one line per call in `calls`.
"""

import sys
import time
from datetime import timedelta
from pathlib import Path

import django
from django.conf import settings

CHUNKS = 3
PLAN = [
    ("begin", 1, ""),
    *[(name, stage, lane) for stage, name in ((2, "erase"), (3, "verify")) for lane in "abc"],
    ("end", 4, ""),
]


def main(database: str, folder: Path) -> None:
    settings.DATABASES["default"]["NAME"] = database
    django.setup()
    from lifecycle.engine import cluster, leases
    from lifecycle.engine.outcomes import Done, More, Outcome
    from lifecycle.engine.workflow import Context, StepSpec, Workflow, register

    leases.BEAT_EVERY, leases.STALE, cluster.SWEEP_EVERY = 0.5, timedelta(seconds=4), 1.0

    def work(context: Context) -> Outcome:
        at = context.cursor or 0
        name = f"{context.run.pk} {context.step.name} {context.step.lane} {at}"
        with (folder / "calls").open("a") as calls:
            calls.write(name + "\n")
        (folder / name).touch()
        wait = 30.0 if context.step.name == "slow" else 0.15
        until = time.monotonic() + wait
        while time.monotonic() < until and context.time_left() > 0:
            time.sleep(0.02)
        context.heartbeat()
        return More(at + 1, at + 1, CHUNKS, "chunks") if at + 1 < CHUNKS else Done({"chunks": CHUNKS})

    def steps(run: object) -> list[StepSpec]:
        queue = {"a": "default", "b": "long", "c": "long"}
        slow = [StepSpec("slow", 1, run=work)] if getattr(run, "tenant_id", "") == "slow" else []
        return slow or [
            StepSpec(name, stage, lane, work, queue.get(lane, "default")) for name, stage, lane in PLAN
        ]

    register(Workflow("traces", steps))
    cluster.guard(lambda: cluster.Supervisor({"default": 2, "long": 2}).run())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
