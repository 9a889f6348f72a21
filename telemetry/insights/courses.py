"""Reads of how a course is going. Each is one query, whose cost doesn't grow with the events."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db import connection
from django.utils import timezone

from config import limits
from courses.models import Course
from telemetry.models import ChapterStanding, CourseDay, CourseStanding, CourseWeek

# A learner who was let in again counts from when they first joined.
_ENROLLED = """
    SELECT greatest(day, %(before)s::date), sum(step)
    FROM (
        SELECT (joined_at AT TIME ZONE 'UTC')::date, 1 FROM courses_enrollment WHERE course_id = %(course_id)s
        UNION ALL
        SELECT (removed_at AT TIME ZONE 'UTC')::date, -1 FROM courses_enrollment
        WHERE course_id = %(course_id)s AND removed_at IS NOT NULL
    ) AS moves (day, step)
    GROUP BY 1
"""

# Clients make up types: of each day the most frequent ones are looked at, by an index, and then the days of those that
# lead in all, by their keys. The fences (OFFSET 0) keep the planner from reading all that are kept instead.
_LEADING_TYPES = """
    WITH days AS MATERIALIZED (
        SELECT generate_series(%(first)s::date, %(last)s::date, interval '1 day')::date AS day
    ), leader AS MATERIALIZED (
        SELECT frequent.event_type, sum(frequent.events) AS events
        FROM days CROSS JOIN LATERAL (
            SELECT event_type, events FROM telemetry_eventtypeday
            WHERE course_id = %(course_id)s AND day = days.day ORDER BY events DESC LIMIT %(looked_at)s
        ) AS frequent
        GROUP BY frequent.event_type ORDER BY events DESC, frequent.event_type LIMIT %(shown)s
    )
    SELECT leader.event_type, days.day, kept.events
    FROM leader CROSS JOIN days CROSS JOIN LATERAL (
        SELECT events FROM telemetry_eventtypeday
        WHERE course_id = %(course_id)s AND day = days.day AND event_type = leader.event_type OFFSET 0
    ) AS kept
    ORDER BY leader.events DESC, leader.event_type
"""

_CHAPTERS = f"""
    SELECT chapter.id, chapter.chapter_code, chapter.title, coalesce(standing.in_progress, 0),
        coalesce(standing.completed, 0), standing.median_seconds, coalesce(standing.stopped_in, 0),
        coalesce(standing.stopped_after, 0)
    FROM courses_chapter AS chapter LEFT JOIN {ChapterStanding._meta.db_table} AS standing
        ON standing.chapter_id = chapter.id
    WHERE chapter.course_id = %s AND chapter.is_active ORDER BY chapter."order", chapter.chapter_code
"""  # noqa: S608  names of tables only


@dataclass(frozen=True, slots=True)
class Days:
    """A course on each of some days (UTC), today the last: its events, whom they are of, who was enrolled."""

    days: Sequence[date]
    enrolled: Sequence[int]
    active: Sequence[int]
    events: Sequence[int]


@dataclass(frozen=True, slots=True)
class Weeks:
    """A course in each of some weeks, which begin on these Mondays (UTC); the last one isn't over."""

    mondays: Sequence[date]
    enrolled: Sequence[int]
    active: Sequence[int]


@dataclass(frozen=True, slots=True)
class ChapterReached:
    """How far the learners of a course have got in a chapter; see `ChapterStanding`."""

    id: uuid.UUID
    code: str
    title: str
    in_progress: int
    completed: int
    median_seconds: float | None
    stopped_in: int
    stopped_after: int

    @property
    def name(self) -> str:
        return f"{self.code} {self.title}"


@dataclass(frozen=True, slots=True)
class EventTypes:
    """Events by type on each of some days: the types that lead, the most frequent first, a number for each day."""

    events: dict[str, list[int]]


def get_standing(*, course: Course) -> CourseStanding | None:
    """Return the figures of a course; None when it was never counted."""
    return CourseStanding.objects.filter(course=course).first()


def is_stale(counted_at: datetime) -> bool:
    """Say whether counts are so old that whoever counts must have stopped."""
    return timezone.now() - counted_at > timedelta(hours=limits.INSIGHTS_STALE_AFTER_HOURS)


def last_days(number: int) -> list[date]:
    today = timezone.now().date()
    return [today - timedelta(days=ago) for ago in range(number - 1, -1, -1)]


def read_activity(*, course: Course, days: int) -> tuple[Days, Weeks]:
    """Return the last days, today included, and the weeks that they lie in. Three queries."""
    shown = last_days(days)
    first_monday = shown[0] - timedelta(days=shown[0].weekday())
    enrolled = _enrolled_by_day(course, first_monday, shown[-1])
    counted = {row.day: row for row in CourseDay.objects.filter(course=course, day__gte=shown[0], day__lte=shown[-1])}
    in_weeks = dict(
        CourseWeek.objects.filter(course=course, week__gte=first_monday).values_list("week", "active_learners")
    )
    mondays = [first_monday + timedelta(weeks=number) for number in range((shown[-1] - first_monday).days // 7 + 1)]
    return (
        Days(
            days=shown,
            enrolled=[enrolled[day] for day in shown],
            active=[counted[day].active_learners if day in counted else 0 for day in shown],
            events=[counted[day].events if day in counted else 0 for day in shown],
        ),
        Weeks(
            mondays=mondays,
            enrolled=[enrolled[min(monday + timedelta(days=6), shown[-1])] for monday in mondays],
            active=[in_weeks.get(monday, 0) for monday in mondays],
        ),
    )


def _enrolled_by_day(course: Course, first: date, last: date) -> dict[date, int]:
    """Return who was enrolled at the end of each day."""
    before = first - timedelta(days=1)
    with connection.cursor() as cursor:
        cursor.execute(_ENROLLED, {"course_id": course.pk, "before": before})
        steps = dict(cursor.fetchall())
    number, enrolled = int(steps.get(before, 0)), {}
    for ago in range((last - first).days, -1, -1):
        day = last - timedelta(days=ago)
        number += int(steps.get(day, 0))
        enrolled[day] = number
    return enrolled


def list_chapters(*, course: Course) -> list[ChapterReached]:
    """Return the active chapters in their order. One query."""
    with connection.cursor() as cursor:
        cursor.execute(_CHAPTERS, [course.pk])
        return [ChapterReached(*row) for row in cursor.fetchall()]


def read_event_types(*, course: Course, days: Sequence[date]) -> EventTypes:
    """Return the types of events that lead on these days. One query, however many types there are."""
    parameters: dict[str, uuid.UUID | date | int] = {
        "course_id": course.pk,
        "first": days[0],
        "last": days[-1],
        "looked_at": limits.INSIGHTS_TYPES_LOOKED_AT,
        "shown": limits.INSIGHTS_TYPES_SHOWN,
    }
    found: dict[str, dict[date, int]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_LEADING_TYPES, parameters)
        for event_type, day, events in cursor.fetchall():
            found.setdefault(event_type, {})[day] = events
    return EventTypes({event_type: [by_day.get(day, 0) for day in days] for event_type, by_day in found.items()})
