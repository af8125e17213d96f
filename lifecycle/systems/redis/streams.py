"""Streams written anew. XDEL only marks an entry: its bytes stay in memory, dumps and files until the whole node that
holds it goes. A stream that has lost entries is therefore copied, with its groups, consumers and pending entries, and
renamed into place, in one script, so that no writer or reader sees anything in between.
"""

from __future__ import annotations

from collections.abc import Iterator

from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import BatchOver, Gate, Scope
from lifecycle.systems.redis.connection import Client, Databases, raw, text
from lifecycle.systems.redis.families import Family, fill, glob, regex
from lifecycle.systems.redis.scripts import LATE, server_deadline

LONGEST = 50_000  # entries that one script may copy: it ends within half a second

_REWRITE = (
    LATE
    + """
local key, copy = KEYS[1], KEYS[2]
if redis.call('TYPE', key)['ok'] ~= 'stream' then return 0 end
local function named(flat)
  local found = {}
  for index = 1, #flat, 2 do found[flat[index]] = flat[index + 1] end
  return found
end
local about, life = named(redis.call('XINFO', 'STREAM', key)), redis.call('PTTL', key)
redis.call('DEL', copy)
redis.call('XGROUP', 'CREATE', copy, 'made', '0', 'MKSTREAM')
redis.call('XGROUP', 'DESTROY', copy, 'made')
for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
  redis.call('XADD', copy, entry[1], unpack(entry[2]))
end
redis.call('XSETID', copy, about['last-generated-id'],
  'ENTRIESADDED', about['entries-added'], 'MAXDELETEDID', about['max-deleted-entry-id'])
for _, flat in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  local group = named(flat)
  local read = group['entries-read']
  redis.call('XGROUP', 'CREATE', copy, group['name'], group['last-delivered-id'], 'ENTRIESREAD', read or -1)
  for _, each in ipairs(redis.call('XINFO', 'CONSUMERS', key, group['name'])) do
    redis.call('XGROUP', 'CREATECONSUMER', copy, group['name'], named(each)['name'])
  end
  for _, waits in ipairs(redis.call('XPENDING', key, group['name'], '-', '+', 1000000)) do
    redis.call('XCLAIM', copy, group['name'], waits[2], 0, waits[1],
      'IDLE', waits[3], 'RETRYCOUNT', waits[4], 'FORCE', 'JUSTID')
  end
end
redis.call('RENAME', copy, key)
if life > 0 then redis.call('PEXPIRE', key, life) end
return 1
"""
)


def rewrite_all(databases: Databases, datamap: DataMap, scope: Scope, gate: Gate) -> list[str]:
    """Writes the subject's tenant's streams anew where entries were deleted; returns sentences for what it left."""
    notes = []
    for number in datamap.keys.databases:
        client = databases.client(number)
        for key in _streams(client, datamap, scope):
            about = client.xinfo_stream(key)
            if about["max-deleted-entry-id"] in (b"0-0", "0-0"):
                continue
            if int(about["length"]) > LONGEST:
                notes.append(
                    "A stream is too long to be written anew at once: its deleted entries go with their nodes."
                )
                continue
            gate.check()
            copy = key + b":lifecycle-rewrite"
            if int(client.eval(_REWRITE, 2, key, copy, server_deadline(client, gate))) < 0:
                raise BatchOver("The batch's deadline had passed when the command reached Redis.")
    return notes


def _streams(client: Client, datamap: DataMap, scope: Scope) -> Iterator[bytes]:
    """Every existing stream of the map in which the subject may have had entries."""
    tenant = scope.subject.tenant
    for family in map(Family, datamap.keys.families):
        if family.key.type != "stream":
            continue
        name = fill(family.key.template, tenant, None)
        if name is not None:
            found = [raw(name)]
        else:
            fits = regex(family.key.template, tenant).fullmatch
            keys = client.scan_iter(match=raw(glob(family.key.template, tenant, None)), count=2_000)
            found = [key for key in keys if fits(text(key))]
        yield from (key for key in found if client.type(key) == b"stream")
