"""Find everything first: a sealed manifest from every environment, before anything is destroyed."""

from __future__ import annotations

from typing import Any

from lifecycle import places
from lifecycle.engine.outcomes import Done, More, Outcome
from lifecycle.engine.workflow import Context
from lifecycle.erasure import cases, lines, manifest
from lifecycle.erasure.cases import CaseFile
from lifecycle.models import SystemLine


def run(context: Context) -> Outcome:
    """One slice of one system's inventory, in every environment."""
    file = cases.read(context.run)
    system = context.step.lane
    cursor: dict[str, Any] = context.cursor or {"line": 0, "inner": None, "index": 0, "found": 0}
    targets = file.lines(system)
    while cursor["line"] < len(targets):
        line = targets[cursor["line"]]
        if cursor["index"] == 0 and cursor["inner"] is None and system == "postgresql":
            _learn(file, line)
            file = cases.read(context.run)
        cursor = _slice(context, file, line, cursor)
        if cursor["inner"] is not None and context.time_left() <= 0:
            return More(cursor, done=cursor["found"], unit="items")
        if cursor["inner"] is None:
            lines.mark(lines.recount(line), SystemLine.State.DISCOVERED)
            cursor = {"line": cursor["line"] + 1, "inner": None, "index": 0, "found": cursor["found"]}
    return Done({"found": cursor["found"]})


def _slice(context: Context, file: CaseFile, line: SystemLine, cursor: dict[str, Any]) -> dict[str, Any]:
    """Pages until the line ends or the slice's time is over; each page is one chunk at an index that the cursor fixes."""
    with places.eraser(line.environment, line.system, file.datamap) as eraser:
        while True:
            page = eraser.discover(file.scope, cursor["inner"])
            context.heartbeat()
            if page.entries:
                manifest.add(line, file.key, page.entries, index=cursor["index"])
                cursor = {
                    **cursor,
                    "index": cursor["index"] + 1,
                    "found": cursor["found"] + len(page.entries),
                }
            cursor = {**cursor, "inner": page.cursor}
            if page.cursor is None or context.time_left() <= 0:
                return cursor


def _learn(file: CaseFile, line: SystemLine) -> None:
    """What the subject's rows lead to is learnt before the other systems are searched."""
    with places.eraser(line.environment, line.system, file.datamap) as eraser:
        cases.keep_anchors(file, eraser.anchors(file.scope))
