"""Long trials on the program as it runs."""

from tests.lifecycle.trials.conftest import _platform, live

__all__ = ["_platform", "live"]
