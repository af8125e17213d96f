"""Where there is no Terraform: green is the other region's shared servers, as the region's places name them."""

from __future__ import annotations

import hashlib
import json

from lifecycle.provision.base import Places, Proposal, Standing, Wanted
from lifecycle.systems.base import Permanent


class Static:
    """Makes nothing; the servers stand already."""

    def propose(self, wanted: Wanted) -> Proposal:
        """Names the systems that are used. Raises Permanent where nobody said where the region's servers are."""
        if not wanted.places:
            raise Permanent(
                f"Nobody said where the servers of {wanted.region} are. Name them in the file REGION_PLACES."
            )
        changes = tuple(f"use {system} of {wanted.region}" for system in sorted(wanted.places))
        page = json.dumps({"region": wanted.region, "places": wanted.places}, sort_keys=True)
        return Proposal("static", changes, hashlib.sha256(page.encode()).hexdigest())

    def make(self, wanted: Wanted, digest: str, secrets: Places) -> Standing:
        """Raises Permanent where the places are others than those that were approved."""
        if self.propose(wanted).digest != digest:
            raise Permanent(f"The places of {wanted.region} changed after the plan was approved. Plan again.")
        return Standing(True, len(wanted.places), len(wanted.places), places=wanted.places)

    def destroy(self, wanted: Wanted, secrets: Places) -> Standing:
        """There is nothing to unmake."""
        return Standing(True)
