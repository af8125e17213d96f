"""`make demo`: one person is erased and certified, then the tenant moves to the other region while it is used.

All by the command line; what came of it is read independently.

Runs on a stack of its own in `demo` under the run folder, which it ends. Writes what it proved to `demo.json`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import sql

from demo import reading
from demo.platform.cast import full_name, mail
from demo.program import Failed, Program
from demo.proving_moves import MoveProof
from demo.reading import Owner, Record
from demo.stack import control
from demo.stack.place import read_json, run_dir, write_private

TENANT, USER = "17", "ada"
WITHIN = 600.0  # seconds from approval to certificate
# Tenant 17 is regulated: a statute keeps its invoices, so that its cases end partially completed.
GOAL = "partially_completed"
_KEYED = ("messages", "documents")
ENDS = (
    GOAL,
    "completed",
    "failed",
    "rejected",
    "cancelled",
    "blocked_by_hold",
    "retained",
    "awaiting_approval",
)


def main() -> int:
    """Exit code 0 only if all of it holds."""
    base = run_dir()
    root = base / "demo"
    # Never on services that the environment may name.
    for name in ("DATABASE_URL", "DATABASE_OWNER_URL"):
        os.environ.pop(name, None)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _remove(root)
    began = time.monotonic()
    try:
        with Program(root) as program:
            proved = {"erasure": Proof(program, root).run()}
            proved["erasure"]["seconds"] = round(time.monotonic() - began, 1)
            moving = time.monotonic()
            proved["migration"] = MoveProof(program, root, TENANT).run()
            proved["migration"]["seconds"] = round(time.monotonic() - moving, 1)
    except Failed as failure:
        print(f"NOT PROVED. {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nEnding.", file=sys.stderr)
        return 130
    finally:
        control.down(root)
    write_private(base / "demo.json", proved)
    _remove(root)
    print(f"All of it holds ({time.monotonic() - began:.0f} s). Written to {base / 'demo.json'}.")
    return 0


class Proof:
    """The story, step by step; each raises Failed with a sentence where something does not hold."""

    def __init__(self, program: Program, root: Path) -> None:
        self._program = program
        self._root = root
        self._proved: dict[str, Any] = {"tenant": TENANT, "user": USER}

    def run(self) -> dict[str, Any]:
        """Everything, in order; returns what was proved."""
        self._start()
        stack = read_json(self._root / "stack.json")
        before = reading.everything(stack)
        theirs = _count(each for each in before if each.owner == (TENANT, USER))
        _say(
            f"{len(before)} records read in seven systems, {sum(theirs.values())} of them {USER}'s: {_told(theirs)}."
        )
        status = self._erase(stack["demo"]["admins"][TENANT])
        self._certify(status["certificate"], stack["signing_fingerprint"])
        after = reading.everything(stack)
        self._proved |= {
            "before": theirs,
            "retained": _nowhere(before, after),
            "neighbours": _unchanged(before, after),
        }
        self._proved["own_records"] = _nothing_in_clear(stack["control_owner"], self._root)
        return self._proved

    def _start(self) -> None:
        _say("Starting a stack of its own, with the sample platform ...")
        self._program.run(sys.executable, "-m", "demo.stack", "up")
        _say(self._program.manage("demo", "seed").strip())
        self._program.start("qcluster", "manage.py", "qcluster")

    def _erase(self, requester: str) -> dict[str, Any]:
        ask = self._program.ask
        who = ("--tenant", TENANT, "--user", USER, "--requested-by", requester)
        request = ask("erasure", "request", *who)["id"]
        preview = ask("erasure", "preview", request)
        found = {name: each["found"] for name, each in preview["systems"].items()}
        _say(f"Request {request}: {sum(found.values())} items found ({_told(found)}).")
        ask("erasure", "approve", request, "--as", "officer", "--digest", preview["digest"])
        _say("Approved by officer. The workers erase ...")
        began = time.monotonic()
        status = self._wait(request)
        took = time.monotonic() - began
        canaries, others = status["canaries"], status["bystanders"]
        if (
            not status["certificate"]
            or canaries["remaining"]
            or not canaries["planted"]
            or others["unexplained"]
        ):
            raise Failed(f"The status of {request} does not hold: {json.dumps(status)}")
        for name, each in status["systems"].items():
            done = f"{each['erased']} erased" + (
                f", {each['anonymised']} anonymised" if each["anonymised"] else ""
            )
            _say(f"  {name:<11} {each['state']}: {done}, residue {each['residue']}")
        _say(
            f"Certified after {took:.1f} s; {canaries['planted']} canaries planted, none remains; "
            f"{others['unchanged']} records of others unchanged by the verifier's count."
        )
        self._proved |= {"request": request, "status": status, "seconds_to_certificate": round(took, 1)}
        return status

    def _wait(self, request: str) -> dict[str, Any]:
        limit, shown = time.monotonic() + WITHIN, ""
        while time.monotonic() < limit:
            status: dict[str, Any] = self._program.ask("erasure", "status", request)
            if status["state"] != shown:
                shown = status["state"]
                _say(f"  ... {shown}")
            if shown in ENDS:
                if shown != GOAL:
                    raise Failed(f"Request {request} ended {shown}: {json.dumps(status)}")
                return status
            if status["mentions"]:
                raise Failed(
                    f"Others' data mention the person, which the sample never does: {json.dumps(status)}"
                )
            if (fallen := self._program.fallen()) is not None:
                raise Failed(f"{fallen} ended by itself; see {self._root / 'log' / fallen}.log.")
            time.sleep(2)  # each question starts a process, on cores that the workers need
        raise Failed(f"Request {request} is still {shown} after {WITHIN:.0f} s.")

    def _certify(self, certificate: str, fingerprint: str) -> None:
        folder = self._root / "certificate"
        self._program.ask("erasure", "certificate", self._proved["request"], "--out", str(folder))
        files = sorted(str(path) for path in folder.iterdir())
        self._program.manage("certificate", "verify", *files)
        self._program.run(sys.executable, "verify_certificate.py", "--signer", fingerprint, *files)
        _say(
            f"Certificate {certificate}: {len(files)} files, genuine by `certificate verify` and by the script alone."
        )
        spoilt = folder.parent / "spoilt"
        spoilt.mkdir(exist_ok=True)
        for path in map(Path, files):
            data = bytearray(path.read_bytes())
            if path.suffix == ".json" and not path.name.endswith(".seal.json"):
                data[len(data) // 2] ^= 1
            (spoilt / path.name).write_bytes(data)
        try:
            self._program.manage("certificate", "verify", *(str(each) for each in sorted(spoilt.iterdir())))
        except Failed:
            _say("With one bit of it changed, it is refused.")
        else:
            raise Failed("A certificate with one changed bit passed `certificate verify`.")
        self._proved["certificate_files"] = [Path(each).name for each in files]


def _nowhere(before: Iterable[Record], after: Iterable[Record]) -> dict[str, int]:
    """The person stands nowhere but in records that a statute keeps; returns those by table."""
    by_owner = re.compile(rf"(?<![\w-]){re.escape(USER)}(?![\w-])", re.IGNORECASE)
    sure = [mail(TENANT, USER).lower(), full_name(TENANT, USER).lower()]
    sure += [
        each.key.split(" ")[0].lower()
        for each in before
        if each.system == "s3" and each.owner == (TENANT, USER)
    ]
    kept: Counter[str] = Counter()
    for each in after:
        text = f"{each.key} {each.text}".lower()
        if not (
            any(needle in text for needle in sure) or (each.owner[0] == TENANT and by_owner.search(text))
        ):
            continue
        if each.system == "postgresql" and each.key == "invoices":
            kept["invoices"] += 1
            continue
        raise Failed(f"The person still stands in {each.system}, {each.key}.")
    due = sum(1 for each in before if each.key == "invoices" and each.owner == (TENANT, USER))
    if kept["invoices"] != due:
        raise Failed(f"{due} invoices must be kept by statute, {kept['invoices']} were.")
    _say(f"Read again, independently: {USER} is nowhere but in {due} invoices that a statute keeps.")
    return dict(kept)


def _unchanged(before: list[Record], after: list[Record]) -> dict[str, int]:
    """Everybody else's records are what they were, byte for byte; returns how many by system."""
    own = _Own.of(before)
    was = _digests((left for each in before if (left := own.leaves(each))), but=(TENANT, USER))
    now = _digests(after, but=(TENANT, USER))
    where = {each.digest: each.system for each in (*before, *after)}
    for owner, digests in was.items():
        lost, gained = digests - now.get(owner, Counter()), now.get(owner, Counter()) - digests
        if lost or (gained and owner[1]):
            places = sorted({where.get(digest, "postgresql") for digest in (*lost, *gained)})
            raise Failed(
                f"Records of {owner[1] or 'nobody'} in tenant {owner[0]!r} changed in {', '.join(places)}: "
                f"{sum(lost.values())} lost or altered, {sum(gained.values())} new."
            )
    told = _count(each for each in before if each.owner[1] and each.owner != (TENANT, USER))
    users = len({owner for owner in was if owner[1]})
    twins = [each for each in was if each[1] == USER]
    _say(
        f"{sum(told.values())} records of {users} other users are unchanged ({_told(told)}), "
        f"{len(twins)} namesakes in other tenants among them."
    )
    return told


def _remove(root: Path) -> None:
    """The whole folder of the demonstration's own stack."""
    control.down(root)
    control.wipe(root)
    shutil.rmtree(root, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Own:
    """What of the person others' rows may point to."""

    messages: frozenset[int]
    documents: frozenset[str]
    conversations: frozenset[int]

    @classmethod
    def of(cls, records: Iterable[Record]) -> _Own:
        """The person's messages and documents, and conversations in which nobody else wrote."""
        rows = [(each.key, each.owner, json.loads(each.text)) for each in records if each.key in _KEYED]
        mine = [(table, row) for table, owner, row in rows if owner == (TENANT, USER)]
        theirs = [row for table, owner, row in rows if table == "messages" and owner != (TENANT, USER)]
        messages = [row for table, row in mine if table == "messages"]
        alone = {row["conversation_id"] for row in messages} - {row["conversation_id"] for row in theirs}
        return cls(
            frozenset(row["id"] for row in messages),
            frozenset(row["id"] for table, row in mine if table == "documents"),
            frozenset(alone),
        )

    def leaves(self, record: Record) -> Record | None:
        """A neighbour's row as it must be afterwards: what pointed to the person points to nobody, and the right
        to read a document of the person goes with the document, a conversation with its last message (None).
        """
        if record.system != "postgresql" or record.owner == (TENANT, USER) or record.owner[0] != TENANT:
            return record
        row = json.loads(record.text)
        if row.get("document_id") in self.documents:
            return None
        if record.key == "conversations" and row["id"] in self.conversations:
            return None
        if row.get("reply_to") in self.messages:
            row["reply_to"] = None
        for column in ("started_by", "granted_by"):
            if row.get(column) == USER:
                row[column] = None
        text = json.dumps(row, sort_keys=True, ensure_ascii=False)
        return Record(record.system, record.owner, record.key, text)


def _digests(records: Iterable[Record], *, but: Owner) -> dict[Owner, Counter[str]]:
    found: dict[Owner, Counter[str]] = {}
    for each in records:
        # Backups and rows without an owner (frozen subjects) are no neighbour's.
        if each.owner != but and each.owner != ("", ""):
            found.setdefault(each.owner, Counter())[each.digest] += 1
    return found


def _nothing_in_clear(dsn: str, root: Path) -> dict[str, int]:
    """Neither mail nor name in our own database or logs; returns how much was searched."""
    needles = [mail(TENANT, USER), full_name(TENANT, USER)]
    tables = rows = 0
    connection = psycopg2.connect(dsn)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'"
            )
            for (table,) in cursor.fetchall():
                cursor.execute(
                    sql.SQL(
                        "SELECT count(*), count(*) FILTER (WHERE t::text ILIKE ANY(%s)) FROM {} t"
                    ).format(sql.Identifier(table)),
                    [[f"%{needle}%" for needle in needles]],
                )
                count, hits = cursor.fetchone() or (0, 0)
                if hits:
                    raise Failed(f"Mail or name of the person stands in clear in our own table {table}.")
                tables, rows = tables + 1, rows + count
    finally:
        connection.close()
    logs = [path for path in (root / "log").iterdir() if path.is_file()]
    for path in logs:
        text = path.read_text(errors="replace").lower()
        if any(needle.lower() in text for needle in needles):
            raise Failed(f"Mail or name of the person stands in clear in our log {path.name}.")
    _say(
        f"Mail and name stand nowhere in clear in our own {tables} tables ({rows} rows) and {len(logs)} logs."
    )
    return {"tables": tables, "rows": rows, "logs": len(logs)}


def _count(records: Iterable[Record]) -> dict[str, int]:
    return dict(sorted(Counter(each.system for each in records).items()))


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _say(sentence: str) -> None:
    print(sentence, flush=True)
