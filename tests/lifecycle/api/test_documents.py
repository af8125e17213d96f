"""The OpenAPI document, its page, and the metrics."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from compliance.actors import Actor
from lifecycle.models import Heartbeat, Run, Step
from tests.compliance import building


def test_the_openapi_document_is_valid_and_whole(tmp_path: Path, client: Client) -> None:
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(tmp_path / "schema.yml"))
    document = yaml.safe_load((tmp_path / "schema.yml").read_text())
    paths = document["paths"]
    for verb in ("approve", "reject", "extend", "cancel", "retry", "preview"):
        assert "post" in paths[f"/api/v1/requests/{{id}}/{verb}/"], verb
    # What stands in a URL is in every log on the way: only our own ids do.
    named = {
        (each["in"], each["name"])
        for path in paths.values()
        for operation in path.values()
        for each in operation.get("parameters", [])
    }
    assert named == {("path", "id")}
    assert document["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    assert client.get("/api/schema").status_code == 200
    assert b"/static/" in client.get("/api/docs").content


def test_metrics_say_what_the_rows_say(actors: dict[str, Actor], client: Client, settings: Any) -> None:
    building.planned("u-1")
    building.planned("u-2", received_at=timezone.now() - timedelta(days=40))
    run = Run.objects.create(workflow="erasure", subject="er-none", tenant_id="acme", state="failed")
    Step.objects.create(run=run, name="erase", lane="s3", stage=1, state="failed")
    Heartbeat.objects.update_or_create(
        queue="default", defaults={"at": timezone.now() - timedelta(seconds=1_234_567)}
    )
    text = client.get("/metrics").content.decode()
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['lifecycle_erasure_requests{state="awaiting_approval"}'] == "2"
    assert lines["lifecycle_erasure_overdue"] == "1"
    assert lines["lifecycle_legal_holds"] == "0"
    assert lines['lifecycle_runs{workflow="erasure",state="failed"}'] == "1"
    assert lines["lifecycle_steps_failed"] == "1"
    age = float(lines['lifecycle_worker_heartbeat_age_seconds{queue="default"}'])
    assert 1_234_567 <= age < 1_234_667
    assert "u-1" not in text and "acme" not in text


def test_metrics_are_not_for_everybody(client: Client, settings: Any) -> None:
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.7").status_code == 403
    # Behind a proxy on this machine everybody comes from loopback.
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):
        assert client.get("/metrics", headers={name: "192.0.2.7"}).status_code == 403
    settings.METRICS_TOKEN = "a long secret"
    assert client.get("/metrics").status_code == 403
    assert client.get("/metrics", headers={"Authorization": "Bearer guess"}).status_code == 403
    given = {"Authorization": "Bearer a long secret"}
    assert client.get("/metrics", headers=given, REMOTE_ADDR="192.0.2.7").status_code == 200
