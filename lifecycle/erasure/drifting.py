"""What nobody classified, in sentences that may be kept in clear: a folder's or a table's name can name the subject too."""

from __future__ import annotations

import re

from lifecycle import tenants
from lifecycle.datamap.model import DataMap
from lifecycle.systems.base import Scope
from lifecycle.systems.needles import Needles

HIDDEN = "[subject]"
_MAIL = re.compile(r"[^\s/'\"]+@[\w-]+\.[\w.-]+")


def sentences(tenant_id: str, scope: Scope, datamap: DataMap) -> list[str]:
    """Names of unclassified places of the tenant's live systems, without mail addresses and the subject's identifiers;
    [] when there is none."""
    needles = Needles.of(scope)
    return [_masked(needles, each) for each in tenants.drift(tenant_id, datamap)]


def _masked(needles: Needles, sentence: str) -> str:
    shown, at = "", 0
    for found in needles.find_all(sentence):
        shown += sentence[at : found.start] + HIDDEN
        at = found.end
    return _MAIL.sub("[mail]", shown + sentence[at:])
