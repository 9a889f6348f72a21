"""Every write of courses."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.models import User, default_display_name
from accounts.selectors import user_exists
from config import limits, ratelimit
from config.errors import ApiError, ErrorCode, field_errors, invalid_fields
from courses.models import COURSE_CODE_CONSTRAINT, INVITE_CODE_CONSTRAINT, Chapter, Course, Enrollment, make_invite_code


def join_course(*, user_id: uuid.UUID, course_code: str = "", invite_code: str = "") -> Enrollment:
    """Enrol the learner by course code or invite code, compared without case. Joining again answers the same.

    Where joining by course code is off, a stranger's is like an unknown one: codes can't be probed.

    Raises:
        ApiError: TOO_MANY_REQUESTS; COURSE_NOT_FOUND for an unknown or inactive course; COURSE_ACCESS_DENIED for
            a learner whom staff removed.
    """
    ratelimit.count_request("join-user", str(user_id), limits.JOIN_PER_USER)
    wanted = {"course_code__iexact": course_code} if course_code else {"invite_code__iexact": invite_code}
    course = Course.objects.filter(**wanted, is_active=True).first()
    if course is None or not (invite_code or course.joinable_by_code or _has_place(user_id, course)):
        raise ApiError(ErrorCode.COURSE_NOT_FOUND)
    return enrol(user_id=user_id, course=course)


def _has_place(user_id: uuid.UUID, course: Course) -> bool:
    """Say whether the learner is in the course, or was until staff removed them."""
    return Enrollment.objects.filter(user_id=user_id, course=course).exists()


def enrol(*, user_id: uuid.UUID, course: Course) -> Enrollment:
    """Enrol; of two calls at once both get the one row.

    Raises:
        ApiError: COURSE_ACCESS_DENIED for a learner whom staff removed; INVALID_USER or COURSE_NOT_FOUND when the
            account or the course was deleted meanwhile.
    """
    try:
        Enrollment.objects.bulk_create([Enrollment(user_id=user_id, course=course)], ignore_conflicts=True)
        enrollment = Enrollment.objects.select_related("course").get(user_id=user_id, course=course)
    except (IntegrityError, Enrollment.DoesNotExist) as error:
        gone = ErrorCode.COURSE_NOT_FOUND if user_exists(user_id=user_id) else ErrorCode.INVALID_USER
        raise ApiError(gone) from error
    if enrollment.removed_at is not None:
        raise ApiError(ErrorCode.COURSE_ACCESS_DENIED, "You were removed from this course. Please ask your instructor.")
    return enrollment


def remove_enrollments(*, enrollment_ids: list[int]) -> int:
    """Take learners out of their courses for good; return how many were in until now."""
    return Enrollment.objects.filter(pk__in=enrollment_ids, removed_at=None).update(removed_at=timezone.now())


def restore_enrollments(*, enrollment_ids: list[int]) -> int:
    """Let removed learners in again; return how many were out until now."""
    return Enrollment.objects.filter(pk__in=enrollment_ids).exclude(removed_at=None).update(removed_at=None)


@dataclass(frozen=True, slots=True)
class Semester:
    """What a copy of a course has of its own."""

    course_code: str
    title: str
    semester: str = ""
    instructor: str = ""


def require_room_for_chapters(*, count: int) -> None:
    """Refuse to make one chapter more than a course can have; `count` are those that it would have then.

    It is read, then written: of two people who add at once, both may. The form takes twice as many.

    Raises:
        ApiError: VALIDATION_ERROR.
    """
    if count > limits.CHAPTERS_PER_COURSE_MAX:
        text = _("A course can have at most %(most)s chapters; it would have %(count)s. Nothing was done.")
        told = {"most": f"{limits.CHAPTERS_PER_COURSE_MAX:,}", "count": f"{count:,}"}
        raise ApiError(ErrorCode.VALIDATION_ERROR, text % told)


def copy_course(*, source: Course, chapters: Sequence[Chapter], semester: Semester) -> tuple[Course, list[Chapter]]:
    """Make a course like another, with these of its chapters; return it and its chapters, in the same order.

    It has an invite code of its own and no learners. What devices are offered in it is for the room above to copy.

    Raises:
        ApiError: VALIDATION_ERROR with each field; also when somebody took the course code at the same moment, and
            when the other has more chapters than a course can get.
    """
    require_room_for_chapters(count=len(chapters))
    course = Course(
        course_code=semester.course_code,
        title=semester.title,
        semester=semester.semester,
        instructor=semester.instructor,
        description=source.description,
        progression=source.progression,
        joinable_by_code=source.joinable_by_code,
    )
    _check_fields(course)
    copies = [
        Chapter(
            course=course,
            chapter_code=chapter.chapter_code,
            title=chapter.title,
            order=chapter.order,
            is_active=chapter.is_active,
        )
        for chapter in chapters
    ]
    with transaction.atomic():
        _insert_course(course)
        Chapter.objects.bulk_create(copies)
    return course, copies


def _check_fields(course: Course) -> None:
    try:
        course.clean_fields()
    except ValidationError as error:
        raise invalid_fields(field_errors(error)) from error


def _insert_course(course: Course) -> None:
    while True:
        try:
            with transaction.atomic():
                course.save(force_insert=True)
        except IntegrityError as error:
            broken = getattr(getattr(error.__cause__, "diag", None), "constraint_name", None)
            if broken == COURSE_CODE_CONSTRAINT:
                message = _("There is a course with this code already.")
                raise invalid_fields([{"field": "course_code", "message": message}]) from error
            if broken != INVITE_CODE_CONSTRAINT:
                raise
            course.invite_code = make_invite_code()  # one of 31^8 codes was taken
        else:
            return


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
