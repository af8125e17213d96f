from django.apps import AppConfig


class LifecycleConfig(AppConfig):
    """Executes what compliance has approved."""

    name = "lifecycle"
    verbose_name = "Lifecycle"

    def ready(self) -> None:
        from lifecycle import signals  # noqa: F401  (connects receivers)
