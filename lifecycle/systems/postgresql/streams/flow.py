"""One stream: what one database publishes of a tenant, the slot that keeps it, and the subscription that follows.

Names are per move and direction (`mv_<id>_fwd`, `mv_<id>_rev`), so that each part can be made, found and dropped again
after a crash anywhere. Both directions run with `origin = none` (PostgreSQL 16 and later): what a stream brought is
not sent back. TRUNCATE is never published: it ignores row filters and would empty residents.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn

from lifecycle.systems.base import Permanent, Transient
from lifecycle.systems.movable import Lag
from lifecycle.systems.postgresql.session import q
from lifecycle.systems.postgresql.streams.database import Database, literal
from lifecycle.systems.postgresql.streams.tables import Moved

FORWARD, REVERSE = "fwd", "rev"
_ID = re.compile(r"[a-z0-9_]{1,40}")
_CONFLICTS = (
    "confl_insert_exists + confl_update_exists + confl_update_missing + confl_delete_missing "
    "+ confl_update_origin_differs + confl_delete_origin_differs"
)


def stream_name(move: str, direction: str) -> str:
    """The name of one direction's publication, slot and subscription. Raises Permanent for an id that can't name them."""
    if not _ID.fullmatch(move):
        raise Permanent("The id of a move has small letters, digits and _ only, at most 40: it names slots.")
    return f"mv_{move}_{direction}"


@dataclass(slots=True)
class Flow:
    """One direction. `source` publishes, `target` follows; used by one thread."""

    name: str
    tenant: str
    source: Database
    target: Database

    @property
    def publications(self) -> tuple[str, str]:
        """Rows, and the outbox, of which only inserts count."""
        return self.name, f"{self.name}_log"

    # Making

    def publish(self, tables: Sequence[Moved]) -> None:
        """The publications, as they should be now. Changing a publication that exists is cheap and harmless."""
        tenant = literal(self.tenant)
        parts = [f"{t.quoted} WHERE ({q(t.tenant)} = {tenant}::{t.tenant_type})" for t in tables]
        rows, log = self.publications
        self._publication(
            rows, [*parts, f"lifecycle.probe WHERE (tenant_id = {tenant})"], "insert, update, delete"
        )
        self._publication(log, [f"lifecycle.change WHERE (tenant_id = {tenant})"], "insert")

    def _publication(self, name: str, parts: Sequence[str], what: str) -> None:
        if self.source.one("SELECT 1 FROM pg_publication WHERE pubname = %s", [name]):
            return
        tables = ", ".join(f"TABLE {part}" for part in parts)
        self.source.rows(f"CREATE PUBLICATION {q(name)} FOR {tables} WITH (publish = '{what}')")

    def keep(self) -> None:
        """The slot: from here on the source keeps its log for the follower."""
        if self.slot() is None:
            self.source.rows(
                "SELECT pg_create_logical_replication_slot(%s, 'pgoutput', false, false)", [self.name]
            )

    def subscribe(self, *, copy: bool, enabled: bool = True) -> None:
        """The subscription; with `copy` the rows that are there now come first, by the server's own workers."""
        if self.subscribed() is None:
            names = ", ".join(q(each) for each in self.publications)
            self.target.rows(
                f"CREATE SUBSCRIPTION {q(self.name)} CONNECTION {literal(_reachable(self.source.dsn))} "
                f"PUBLICATION {names} WITH (create_slot = false, slot_name = {literal(self.name)}, "
                f"origin = none, copy_data = {str(copy).lower()}, enabled = {str(enabled).lower()}, "
                "synchronous_commit = 'on', streaming = 'off', disable_on_error = false)"
            )
        elif enabled and not self.subscribed():
            self.target.rows(f"ALTER SUBSCRIPTION {q(self.name)} ENABLE")

    # Asking

    def slot(self) -> dict[str, Any] | None:
        """The slot's state on the source; None where there is none."""
        rows = self.source.rows(
            "SELECT s.active, s.wal_status, s.confirmed_flush_lsn IS NOT NULL, "
            "greatest(0, pg_current_wal_lsn() - s.confirmed_flush_lsn)::bigint, "
            "extract(epoch FROM clock_timestamp() - s.inactive_since)::float, "
            "extract(epoch FROM r.replay_lag)::float, extract(epoch FROM clock_timestamp() - r.reply_time)::float "
            "FROM pg_replication_slots s LEFT JOIN pg_stat_replication r ON r.pid = s.active_pid "
            "WHERE s.slot_name = %s AND s.database = current_database()",
            [self.name],
        )
        if not rows:
            return None
        active, status, known, behind, inactive, replay, silent = rows[0]
        return {
            "active": active,
            "status": status,
            "behind": int(behind or 0) if known else 0,
            "inactive": float(inactive or 0.0),
            "replay": float(replay or 0.0),
            "silent": float(silent or 0.0),
        }

    def subscribed(self) -> bool | None:
        """Whether the subscription is enabled; None where there is none."""
        found = self.target.one(
            "SELECT subenabled FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid "
            "WHERE subname = %s AND d.datname = current_database()",
            [self.name],
        )
        return None if found is None else bool(found)

    def stands(self) -> bool:
        """Slot and enabled subscription are there."""
        return self.slot() is not None and bool(self.subscribed())

    def states(self) -> dict[str, str]:
        """Each followed table's state: i waiting, d copying, f copied, s caught up, r followed."""
        return {
            f"{schema}.{name}": state
            for schema, name, state in self.target.rows(
                "SELECT n.nspname, c.relname, r.srsubstate::text FROM pg_subscription_rel r "
                "JOIN pg_subscription s ON s.oid = r.srsubid JOIN pg_class c ON c.oid = r.srrelid "
                "JOIN pg_namespace n ON n.oid = c.relnamespace WHERE s.subname = %s",
                [self.name],
            )
        }

    def copying(self) -> dict[str, tuple[int, int]]:
        """Tables that are being copied at this moment: rows and bytes so far."""
        return {
            f"{schema}.{name}": (int(rows), int(size))
            for schema, name, rows, size in self.target.rows(
                "SELECT n.nspname, c.relname, p.tuples_processed, p.bytes_processed FROM pg_stat_progress_copy p "
                "JOIN pg_class c ON c.oid = p.relid JOIN pg_namespace n ON n.oid = c.relnamespace "
                "JOIN pg_stat_subscription w ON w.pid = p.pid WHERE w.subname = %s AND p.datname = current_database()",
                [self.name],
            )
        }

    def lag(self) -> Lag:
        """Bytes of log that the follower has not confirmed, seconds since it was last alive with something to do, and
        conflicts it met. Raises Permanent where the stream is gone or lost its log."""
        slot = self.slot()
        if slot is None:
            raise Permanent(f"The slot of stream {self.name} is gone: what it kept is lost. Copy again.")
        if slot["status"] in ("lost", "unreserved") and not slot["active"]:
            raise Permanent(
                f"The slot of stream {self.name} lost its log (max_slot_wal_keep_size). Drop the streams, clean the "
                "target and copy again."
            )
        if slot["active"] and slot["behind"] and slot["silent"] > 1:
            # A follower that had nothing to say for long answers at once when there is something; one look may be between.
            time.sleep(0.15)
            slot = self.slot() or slot
        seconds = slot["replay"] if slot["behind"] else 0.0
        if not slot["active"]:
            seconds = max(seconds, slot["inactive"])
        elif slot["behind"] and slot["silent"] > 1:
            seconds = max(seconds, slot["silent"])
        return Lag(slot["behind"], seconds, self.conflicts())

    def conflicts(self) -> int:
        """Conflicts that the follower met: rows there already, or missing."""
        version = int(self.target.one("SHOW server_version_num"))
        counted = _CONFLICTS if version >= 180000 else "apply_error_count"
        return int(
            self.target.one(
                f"SELECT coalesce(sum({counted}), 0) FROM pg_stat_subscription_stats WHERE subname = %s",
                [self.name],
            )
            or 0
        )

    def watermark(self) -> str:
        """A position behind everything that is committed on the source now. Not inside a transaction of `source`.

        The message is what makes the server flush: a position that only others' unfinished work wrote may wait long.
        """
        self.source.rows("SELECT pg_logical_emit_message(true, 'lifecycle', '')")
        return str(self.source.one("SELECT pg_current_wal_flush_lsn()::text"))

    def wait(self, position: str, seconds: float) -> bool:
        """Whether the follower applied all up to a position within `seconds`."""
        until = time.monotonic() + seconds
        while True:
            row = self.source.rows(
                "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots WHERE slot_name = %s",
                [position, self.name],
            )
            if not row:
                raise Permanent(f"The slot of stream {self.name} is gone.")
            if row[0][0]:
                return True
            if time.monotonic() >= until:
                return False
            time.sleep(0.005)

    # Ending

    def drop(self) -> None:
        """Subscription, slot and publications go; what is gone already is fine. Raises Transient for one that stays."""
        self.drop_published(self.drop_following())

    def drop_following(self) -> int | None:
        """The target's part: the subscription, without asking the source. Returns its oid where there was one."""
        oid = self.target.one("SELECT oid FROM pg_subscription WHERE subname = %s", [self.name])
        if self.subscribed() is not None:
            self.target.rows(f"ALTER SUBSCRIPTION {q(self.name)} DISABLE")
            with suppress(Permanent):  # there is none where creating it was interrupted
                self.target.rows(f"ALTER SUBSCRIPTION {q(self.name)} SET (slot_name = NONE)")
            self.target.rows(f"DROP SUBSCRIPTION IF EXISTS {q(self.name)}")
        return None if oid is None else int(oid)

    def drop_published(self, subscription: int | None = None) -> None:
        """The source's part: slot and publications, without asking the target. A slot that nobody reads keeps the log
        until the disk is full, so it goes also where the target is dead."""
        drop_slot(self.source, self.name, subscription)
        for name in self.publications:
            self.source.rows(f"DROP PUBLICATION IF EXISTS {q(name)}")


def drop_slot(source: Database, name: str, subscription: int | None = None) -> None:
    """Drops a slot, and those of table copies that the subscription (its oid) had begun; ends whoever still reads them.

    Raises Transient when one stays.
    """
    find = (
        "SELECT slot_name::text, active_pid FROM pg_replication_slots "
        "WHERE (slot_name = %s OR slot_name LIKE %s) AND database = current_database()"
    )
    wanted = [name, f"pg\\_{subscription or 0}\\_sync\\_%"]
    until = time.monotonic() + 5
    while found := source.rows(find, wanted):
        for slot, pid in found:
            if pid is not None:
                source.rows("SELECT pg_terminate_backend(%s)", [pid])
            with suppress(Transient, Permanent):
                source.rows("SELECT pg_drop_replication_slot(%s)", [slot])
        if source.rows(find, wanted):
            if time.monotonic() > until:
                raise Transient(f"Slot {name} is still read by somebody; it is dropped on the next try.")
            time.sleep(0.05)


def _reachable(dsn: str) -> str:
    """The address for a follower: it gives up soon on a source that doesn't answer."""
    parts = parse_dsn(dsn) if not urlsplit(dsn).scheme else parse_dsn(make_dsn(dsn))
    parts |= {
        "connect_timeout": "5",
        "keepalives_idle": "5",
        "keepalives_interval": "2",
        "keepalives_count": "3",
    }
    made = make_dsn(**parts)
    if not isinstance(made, str) or not psycopg2.extensions.parse_dsn(made).get("password"):
        raise Permanent("The mover's address needs a password: PostgreSQL asks for one in subscriptions.")
    return made
