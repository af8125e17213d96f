"""Chromium on the live program: the real stack behind it, nothing rolled back."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.signals import request_finished
from django.db import connections
from playwright.sync_api import Browser, Page, sync_playwright
from pytest_django import DjangoDbBlocker
from pytest_django.live_server_helper import LiveServer

from compliance import fence
from demo.platform import own_rows
from tests.lifecycle.erasure.world import World

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium-headless-shell")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def world(
    stack: dict[str, Any], django_db_setup: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[World]:
    """The seeded platform; every test has tenants of its own."""
    # Playwright's own loop runs in this thread, and Django would take that for an asynchronous program.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with django_db_blocker.unblock():
        own_rows.seed_platform(stack)
        yield World(stack, f"b{secrets.token_hex(3)}-")
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture(autouse=True)
def _database(world: World, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with django_db_blocker.unblock():
        yield


@pytest.fixture(scope="session")
def site(world: World) -> Iterator[str]:
    """Address of the program, served from a thread. (`live_server` would empty the tables, the audit trail among them.)"""
    settings.ALLOWED_HOSTS.append("localhost")
    # A hold is placed on a session of the thread's own; the test database can't be dropped while one stands.
    request_finished.connect(_end_session)
    server = LiveServer("localhost")
    yield server.url
    server.stop()
    request_finished.disconnect(_end_session)


def _end_session(**_: Any) -> None:
    fence.disconnect()


@pytest.fixture(scope="session")
def browser(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One Chromium with a profile of its own."""
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=[*FLAGS])
        yield launched
        launched.close()
        # While Playwright's loop runs, Django keeps other connections than outside it; they end here.
        connections.close_all()


@pytest.fixture
def signed_in(site: str, browser: Browser, stack: dict[str, Any]) -> Iterator[Callable[[str], Page]]:
    """A window in which somebody has signed in; errors of the page's own scripts fail the test."""
    contexts, troubles = [], []

    def open_window(name: str) -> Page:
        context = browser.new_context(accept_downloads=True, viewport={"width": 1440, "height": 900})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.goto(f"{site}/admin/login/")
        page.get_by_label("Username").fill(name)
        page.locator("input[name=password]").fill(stack["demo"]["users"][name])
        page.locator("button[type=submit]").click()
        page.get_by_role("heading", name=f"Good day, {name}").wait_for()
        return page

    yield open_window
    for context in contexts:
        context.close()
    assert not troubles


@pytest.fixture
def password(stack: dict[str, Any]) -> Callable[[str], str]:
    """The password of one of the seven people."""
    return lambda name: str(stack["demo"]["users"][name])


@pytest.fixture
def downloads(tmp_path: Path) -> Path:
    """An empty folder."""
    return tmp_path / "downloads"
