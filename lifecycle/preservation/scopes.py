"""From a hold to what an adapter must keep."""

from __future__ import annotations

from compliance.actions.holds import custodian
from compliance.models import LegalHold
from lifecycle import places, tenants
from lifecycle.models import Environment
from lifecycle.systems.base import Scope, Subject


def of(hold: LegalHold) -> Scope:
    """The scope of a hold, completed with the anchors that the custodian's rows lead to."""
    subject = Subject(hold.tenant_id, custodian(hold))
    anchors: dict[str, tuple[str, ...]] = {}
    scope = Scope(subject=subject)
    datamap = tenants.current_map()
    for environment in places.environments(hold.tenant_id):
        if "postgresql" in environment.places:
            with places.eraser(environment, "postgresql", datamap) as eraser:
                for kind, values in eraser.anchors(scope).items():
                    anchors[kind] = tuple(sorted({*anchors.get(kind, ()), *values}))
    return Scope(subject=subject, anchors=anchors)


def environments(hold: LegalHold) -> list[Environment]:
    """Every environment of the hold's tenant that has objects."""
    return [each for each in places.environments(hold.tenant_id) if "s3" in each.places]
