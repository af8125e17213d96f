"""Where the API lies: /api/v1/..."""

from __future__ import annotations

from rest_framework.routers import SimpleRouter

from lifecycle.api.migrations import Migrations
from lifecycle.api.proof import Audit, Certificates, Holds, Runs
from lifecycle.api.requests import Requests

router = SimpleRouter()
router.trailing_slash = "/?"  # a POST without the slash would be redirected, and become a GET
router.register("requests", Requests, basename="request")
router.register("holds", Holds, basename="hold")
router.register("certificates", Certificates, basename="certificate")
router.register("audit", Audit, basename="audit")
router.register("runs", Runs, basename="run")
router.register("migrations", Migrations, basename="migration")
urlpatterns = router.urls
