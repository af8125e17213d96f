"""Datadog's refusals."""

from __future__ import annotations

from demo.servers.web import Response, json_response


class ApiError(Exception):
    """A refusal: HTTP status and the sentence the client gets. Never quotes a query or a log line."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message

    def response(self) -> Response:
        """The error in Datadog's shape."""
        headers = {"Retry-After": "1", "X-RateLimit-Reset": "1"} if self.status == 429 else {}
        return json_response({"errors": [self.message]}, self.status, headers)
