"""People signed in to the admin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.test import Client

from compliance.actors import Actor
from lifecycle.models import Tenant

PASSWORD = "correct horse battery"


@pytest.fixture
def desk(actors: dict[str, Actor], acme: Tenant) -> Callable[[str], Client]:
    """A client signed in as one of the people; their password is PASSWORD."""

    User.objects.update(is_staff=True, password=make_password(PASSWORD))

    def sign_in(name: str) -> Client:
        client = Client()
        client.force_login(User.objects.get(username=name))
        return client

    return sign_in
