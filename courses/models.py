"""What may be studied, and by whom."""

import re
import secrets
import uuid
from typing import Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db import models
from django.db.models.functions import Lower, Upper
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

INVITE_CODE_ALPHABET: Final = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
"""Without 0/O, 1/I/L: codes are read aloud in lecture halls and typed from slides."""
INVITE_CODE_LENGTH: Final = 8

COURSE_CODE_CONSTRAINT: Final = "courses_course_code_unique_without_case"
INVITE_CODE_CONSTRAINT: Final = "courses_invite_code_unique_without_case"

UUID_PATTERN: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""The canonical form of RFC 9562. Python's UUID() reads many more, and a chapter code must not be one of them."""

# No dot at the start: clients and the artifact store make folders of a chapter's code.
code_validator = RegexValidator(
    r"\A[A-Za-z0-9_-][A-Za-z0-9._-]*\Z",
    _("Use letters, digits, dot, underscore and hyphen only, and no dot at the start."),
)


def validate_no_uuid(value: str) -> None:
    """A chapter is addressed by its code or its UUID in the same field: a code must not look like a UUID."""
    if UUID_PATTERN.fullmatch(value):
        raise ValidationError(_("A code must not look like a UUID."))


def make_invite_code() -> str:
    return "".join(secrets.choice(INVITE_CODE_ALPHABET) for _ in range(INVITE_CODE_LENGTH))


class Course(models.Model):
    class Progression(models.TextChoices):
        OPEN = "open", _("Open: no chapter is locked")
        SEQUENTIAL = "sequential", _("Sequential: a chapter opens when the one before it is completed")

    id = models.UUIDField(_("ID"), primary_key=True, default=uuid.uuid4, editable=False)
    course_code = models.CharField(_("course code"), max_length=64, validators=[code_validator])
    invite_code = models.CharField(
        _("invite code"), max_length=64, default=make_invite_code, validators=[code_validator]
    )
    title = models.CharField(_("title"), max_length=200)
    description = models.TextField(_("description"), blank=True)
    instructor = models.CharField(
        _("instructor's name"),
        max_length=200,
        blank=True,
        help_text=_("Shown to learners. It gives nobody any rights."),
    )
    semester = models.CharField(_("semester"), max_length=64, blank=True)
    progression = models.CharField(
        _("progression"), max_length=16, choices=Progression.choices, default=Progression.OPEN
    )
    joinable_by_code = models.BooleanField(
        _("joining by course code"),
        default=True,
        db_default=True,
        help_text=_(
            "When off, new learners need the invite code; the course code alone lets nobody in. "
            "Who is in the course stays."
        ),
    )
    is_active = models.BooleanField(
        _("active"),
        default=True,
        help_text=_("Switch it off instead of deleting the course: learners don't see it any more."),
    )
    created_at = models.DateTimeField(_("made at (UTC)"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("course")
        verbose_name_plural = _("courses")
        constraints = [
            models.UniqueConstraint(
                Upper("course_code"),
                name=COURSE_CODE_CONSTRAINT,
                violation_error_message=_("There is a course with this code already."),
            ),
            models.UniqueConstraint(
                Upper("invite_code"),
                name=INVITE_CODE_CONSTRAINT,
                violation_error_message=_("There is a course with this invite code already."),
            ),
            models.CheckConstraint(
                condition=models.Q(progression__in=["open", "sequential"]), name="courses_progression"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.course_code} {self.title}"


class Chapter(models.Model):
    id = models.UUIDField(_("ID"), primary_key=True, default=uuid.uuid4, editable=False)
    course = models.ForeignKey(Course, on_delete=models.CASCADE, related_name="chapters", verbose_name=_("course"))
    chapter_code = models.CharField(_("chapter code"), max_length=64, validators=[code_validator, validate_no_uuid])
    title = models.CharField(_("title"), max_length=200)
    order = models.PositiveIntegerField(_("order"), default=0)
    is_active = models.BooleanField(_("active"), default=True)
    created_at = models.DateTimeField(_("made at (UTC)"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("chapter")
        verbose_name_plural = _("chapters")
        ordering = ["order", "chapter_code"]
        constraints = [
            models.UniqueConstraint(
                "course",
                Lower("chapter_code"),
                name="courses_chapter_code_unique_in_course",
                violation_error_message=_("The course has a chapter with this code already."),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.course.course_code} {self.chapter_code}: {self.title}"


class Enrollment(models.Model):
    """A learner's place in a course. Staff remove it by `removed_at`: the row stays, so joining again is refused."""

    id = models.BigAutoField(primary_key=True)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="enrollments", verbose_name=_("learner")
    )
    # The index that a foreign key gets is the first part of the one below.
    course = models.ForeignKey(
        Course, on_delete=models.CASCADE, related_name="enrollments", verbose_name=_("course"), db_index=False
    )
    joined_at = models.DateTimeField(_("joined at (UTC)"), default=timezone.now)
    removed_at = models.DateTimeField(
        _("removed at (UTC)"), null=True, blank=True, help_text=_("When set, the learner can't enter or join again.")
    )

    class Meta:
        verbose_name = _("enrolment")
        verbose_name_plural = _("enrolments")
        constraints = [
            models.UniqueConstraint(fields=["user", "course"], name="courses_one_enrollment_per_user_and_course"),
        ]
        # For the admin's lists, the newest first.
        indexes = [
            models.Index(fields=["course", "-id"], name="courses_enrollment_by_course"),
            models.Index(
                fields=["-id"], condition=models.Q(removed_at__isnull=False), name="courses_enrollment_removed"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user} / {self.course}"


class CourseInstructor(models.Model):
    """Binds a member of staff to a course whose insights they may see, if their permissions reach no further."""

    id = models.BigAutoField(primary_key=True)
    course = models.ForeignKey(
        Course, on_delete=models.CASCADE, related_name="instructors", verbose_name=_("course"), db_index=False
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="instructor_of", verbose_name=_("instructor")
    )
    may_see_emails = models.BooleanField(
        _("sees email addresses"),
        default=False,
        help_text=_(
            "When off, learners of this course are shown by a pseudonym that stays the same in every page and export."
        ),
    )

    class Meta:
        verbose_name = _("instructor")
        verbose_name_plural = _("instructors")
        constraints = [
            models.UniqueConstraint(fields=["course", "user"], name="courses_instructor_once_per_course"),
        ]

    def __str__(self) -> str:
        return f"{self.user}: {self.course.course_code}"
