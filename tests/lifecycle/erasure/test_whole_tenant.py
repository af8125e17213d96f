"""A whole tenant goes, hostile twins stay to the byte."""

from __future__ import annotations

import re
import secrets

import pytest

from compliance.actions import deciding
from compliance.errors import Refused
from tests.lifecycle.erasure import reading
from tests.lifecycle.erasure.world import World, failures


def test_one_approver_is_not_enough(world: World) -> None:
    customer = world.tenant("ada")
    request = world.request(customer)
    deciding.approve(request, actor=world.actor("officer"), digest=request.digest)
    request.refresh_from_db()
    assert request.state == "awaiting_approval"
    with pytest.raises(Refused):
        deciding.approve(request, actor=world.actor("officer2"), digest=request.digest)


def test_everything_of_it_goes_and_its_twins_stay(world: World) -> None:
    tag = secrets.token_hex(3)
    names = [f"{tag}", f"{tag}7", f"1{tag}", f"{tag}*", f"{tag}_b", f"{tag}ö"]
    tenants = {name: world.tenant("ada", "bob", id_=name) for name in names}
    region = world.stack["regions"]["us-east-1"]
    target = f"{tag}*"
    others = [name for name in names if name != target]

    marks = {name: re.compile(rf"(?:tenant-|:|\(){re.escape(name)}(?![\w*])") for name in names}

    def holdings() -> dict[str, int]:
        counts = dict.fromkeys(names, 0)
        for _, place, data in reading.everything(region):
            text = f"{data.decode(errors='replace')}\n{place}"
            for name, mark in marks.items():
                counts[name] += mark.search(text) is not None
        return counts

    before = holdings()
    request = world.request(tenants[target])
    run = world.finish(world.approve(request))
    assert run.state == "done", list(failures(run))
    now = world.status(request)
    assert now["state"] == "completed"
    assert now["bystanders"]["unexplained"] == 0
    after = holdings()
    assert {name: after[name] for name in others} == {name: before[name] for name in others}
    assert after[target] == 0
