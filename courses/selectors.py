"""Reads of courses: every one of them asks in the same statement whether this learner may."""

import uuid
from dataclasses import dataclass
from typing import Final

from django.db.models import FilteredRelation, Q, QuerySet

from accounts.selectors import find_users_by_email
from config.errors import ApiError, ErrorCode
from courses.models import UUID_PATTERN, Chapter, Course, Enrollment
from courses.progress import ChapterStatus, get_progress_reader

FOUND_MAX_COURSES: Final = 5
FOUND_MAX_ENROLLMENTS: Final = 200
"""What a search finds; whoever looks for one types more."""


@dataclass(frozen=True, slots=True)
class ListedChapter:
    """A chapter as a learner sees it."""

    chapter: Chapter
    status: ChapterStatus

    @property
    def locked(self) -> bool:
        return self.status is ChapterStatus.LOCKED


@dataclass(frozen=True, slots=True)
class EnrolledChapter:
    """An active chapter of an active course that the learner is enrolled in."""

    id: uuid.UUID
    course_id: uuid.UUID
    chapter_code: str


def canonical_uuid(text: str) -> uuid.UUID | None:
    """Read a UUID in the canonical form of RFC 9562, in any case; None for anything else."""
    return uuid.UUID(text) if UUID_PATTERN.fullmatch(text) else None


def get_enrolled_course(*, user_id: uuid.UUID, course_id: str) -> Enrollment:
    """Return the learner's enrolment in an active course, with the course joined. One query.

    Raises:
        ApiError: COURSE_ACCESS_DENIED for a stranger, a removed learner, an unknown course and an id that is none
            alike, so that ids can't be probed; COURSE_NOT_FOUND when the course was deactivated.
    """
    parsed = canonical_uuid(course_id)
    enrollment = (
        parsed
        and Enrollment.objects.select_related("course")
        .filter(user_id=user_id, course_id=parsed, removed_at=None)
        .first()
    )
    if not enrollment:
        raise ApiError(ErrorCode.COURSE_ACCESS_DENIED)
    if not enrollment.course.is_active:
        raise ApiError(ErrorCode.COURSE_NOT_FOUND)
    return enrollment


def get_enrolled_chapter(*, user_id: uuid.UUID, course_id: str, chapter_ref: str) -> EnrolledChapter:
    """Return an active chapter, by its code or UUID, of an active course of the learner. One query.

    Raises:
        ApiError: COURSE_ACCESS_DENIED, COURSE_NOT_FOUND, CHAPTER_NOT_FOUND.
    """
    parsed = canonical_uuid(course_id)
    chapter_id = canonical_uuid(chapter_ref)
    wanted = Q(course__chapters__pk=chapter_id) if chapter_id else Q(course__chapters__chapter_code=chapter_ref)
    row = parsed and (
        Enrollment.objects.filter(user_id=user_id, course_id=parsed, removed_at=None)
        .annotate(wanted=FilteredRelation("course__chapters", condition=wanted & Q(course__chapters__is_active=True)))
        .values_list("course__is_active", "wanted__pk", "wanted__chapter_code")
        .first()
    )
    if not parsed or not row:
        raise ApiError(ErrorCode.COURSE_ACCESS_DENIED)
    course_is_active, found_id, found_code = row
    if not course_is_active:
        raise ApiError(ErrorCode.COURSE_NOT_FOUND)
    if found_id is None:
        raise ApiError(ErrorCode.CHAPTER_NOT_FOUND)
    return EnrolledChapter(id=found_id, course_id=parsed, chapter_code=found_code)


def list_my_courses(*, user_id: uuid.UUID) -> QuerySet[Enrollment]:
    """Return the learner's enrolments in active courses, the newest first, courses joined. One query."""
    return (
        Enrollment.objects.select_related("course")
        .filter(user_id=user_id, removed_at=None, course__is_active=True)
        .order_by("-joined_at", "-pk")
    )


def list_chapters(*, user_id: uuid.UUID, course: Course) -> list[ListedChapter]:
    """Return the active chapters in order, each with its status for this learner. Two queries.

    The rule of what is locked is also in `telemetry.services`, as SQL, where a report is marked by it.
    """
    chapters = course.chapters.filter(is_active=True).order_by("order", "chapter_code")
    reported = get_progress_reader().chapter_statuses(user_id=user_id, course_id=course.pk)
    sequential = course.progression == Course.Progression.SEQUENTIAL
    listed: list[ListedChapter] = []
    for chapter in chapters:
        status = reported.get(chapter.pk)
        if status is None:
            open_now = not sequential or not listed or listed[-1].status is ChapterStatus.COMPLETED
            status = ChapterStatus.IN_PROGRESS if open_now else ChapterStatus.LOCKED
        listed.append(ListedChapter(chapter, status))
    return listed


def following_chapter(*, chapter: Chapter) -> Chapter | None:
    """Return the chapter that opens for a learner who completes this one: the next active one of a sequential course.

    One query, besides that for the course unless it is loaded.
    """
    if chapter.course.progression != Course.Progression.SEQUENTIAL or not chapter.is_active:
        return None
    later = Q(order__gt=chapter.order) | Q(order=chapter.order, chapter_code__gt=chapter.chapter_code)
    active = Chapter.objects.filter(later, course_id=chapter.course_id, is_active=True)
    return active.order_by("order", "chapter_code").first()


# --- For staff ----------------------------------------------------------------------------------------------------


def count_learners(*, course: Course, most: int) -> int:
    """Count who is in the course, up to one more than `most`. One query."""
    return course.enrollments.filter(removed_at=None)[: most + 1].count()


def find_enrollments(*, text: str, by_email: bool = True) -> Q:
    """Return the condition for those of learners whose email begins so, and in courses whose code does.

    Where just one course is meant, it has all of its enrolments, else at most FOUND_MAX_ENROLLMENTS of each course and
    of the learners together. Without `by_email`, of courses only. Ids rather than a join: the planner would walk all
    enrolments by their order and look at the learner of each.
    """
    text = text.strip()
    users = find_users_by_email(prefix=text) if by_email else []
    courses = list(find_courses(code_prefix=text).values_list("pk", flat=True)[:FOUND_MAX_COURSES])
    if len(courses) == 1 and not users:
        return Q(course_id=courses[0])
    newest = [_newest_ids(Enrollment.objects.filter(course_id=course_id)) for course_id in courses]
    if users:
        newest.append(_newest_ids(Enrollment.objects.filter(user_id__in=users)))
    if not newest:
        return Q(pk__in=[])
    return Q(pk__in=list(newest[0].union(*newest[1:], all=True)))


def find_courses(*, code_prefix: str) -> QuerySet[Course]:
    """Return the courses whose code begins so, in any case."""
    prefix = code_prefix.strip()
    if not prefix or "\x00" in prefix:
        return Course.objects.none()
    return Course.objects.filter(course_code__istartswith=prefix).order_by("course_code")


def _newest_ids(enrollments: QuerySet[Enrollment]) -> "QuerySet[Enrollment, int]":
    return enrollments.order_by("-pk").values_list("pk", flat=True)[:FOUND_MAX_ENROLLMENTS]
