"""What in the backup bucket nobody classified, and archives that were never finished."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from lifecycle.datamap.model import DataMap
from lifecycle.systems import clients
from lifecycle.systems.backups import layout

KNOWN = (layout.EXCLUSIONS, "ledger/")
LONGEST_BACKUP = timedelta(hours=6)


def unclassified(place: Mapping[str, str], datamap: DataMap) -> list[str]:
    """Sentences naming prefixes that are no tenant's, and archives without a manifest for six hours: no key destroyed
    could be shown to cover what lies there."""
    client = clients.aws(
        "s3",
        endpoint_url=place["endpoint"],
        aws_access_key_id=place["key"],
        aws_secret_access_key=place["secret"],
        region_name=place.get("region") or "us-east-1",
        config={"connect_timeout": 5, "read_timeout": 30, "s3": {"addressing_style": "path"}},
    )
    unknown: set[str] = set()
    archives: dict[str, tuple[bool, datetime]] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=place["bucket"]):
        for entry in page.get("Contents", []):
            key, path = entry["Key"], entry["Key"].split("/")
            if layout.tenant_of(key) is not None and len(path) > 2:
                name = "/".join(path[:2])
                finished, latest = archives.get(name, (False, entry["LastModified"]))
                archives[name] = finished or path[2:] == ["manifest.json"], max(latest, entry["LastModified"])
            elif not key.startswith(KNOWN):
                unknown.add(path[0])
    late = datetime.now(UTC) - LONGEST_BACKUP
    sentences = [
        f"backups: prefix {name!r} is nobody's that the layout knows. Move it out, or classify it."
        for name in sorted(unknown)
    ]
    sentences += [
        f"backups: archive {name} has parts but no manifest. Finish it, or delete it."
        for name, (finished, latest) in sorted(archives.items())
        if not finished and latest < late
    ]
    return sentences
