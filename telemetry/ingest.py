"""Every write of events."""

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from operator import attrgetter
from typing import Any, Final

import msgspec
import psycopg
from django.conf import settings
from django.db import IntegrityError, connection
from django.utils import timezone

from config import limits
from config.errors import ApiError, ErrorCode
from telemetry import budget
from telemetry.events import Event, EventRefusedError, Refusals, read_events, shown_event_id
from telemetry.models import AnalyticsEvent

# Rows travel as one JSON text. Measured against arrays for `unnest` and against COPY to a temporary table (see
# bench/README.md): as quick as the former for one event, as the latter for 1,000, and no second path to keep.
SENT_ROWS: Final = """
    json_to_recordset(%(rows)s::json) AS sent (
        index int, event_id text, event_time timestamptz, event_type text, course_id uuid, chapter_id text,
        session_id text, payload text
    )
"""

# Deactivated courses still take events: a client's queue would lose them.
_IN_OWN_COURSE: Final = """
    (sent.course_id IS NULL OR sent.course_id IN (
        SELECT course_id FROM courses_enrollment WHERE user_id = %(user_id)s AND removed_at IS NULL
    ))
"""

# The rows come sorted by key, and a function scan keeps their order: two calls that bring the same events take their
# locks in the same order and can't deadlock. Of two with one key, the first of the call comes first.
# The days of courses that these events are of are marked for `telemetry.rollups`, in the same transaction.
INSERT_EVENTS: Final = f"""
    WITH budget AS ({budget.SPEND}), touched AS (
        INSERT INTO telemetry_touchedday (course_id, day)
        SELECT course_id, day FROM json_to_recordset(%(days)s::json) AS sent (course_id uuid, day date)
        WHERE EXISTS (SELECT FROM budget) AND {_IN_OWN_COURSE}
    ), stored AS (
        INSERT INTO telemetry_analyticsevent (
            user_id, received_at, event_id, event_time, event_type, course_id, chapter_id, session_id, payload,
            time_mark
        )
        SELECT
            %(user_id)s, %(now)s, event_id, event_time, event_type, course_id, chapter_id, session_id, payload::jsonb,
            CASE
                WHEN event_time > %(now)s + make_interval(secs => %(ahead_seconds)s)
                    THEN {AnalyticsEvent.TimeMark.AHEAD}
                WHEN event_time < %(now)s - make_interval(days => %(kept_days)s) THEN {AnalyticsEvent.TimeMark.EXPIRED}
                ELSE {AnalyticsEvent.TimeMark.PLAIN}
            END
        FROM {SENT_ROWS} WHERE EXISTS (SELECT FROM budget) AND {_IN_OWN_COURSE}
        ON CONFLICT (user_id, event_id, event_time) DO NOTHING
        RETURNING true
    )
    SELECT EXISTS (SELECT FROM budget), (SELECT count(*) FROM stored)
"""  # noqa: S608  constants only

# A statement of its own: only its snapshot has what another call committed while the insert waited for it. An event
# of a course that is not stored was refused for its course, even if the learner joined that since.
_FIND_REFUSED: Final = f"""
    SELECT sent.index, kept.user_id IS NOT NULL AND {_IN_OWN_COURSE}
    FROM {SENT_ROWS} LEFT JOIN telemetry_analyticsevent AS kept
        ON kept.user_id = %(user_id)s AND kept.event_id = sent.event_id AND kept.event_time = sent.event_time
    WHERE NOT {_IN_OWN_COURSE}
        OR (kept.user_id IS NULL AND sent.course_id IS NOT NULL)
        OR (kept.user_id IS NOT NULL AND sent.course_id IS DISTINCT FROM kept.course_id)
        OR (sent.event_type, sent.chapter_id, sent.session_id, sent.payload::jsonb)
            <> (kept.event_type, kept.chapter_id, kept.session_id, kept.payload)
"""  # noqa: S608  constants only


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


def ingest_events(*, user_id: uuid.UUID, events: Sequence[msgspec.Raw]) -> IngestResult:
    """Store a learner's events, each a JSON object as sent, once; a bad event doesn't hinder the others.

    An event is known by learner, event id and time; the first one that arrives is kept. One statement counts what the
    learner spends and stores, and another one tells why, when it left some out.

    Raises:
        ApiError: TOO_MANY_REQUESTS with the seconds until the learner may send again; INVALID_USER when the account was
            deleted meanwhile.
    """
    if not events:
        return IngestResult(0, 0, ())
    budget.refuse_spent(user_id=user_id, sent=len(events))
    read, refusals = read_events(events)
    stored, codes = _insert_events(user_id, read, len(events))
    refusals |= {index: EventRefusedError(code, str(code.message)) for index, code in codes.items()}
    accepted = len(events) - len(refusals)
    return IngestResult(accepted, accepted - stored, list(_event_errors(events, refusals)))


def _insert_events(user_id: uuid.UUID, events: Sequence[Event], sent: int) -> tuple[int, dict[int, ErrorCode]]:
    """Insert what isn't there yet of a call of `sent` events.

    Return how many that were, and by index why others were refused.
    """
    parameters = insert_parameters(user_id, events, sent)
    with connection.cursor() as cursor:
        # Django's own cursor writes the parameters into the statement. Beside it, PostgreSQL reads 1,000 events in an
        # eighth less time.
        cursor.cursor = psycopg.Cursor(connection.connection)
        try:
            cursor.execute(INSERT_EVENTS, parameters)
        except IntegrityError as error:
            raise ApiError(ErrorCode.INVALID_USER) from error
        within_budget, stored = cursor.fetchone()
        if not within_budget:
            budget.refuse(cursor=cursor, user_id=user_id)
        if stored == len(events):
            return stored, {}
        cursor.execute(_FIND_REFUSED, parameters)
        return stored, {
            index: ErrorCode.EVENT_CONFLICT if is_stored else ErrorCode.COURSE_ACCESS_DENIED
            for index, is_stored in cursor.fetchall()
        }


def insert_parameters(user_id: uuid.UUID, events: Sequence[Event], sent: int | None = None) -> dict[str, Any]:
    """Return what INSERT_EVENTS is executed with, for a call of `sent` events; without it, of these."""
    now = timezone.now()
    return {
        "rows": msgspec.json.encode(sorted(events, key=attrgetter("event_id", "event_time", "index"))).decode(),
        "days": msgspec.json.encode(
            [{"course_id": course_id, "day": day} for course_id, day in _days_of_courses(events, now)]
        ).decode(),
        **budget.spending(user_id=user_id, sent=len(events) if sent is None else sent),
        "now": now,
        "ahead_seconds": limits.EVENT_AHEAD_MAX_SECONDS,
        "kept_days": settings.ANALYTICS_RETENTION_DAYS,
    }


def _days_of_courses(events: Iterable[Event], now: datetime) -> set[tuple[str, date]]:
    """Return the days of courses (UTC) that may be counted: those of which an event's time is plausible."""
    first = now - timedelta(days=settings.ANALYTICS_RETENTION_DAYS)
    last = now + timedelta(seconds=limits.EVENT_AHEAD_MAX_SECONDS)
    return {
        (event.course_id, event.event_time.date())
        for event in events
        if event.course_id and first <= event.event_time <= last
    }


def _event_errors(events: Sequence[msgspec.Raw], refusals: Refusals) -> Iterator[EventError]:
    for index, refusal in sorted(refusals.items()):
        yield EventError(index, shown_event_id(events[index]), refusal.code, refusal.message)
