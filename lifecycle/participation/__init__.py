"""What an application imports to take part in moves: whose writes count where, and the outbox. No Django here.

How a platform adopts it (docs/taking-part.md says more):

1. `install(dsn, region)` once in each region's database, by a role that the application's own role is or inherits from.
2. One `Participant(region, connect)` a process. Every transaction that writes rows of a tenant runs inside

       with participant.write(tenant, user) as tx:
           tx.cursor.execute("INSERT ...")
           tx.put("s3", key, digests.of_object(content))

   which says of each object and vector that the application stored or removed: `tx.put`, `tx.delete`.
3. The client is answered only after the block was left without an error. `NotOwner` names the region to which the
   request is forwarded; `Fenced` passes within milliseconds: try again for up to 2 s; `OutcomeUnknown` is answered
   with 503 and never with success.
4. Where `tx.dual` is true the objects and vectors are stored in both regions before the block is left.

A tenant that never moved has no row in `lifecycle.route`: it costs one more statement a write, and nothing waits.
"""

from lifecycle.participation.errors import Fenced, NotOwner, OutcomeUnknown, Refused
from lifecycle.participation.installing import install
from lifecycle.participation.routing import Route, route
from lifecycle.participation.writing import Participant, Writing

__all__ = [
    "Fenced",
    "NotOwner",
    "OutcomeUnknown",
    "Participant",
    "Refused",
    "Route",
    "Writing",
    "install",
    "route",
]
