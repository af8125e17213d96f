"""One client of an AWS service for all in a process that ask alike; never one with another's keys."""

from __future__ import annotations

from typing import Any

from lifecycle.systems import clients

AT = {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1", "aws_access_key_id": "a"}


def made(other: str = "", **config: Any) -> Any:
    return clients.aws(
        "logs", config={"connect_timeout": 5, **config}, aws_secret_access_key=f"s{other}", **AT
    )


def test_other_keys_and_other_limits_get_another_client() -> None:
    kept = made()
    assert made("other") is not kept
    assert made(read_timeout=7) is not kept
    assert made(read_timeout=7).meta.config.read_timeout == 7
    assert clients.aws("s3", config={"connect_timeout": 5}, aws_secret_access_key="s", **AT) is not kept


def test_the_same_question_gets_the_same_client_while_few_are_kept() -> None:
    kept = made()
    assert made() is kept
    for number in range(clients.KEPT):
        made(str(number))
    assert made() is not kept
