from django.apps import AppConfig


class UpdatesConfig(AppConfig):
    name = "updates"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from updates import signals  # noqa: F401  it connects itself
