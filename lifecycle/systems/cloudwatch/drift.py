"""Which live log groups the data map does not name."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lifecycle.datamap.model import DataMap
from lifecycle.systems.cloudwatch.service import Service, translated


def unclassified(place: Mapping[str, str], datamap: DataMap) -> list[str]:
    """Sentences that name each log group that no template of the map fits; [] when there is none."""
    service = Service(place)
    logs = datamap.logs
    patterns = [_pattern(template) for template in (*logs.groups, *logs.shared_groups)]
    try:
        with translated():
            names = [group["logGroupName"] for group in service.groups()]
    finally:
        service.close()
    return [
        f"Log group {name} is not in the data map."
        for name in names
        if not any(pattern.fullmatch(name) for pattern in patterns)
    ]


def _pattern(template: str) -> re.Pattern[str]:
    """`{tenant}` and `{*}` stand for one part of a path."""
    pieces = re.split(r"\{(?:tenant|\*)\}", template)
    return re.compile("[^/]+".join(map(re.escape, pieces)))
