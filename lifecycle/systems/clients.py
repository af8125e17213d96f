"""What clients of other services share, since it takes longer to load than a hundred requests."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any

KEPT = 16  # clients of one process
_making = threading.Lock()
_clients: OrderedDict[Hashable, Any] = OrderedDict()


@cache
def trust() -> ssl.SSLContext:
    """The certificates that this machine trusts, read once."""
    return ssl.create_default_context()


@cache
def _session() -> Any:
    import boto3  # here: half of the systems need no AWS

    return boto3.session.Session()


def aws(service: str, *, config: Mapping[str, Any], **options: str | None) -> Any:
    """A client of an AWS service (boto3's arguments; `config` are those of botocore's Config).

    Whoever asks with the same arguments in the same process gets the same one: making one takes 40 ms. It is safe in
    threads, and is not to be closed.
    """
    key = (os.getpid(), service, json.dumps(config, sort_keys=True), *sorted(options.items()))
    with _making:
        if key not in _clients:
            from botocore.config import Config

            _clients[key] = _session().client(service, config=Config(**config), **options)
            while len(_clients) > KEPT:
                _clients.popitem(last=False)
        _clients.move_to_end(key)
        return _clients[key]
