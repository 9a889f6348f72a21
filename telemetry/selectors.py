"""Reads of progress, for the learner's own calls and for the rooms that ask by a Protocol."""

import uuid
from collections.abc import Collection, Mapping

from django.db.models import Exists, OuterRef

from courses.models import Chapter, Enrollment
from courses.progress import ChapterStatus
from telemetry.models import ChapterProgress


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
