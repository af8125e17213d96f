from django.apps import AppConfig


class ComplianceConfig(AppConfig):
    """Judges: what may be destroyed, who said so, and the proof."""

    name = "compliance"
    verbose_name = "Compliance"
