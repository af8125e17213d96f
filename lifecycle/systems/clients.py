"""What clients of other services share, since it takes longer to load than a hundred requests."""

from __future__ import annotations

import ssl
import threading
from functools import cache
from typing import Any

_making = threading.Lock()


@cache
def trust() -> ssl.SSLContext:
    """The certificates that this machine trusts, read once."""
    return ssl.create_default_context()


@cache
def _session() -> Any:
    import boto3  # here: half of the systems need no AWS

    return boto3.session.Session()


def aws(service: str, **options: Any) -> Any:
    """A client of an AWS service (boto3's arguments). One session keeps the service's model; it is not safe in threads,
    the client is."""
    with _making:
        return _session().client(service, **options)
