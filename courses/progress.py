"""What courses ask the rooms above them: how far is this learner?"""

import uuid
from collections.abc import Mapping
from enum import StrEnum
from typing import Protocol, cast

from django.conf import settings
from django.utils.module_loading import import_string


class ChapterStatus(StrEnum):
    LOCKED = "LOCKED"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"


class ProgressReader(Protocol):
    """Implemented where progress is kept; named by the setting CHAPTER_PROGRESS."""

    def chapter_statuses(self, *, user_id: uuid.UUID, course_id: uuid.UUID) -> Mapping[uuid.UUID, ChapterStatus]:
        """Return the reported status by chapter id; chapters without progress are absent. One query."""
        ...


def get_progress_reader() -> ProgressReader:
    """Load the implementation that the settings name."""
    return cast(ProgressReader, import_string(settings.CHAPTER_PROGRESS)())
