"""Every test runs on a local stack of real servers: the one in `LIFECYCLE_RUN_DIR`, `.run/test` by default.

If none runs there it is started, and ended after the tests. Settings read the stack's description, so it
must be up before Django loads them: pyproject.toml therefore names no settings module, this file does.
"""

import atexit
import functools
import json
import os
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
import pytest_django
from django.conf import settings
from django.db import connection
from django.test import TransactionTestCase
from django.test.utils import setup_databases, teardown_databases

from demo.stack import control
from demo.stack.place import CHECKOUT

os.environ.setdefault("LIFECYCLE_RUN_DIR", str(CHECKOUT / ".run" / "test"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
# The test database is made by the role that may make one, and owned by it.
os.environ.setdefault("MIGRATE", "1")
# Never on services that the environment may name.
for _name in ("DATABASE_URL", "DATABASE_OWNER_URL"):
    os.environ.pop(_name, None)

# Reading the machine's authorities takes 60 ms for each HTTP client, and hundreds are made here; none of them meets TLS.
setattr(ssl, "create_default_context", functools.cache(ssl.create_default_context))  # noqa: B010

RUN_DIR = Path(os.environ["LIFECYCLE_RUN_DIR"]).resolve()


def _bring_up() -> None:
    """Start the stack if none runs, to be ended with this process (not with a fork of it), and load Django."""
    if control.supervisor(RUN_DIR) is None:
        mine = os.getpid()
        atexit.register(lambda: control.down(RUN_DIR) if os.getpid() == mine else None)
    control.up(RUN_DIR)
    django.setup()
    # A real hash takes a third of a second, by design; what is tried here is who may do what with a password.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


# On import and not in a hook: the conftest files below this folder, which pytest imports before it calls
# any hook, import models.
if not {"-h", "--help", "-V", "--version"} & set(sys.argv):
    _bring_up()


def _empty_what_is_full(_test: TransactionTestCase) -> None:
    """After a test that committed: Django's own flush empties a hundred tables anew, and makes every permission again."""
    kept = {"auth_permission", "django_content_type", "django_migrations"}
    quoted = connection.ops.quote_name
    with connection.cursor() as cursor:
        names = [each for each in connection.introspection.table_names(cursor) if each not in kept]
        cursor.execute(
            " UNION ALL ".join(f"SELECT '{n}' WHERE EXISTS (SELECT FROM {quoted(n)})" for n in names)
        )
        if full := [name for (name,) in cursor.fetchall()]:
            cursor.execute(f"TRUNCATE {', '.join(map(quoted, full))} CASCADE")


setattr(TransactionTestCase, "_fixture_teardown", _empty_what_is_full)  # noqa: B010


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: pytest_django.DjangoDbBlocker
) -> Iterator[None]:
    """The test database, always. pytest-django leaves it out of a run where no test asks for `db`; tests that commit for
    real then met the stack's own database."""
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False)
    yield
    with django_db_blocker.unblock():
        teardown_databases(made, verbosity=0)


@pytest.fixture(autouse=True)
def no_fence_session_outlives_a_test() -> Iterator[None]:
    """The fence keeps a connection of its own; with it open the test database could not be dropped."""
    yield
    from compliance import fence

    fence.disconnect()


@pytest.fixture(scope="session")
def stack() -> dict[str, Any]:
    """The stack's description (stack.json): addresses and secrets of every server."""
    page: dict[str, Any] = json.loads((RUN_DIR / "stack.json").read_text())
    return page


@pytest.fixture(scope="session")
def stack_dir() -> Path:
    """The folder of the stack, for `demo.stack.control`: stop, start, signal and restart servers."""
    return RUN_DIR
