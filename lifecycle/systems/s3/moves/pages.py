"""Listings of a tenant's keys on one side, and what the other side has of the same keys."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import groupby

from lifecycle.systems.s3.layout import Root
from lifecycle.systems.s3.listing import Listed, versions
from lifecycle.systems.s3.moves.keys import History, Side, history

_WINDOWS = 3
PAGE = 400  # versions: a page is copied or compared within a slice, on a slow service too


@dataclass(frozen=True, slots=True)
class KeysPage:
    """Whole histories of some keys, and the marker that continues; None at the end."""

    keys: dict[str, History]
    more: dict[str, str] | None


def page(side: Side, root: Root, after: dict[str, str] | None, size: int = PAGE) -> KeysPage:
    """One page of keys under a root. A key that the page cuts is left to the next one."""
    listing = versions(side.wire, root.prefix, after, size)
    grouped = _grouped(listing.entries, root)
    if listing.more is None:
        return KeysPage(grouped, None)
    last = listing.entries[-1].key
    before = next((each.key for each in reversed(listing.entries) if each.key != last), None)
    if before is None:  # one key fills the page
        grouped[last] = side.history(last)
        return KeysPage(grouped, {"key-marker": last})
    grouped.pop(last, None)
    return KeysPage(grouped, {"key-marker": before})


def both(
    pool: Executor,
    here: Side,
    other: Side,
    root: Root,
    after: dict[str, str] | None,
    size: int = PAGE,
    *,
    exact: bool = False,
) -> tuple[KeysPage, dict[str, History]]:
    """One page of `here`, and what `other` has of its keys (see `beside`); both servers list at the same time."""
    first = pool.submit(page, other, root, after)
    try:
        listing = page(here, root, after, size)
    finally:
        stretch = first.result()
    return listing, beside(other, root, list(listing.keys), after, stretch, exact=exact)


def beside(
    side: Side,
    root: Root,
    keys: Sequence[str],
    after: dict[str, str] | None,
    stretch: KeysPage,
    *,
    exact: bool = False,
) -> dict[str, History]:
    """What `side` has of `keys`, one page of the other side. Keys that it has nothing of are left out.

    `stretch` is its listing from `after` on, which is followed a little; keys that it does not show are asked for one by
    one. Where it reached the end, only with `exact`: servers do not order listings alike, so that a key may lie elsewhere.
    """
    wanted, found = set(keys), dict[str, History]()
    for window in range(_WINDOWS):
        found |= {key: value for key, value in stretch.keys.items() if key in wanted}
        marker = stretch.more
        if marker is None or len(found) == len(wanted) or window == _WINDOWS - 1:
            break
        stretch = page(side, root, marker)
    if marker is None and (after is None or not exact):
        return found
    for key in wanted - set(found):
        if alone := side.history(key):
            found[key] = alone
    return found


def _grouped(entries: Sequence[Listed], root: Root) -> dict[str, History]:
    mine = (entry for entry in entries if root.matches(entry.key))
    return {key: history(group) for key, group in groupby(mine, key=lambda entry: entry.key)}
