from django.apps import AppConfig


class DemoConfig(AppConfig):
    """The sample platform and its local stack. Never installed where real services are named."""

    name = "demo"
    verbose_name = "Sample platform"
