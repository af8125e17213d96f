"""What we keep of a person: from the certificate on no mail and no name in clear, after the case is closed no id either.

Searched are every row of every table of the control database, the task queue included, what our program logged, and the
files of the run folder. The platform's own servers (S3, Redis ...) write access logs that name objects, as a cloud
provider's do; those are not ours, and are searched for mail and name alone.
"""

from __future__ import annotations

import base64
import io
import logging
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection
from django.utils import timezone
from django_q.models import OrmQ
from pytest_django import Settings

from compliance.actions import executing, notices
from compliance.actors import SYSTEM
from compliance.keystore import KeyDestroyed
from compliance.keystore import default as keystore
from demo.platform.cast import full_name
from lifecycle import housekeeping
from lifecycle.engine.context import Context
from lifecycle.erasure import cases
from tests.lifecycle.erasure.world import World, failures

PROVIDERS = ("s3-", "redis-", "pinecone-", "postgres-us-", "prometheus-", "logs", "datadog")


LOOKING = {"discover", "plant", "verify"}


def hurried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Each slice of the steps that look ends after one page. Returns what is stored of the positions meanwhile."""
    kept: list[tuple[str, str]] = []
    unhurried = Context.time_left

    def time_left(context: Context) -> float:
        if context.step.name not in LOOKING:
            return unhurried(context)
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT name, cursor::text FROM lifecycle_step WHERE id = %s AND cursor IS NOT NULL",
                [context.step.pk],
            )
            kept.extend(cursor.fetchall())
        return 0.0

    monkeypatch.setattr(Context, "time_left", time_left)
    return kept


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Everything that any logger of this process says, without the filter that the program puts before its own log."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    yield written
    root.removeHandler(handler)


def test_nothing_in_clear_after_the_certificate_and_no_id_after_the_close(
    world: World,
    stack_dir: Path,
    settings: Settings,
    logged: io.StringIO,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.WATCH_SECONDS = 2
    kept = hurried(monkeypatch)
    user = f"zq{secrets.token_hex(6)}"
    customer = world.tenant(user, "bob")
    mail, name = world.mail(customer, user), full_name(customer.id, user)
    request = world.request(customer, user, reason=f"{name} ({mail}) asked by letter")
    run = world.approve(request)
    assert world.finish(run).state == "done", list(failures(run))
    request.refresh_from_db()
    assert request.state == "completed"
    assert {name for name, _ in kept} >= {"plant", "verify"}  # a small tenant is discovered in one page
    for secret in (user, customer.id, mail, name):
        assert not any(_holds(position.encode(), secret) for _, position in kept)
    assert not run.steps.exclude(cursor=None).exists()

    assert list(_rows(customer.id)), "the search itself finds nothing"
    assert OrmQ.objects.exists(), "no task was ever queued"
    for secret in (mail, name):
        assert list(_rows(secret)) == []
        assert list(_files(stack_dir, secret)) == []
        assert not _holds(logged.getvalue().encode(), secret)

    while request not in executing.closable(timezone.now()):
        time.sleep(0.2)
    notices.send_due(timezone.now(), actor=SYSTEM)
    housekeeping.close_watched()

    request.refresh_from_db()
    assert request.closed_at is not None
    with pytest.raises(KeyDestroyed):
        cases.key_of(request.pk)
    assert not keystore().exists(f"case/{request.pk}")
    for secret in (user, mail, name):
        assert list(_rows(secret)) == []
        assert not _holds(logged.getvalue().encode(), secret)
    assert [each for each in _files(stack_dir, user) if not each.startswith(PROVIDERS)] == []


def _forms(secret: str) -> Iterator[bytes]:
    """The text itself, as PostgreSQL shows bytes, and as base64 at each offset; all in lower case."""
    plain = secret.encode()
    yield from (plain.lower(), plain.hex().encode(), quote(secret).lower().encode())
    for offset in range(3):
        coded = base64.b64encode(b"x" * offset + plain)
        yield coded[4 if offset else 0 : -4].lower()


def _holds(data: bytes, secret: str) -> bool:
    low = data.lower()
    return any(form in low for form in _forms(secret))


def _rows(secret: str) -> Iterator[str]:
    """Tables of the control database with a row that holds it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT t::text FROM "{table}" t')
            if any(_holds(text.encode(), secret) for (text,) in cursor.fetchall()):
                yield table


def _files(folder: Path, secret: str) -> Iterator[str]:
    """Log files of the run folder that hold it, and keys of the keystore whose name does."""
    for path in sorted((folder / "log").iterdir()):
        if _holds(path.read_bytes(), secret):
            yield path.name
    for path in (folder / "keystore").rglob("*"):
        if _holds(path.name.encode(), secret):
            yield f"keystore/{path.parent.name}"
