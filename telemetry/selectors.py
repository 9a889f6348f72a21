"""Reads of progress, for the learner's own calls and for the rooms that ask by a Protocol."""

import uuid
from collections.abc import Collection, Mapping
from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.selectors import find_users_by_email
from courses.models import Chapter, Enrollment
from courses.progress import ChapterStatus
from courses.selectors import FOUND_MAX_COURSES, find_courses
from telemetry.models import ChapterProgress

FOUND_MAX_CHAPTERS: Final = 100
FOUND_MAX_ROWS: Final = 50
"""What a search finds of each chapter, and of the learners together; whoever looks for one types more."""


class ChapterProgressReader:
    """The `courses.progress.ProgressReader` that the setting CHAPTER_PROGRESS names."""

    def chapter_statuses(self, *, user_id: uuid.UUID, course_id: uuid.UUID) -> Mapping[uuid.UUID, ChapterStatus]:
        """Return the reported status by chapter id; chapters without progress are absent. One query.

        A row that says LOCKED is no progress: whether such a chapter is open is for the course to say.
        """
        rows = ChapterProgress.objects.filter(
            user_id=user_id, chapter__course_id=course_id, status__gt=ChapterProgress.Status.LOCKED
        ).values_list("chapter_id", "status")
        return {chapter_id: ChapterStatus(ChapterProgress.Status(status).label) for chapter_id, status in rows}


def count_learners(
    *, chapter: Chapter, user_ids: Collection[uuid.UUID] | None, has_at_least: ChapterProgress.Status, has: bool
) -> int:
    """Count those of these learners, or of all, who are in the course and have so much progress, or haven't."""
    progress = ChapterProgress.objects.filter(
        user_id=OuterRef("user_id"), chapter_id=chapter.pk, status__gte=has_at_least
    )
    learners = Enrollment.objects.filter(course_id=chapter.course_id, removed_at=None)
    if user_ids is not None:
        learners = learners.filter(user_id__in=user_ids)
    return learners.filter(Exists(progress) if has else ~Exists(progress)).count()


def find_progress(*, text: str, by_email: bool = True) -> Q:
    """Return the condition for the progress of learners whose email begins so, and in courses whose code does.

    Of each chapter the newest FOUND_MAX_ROWS. Without `by_email`, of chapters only. Ids rather than a join, as in
    `courses.selectors.find_enrollments`.
    """
    users = find_users_by_email(prefix=text) if by_email else []
    courses = list(find_courses(code_prefix=text).values_list("pk", flat=True)[:FOUND_MAX_COURSES])
    chapters = Chapter.objects.filter(course_id__in=courses).values_list("pk", flat=True)[:FOUND_MAX_CHAPTERS]
    newest = [_newest_ids(ChapterProgress.objects.filter(chapter_id=chapter_id)) for chapter_id in chapters]
    if users:
        newest.append(_newest_ids(ChapterProgress.objects.filter(user_id__in=users)))
    return Q(pk__in=list(newest[0].union(*newest[1:], all=True)) if newest else [])


def _newest_ids(rows: QuerySet[ChapterProgress]) -> "QuerySet[ChapterProgress, int]":
    return rows.order_by("-pk").values_list("pk", flat=True)[:FOUND_MAX_ROWS]
