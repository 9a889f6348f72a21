"""Every write of progress and events."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import IntegrityError, connection
from django.utils import timezone
from psycopg.types.json import Jsonb

from config import limits
from config.errors import ApiError, ErrorCode
from config.redaction import redact, redact_text
from courses.selectors import canonical_uuid
from telemetry.events import Event, EventRefusedError, read_event, shown_event_id
from telemetry.models import ChapterProgress
from telemetry.selectors import enrolled_course_ids

_UPSERT_PROGRESS: Final = """
    WITH place AS (
        SELECT course_id FROM courses_enrollment
        WHERE user_id = %(user_id)s AND course_id = %(course_id)s AND removed_at IS NULL
    ), target AS (
        SELECT chapter.id FROM courses_chapter AS chapter JOIN place USING (course_id)
        WHERE chapter.id = %(chapter_uuid)s OR chapter.chapter_code = %(chapter_code)s
    ), applied AS (
        INSERT INTO telemetry_chapterprogress AS kept
            (user_id, chapter_id, status, session_id, task_snapshot, created_at, updated_at, completed_at)
        SELECT %(user_id)s, id, %(status)s, %(session_id)s, %(task_snapshot)s::jsonb, %(now)s, %(now)s,
            %(completed_at)s::timestamptz
        FROM target
        ON CONFLICT (user_id, chapter_id) DO UPDATE SET
            status = excluded.status,
            session_id = excluded.session_id,
            task_snapshot = coalesce(excluded.task_snapshot, kept.task_snapshot),
            updated_at = excluded.updated_at,
            completed_at = coalesce(kept.completed_at, excluded.completed_at)
        WHERE excluded.status >= kept.status
    )
    SELECT EXISTS (SELECT FROM place), EXISTS (SELECT FROM target)
"""

# The rows come sorted by key, and a function scan keeps their order: two calls that bring the same events take their
# locks in the same order and can't deadlock.
_INSERT_EVENTS: Final = """
    INSERT INTO telemetry_analyticsevent
        (user_id, received_at, event_id, event_time, event_type, course_id, chapter_id, session_id, payload)
    SELECT %s, %s, event_id, event_time, event_type, course_id, chapter_id, session_id, payload::jsonb
    FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::uuid[], %s::text[], %s::text[], %s::text[])
        AS sent (event_id, event_time, event_type, course_id, chapter_id, session_id, payload)
    ON CONFLICT (user_id, event_id, event_time) DO NOTHING
"""


# --- Progress ---------------------------------------------------------------------------------------------------


def record_chapter_progress(
    *,
    user_id: uuid.UUID,
    course_id: str,
    chapter_id: str,
    status: str,
    session_id: str | None = None,
    task_snapshot: dict[str, Any] | None = None,
) -> datetime:
    """Take a learner's report on a chapter, by code or UUID, and return the server's time. One statement.

    A report that would lower the status leaves the row as it is and is no error. A report without a snapshot keeps
    the one before. Deactivated courses and chapters still take reports: the client's queue would lose them.

    Raises:
        ApiError: COURSE_ACCESS_DENIED for a stranger, a removed learner and a course that doesn't exist alike;
            CHAPTER_NOT_FOUND.
    """
    course = canonical_uuid(course_id)
    if course is None:
        raise ApiError(ErrorCode.COURSE_ACCESS_DENIED)
    now = timezone.now()
    rank = ChapterProgress.Status[status]
    report = {
        "user_id": user_id,
        "course_id": course,
        "chapter_uuid": canonical_uuid(chapter_id),
        "chapter_code": chapter_id,
        "status": rank.value,
        "session_id": redact_text(session_id or "")[: limits.REFERENCE_MAX_LENGTH],
        "task_snapshot": None if task_snapshot is None else Jsonb(redact(task_snapshot)),
        "now": now,
        "completed_at": now if rank is ChapterProgress.Status.COMPLETED else None,
    }
    try:
        enrolled, found = _upsert_progress(report)
    except IntegrityError:
        # The chapter or the account was deleted while the statement ran; a second one sees that.
        enrolled, found = _upsert_progress(report)
    if not enrolled:
        raise ApiError(ErrorCode.COURSE_ACCESS_DENIED)
    if not found:
        raise ApiError(ErrorCode.CHAPTER_NOT_FOUND)
    return now


def _upsert_progress(report: Mapping[str, Any]) -> tuple[bool, bool]:
    """Return whether the learner is enrolled, and whether the chapter is there."""
    with connection.cursor() as cursor:
        cursor.execute(_UPSERT_PROGRESS, report)
        enrolled, found = cursor.fetchone()
    return enrolled, found


# --- Events -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventError:
    """Why the event at `index` of the call was not stored. `event_id` is None when it had none that can be shown."""

    index: int
    event_id: str | None
    code: ErrorCode
    message: str


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a call's events: `accepted` are stored now or before, `duplicates` of them before."""

    accepted: int
    duplicates: int
    errors: Sequence[EventError]

    @property
    def failed(self) -> int:
        return len(self.errors)


def ingest_events(*, user_id: uuid.UUID, events: Sequence[Mapping[str, Any]]) -> IngestResult:
    """Store a learner's events, each once, in one statement; a bad event doesn't hinder the others.

    An event is known by learner, event id and time; the first one that arrives is kept. At most two queries.

    Raises:
        ApiError: PAYLOAD_TOO_LARGE.
    """
    if len(events) > limits.EVENTS_PER_CALL_MAX:
        raise ApiError(
            ErrorCode.PAYLOAD_TOO_LARGE, f"At most {limits.EVENTS_PER_CALL_MAX:,} events may be sent in a call."
        )
    read, errors = _read_events(events)
    named = {event.course_id for event in read.values() if event.course_id}
    denied = named - enrolled_course_ids(user_id=user_id, course_ids=named)
    for index in [index for index, event in read.items() if event.course_id in denied]:
        refusal = EventRefusedError(ErrorCode.COURSE_ACCESS_DENIED, ErrorCode.COURSE_ACCESS_DENIED.message)
        errors.append(_event_error(index, events[index], refusal))
        del read[index]
    stored = _insert_events(user_id=user_id, events=read.values())
    return IngestResult(len(read), len(read) - stored, sorted(errors, key=lambda error: error.index))


def _read_events(events: Sequence[Mapping[str, Any]]) -> tuple[dict[int, Event], list[EventError]]:
    """Return the events that can be stored by their index, and an error for each of the others."""
    read: dict[int, Event] = {}
    errors: list[EventError] = []
    for index, raw in enumerate(events):
        try:
            read[index] = read_event(raw)
        except EventRefusedError as refusal:
            errors.append(_event_error(index, raw, refusal))
    return read, errors


def _event_error(index: int, raw: Mapping[str, Any], refusal: EventRefusedError) -> EventError:
    return EventError(index, shown_event_id(raw), refusal.code, refusal.message)


def _insert_events(*, user_id: uuid.UUID, events: Collection[Event]) -> int:
    """Insert what isn't there yet, and return how many events that were."""
    by_key: dict[tuple[str, datetime], Event] = {}
    for event in events:
        by_key.setdefault((event.event_id, event.event_time), event)
    if not by_key:
        return 0
    rows = [by_key[key] for key in sorted(by_key)]
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT_EVENTS,
            [
                user_id,
                timezone.now(),
                [row.event_id for row in rows],
                [row.event_time for row in rows],
                [row.event_type for row in rows],
                [row.course_id for row in rows],
                [row.chapter_id for row in rows],
                [row.session_id for row in rows],
                [row.payload for row in rows],
            ],
        )
        return int(cursor.rowcount)
