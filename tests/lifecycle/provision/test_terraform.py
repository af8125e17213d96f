"""Green by Terraform: approved by digest, really made and unmade, taken up again after a crash."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from config.environment import ROOT
from lifecycle.provision.base import Standing, Wanted
from lifecycle.provision.static import Static
from lifecycle.provision.terraform import Terraform, local_variables, program
from lifecycle.systems.base import Permanent

# No package brings Terraform to a bare machine, so what needs it is a long trial; without it the last test's way is used.
REAL = pytest.mark.chaos
MODULE = ROOT / "deploy" / "terraform" / "local"
WANTED = Wanted("mig_terraform_test", "t", "us-west-2", {"postgresql": {"dsn": "file:x#/y"}})


@pytest.fixture
def secrets(stack: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {"postgresql": {"dsn": stack["regions"]["us-west-2"]["postgres"]}}


@pytest.fixture
def tool(tmp_path: Path, secrets: dict[str, dict[str, str]]) -> Iterator[Terraform]:
    binary = program()
    assert binary, "terraform or tofu must be installed for this test"
    made = Terraform(binary, MODULE, tmp_path / "states", local_variables())
    yield made
    finish(lambda: made.destroy(WANTED, secrets))


def finish(work: Any, seconds: float = 60) -> Standing:
    ends = time.monotonic() + seconds
    while not (standing := work()).finished:
        assert time.monotonic() < ends, "it did not end"
        time.sleep(0.05)
    assert isinstance(standing, Standing)
    return standing


def schemas(secrets: dict[str, dict[str, str]]) -> int:
    with closing(psycopg2.connect(secrets["postgresql"]["dsn"])) as line, line.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_namespace WHERE nspname = %s", [f"move_{WANTED.id}"])
        row = cursor.fetchone()
    return int(row[0]) if row else 0


@REAL
def test_nothing_is_made_for_another_digest(tool: Terraform, secrets: dict[str, dict[str, str]]) -> None:
    with pytest.raises(Permanent, match="not what was approved"):
        tool.make(WANTED, "0" * 64, secrets)
    approved = tool.propose(WANTED).digest
    with pytest.raises(Permanent, match="not what was approved"):
        tool.make(replace(WANTED, places={"postgresql": {"dsn": "file:elsewhere"}}), approved, secrets)
    assert schemas(secrets) == 0
    assert not tool.folder(WANTED).exists()


@REAL
def test_a_module_that_is_wrong_says_so(tmp_path: Path) -> None:
    binary = program()
    assert binary
    with pytest.raises(Permanent, match="no Terraform module"):
        Terraform(binary, tmp_path, tmp_path / "states")
    (tmp_path / "main.tf").write_text('resource "terraform_data" {')
    with pytest.raises(Permanent, match="failed"):
        Terraform(binary, tmp_path, tmp_path / "states").propose(WANTED)


@REAL
def test_made_and_unmade_with_nothing_left_and_no_secret_in_its_state(
    tool: Terraform, secrets: dict[str, dict[str, str]]
) -> None:
    proposal = tool.propose(WANTED)
    assert proposal.changes == ('create terraform_data.mark["schema"]',)
    assert list(tool.states.iterdir()) == [], "a proposal leaves nothing"
    standing = finish(lambda: tool.make(WANTED, proposal.digest, secrets))
    assert (standing.error, standing.places) == ("", WANTED.places)
    assert schemas(secrets) == 1
    texts = [file.read_text(errors="replace") for file in tool.folder(WANTED).rglob("*") if file.is_file()]
    password = secrets["postgresql"]["dsn"].split(":")[2].split("@")[0]
    assert not any(password in text for text in texts)
    assert finish(lambda: tool.make(WANTED, proposal.digest, secrets)) == standing, "made once"
    finish(lambda: tool.destroy(WANTED, secrets))
    assert (schemas(secrets), tool.folder(WANTED).exists()) == (0, False)
    assert finish(lambda: tool.destroy(WANTED, secrets)).error == "", "again is harmless"


@REAL
def test_an_apply_that_was_killed_is_taken_up_again(
    tool: Terraform, secrets: dict[str, dict[str, str]]
) -> None:
    digest = tool.propose(WANTED).digest
    assert not tool.make(WANTED, digest, secrets).finished
    pid = json.loads((tool.folder(WANTED) / "work.pid").read_text())["pid"]
    os.killpg(pid, signal.SIGKILL)
    standing = finish(lambda: tool.make(WANTED, digest, secrets))
    assert (standing.error, schemas(secrets)) == ("", 1)


@REAL
def test_a_failure_is_told_in_the_tools_own_words(tool: Terraform) -> None:
    nowhere = {"postgresql": {"dsn": "postgresql://nobody@127.0.0.1:1/none"}}
    standing = finish(lambda: tool.make(WANTED, tool.propose(WANTED).digest, nowhere))
    assert "Terraform failed" in standing.error


@REAL
@pytest.mark.parametrize("module", ["local", "aws"])
def test_modules_are_formatted(module: str) -> None:
    binary = program()
    assert binary
    done = subprocess.run(
        [binary, "fmt", "-check", "-recursive", str(ROOT / "deploy" / "terraform" / module)], check=False
    )
    assert done.returncode == 0


def test_without_terraform_the_regions_servers_are_used(tmp_path: Path) -> None:
    tool = Static()
    with pytest.raises(Permanent, match="REGION_PLACES"):
        tool.propose(replace(WANTED, places={}))
    proposal = tool.propose(WANTED)
    with pytest.raises(Permanent, match="Plan again"):
        tool.make(replace(WANTED, places={"s3": {"bucket": "b"}}), proposal.digest, {})
    assert tool.make(WANTED, proposal.digest, {}).places == WANTED.places
    assert tool.destroy(WANTED, {}).finished
