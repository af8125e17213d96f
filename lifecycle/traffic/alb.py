"""AWS Application Load Balancer: one listener rule a tenant, forwarding to two weighted target groups.

An ALB splits each request by weight and knows no stickiness by user's hash; target group stickiness would override the
weights and go on sending users to an unhealthy green (AWS documents both), so rules with it are refused.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from lifecycle.traffic.base import Count, Refused, Split, Unreachable, checked

_HEADER = "x-tenant"


def made_client(region: str = "", endpoint: str = "") -> Any:
    """A client that gives up within seconds: the watchdog must not wait for AWS. Credentials as boto3 finds them."""
    limits = Config(retries={"total_max_attempts": 2}, connect_timeout=1, read_timeout=2)
    made: Any = boto3.client  # the stubs know a client's kind by literals only
    return made("elbv2", region_name=region or None, endpoint_url=endpoint or None, config=limits)


class ALB:
    """Rules of one listener. `groups`: target group ARN by region; `default`: region of tenants without a rule.

    `first_priority`: rules of ours are numbered from here on; an ALB has 100 rules unless AWS raised the quota.
    `reread_s`: for so long the rules are as they were last read, unless we changed them (AWS throttles who asks often).
    """

    def __init__(
        self,
        *,
        listener: str,
        groups: Mapping[str, str],
        default: str,
        client: Any = None,
        first_priority: int = 1000,
        reread_s: float = 0.0,
    ) -> None:
        self._listener, self._groups, self._default = listener, dict(groups), default
        self._client: Any = client if client is not None else made_client()
        self._first, self._reread_s = first_priority, reread_s
        self._kept: list[dict[str, Any]] = []
        self._read_at = -math.inf

    def read(self, tenant: str) -> Split:
        """The split in force. Raises Refused for a rule with stickiness, Unreachable."""
        rule = self._rules().get(checked(tenant))
        return self._split(rule) if rule else Split(self._default)

    def moving(self) -> Mapping[str, Split]:
        """The splits of all moving tenants."""
        splits = {tenant: self._split(rule) for tenant, rule in self._rules().items()}
        return {tenant: split for tenant, split in splits.items() if split.target}

    def apply(self, tenant: str, split: Split) -> None:
        """Puts the split in force. Raises Refused for an unknown region, Unreachable."""
        # The rules as they are now; and read anew after the change, whether it worked or not.
        self._forget()
        try:
            self._put(tenant, split)
        finally:
            self._forget()

    def _put(self, tenant: str, split: Split) -> None:
        actions = [self._forward(split)]
        rule = self._rules().get(checked(tenant))
        if rule is None and split == Split(self._default):
            return
        if rule is not None:
            self._split(rule)  # refuses stickiness that somebody switched on
            self._ask("modify_rule", RuleArn=rule["RuleArn"], Actions=actions)
            return
        condition = {
            "Field": "http-header",
            "HttpHeaderConfig": {"HttpHeaderName": _HEADER, "Values": [tenant]},
        }
        self._ask(
            "create_rule",
            ListenerArn=self._listener,
            Conditions=[condition],
            Priority=self._priority(),
            Actions=actions,
        )

    def cut(self, tenant: str, region: str = "") -> None:
        """Always Refused: an ALB can't end requests that are under way; they end by its idle timeout."""
        raise Refused(
            "An ALB can't end one tenant's requests under way. Set its idle timeout to 5 s, so that they end by themselves."
        )

    def counters(self) -> Mapping[tuple[str, str], Count]:
        """Always Refused: an ALB counts by target group, not by tenant; read its access log or the application's metrics."""
        raise Refused("An ALB has no counters of one tenant; the gates read Prometheus behind an ALB.")

    def close(self) -> None:
        """Nothing to give back."""

    def _forward(self, split: Split) -> dict[str, Any]:
        weights = {split.home: 100 - split.share}
        if split.target:
            weights[split.target] = weights.get(split.target, 0) + split.share
        return {
            "Type": "forward",
            "ForwardConfig": {
                "TargetGroups": [
                    {"TargetGroupArn": self._group(region), "Weight": weight}
                    for region, weight in weights.items()
                ],
                "TargetGroupStickinessConfig": {"Enabled": False},
            },
        }

    def _group(self, region: str) -> str:
        if region not in self._groups:
            raise Refused(f"No target group is known for region {region}.")
        return self._groups[region]

    def _split(self, rule: Mapping[str, Any]) -> Split:
        config = rule["Actions"][0].get("ForwardConfig", {})
        if config.get("TargetGroupStickinessConfig", {}).get("Enabled"):
            raise Refused(
                "This tenant's rule has target group stickiness, which overrides weights: users would stay on a bad green. "
                "Switch it off."
            )
        regions = {arn: region for region, arn in self._groups.items()}
        found = [
            (regions.get(each["TargetGroupArn"], ""), int(each.get("Weight", 1)))
            for each in config["TargetGroups"]
        ]
        if not all(region for region, _ in found) or len(found) > 2:
            raise Refused(
                "This tenant's rule forwards to a target group that is none of ours. Nothing was changed."
            )
        home = found[0][0]
        return Split(home, found[1][0], found[1][1]) if len(found) == 2 else Split(home)

    def _rules(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for rule in self._all_rules():
            for condition in rule.get("Conditions", []):
                header = condition.get("HttpHeaderConfig", {})
                if header.get("HttpHeaderName", "").lower() == _HEADER:
                    found |= dict.fromkeys(header["Values"], rule)
        return found

    def _forget(self) -> None:
        self._read_at = -math.inf

    def _all_rules(self) -> list[dict[str, Any]]:
        if time.monotonic() - self._read_at >= self._reread_s:
            self._kept, self._read_at = self._asked_rules(), time.monotonic()
        return self._kept

    def _asked_rules(self) -> list[dict[str, Any]]:
        rules: list[dict[str, Any]] = []
        marker: dict[str, str] = {}
        while True:
            page = self._ask("describe_rules", ListenerArn=self._listener, **marker)
            rules += page["Rules"]
            if not page.get("NextMarker"):
                return rules
            marker = {"Marker": page["NextMarker"]}

    def _priority(self) -> int:
        taken = {rule["Priority"] for rule in self._all_rules()}
        return next(number for number in range(self._first, 50_001) if str(number) not in taken)

    def _ask(self, verb: str, **given: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = getattr(self._client, verb)(**given)
        except ClientError as failure:
            raise Refused(f"AWS refused {verb}: {failure.response['Error']['Code']}.") from None
        except BotoCoreError as failure:
            raise Unreachable(f"AWS does not answer {verb} ({type(failure).__name__}).") from None
        return answer
