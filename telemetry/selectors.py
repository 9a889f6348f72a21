"""Reads of progress and enrolments, for the learner's own calls and for the rooms that ask by a Protocol."""

import uuid
from collections.abc import Iterable, Mapping

from courses.models import Enrollment
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


def enrolled_course_ids(*, user_id: uuid.UUID, course_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Return those of the courses that the learner is in, deactivated ones too. One query, none for no courses."""
    return set(
        Enrollment.objects.filter(user_id=user_id, course_id__in=list(course_ids), removed_at=None).values_list(
            "course_id", flat=True
        )
    )
