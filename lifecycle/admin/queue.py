"""The task queue's own admin is put away: it shows pickled payloads, and lets people run any function."""

from __future__ import annotations

import django_q.admin  # noqa: F401  (registers its models now, so that they can be taken out)
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django_q import models

for _model in (models.Success, models.Failure, models.Schedule, models.OrmQ):
    try:
        admin.site.unregister(_model)
    except NotRegistered:
        continue
