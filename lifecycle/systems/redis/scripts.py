"""The Lua scripts that destroy. Each compares the server's own clock with the batch's deadline first.

So a script that was sent in time and reaches a server that was stopped meanwhile refuses (-1) instead of deleting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lifecycle.systems.base import BatchOver, Gate
from lifecycle.systems.redis.connection import Client

LATE = """
local now = redis.call('TIME')
if now[1] * 1000 + math.floor(now[2] / 1000) >= tonumber(ARGV[1]) then return -1 end
"""

_UNLINK = (
    LATE
    + """
local gone = 0
for first = 1, #KEYS, 1000 do
  gone = gone + redis.call('UNLINK', unpack(KEYS, first, math.min(first + 999, #KEYS)))
end
return gone
"""
)

# A cache's value may have become somebody else's since it was judged: only the value that was judged goes.
_UNLINK_SAME = (
    LATE
    + """
local gone = 0
for index, key in ipairs(KEYS) do
  local value = redis.call('GET', key)
  if value and redis.sha1hex(value) == ARGV[index + 1] then gone = gone + redis.call('UNLINK', key) end
end
return gone
"""
)

_MEMBERS = (
    LATE
    + """
local gone, command = 0, ARGV[2]
if command == 'LREM' then
  for index = 3, #ARGV do gone = gone + redis.call('LREM', KEYS[1], 0, ARGV[index]) end
  return gone
end
for first = 3, #ARGV, 1000 do
  gone = gone + redis.call(command, KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
return gone
"""
)

_ENTRIES = (
    LATE
    + """
for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  for first = 2, #ARGV, 1000 do
    redis.call('XACK', KEYS[1], group[2], unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
end
local gone = 0
for first = 2, #ARGV, 1000 do
  gone = gone + redis.call('XDEL', KEYS[1], unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
return gone
"""
)

# What a consumer has not acknowledged may be other people's: it passes to a nameless consumer before this one goes.
_CONSUMER = (
    LATE
    + """
local pending = redis.call('XPENDING', KEYS[1], ARGV[2], '-', '+', 100000, ARGV[3])
for _, entry in ipairs(pending) do
  redis.call('XCLAIM', KEYS[1], ARGV[2], 'reassigned', 0, entry[1], 'RETRYCOUNT', entry[4], 'JUSTID')
end
local left = redis.call('XPENDING', KEYS[1], ARGV[2], '-', '+', 1, ARGV[3])
if #left > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[2], ARGV[3])
return 1
"""
)

_GROUP = LATE + "\nreturn redis.call('XGROUP', 'DESTROY', KEYS[1], ARGV[2])"

_PART = 2_500  # keys a script: it ends within a few milliseconds, so that other clients don't wait
REMOVERS = {"set_member": b"SREM", "zset_member": b"ZREM", "hash_field": b"HDEL", "list_element": b"LREM"}


def server_deadline(client: Client, gate: Gate) -> bytes:
    """The batch's deadline in milliseconds on the server's own clock."""
    seconds, micros = client.time()
    # Read before `remaining`, so that it can only be earlier than ours.
    return str(math.floor(seconds * 1000 + micros / 1000 + gate.remaining() * 1000)).encode()


class Destroyer:
    """Sends the scripts to one database within one gate. Each method returns how many went; raises BatchOver."""

    def __init__(self, client: Client, gate: Gate) -> None:
        self._client = client
        self._gate = gate
        self._until = server_deadline(client, gate)

    def _run(self, script: str, keys: Sequence[bytes], *arguments: bytes) -> int:
        self._gate.check()
        answer = int(self._client.eval(script, len(keys), *keys, self._until, *arguments))
        if answer < 0:
            raise BatchOver("The batch's deadline had passed when the command reached Redis.")
        return answer

    def keys(self, keys: Sequence[bytes]) -> int:
        """Unlinks whole keys. The server works on one part while the next is being packed and sent."""
        pool = self._client.connection_pool
        connection = pool.get_connection()
        sent, answers = 0, []
        try:
            for start in range(0, len(keys), _PART):
                part = keys[start : start + _PART]
                self._gate.check()
                connection.send_command("EVAL", _UNLINK, len(part), *part, self._until)
                sent += 1
            answers = [connection.read_response() for _ in range(sent)]
        except BaseException:
            connection.disconnect()  # answers that nobody read must not meet the next command
            raise
        finally:
            pool.release(connection)
        if any(isinstance(answer, Exception) or int(answer) < 0 for answer in answers):
            raise BatchOver("The batch's deadline had passed when the command reached Redis.")
        return sum(map(int, answers))

    def keys_with_values(self, keys: Sequence[bytes], digests: Sequence[bytes]) -> int:
        """Unlinks strings whose value still has the given SHA-1 (hexadecimal)."""
        return self._run(_UNLINK_SAME, keys, *digests)

    def members(self, kind: str, key: bytes, members: Sequence[bytes]) -> int:
        """Removes members of one shared set, sorted set, hash or list."""
        return self._run(_MEMBERS, [key], REMOVERS[kind], *members)

    def entries(self, key: bytes, ids: Sequence[bytes]) -> int:
        """Acknowledges entries in every group and deletes them from the stream."""
        return self._run(_ENTRIES, [key], *ids)

    def consumer(self, key: bytes, group: bytes, consumer: bytes) -> int:
        """Removes one consumer; its unacknowledged entries pass to another first."""
        return self._run(_CONSUMER, [key], group, consumer)

    def group(self, key: bytes, group: bytes) -> int:
        """Removes one consumer group that is named after the subject."""
        return self._run(_GROUP, [key], group)
