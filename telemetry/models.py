"""How far learners got, and what happened."""

from typing import Any

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from courses.models import Chapter, Course


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
        return f"{self.event_type} / {self.event_time:%Y-%m-%d %H:%M:%S}"


# --- Counts that insights are shown from; telemetry.rollups keeps them --------------------------------------------


# Nothing in the database holds counts to their learner, course or chapter: a deletion would fail when these are being
# counted just then. What such a race leaves behind goes with `rollups.delete_orphans`.
def _reference(to: str | type[models.Model]) -> "models.ForeignKey[Any, Any]":
    return models.ForeignKey(to, on_delete=models.CASCADE, related_name="+", db_constraint=False, db_index=False)


def _own_row(to: type[models.Model]) -> "models.OneToOneField[Any, Any]":
    return models.OneToOneField(to, on_delete=models.CASCADE, related_name="+", db_constraint=False, primary_key=True)


class TouchedDay(models.Model):
    """A day (UTC) of a course of which events came in or went since it was counted: a mark for each such call.

    Not unique: two calls that mark the same day would wait for each other.
    """

    id = models.BigAutoField(primary_key=True)
    course_id = models.UUIDField()
    day = models.DateField(db_index=True)

    def __str__(self) -> str:
        return f"{self.course_id} {self.day}"


class LearnerDay(models.Model):
    """How many events of a course a learner had on a day (UTC), and when. Without a row: none."""

    pk = models.CompositePrimaryKey("user_id", "course_id", "day")
    user = _reference(settings.AUTH_USER_MODEL)
    course = _reference(Course)
    day = models.DateField()
    events = models.PositiveIntegerField()
    first_event_at = models.DateTimeField()
    last_event_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["course", "day", "user"], name="telemetry_learnerday_by_day")]

    def __str__(self) -> str:
        return f"{self.user_id} {self.course_id} {self.day}"


class CourseDay(models.Model):
    """Events of a course on a day (UTC), and the learners that they are of."""

    pk = models.CompositePrimaryKey("course_id", "day")
    course = _reference(Course)
    day = models.DateField()
    active_learners = models.PositiveIntegerField()
    events = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.course_id} {self.day}"


class CourseWeek(models.Model):
    """Learners with events of a course in a week (UTC), which `week`, its Monday, stands for (ISO 8601)."""

    pk = models.CompositePrimaryKey("course_id", "week")
    course = _reference(Course)
    week = models.DateField()
    active_learners = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.course_id} {self.week}"


class EventTypeDay(models.Model):
    """Events of one type in a course on a day (UTC); of the types that led then, `limits.INSIGHTS_TYPES_KEPT` of them.

    All events of the day are in `CourseDay`.
    """

    pk = models.CompositePrimaryKey("course_id", "day", "event_type")
    course = _reference(Course)
    day = models.DateField()
    event_type = models.CharField(max_length=128)
    events = models.PositiveIntegerField()

    class Meta:
        # The most frequent types of a day.
        indexes = [models.Index(fields=["course", "day", "-events"], name="telemetry_types_by_count")]

    def __str__(self) -> str:
        return f"{self.course_id} {self.day} {self.event_type}"


class LearnerStanding(models.Model):
    """How far a learner who is in a course has got in its active chapters.

    `chapter` is the last one in the course's order that they have begun. They have stopped when nothing came of them
    for `limits.INSIGHTS_STOPPED_AFTER_DAYS` though they have begun and not completed all.
    """

    id = models.BigAutoField(primary_key=True)
    user = _reference(settings.AUTH_USER_MODEL)
    course = _reference(Course)
    chapter = models.ForeignKey(
        Chapter, on_delete=models.SET_NULL, related_name="+", null=True, db_constraint=False, db_index=False
    )
    chapter_is_completed = models.BooleanField()
    completed = models.PositiveIntegerField()
    last_active_at = models.DateTimeField(null=True)
    has_stopped = models.BooleanField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["user", "course"], name="telemetry_one_standing_per_user_and_course"),
        ]
        indexes = [
            models.Index(
                "course",
                models.F("last_active_at").desc(nulls_last=True),
                models.F("id").desc(),
                name="telemetry_standing_by_activity",
            ),
            models.Index(fields=["course", "chapter", "has_stopped"], name="telemetry_standing_by_chapter"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.course_id}"


class ChapterStanding(models.Model):
    """How far the learners who are in the course have got in one chapter; the others have not begun it.

    `median_seconds` from beginning to completion is of those who were seen doing both. `stopped_in` have begun the
    chapter last, and stopped there; `stopped_after` have completed it last, and not begun another.
    """

    chapter = _own_row(Chapter)
    in_progress = models.PositiveIntegerField()
    completed = models.PositiveIntegerField()
    median_seconds = models.FloatField(null=True)
    stopped_in = models.PositiveIntegerField()
    stopped_after = models.PositiveIntegerField()

    def __str__(self) -> str:
        return str(self.chapter_id)


class CourseStanding(models.Model):
    """How a course is going: its learners, those of them who have begun, finished or stopped, and the last 7 days'."""

    course = _own_row(Course)
    learners = models.PositiveIntegerField()
    begun = models.PositiveIntegerField()
    finished = models.PositiveIntegerField()
    stopped = models.PositiveIntegerField()
    active_learners = models.PositiveIntegerField()
    counted_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.course_id)


class EventBudget(models.Model):
    """What a learner has spent of the events that they may send until `ends_at`; written by `telemetry.budget`.

    The table is UNLOGGED: counts are cheap to write, and starting anew after a crash only forgives some events. No key
    refers to the user, whose deletion needn't wait for it: the row goes a day later by itself.
    """

    user_id = models.UUIDField(primary_key=True)
    spent = models.PositiveIntegerField()
    ends_at = models.DateTimeField()

    def __str__(self) -> str:
        return str(self.user_id)


class CourseInsights(Course):
    """A course as instructors see it: a model of its own, so that it has permissions and pages of its own."""

    class Meta:
        proxy = True
        verbose_name = _("course insights")
        verbose_name_plural = _("course insights")
        default_permissions = ("view",)
        permissions = [("export_courseinsights", _("Can export events"))]
