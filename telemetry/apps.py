from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.db.models.signals import pre_delete, pre_migrate
from django.utils.translation import gettext_lazy as _


class TelemetryConfig(AppConfig):
    name = "telemetry"
    verbose_name = _("Teaching")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        pre_migrate.connect(_discard_mirror, sender=self)
        pre_delete.connect(_mark_days_of_learner, sender=settings.AUTH_USER_MODEL)


def _discard_mirror(*, plan: Any, **kwargs: Any) -> None:
    """Before the events may change: a mirror that maintenance left behind would not, and inserts would fail on it."""
    from telemetry.partitions import discard_mirror

    if any(migration.app_label == "telemetry" for migration, _backwards in plan):
        discard_mirror()


def _mark_days_of_learner(*, instance: Any, **kwargs: Any) -> None:
    """Whoever deletes a learner, and so their events: the courses' days are counted anew."""
    from telemetry.rollups import mark_days_of

    mark_days_of(user_id=instance.pk)
