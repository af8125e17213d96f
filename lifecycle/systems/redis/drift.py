"""Which keys of the live Redis no family of the data map names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

from lifecycle.datamap.model import DataMap
from lifecycle.systems.redis.connection import Databases, text, translated
from lifecycle.systems.redis.families import regex

_VARIABLE = re.compile(r"[0-9a-f]{8,}|\d+|[^\x00-\x7f]+", re.IGNORECASE)
MOST_NAMED = 20


def unclassified(place: Mapping[str, str], datamap: DataMap) -> list[str]:
    """Sentences that name each database and key family that nobody has classified; [] when there is none.

    A family is named by its first part alone (`basket:...`): what follows may be a person's id.
    """
    databases = Databases(place)
    problems: list[str] = []
    patterns = [regex(family.template).fullmatch for family in datamap.keys.families]
    try:
        with translated():
            for number in databases.used():
                if number not in datamap.keys.databases:
                    size = databases.client(number).dbsize()
                    problems.append(
                        f"Redis database {number} holds {size} keys, but the data map does not name it."
                    )
                    continue
                unknown: Counter[str] = Counter()
                for key in databases.client(number).scan_iter(count=2_000):
                    name = text(key)
                    if not any(fits(name) for fits in patterns):
                        unknown[_family(name)] += 1
                problems += [
                    f"Redis keys {family} in database {number} ({count}) fit no key family of the data map."
                    for family, count in unknown.most_common(MOST_NAMED)
                ]
    finally:
        databases.close()
    return problems


def _family(name: str) -> str:
    """The first part of a key's name, without what varies in it."""
    first = re.split(r"[:/|.#]", name, maxsplit=1)
    shown = _VARIABLE.sub("?", first[0])[:40]
    printable = shown if shown.isprintable() else "?"
    return f"`{printable}:...`" if len(first) > 1 else f"`{printable[:12]}`"
