"""Rates of the API, counted in the database: every web process and machine counts the same calls.

The framework's own throttles keep times of calls in the cache, which is each process's own unless a cache server is run,
and read and write them in two steps. Here one statement counts in fixed windows, so that nothing is lost between two.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.utils.crypto import salted_hmac
from rest_framework.request import Request
from rest_framework.throttling import AnonRateThrottle, SimpleRateThrottle, UserRateThrottle

_COUNT = """
INSERT INTO compliance_apirate AS rate (key, began, calls) VALUES (%(key)s, clock_timestamp(), 1)
ON CONFLICT (key) DO UPDATE SET
    calls = CASE WHEN rate.began <= clock_timestamp() - make_interval(secs => %(window)s) THEN 1 ELSE rate.calls + 1 END,
    began = CASE WHEN rate.began <= clock_timestamp() - make_interval(secs => %(window)s) THEN clock_timestamp() ELSE rate.began END
RETURNING calls, extract(epoch FROM began + make_interval(secs => %(window)s) - clock_timestamp())
"""


class _Shared(SimpleRateThrottle):
    """A caller's calls in the window of the scope's rate."""

    num_requests: int | None
    duration: int | None
    _left = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:
        """Counts this call; False when it is one too many."""
        if self.rate is None or self.num_requests is None or self.duration is None:
            return True
        caller = self.get_cache_key(request, view)
        if caller is None:
            return True
        key = salted_hmac("compliance.api.throttling", caller, algorithm="sha256").hexdigest()
        with connection.cursor() as cursor:
            cursor.execute(_COUNT, {"key": key, "window": self.duration})
            ((calls, left),) = cursor.fetchall()
        self._left = max(0.0, float(left))
        return bool(calls <= self.num_requests)

    def wait(self) -> float | None:
        """Seconds until the window ends."""
        return self._left


class UserRate(_Shared, UserRateThrottle):
    """Per account, whichever of its tokens is used."""


class AnonymousRate(_Shared, AnonRateThrottle):
    """Per address, for calls without a token that stands."""
