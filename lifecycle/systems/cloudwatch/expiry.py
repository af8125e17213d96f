"""Retention of log groups (DeleteRetentionPolicy, PutRetentionPolicy): a held group keeps its lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Scope
from lifecycle.systems.cloudwatch.service import Service, translated
from lifecycle.systems.expiry import Expiry


def connect(place: Mapping[str, str], datamap: DataMap) -> LogExpiry:
    """The retention of the groups at `place`."""
    return LogExpiry(Service(place), datamap)


class LogExpiry:
    """See `lifecycle.systems.expiry.Expirer`. A rule's name is its group's."""

    def __init__(self, service: Service, datamap: DataMap) -> None:
        self._service = service
        self._templates = (*datamap.logs.groups, *datamap.logs.shared_groups)

    def address(self) -> str:
        return f"cloudwatch {self._service.endpoint} {self._service.region}"

    def found(self, scope: Scope) -> list[Expiry]:
        made = []
        with translated():
            for template in self._templates:
                group = template.replace("{tenant}", scope.subject.tenant)
                days = self._service.retention(group)
                if days != -1:
                    made.append(Expiry(group, days is not None, days))
        return made

    def suspend(self, names: Sequence[str]) -> None:
        with translated():
            for group in names:
                self._service.keep_for_ever(group)

    def restore(self, rules: Mapping[str, int | None]) -> None:
        with translated():
            for group, days in rules.items():
                if days is not None and self._service.retention(group) is None:
                    self._service.keep_for(group, days)

    def close(self) -> None:
        self._service.close()
