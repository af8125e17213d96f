"""`manage.py run`, `worker_health`, `qcluster`: denials, exit codes, JSON."""

import io
import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command, load_command_class
from django.core.management.base import OutputWrapper

from lifecycle import tasks
from lifecycle.engine.outcomes import Wait
from lifecycle.models import Run
from lifecycle.systems.base import Permanent
from tests.lifecycle.engine.toy import Toy, deliver, state, step


def called(*words: str) -> tuple[int, Any, str]:
    """Exit code, the JSON document, standard error of `manage.py WORDS --json`."""
    out, err = io.StringIO(), io.StringIO()
    command = load_command_class("lifecycle", words[0])
    command.stdout, command.stderr = OutputWrapper(out), OutputWrapper(err)
    code = 0
    try:
        command.run_from_argv(["manage.py", *words, "--json"])
    except SystemExit as end:
        code = int(end.code or 0)
    return code, json.loads(out.getvalue()), err.getvalue()


@pytest.fixture
def people(toy: Toy) -> Any:
    made = []
    for name, role in (("toy-engineer", "engineer"), ("toy-auditor", "auditor")):
        user = User.objects.get_or_create(username=name)[0]
        user.groups.set([Group.objects.get_or_create(name=role)[0]])
        made.append(user.pk)
    yield
    User.objects.filter(pk__in=made).delete()


@pytest.mark.parametrize("verb", ["pause", "resume", "cancel", "retry"])
def test_an_auditor_is_refused(toy: Toy, people: None, verb: str) -> None:
    run = toy.start()
    code, document, err = called("run", verb, run.pk, "--as", "toy-auditor")

    assert code == 1
    assert document["error"]["reasons"][0].startswith("toy-auditor has none of the roles")
    assert "toy-auditor has none of the roles" in err
    assert state(run) == "running"


def test_an_unknown_run(toy: Toy) -> None:
    assert called("run", "show", "run-none")[:2] == (
        1,
        {"error": {"reasons": ["There is no such run. Check the id."]}},
    )


def test_pause_resume_retry_cancel_and_what_they_show(toy: Toy, people: None) -> None:
    toy.does("erase", Permanent("The bucket is away."), lane="s3")
    run = toy.start(("erase", 1, "s3"), ("erase", 1, "redis"))

    assert called("run", "pause", run.pk, "--as", "toy-engineer")[1]["state"] == "paused"
    assert called("run", "resume", run.pk, "--as", "toy-engineer")[1]["state"] == "running"
    deliver()
    code, failed, _ = called("run", "show", run.pk)
    assert (code, failed["state"], failed["reason"]) == (
        0,
        "failed",
        "Failed: erase (s3). The bucket is away.",
    )
    assert [(each["lane"], each["state"], each["why"]) for each in failed["steps"]] == [
        ("s3", "failed", "The bucket is away."),
        ("redis", "done", ""),
    ]
    assert called("run", "retry", run.pk, "--as", "toy-engineer", "--lane", "redis")[0] == 1
    assert called("run", "retry", run.pk, "--as", "toy-engineer", "--lane", "s3")[0] == 0
    assert called("run", "cancel", run.pk, "--as", "toy-engineer")[1]["state"] == "cancelled"
    assert [each["id"] for each in called("run", "list", "--state", "cancelled")[1]] == [run.pk]
    assert called("run", "list", "--state", "running")[1] == []


def test_execute(toy: Toy) -> None:
    run = toy.start()
    assert called("run", "execute", run.pk)[1]["state"] == "done"
    toy.does("only", Permanent("No."))
    assert called("run", "execute", toy.start().pk)[0] == 1
    from datetime import timedelta

    from django.utils import timezone

    toy.does("only", Wait(timezone.now() + timedelta(hours=1), "Locked."))
    waiting = toy.start()
    code, document, _ = called("run", "execute", waiting.pk, "--timeout", "0")
    assert (code, step(waiting).state) == (1, "waiting")
    assert "after 0 s" in document["error"]["reasons"][0]


def test_lines_for_people(toy: Toy) -> None:
    run = toy.start()
    out = io.StringIO()
    call_command("run", "show", run.pk, stdout=out)
    assert out.getvalue().splitlines()[0] == f"{run.pk}  toy of {run.subject}  running"
    assert Run.objects.count() == 1


def test_worker_health(toy: Toy) -> None:
    code, document, err = called("worker_health")
    assert (code, document["healthy"]) == (1, False)
    assert "queue default" in err
    assert "queue long" in err
    tasks.heartbeat("default")
    tasks.heartbeat("long")
    assert called("worker_health") == (0, {"healthy": True, "queues": ["default", "long"], "reasons": []}, "")


def test_qcluster_is_ours() -> None:
    with pytest.raises(CommandError, match="at least 1"):
        call_command("qcluster", "--workers", "0")
