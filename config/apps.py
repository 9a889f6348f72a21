from django.apps import AppConfig


class ConfigConfig(AppConfig):
    """What every endpoint shares; an app for its counter table, its system checks and `manage.py serve`."""

    name = "config"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from config import checks  # noqa: F401  registers the system checks
