"""Weighted target groups on moto's load balancer: the same interface as HAProxy's."""

from __future__ import annotations

import secrets
from typing import Any

import boto3
import pytest
from botocore.config import Config

from lifecycle.traffic.alb import ALB
from lifecycle.traffic.base import Refused, Split, Unreachable
from tests.lifecycle.traffic.edge import BLUE, GREEN, free_port


def client(kind: str, endpoint: str) -> Any:
    made: Any = boto3.client  # the stubs know a client's kind by literals only
    return made(
        kind,
        endpoint_url=endpoint,
        region_name=BLUE,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"max_attempts": 1}, connect_timeout=1),
    )


@pytest.fixture(scope="module")
def parts(stack: dict[str, Any]) -> tuple[Any, str, dict[str, str]]:
    endpoint = stack["regions"][BLUE]["logs"]["endpoint"]
    ec2, elb, name = client("ec2", endpoint), client("elbv2", endpoint), secrets.token_hex(4)
    network = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=network, CidrBlock=f"10.9.{n}.0/24", AvailabilityZone=f"{BLUE}{zone}")[
            "Subnet"
        ]["SubnetId"]
        for n, zone in enumerate("ab")
    ]
    balancer = elb.create_load_balancer(Name=f"edge-{name}", Subnets=subnets)["LoadBalancers"][0]
    groups = {
        region: elb.create_target_group(Name=f"{region}-{name}", Protocol="HTTP", Port=80, VpcId=network)[
            "TargetGroups"
        ][0]["TargetGroupArn"]
        for region in (BLUE, GREEN)
    }
    listener = elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": groups[BLUE]}],
    )["Listeners"][0]["ListenerArn"]
    return elb, listener, groups


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
