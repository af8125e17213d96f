"""A load balancer with two target groups on the stack's moto."""

from __future__ import annotations

import secrets
from typing import Any

import boto3
from botocore.config import Config

from tests.lifecycle.traffic.edge import BLUE, GREEN


def client(kind: str, endpoint: str) -> Any:
    """boto3's, for moto."""
    made: Any = boto3.client  # the stubs know a client's kind by literals only
    return made(
        kind,
        endpoint_url=endpoint,
        region_name=BLUE,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"max_attempts": 1}, connect_timeout=1),
    )


def made(stack: dict[str, Any]) -> tuple[Any, str, dict[str, str]]:
    """A client, a listener's ARN, target groups' ARNs by region."""
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
