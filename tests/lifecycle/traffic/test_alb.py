"""Weighted target groups on moto's load balancer: the same interface as HAProxy's."""

from __future__ import annotations

from typing import Any

import pytest

from lifecycle.traffic.alb import ALB
from lifecycle.traffic.base import Refused, Split, Unreachable
from tests.lifecycle.traffic.amazon import client, made
from tests.lifecycle.traffic.edge import BLUE, GREEN, free_port


@pytest.fixture(scope="module")
def parts(stack: dict[str, Any]) -> tuple[Any, str, dict[str, str]]:
    return made(stack)


@pytest.fixture
def alb(parts: tuple[Any, str, dict[str, str]]) -> ALB:
    elb, listener, groups = parts
    return ALB(listener=listener, groups=groups, default=BLUE, client=elb)


def test_stickiness_is_refused_with_a_sentence(alb: ALB, parts: tuple[Any, str, dict[str, str]]) -> None:
    elb, listener, _groups = parts
    alb.apply("sticky", Split(BLUE, GREEN, 10))
    rule = next(
        each for each in elb.describe_rules(ListenerArn=listener)["Rules"] if each["Priority"] != "default"
    )
    action = rule["Actions"][0]
    action["ForwardConfig"]["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": 60}
    elb.modify_rule(RuleArn=rule["RuleArn"], Actions=[action])
    try:
        with pytest.raises(Refused, match="overrides weights"):
            alb.apply("sticky", Split(BLUE, GREEN, 50))
        with pytest.raises(Refused, match="Switch it off"):
            alb.read("sticky")
    finally:
        elb.delete_rule(RuleArn=rule["RuleArn"])


def test_what_an_alb_cannot_do_is_refused(alb: ALB) -> None:
    with pytest.raises(Refused, match="idle timeout"):
        alb.cut("17")
    with pytest.raises(Refused, match="Prometheus"):
        alb.counters()
    with pytest.raises(Refused, match="No target group"):
        alb.apply("17", Split(BLUE, "eu-west-1", 10))


def test_a_silent_endpoint_is_said(parts: tuple[Any, str, dict[str, str]]) -> None:
    _, listener, groups = parts
    gone = ALB(
        listener=listener,
        groups=groups,
        default=BLUE,
        client=client("elbv2", f"http://127.0.0.1:{free_port()}"),
    )
    with pytest.raises(Unreachable, match="describe_rules"):
        gone.read("17")


def test_shares_come_back_as_written(alb: ALB, parts: tuple[Any, str, dict[str, str]]) -> None:
    for share in (10, 25, 50, 75, 100, 0):
        alb.apply("17", Split(BLUE, GREEN, share))
        assert alb.read("17") == Split(BLUE, GREEN, share)
    alb.apply("18", Split(BLUE, GREEN, 5))
    assert alb.moving() == {"17": Split(BLUE, GREEN, 0), "18": Split(BLUE, GREEN, 5)}
    alb.apply("18", Split(GREEN))
    assert alb.read("18") == Split(GREEN)
    assert alb.read("19") == Split(BLUE)
    assert set(alb.moving()) == {"17"}


def test_rules_are_read_again_only_after_a_while_or_a_change(parts: tuple[Any, str, dict[str, str]]) -> None:
    elb, listener, groups = parts
    ours = ALB(listener=listener, groups=groups, default=BLUE, client=elb, reread_s=60)
    other = ALB(listener=listener, groups=groups, default=BLUE, client=elb)
    assert ours.read("21") == Split(BLUE)
    other.apply("21", Split(BLUE, GREEN, 30))
    assert ours.read("21") == Split(BLUE)
    ours.apply("22", Split(BLUE, GREEN, 10))
    assert (ours.read("21"), ours.read("22")) == (Split(BLUE, GREEN, 30), Split(BLUE, GREEN, 10))
    ours.apply("23", Split(BLUE))  # at home already: no rule is spent on it
    values = str(elb.describe_rules(ListenerArn=listener)["Rules"])
    assert "'21'" in values and "'23'" not in values
