"""The benchmark runs as a program and says what it measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.report import Result, table
from demo.stack.place import CHECKOUT

FIELDS = {"name", "unit", "ours", "peer", "peer_name", "ratio", "goal"}


def test_an_unknown_measure_or_scale_is_refused() -> None:
    for words in (["--only", "oracle"], ["--scale", "0"], ["--rounds", "0"]):
        done = subprocess.run(
            [sys.executable, "-m", "bench", *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 2, words
        assert "usage" in done.stderr


def test_a_missed_goal_is_said() -> None:
    missed = Result.of("s3 unverified", 10, 100, "s5cmd", 0.5)
    heavy = Result("peak memory of a worker", "MiB", 500.0, goal=400.0)
    assert [missed.met, heavy.met, Result("certificate", "s", 1.0).met] == [False, False, None]
    assert Result.of("s3 unverified", 50, 100, "s5cmd", 0.5).met is True
    shown = table([missed, heavy])
    assert "below" in shown
    assert "above" in shown


@pytest.mark.timeout(240)
def test_a_small_race_gives_both_ratios(stack_dir: Path, tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    environment = {**os.environ, "BENCH_SCALE": "0.01"}
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--only", "redis", "--rounds", "1", "--run-dir", str(stack_dir), "--out", str(out)],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(out.read_text())
    scanned = ["redis unverified", "redis verified"]
    assert [each["name"] for each in results] == scanned + [f"{name}, redis-cli KEYS" for name in scanned]
    for each in results:
        assert set(each) == FIELDS
        assert each["ours"] > 0
        assert each["ratio"] == pytest.approx(each["ours"] / each["peer"], rel=0.02, abs=0.001)
    assert results[0]["ours"] >= results[1]["ours"]
    assert "redis-cli" in done.stdout
