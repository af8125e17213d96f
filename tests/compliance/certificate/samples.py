"""Evidence as the workflow hands it over, for a user and for a whole tenant."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

T0, T1, T2, T3 = (
    "2026-11-02T08:14:09Z",
    "2026-11-25T18:40:02Z",
    "2026-11-25T18:58:41Z",
    "2026-11-25T19:03:17Z",
)
PURGE = "2027-02-23T18:59:00Z"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def line(system: str, found: int, **given: Any) -> dict[str, Any]:
    """One finished line; everything found was erased unless `given` says otherwise."""
    return {
        "system": system, "environment": "acme/us-east-1", "region": "us-east-1", "state": "erased", "found": found,
        "erased": found, "anonymised": 0, "retained": 0, "residue": 0, "method": f"{system}: deleted by key in ordered batches.",
        "verifier": f"{system}: read again with read-only credentials; every item of the manifest, and a raw search.",
        "verified_at": T2, "purge_by": None, "locked_until": None, "detail": {},
    } | given  # fmt: skip


LINES = [
    line("postgresql", 18_412, method="DELETE in key-ordered batches of 5,000 rows, children first, VACUUM after; PostgreSQL 18.6.",
         verifier="The catalogue’s own keys of every manifest row, then a pattern search of every text, JSON and binary column, as role app_reader."),
    line("pinecone", 2_077, state="pending_purge", purge_by=PURGE, method="Deletion by id, at most 1,000 a call, polled until reads were fresh; API 2025-10.",
         verifier="Fetch by id, then ids and metadata of every namespace."),
    line("s3", 941, method="DeleteObjects of every version, delete marker and unfinished upload, repeated until two listings were empty.",
         verifier="HEAD of each version in the manifest, listing of the whole bucket, contents of what remains below 1 MiB."),
    line("redis", 63, method="UNLINK of exact keys, members removed from shared sets, hashes and streams; two clean passes; Valkey 9.",
         verifier="SCAN of every database with matching on our side."),
    line("cloudwatch", 1_204, method="Streams rewritten without the subject’s lines, compared, then the source deleted.",
         verifier="Every event of every group and every archived object, matched on our side."),
    line("backups", 12, method="Exclusion recorded, purge date set, personal data key destroyed with every wrapping.",
         verifier="A restore with the recovery key in hand yielded nothing of the subject."),
    line("analytics", 37, method="Prometheus delete_series and clean_tombstones; Datadog deletion request, polled until completed.",
         verifier="Series over the whole range and a raw search of label values."),
]  # fmt: skip

USER: dict[str, Any] = {
    "request": {
        "id": "er-7k2m9qpxw4", "regime": "gdpr17", "ground": "b", "subject_kind": "user", "tenant": "acme",
        "subject_commitment": digest("commitment"), "received_at": T0, "deadline": "2026-12-02T08:14:09Z", "extended_at": None,
    },
    "timeline": [
        {"at": T0, "what": "request received", "who": "administrator of the tenant"},
        {"at": "2026-11-02T09:02:44Z", "what": "filed; authority, existence and deadline checked", "who": "system"},
        {"at": "2026-11-03T10:20:10Z", "what": "blocked by a legal hold", "who": "legal"},
        {"at": "2026-11-25T17:31:55Z", "what": "hold released by a second person", "who": "legal"},
        {"at": "2026-11-25T18:12:30Z", "what": "approved", "who": "compliance officer"},
        {"at": T1, "what": "subject frozen: sessions and keys revoked, ingestion refused", "who": "system"},
        {"at": "2026-11-25T18:41:27Z", "what": "everything listed in all seven systems", "who": "system"},
        {"at": T2, "what": "seven systems verified, no residue", "who": "system"},
    ],
    "approvals": [{"at": "2026-11-25T18:12:30Z", "role": "compliance officer", "digest": digest("plan")}],
    "holds": [{"placed_at": "2026-11-03T10:20:10Z", "released_at": "2026-11-25T17:31:55Z", "what": "legal hold (litigation)", "state": "released"}],
    "as_of": T3, "frozen_at": T1, "round": 0, "lines": LINES, "retained": [],
    "canaries": {"planted": 27, "remaining": 0, "by_shape": {
        "row:documents": 1, "row:chunks": 1, "large_object": 1, "vector": 2, "current_version": 1, "noncurrent_version": 1,
        "delete_marker": 1, "unfinished_upload": 1, "set_member": 2, "stream_entry": 1, "log_line": 2, "archive_part": 1}},
    "bystanders": {"unchanged": 214, "changed": 3, "unexplained": 0},
    "mentions": {"total": 2, "erased": 0, "redacted": 1, "not_this_person": 1},
    "recipients": [{"name": "Newsletter service", "kind": "processor", "state": "notified", "at": T2, "role": "compliance officer", "evidence_sha256": digest("letter")}],
    "keys_destroyed": [{"name": "personal data key of the subject’s archives", "at": "2026-11-25T18:57:12Z"}],
    "ledger": {"entries": 3, "keep_until": "2033-11-25T00:00:00Z"},
    "previous_certificate": None, "datamap_version": 4, "manifest_digest": digest("manifest"), "software": "tenant-lifecycle 1.0.0",
    "pending": [{"system": "pinecone", "until": PURGE, "why": "The provider keeps deleted vectors up to 90 days, readable by nobody."}],
}  # fmt: skip


def user(**changes: Any) -> dict[str, Any]:
    """A user's evidence that a certificate may be built from, with top-level `changes`."""
    return copy.deepcopy(USER) | changes


def partial() -> dict[str, Any]:
    """Invoices kept by statute, audit rows anonymised, and one object under a lock."""
    kept = {
        "category": "invoices",
        "ground": "b",
        "citation": "§ 147(3) AO",
        "until": "2033-12-31T00:00:00Z",
        "count": 14,
    }
    given = user(retained=[kept])
    given["lines"][0] |= {
        "erased": 18_390,
        "anonymised": 8,
        "retained": 14,
        "detail": {"attack_score": "0.01", "mapping_kept": False},
    }
    given["lines"][2] |= {"state": "locked", "erased": 940, "locked_until": "2028-05-01T00:00:00Z"}
    return given


def with_line(index: int, **changes: Any) -> dict[str, Any]:
    """A user's evidence with one line changed."""
    given = user()
    given["lines"][index] |= changes
    return given
