"""How eraser and verifier name what they find, so that one can look up the other's."""

from __future__ import annotations

import json

VERSION, MARKER, UPLOAD = "object_version", "delete_marker", "upload"


def item_key(key: str, mark: str) -> str:
    """The item key of one version or delete marker (`mark` is its version id) or upload (its upload id)."""
    return json.dumps([key, mark])


def split(item: str) -> tuple[str, str]:
    """Object key and mark of an item key."""
    key, mark = json.loads(item)
    return key, mark
