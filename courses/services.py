"""Every write of courses."""

import uuid

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import User, default_display_name
from config import limits, ratelimit
from config.errors import ApiError, ErrorCode
from courses.models import Course, Enrollment, make_invite_code


def join_course(*, user_id: uuid.UUID, course_code: str = "", invite_code: str = "") -> Enrollment:
    """Enrol the learner by course code or invite code, compared without case. Joining again answers the same.

    Raises:
        ApiError: TOO_MANY_REQUESTS; COURSE_NOT_FOUND for an unknown or inactive course; COURSE_ACCESS_DENIED for
            a learner whom staff removed.
    """
    ratelimit.count_request("join-user", str(user_id), limits.JOIN_PER_USER)
    wanted = {"course_code__iexact": course_code} if course_code else {"invite_code__iexact": invite_code}
    course = Course.objects.filter(**wanted, is_active=True).first()
    if course is None:
        raise ApiError(ErrorCode.COURSE_NOT_FOUND)
    return enrol(user_id=user_id, course=course)


def enrol(*, user_id: uuid.UUID, course: Course) -> Enrollment:
    """Enrol; of two calls at once both get the one row.

    Raises:
        ApiError: COURSE_ACCESS_DENIED for a learner whom staff removed.
    """
    Enrollment.objects.bulk_create([Enrollment(user_id=user_id, course=course)], ignore_conflicts=True)
    enrollment = Enrollment.objects.select_related("course").get(user_id=user_id, course=course)
    if enrollment.removed_at is not None:
        raise ApiError(ErrorCode.COURSE_ACCESS_DENIED, "You were removed from this course. Please ask your instructor.")
    return enrollment


def remove_enrollments(*, enrollment_ids: list[int]) -> int:
    """Take learners out of their courses for good; return how many were in until now."""
    return Enrollment.objects.filter(pk__in=enrollment_ids, removed_at=None).update(removed_at=timezone.now())


def restore_enrollments(*, enrollment_ids: list[int]) -> int:
    """Let removed learners in again; return how many were out until now."""
    return Enrollment.objects.filter(pk__in=enrollment_ids).exclude(removed_at=None).update(removed_at=None)


def renew_invite_code(*, course: Course) -> str:
    """Give the course another invite code; the old one stops at once."""
    while True:
        code = make_invite_code()
        try:
            with transaction.atomic():
                Course.objects.filter(pk=course.pk).update(invite_code=code)
        except IntegrityError:
            continue  # one of 31^8 codes was taken
        return code


def save_test_user(
    *, email: str, password: str, display_name: str = "", course: Course | None = None
) -> tuple[User, bool]:
    """Create or update a user and enrol it, bringing back a removed enrolment; return it and whether it is new."""
    with transaction.atomic():
        user, created = User.objects.get_or_create(
            email=email, defaults={"display_name": display_name or default_display_name(email)}
        )
        user.set_password(password)
        user.is_active = True
        if display_name:
            user.display_name = display_name
        user.save(update_fields=["password", "is_active", "display_name"])
        if course is not None:
            Enrollment.objects.update_or_create(user=user, course=course, defaults={"removed_at": None})
    return user, created
