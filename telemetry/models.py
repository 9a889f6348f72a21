"""How far learners got, and what happened."""

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from courses.models import Chapter


class ChapterProgress(models.Model):
    """A learner's progress in a chapter. The status only rises; the numbers leave room between."""

    class Status(models.IntegerChoices):
        LOCKED = 0, "LOCKED"
        IN_PROGRESS = 10, "IN_PROGRESS"
        COMPLETED = 20, "COMPLETED"

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="chapter_progress", verbose_name=_("learner")
    )
    # The index that a foreign key gets is the first part of the one below.
    chapter = models.ForeignKey(
        Chapter, on_delete=models.CASCADE, related_name="progress", verbose_name=_("chapter"), db_index=False
    )
    status = models.PositiveSmallIntegerField(_("status"), choices=Status.choices)
    session_id = models.CharField(
        _("session ID"), max_length=255, blank=True, help_text=_("The client's session of the last post.")
    )
    task_snapshot = models.JSONField(_("task snapshot"), null=True, blank=True)
    created_at = models.DateTimeField(_("begun at (UTC)"), default=timezone.now)
    updated_at = models.DateTimeField(_("updated at (UTC)"), default=timezone.now)
    completed_at = models.DateTimeField(
        _("completed at (UTC)"), null=True, blank=True, help_text=_("The first completion.")
    )
    reported_while_locked = models.BooleanField(
        _("reported while locked"),
        db_default=False,
        help_text=_("The device reported it before this server would have opened the chapter."),
    )

    class Meta:
        verbose_name = _("progress entry")
        verbose_name_plural = _("progress entries")
        constraints = [
            models.UniqueConstraint(fields=["user", "chapter"], name="telemetry_one_progress_per_user_and_chapter"),
            models.CheckConstraint(condition=models.Q(status__in=[0, 10, 20]), name="telemetry_progress_status"),
        ]
        # For the admin's list, the newest first. A report of the same status changes none of them.
        indexes = [
            models.Index(fields=["chapter", "-id"], name="telemetry_progress_by_chapter"),
            models.Index(fields=["status", "-id"], name="telemetry_progress_by_status"),
            models.Index(
                fields=["-id"],
                condition=models.Q(reported_while_locked=True),
                name="telemetry_progress_early",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.chapter}"


class AnalyticsEvent(models.Model):
    """One event of a learner, kept as sent. The table is partitioned by `event_time` (see the first migration)."""

    class TimeMark(models.IntegerChoices):
        """What is odd about an event's time, which is that of the learner's clock."""

        PLAIN = 0, "Plain"
        AHEAD = 1, "More than a day ahead of ours"
        EXPIRED = 2, "Older than events are kept"

    pk = models.CompositePrimaryKey("user_id", "event_id", "event_time")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    event_id = models.CharField(max_length=128)
    event_time = models.DateTimeField()
    received_at = models.DateTimeField(default=timezone.now)
    event_type = models.CharField(max_length=128)
    course_id = models.UUIDField(null=True)
    chapter_id = models.CharField(max_length=255, blank=True)
    session_id = models.CharField(max_length=255, blank=True)
    payload = models.JSONField(default=dict)
    time_mark = models.PositiveSmallIntegerField(choices=TimeMark.choices, db_default=TimeMark.PLAIN)

    def __str__(self) -> str:
        return f"{self.event_type} at {self.event_time:%Y-%m-%d %H:%M:%S}"
