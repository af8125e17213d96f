"""Markers in every shape of log data: a line in each group, a stream named after the user, an archived object."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from lifecycle.datamap.model import Logs
from lifecycle.systems.base import Gate, Permanent, Planted, Scope
from lifecycle.systems.cloudwatch.archive import Archive, Packer, Version, object_key
from lifecycle.systems.cloudwatch.lines import groups_of
from lifecycle.systems.cloudwatch.service import Line, Service

EVENT, STREAM, ARCHIVED = "log_event", "log_stream", "archived_event"


class Canaries:
    """A shape is `log_event:GROUP`, `log_stream` or `archived_event`; GROUP is the map's template, without a tenant."""

    def __init__(self, service: Service, archive: Archive, logs: Logs) -> None:
        self._service = service
        self._archive = archive
        self._logs = logs

    def _groups(self, scope: Scope) -> dict[str, str]:
        """Template -> name of each group that exists."""
        templates = [t for t in self._logs.groups if "{tenant}" in t]
        templates += [t for t in self._logs.groups if "{tenant}" not in t] + list(self._logs.shared_groups)
        names = [group.name for group in groups_of(self._logs, scope.subject.tenant)]
        return {t: name for t, name in zip(templates, names, strict=True) if self._service.exists(name)}

    def shapes(self, scope: Scope) -> list[str]:
        if self._logs.category in scope.retained or self._logs.category in scope.held_categories:
            return []
        groups = self._groups(scope)
        shapes = [f"{EVENT}:{template}" for template in groups]
        if groups and scope.subject.user and not set(scope.subject.user) & set(":*"):
            shapes.append(STREAM)  # AWS allows neither character in a stream's name
        if groups and self._archive.bucket:
            shapes.append(ARCHIVED)
        return shapes

    def plant(self, scope: Scope, shape: str, marker: str) -> Planted:
        groups = self._groups(scope)
        kind, _, template = shape.partition(":")
        name = groups.get(template) if template else next(iter(groups.values()), None)
        if kind not in (EVENT, STREAM, ARCHIVED) or name is None:
            raise Permanent(f"CloudWatch Logs has no shape called {shape} for this tenant.")
        text = json.dumps(self._note(scope, marker))
        now = int(time.time() * 1000)
        if kind == ARCHIVED:
            key = object_key(name, f"lifecycle-{marker}")
            if not self._archive.versions(key):
                packer = Packer()
                packer.add([Line(now - 30 * 24 * 3600 * 1000, text)])
                self._archive.write(key, packer.packed())
            return Planted(shape, marker, json.dumps([kind, name, key]))
        stream = f"user-{scope.subject.user}/{marker}" if kind == STREAM else f"lifecycle-{marker}"
        self._service.create(name, stream)
        if not any(marker in line.message for page in self._service.pages(name, stream) for line in page):
            self._service.put(name, stream, [Line(now, text)])
        return Planted(shape, marker, json.dumps([kind, name, stream]))

    def _note(self, scope: Scope, marker: str) -> dict[str, Any]:
        note = {"level": "debug", "tenant_id": scope.subject.tenant, "canary": marker}
        if scope.subject.user:
            note[self._logs.user_fields[0] if self._logs.user_fields else "user_id"] = scope.subject.user
        return note

    def lift(self, planted: Planted) -> None:
        """A canary has a stream or an object of its own, so that nobody's data is touched when it is lifted."""
        kind, group, name = json.loads(planted.place)
        gate = _Now()
        if kind == ARCHIVED:
            for version in self._archive.versions(name):
                self._archive.delete(Version(version.key, version.version, version.latest), gate)
            return
        self._service.delete_stream(group, name, gate)


class _Now(Gate):
    """Ten seconds for the removal of our own marker, which is no one's data."""

    def __init__(self) -> None:
        self._end = datetime.now(UTC) + timedelta(seconds=10)

    @property
    def deadline(self) -> datetime:
        return self._end

    def check(self) -> None:
        return None

    def remaining(self) -> float:
        return max(1.0, (self._end - datetime.now(UTC)).total_seconds())
