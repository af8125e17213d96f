"""A hidden hold's existence shows in no refusal outside legal: whoever is refused reads that something is retained."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from compliance.actions import deciding, executing, holds
from compliance.actors import Actor
from compliance.models import ErasureRequest
from compliance.statements import RETAINED, shown_state
from tests.compliance import building

pytestmark = pytest.mark.usefixtures("acme")

DOORS: dict[str, Callable[[ErasureRequest, Actor], list[str]]] = {
    "approve": lambda row, who: deciding.check_approve(
        row, actor=who, digest=row.digest, password_checked=True
    ),
    "around": lambda row, who: deciding.check_choose_around_hold(row, actor=who, reason="r"),
    "resume": lambda row, _who: executing.check_resume(row),
    "move": lambda row, _who: executing.check_move(row, ErasureRequest.State.CERTIFYING),
    "close": lambda row, _who: executing.check_close(row),
}


@pytest.mark.parametrize("facts", [{"type": "criminal"}, {"type": "litigation", "confidential": True}])
@pytest.mark.parametrize("who", ["officer", "engineer", "auditor"])
def test_no_refusal_tells_of_a_hidden_hold(
    actors: dict[str, Actor], who: str, facts: dict[str, object]
) -> None:
    request = building.planned()
    hold = holds.place(
        actor=actors["legal"],
        tenant_id="acme",
        case_reference="C-1",
        **{"type": "litigation", **facts},  # type: ignore[arg-type]
    )
    request.refresh_from_db()
    assert request.state == "blocked_by_hold"
    assert shown_state(request, actors[who]) == RETAINED
    for door, ask in DOORS.items():
        told = " ".join(ask(request, actors[who]))
        assert told, door
        assert "hold" not in told.lower(), (door, told)
        assert hold.pk not in told
        assert "criminal" not in told
    told = " ".join(holds.check_release(hold, actor=actors[who], reason="r"))
    assert RETAINED in told.lower().replace("art", "Art")
    assert "by hold" in " ".join(
        deciding.check_approve(request, actor=actors["legal"], digest=request.digest)
    )


def test_a_refusal_says_no_more_of_a_released_hidden_hold(actors: dict[str, Actor]) -> None:
    hold = holds.place(actor=actors["legal"], tenant_id="acme", case_reference="C", type="criminal")
    before = holds.check_release(hold, actor=actors["officer"], reason="r")
    holds.release(hold, actor=actors["legal"], reason="r")
    assert holds.check_release(hold, actor=actors["officer"], reason="r") == before
