"""What the telemetry holds of a person: progress, events, and what is counted from them."""

import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from config import limits
from config.personal_data import CountersHolding, Holding, Row, RowsHolding, Subject
from telemetry import budget, rollups
from telemetry.models import AnalyticsEvent, ChapterProgress, EventBudget, LearnerDay, LearnerStanding

# By their keys: with the time among them PostgreSQL looks each event up in its own partition only.
_ERASE_EVENTS: Final = """
    WITH going AS MATERIALIZED (
        SELECT event_id, event_time FROM telemetry_analyticsevent WHERE user_id = %(user_id)s LIMIT %(limit)s
    )
    DELETE FROM telemetry_analyticsevent AS event USING going
    WHERE event.user_id = %(user_id)s AND event.event_id = going.event_id AND event.event_time = going.event_time
"""

_STAFF_AND_INSTRUCTORS: Final = "Staff of the operator; instructors of the course, under a pseudonym or by name."


class Events(RowsHolding):
    name = "events"
    title = "Events"
    tables = ("telemetry_analyticsevent",)
    purpose = "To see how a course is going and where learners get stuck, and for research on it."
    origin = "The person's devices, while they use the app. What looked like a secret was taken out before storing."
    recipients = f"{_STAFF_AND_INSTRUCTORS} Researchers, under a pseudonym, where the operator exports events."
    is_portable = True
    is_large = True
    columns = {
        name: name
        for name in (
            "event_id",
            "event_time",
            "received_at",
            "event_type",
            "course_id",
            "chapter_id",
            "session_id",
            "payload",
        )
    }

    @property
    def kept_for(self) -> str:  # type: ignore[override]
        return f"{settings.ANALYTICS_RETENTION_DAYS} days, or until the account is erased."

    def rows(self, user_id: uuid.UUID) -> QuerySet[AnalyticsEvent]:
        return AnalyticsEvent.objects.filter(user_id=user_id).order_by("event_time", "event_id")

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        """The days of courses that they are counted in are marked with the counts (see `Counts`), after them."""
        if subject.user_id is None:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(_ERASE_EVENTS, {"user_id": subject.user_id, "limit": limit})
            return int(cursor.rowcount)


class Progress(RowsHolding):
    name = "progress"
    title = "Progress in chapters"
    tables = ("telemetry_chapterprogress",)
    purpose = "To show the person how far they got, to open chapters, and to see how a course is going."
    origin = "The person's devices; staff who completed, unlocked or reset a chapter."
    recipients = _STAFF_AND_INSTRUCTORS
    kept_for = "Until the account is erased, or the chapter is deleted."
    is_portable = True
    columns = {
        "course_id": "chapter__course_id",
        "course_code": "chapter__course__course_code",
        "chapter_id": "chapter_id",
        "chapter_code": "chapter__chapter_code",
        **{
            name: name
            for name in (
                "status",
                "session_id",
                "task_snapshot",
                "created_at",
                "updated_at",
                "completed_at",
                "reported_while_locked",
            )
        },
    }

    def rows(self, user_id: uuid.UUID) -> QuerySet[ChapterProgress]:
        return ChapterProgress.objects.filter(user_id=user_id).order_by("pk")

    def read(self, subject: Subject) -> Iterator[Row]:
        for row in super().read(subject):
            yield {**row, "status": ChapterProgress.Status(row["status"]).label}


class Counts(Holding):
    name = "counts"
    title = "What is counted from events and progress"
    tables = ("telemetry_learnerday", "telemetry_learnerstanding")
    purpose = "To show how a course is going without reading all events."
    origin = "Counted by the server from events and progress."
    recipients = _STAFF_AND_INSTRUCTORS
    upon_erasure = (
        "Deleted. Counts of whole courses have no person in them; days that events are still kept of are counted anew."
    )
    is_derived = True

    @property
    def kept_for(self) -> str:  # type: ignore[override]
        return f"{settings.ANALYTICS_RETENTION_DAYS} days, or until the account is erased."

    def count(self, subject: Subject) -> int:
        if subject.user_id is None:
            return 0
        rows = (LearnerDay.objects, LearnerStanding.objects)
        return sum(found.filter(user_id=subject.user_id).count() for found in rows)

    def read(self, subject: Subject) -> Iterator[Row]:
        if subject.user_id is None:
            return
        days = LearnerDay.objects.filter(user_id=subject.user_id).order_by("course_id", "day")
        of_day = ("course_id", "day", "events", "first_event_at", "last_event_at")
        for row in days.values(*of_day).iterator(limits.PERSONAL_DATA_ROWS_READ):
            yield {"counted": "events of a day", **row}
        standings = LearnerStanding.objects.filter(user_id=subject.user_id).order_by("course_id")
        standing = ("course_id", "chapter_id", "chapter_is_completed", "completed", "last_active_at", "has_stopped")
        for row in standings.values(*standing).iterator(limits.PERSONAL_DATA_ROWS_READ):
            yield {"counted": "progress in a course", **row}

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        return rollups.forget_learner(user_id=subject.user_id) if subject.user_id else 0


class EventBudgets(RowsHolding):
    name = "event_counters"
    title = "Counter of events"
    tables = ("telemetry_eventbudget",)
    purpose = CountersHolding.purpose
    origin = CountersHolding.origin
    recipients = CountersHolding.recipients
    kept_for = "A day."
    columns = {"spent": "spent", "ends_at": "ends_at"}

    def rows(self, user_id: uuid.UUID) -> QuerySet[EventBudget]:
        return EventBudget.objects.filter(user_id=user_id)

    def erase(self, subject: Subject, *, limit: int | None = None) -> int:
        """A row that a call is just renewing is left to the next round: the call waits for the account."""
        return budget.erase(user_id=subject.user_id) if subject.user_id else 0


def holdings() -> Sequence[Holding]:
    """What this room holds; what is counted comes after what it is counted from."""
    return [Events(), Progress(), Counts(), EventBudgets()]
