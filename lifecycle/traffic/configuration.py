"""The configuration of HAProxy under which the splits of `haproxy.py` work. Measured on HAProxy 2.6.

Two maps decide: `home.map` (tenant -> region) and, above it, `moves.map` (tenant -> home:target:share:slot). One
command changes one entry, so no request ever sees half a change. Every moving tenant has a slot: its own server entry
in both regions' backends, so that its sessions can be counted and ended without touching anyone else's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SLOTS = 64
HOME_MAP, MOVES_MAP = "home.map", "moves.map"

_TEXT = """\
global
  maxconn 8000
  nbthread 1
  stats socket {socket} mode 600 level admin
  stats timeout 1m
  log 127.0.0.1:{log_udp} len 512 format raw local0 info

defaults
  mode http
  timeout connect 500ms
  timeout client 30s
  timeout server {server_timeout_ms}ms
  timeout queue 2s
  timeout check 1s
  timeout http-request 10s
  timeout http-keep-alive 60s
  # Only what no server has begun to do is tried again; what may be repeated, also after an empty answer.
  retries 2
  option redispatch 1
  retry-on conn-failure empty-response

frontend edge
  bind {address}
  log global
  log-format "%[var(txn.tenant)] %[var(txn.region)] %ST %Ta %ts %HM"
  http-request set-var(txn.tenant) req.hdr(x-tenant)
  http-request set-var(txn.region) var(txn.tenant),map_str({home},{default})
  http-request set-var(txn.move) var(txn.tenant),map_str({moves})
  acl moving var(txn.move) -m found
  acl to_target var(txn.bucket),sub(txn.share) lt 0
  http-request set-var(txn.region) var(txn.move),field(1,:) if moving
  http-request set-var(txn.share) var(txn.move),field(3,:),add(0) if moving
  http-request set-var(txn.slot) var(txn.move),field(4,:) if moving
  # Who names no user is sent last.
  http-request set-var(txn.bucket) int(99) if moving
  http-request set-var(txn.bucket) req.hdr(x-user),xxh32(7),mod(100) if moving {{ req.hdr(x-user) -m found }}
  http-request set-var(txn.region) var(txn.move),field(2,:) if moving to_target
{fallbacks}
  http-request set-log-level silent unless moving
  use_backend %[var(txn.region)]
  default_backend {default}

frontend metrics
  bind {metrics}
  http-request use-service prometheus-exporter if {{ path /metrics }}
  http-request return status 200 content-type text/plain string ready if {{ path /ready }}
"""

_FALLBACK = """\
  http-request set-var(txn.region) var(txn.move),field(1,:) if moving to_target {{ var(txn.region) -m str {region} }} {{ nbsrv({region}) lt 1 }}"""

_BACKEND = """
backend {region}
  option httpchk GET /healthz
  http-check expect status 200
  http-request disable-l7-retry unless METH_GET
  use-server %[var(txn.slot)] if {{ var(txn.slot) -m found }}
  server app {address} check inter 500ms fall 3 rise 2
  server-template m 1-{slots} {address} weight 0 track {region}/app
"""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a configuration is made from. `apps`: host:port of the application by region, the first is the default.

    `server_timeout_ms`: after so long without an answer the client is told 504.
    """

    address: str
    metrics: str
    socket: Path
    maps: Path
    log_udp: int
    apps: Mapping[str, str]
    server_timeout_ms: int = 5000


def render(shape: Shape) -> str:
    """The text of haproxy.cfg. Both maps must exist before HAProxy starts."""
    default = next(iter(shape.apps))
    text = _TEXT.format(
        socket=shape.socket,
        log_udp=shape.log_udp,
        server_timeout_ms=shape.server_timeout_ms,
        address=shape.address,
        metrics=shape.metrics,
        home=shape.maps / HOME_MAP,
        moves=shape.maps / MOVES_MAP,
        default=default,
        fallbacks="\n".join(_FALLBACK.format(region=region) for region in shape.apps),
    )
    backends = (
        _BACKEND.format(region=region, address=address, slots=SLOTS) for region, address in shape.apps.items()
    )
    return text + "".join(backends)
