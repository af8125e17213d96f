"""A JSON value that is sealed in the database: a position inside a provider's listing names somebody's key."""

from __future__ import annotations

import base64
from typing import Any

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from compliance.keystore import default as keystore
from compliance.sealing import seal_json, unseal_json

KEY = "engine/positions"


class SealedJSONField(models.JSONField):
    """A JSONField whose value is stored as {"sealed": base64}; None stays NULL. It can't be searched by its content."""

    def get_db_prep_save(self, value: Any, connection: BaseDatabaseWrapper) -> Any:
        """What goes into the database."""
        if value is None:
            return None
        sealed = seal_json(keystore().get_or_create(KEY), value, KEY)
        return super().get_db_prep_save({"sealed": base64.b64encode(sealed).decode()}, connection)

    def from_db_value(self, value: Any, expression: Any, connection: BaseDatabaseWrapper) -> Any:
        """The value again. Raises SealBroken where a row was changed by hand."""
        stored = super().from_db_value(value, expression, connection)
        if stored is None:
            return None
        return unseal_json(keystore().get(KEY), base64.b64decode(stored["sealed"]), KEY)
