"""The second half of `make demo`: a tenant moves to the other region while it is read and written through HAProxy.

Workers, watchdog, applier, both regions' services and the load are processes of their own. What is told of the users'
side comes from the load's ledger, not from ours.
"""

from __future__ import annotations

import json
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2

from demo.load.checking import check
from demo.load.ledger import entries
from demo.load.summary import summary
from demo.program import Failed, Program
from demo.stack.place import REGIONS, read_json

RATE, THREADS = 12.0, 8  # requests a second; two cores also carry all servers of both regions
WARM_UP, QUIET = 3.0, 8.0  # seconds of load that nobody counts; seconds before and after the move
STEPS, STEP_SECONDS, SOAK_SECONDS = "10,25,50,75,100", 2.0, 4.0
WITHIN = 300.0  # seconds from the start to the end of the move
LOAD = "load"


class MoveProof:
    """The move, step by step, on a seeded stack with running workers; each step raises Failed with a sentence."""

    def __init__(self, program: Program, root: Path, tenant: str) -> None:
        self._program, self._root, self._tenant = program, root, tenant
        self._ledger = root / "load.jsonl"
        self._stack: dict[str, Any] = read_json(root / "stack.json")

    def run(self) -> dict[str, Any]:
        """Everything, in order; returns what was proved."""
        source, target = self._regions()
        self._processes(source, target)
        time.sleep(WARM_UP)
        before = time.time()
        time.sleep(QUIET)
        began = time.time()
        plan = self._plan(target)
        self._program.ask("migration", "start", plan["id"], "--as", "engineer", "--digest", plan["digest"])
        self._reach(plan["id"], "traffic_cutover_complete")
        differences = self._compare(plan["id"])
        self._program.ask("migration", "complete", plan["id"], "--as", "engineer2")
        status = self._reach(plan["id"], "completed")
        ended = time.time()
        time.sleep(QUIET)
        after = time.time()
        self._program.stop(LOAD)
        told = {
            "before": summary(self._ledger, before, began),
            "during": summary(self._ledger, began, ended),
            "after": summary(self._ledger, ended, after),
            "all": summary(self._ledger, before, after),
        }
        return self._judge(status, told, differences, target)

    def _regions(self) -> tuple[str, str]:
        rows = {each["id"]: each["home_region"] for each in self._program.ask("tenant", "list")}
        source = rows[self._tenant]
        target = next(each for each in REGIONS if each != source)
        _say(f"\nTenant {self._tenant} is at home in {source}; it moves to {target} while it is used.")
        return source, target

    def _processes(self, *regions: str) -> None:
        for region in regions:
            self._program.manage("datamap", "prepare", "--region", region)
        self._program.start("watchdog", "manage.py", "watchdog")
        self._program.start("applier", "manage.py", "applier")
        self._ledger.unlink(missing_ok=True)
        self._program.start(
            LOAD, "-m", "demo.load", "--tenant", self._tenant, "--rate", str(RATE), "--seconds", "3600",
            "--ledger", str(self._ledger), "--threads", str(THREADS),
        )  # fmt: skip
        _say(
            f"Both regions are prepared; watchdog, applier and workers run. {RATE:g} requests a second, reads and writes, "
            "go through the load balancer from here on."
        )

    def _plan(self, target: str) -> dict[str, Any]:
        made: dict[str, Any] = self._program.ask(
            "migration", "plan", "--tenant", self._tenant, "--to", target, "--as", "engineer",
            "--steps", STEPS, "--step-seconds", str(STEP_SECONDS), "--soak-seconds", str(SOAK_SECONDS),
        )  # fmt: skip
        sizes = made["plan"]["sizes"]
        told = ", ".join(f"{each['items']} {each['unit']}" for each in sizes.values() if each["items"])
        _say(f"Move {made['id']} is planned ({told}), and started by engineer under the plan's digest.")
        return made

    def _reach(self, move: str, goal: str) -> dict[str, Any]:
        status: dict[str, Any] = self._program.follow(
            lambda line: _say(f"  ... {line}"), "migration", "watch", move, "--timeout", str(WITHIN)
        )
        if (fallen := self._program.fallen()) is not None:
            raise Failed(f"{fallen} ended by itself; see {self._root / 'log' / fallen}.log.")
        if status["state"] != goal:
            raise Failed(
                f"Move {move} is {status['state']} and not {goal}. {status['reason'] or status['why']} "
                f"{status['latch_reason']} {json.dumps(status['gates'])}"
            )
        return status

    def _compare(self, move: str) -> int:
        try:
            verified: dict[str, Any] = self._program.ask("migration", "verify", move, "--as", "engineer")
        except Failed as failure:
            status = self._program.ask("migration", "status", move)
            raise Failed(f"Move {move} is {status['state']} ({status['reason']}). {failure}") from failure
        told = ", ".join(f"{number} {unit}" for unit, number in verified["compared"].items())
        _say(
            f"Green owns the writes; compared key by key under load ({told}): {verified['found']} differences."
        )
        return int(verified["found"])

    def _judge(
        self, status: dict[str, Any], told: dict[str, dict[str, Any]], differences: int, target: str
    ) -> dict[str, Any]:
        missing = check(self._ledger, self._stack, self._tenant, target)
        moved = status["moved"]
        flip: dict[str, Any] = status["flip"]
        proved = {
            "move": status["id"],
            "tenant": self._tenant,
            "from": status["source"],
            "to": status["target"],
            "requests": told["all"]["requests"],
            "failed": told["all"]["failed"],
            "p99_before_ms": told["before"]["p99_ms"],
            "p99_during_ms": told["during"]["p99_ms"],
            "p99_after_ms": told["after"]["p99_ms"],
            "write_pause_ms": _pause_of_flip(self._ledger),
            "longest_gap_ms": told["during"]["write_pause_ms"],
            "longest_gap_before_ms": told["before"]["write_pause_ms"],
            "fence_ms": flip.get("pause_ms"),
            "rows": moved.get("postgresql", {}).get("items", 0),
            "bytes": sum(each["bytes"] for each in moved.values()),
            "moved": moved,
            "differences": differences,
            "acknowledged_writes": told["all"]["acknowledged"],
            "acknowledged_writes_missing": len(missing),
            "left_on_blue": self._left(status["source"]),
            "served_by": told["all"]["regions"],
        }
        self._tell(proved)
        self._refuse(proved, told, target)
        return proved

    def _left(self, region: str) -> int:
        """Documents of the tenant that the region's database still has."""
        with (
            closing(psycopg2.connect(self._stack["regions"][region]["postgres"])) as connection,
            connection.cursor() as cursor,
        ):
            cursor.execute("SELECT count(*) FROM documents WHERE tenant_id = %s", [self._tenant])
            return int((cursor.fetchone() or (0,))[0])

    def _tell(self, proved: dict[str, Any]) -> None:
        _say(f"  requests served               {proved['requests']}, {proved['failed']} failed")
        _say(
            f"  p99 before, during, after     {proved['p99_before_ms']:.0f}, {proved['p99_during_ms']:.0f}, "
            f"{proved['p99_after_ms']:.0f} ms"
        )
        _say(
            f"  longest pause of writes       {proved['write_pause_ms']:.0f} ms from blue's last answer to green's first; "
            f"nobody owned them for {proved['fence_ms']} ms of it"
        )
        _say(
            f"  (at this rate of writes       {proved['longest_gap_ms']:.0f} ms at most between any two during the move, "
            f"{proved['longest_gap_before_ms']:.0f} ms before it)"
        )
        _say(f"  moved                         {proved['rows']} rows, {proved['bytes']} bytes in all stores")
        _say(f"  differences                   {proved['differences']}")
        _say(
            f"  acknowledged writes missing   {proved['acknowledged_writes_missing']} of "
            f"{proved['acknowledged_writes']} (row, object and vector of each looked for)"
        )

    def _refuse(self, proved: dict[str, Any], told: dict[str, dict[str, Any]], target: str) -> None:
        wrong = []
        if proved["failed"]:
            wrong.append(f"{proved['failed']} requests failed: {json.dumps(told['all']['failures'])}.")
        if proved["differences"]:
            wrong.append(f"Blue and green differ in {proved['differences']} keys.")
        if proved["acknowledged_writes_missing"]:
            wrong.append(
                f"{proved['acknowledged_writes_missing']} acknowledged writes are not kept in {target}."
            )
        if proved["left_on_blue"]:
            wrong.append(f"{proved['left_on_blue']} documents are left on blue.")
        if set(told["after"]["regions"]) != {target}:
            wrong.append(
                f"After the move {json.dumps(told['after']['regions'])} answered, not {target} alone."
            )
        if not proved["requests"] or not proved["acknowledged_writes"]:
            wrong.append("The load did not ask or write anything.")
        if twice := _two_owners(self._ledger):
            wrong.append(f"{twice} writes were acknowledged by blue after green had acknowledged one.")
        if wrong:
            raise Failed(f"The move of tenant {self._tenant} does not hold. {' '.join(wrong)}")


def _pause_of_flip(ledger: Path) -> float:
    """Milliseconds from the old owner's last acknowledgement to the new owner's first; 0 where one overtook the other."""
    kept = [each for each in entries(ledger) if each.acknowledged]
    old = [each.at for each in kept if each.owner == kept[0].owner]
    new = [each.at for each in kept if each.owner != kept[0].owner]
    return round(max(0.0, min(new) - max(old)) * 1000, 1) if old and new else 0.0


def _two_owners(ledger: Path) -> int:
    """Writes whose acknowledged owner is the old one although they began after the new owner's first answer."""
    kept = [each for each in entries(ledger) if each.acknowledged]
    if not kept:
        return 0
    first = kept[0].owner
    new = min((each.at for each in kept if each.owner != first), default=float("inf"))
    return sum(1 for each in kept if each.owner == first and each.at - each.ms / 1000 > new)


def _say(sentence: str) -> None:
    print(sentence, flush=True)
