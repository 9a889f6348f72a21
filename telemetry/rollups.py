"""The counts that insights into courses are shown from: no page ever scans events.

Ingest marks the days of courses that it brings events of, in the transaction that stores them (see `TouchedDay`).
Whoever counts takes marks away and counts these days anew, whole, from the events: whatever the order in which events
arrive, and however late, the counts end as those of a query over all of them. A mark that is not visible yet stays for
the next time, and so do its events.

What is counted: events with a course whose time is plausible (`TimeMark.PLAIN`). A day that is older than events are
kept is not counted anew, since some of its events are gone: its counts stay as they are, without the learners.

Nothing in the database holds counts to what they are of. What is deleted while it is being counted, and so leaves
counts behind, is found by the next `refresh`.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from django.conf import settings
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

from config import limits
from config.progress import Progress
from courses.models import Course
from telemetry.models import AnalyticsEvent, ChapterProgress, LearnerDay, LearnerStanding

_COUNTING_LOCK: Final = 7_205_002
"""Number of the advisory lock under which days are counted: who counted earlier must not write later."""

_COURSES_AT_ONCE: Final = 50
"""One walk over all progress serves so many courses; others who want the lock wait as long."""

_TAKE_MARKS: Final = """
    CREATE TEMPORARY TABLE touched ON COMMIT DROP AS
    WITH taken AS (
        DELETE FROM telemetry_touchedday WHERE day >= %(start)s AND day < %(end)s RETURNING course_id, day
    )
    SELECT DISTINCT course_id, day FROM taken JOIN courses_course ON courses_course.id = course_id
"""
# Both in one walk over the events: by learner, where the type is null, and by type, where the learner is.
_COUNT_EVENTS: Final = f"""
    CREATE TEMPORARY TABLE counted ON COMMIT DROP AS
    SELECT event.course_id, event.user_id, touched.day, event.event_type, count(*) AS events,
        min(event.event_time) AS first_event_at, max(event.event_time) AS last_event_at
    FROM telemetry_analyticsevent AS event JOIN touched
        ON touched.course_id = event.course_id AND touched.day = (event.event_time AT TIME ZONE 'UTC')::date
    WHERE event.event_time >= %(first)s AND event.event_time < %(last)s
        AND event.time_mark = {AnalyticsEvent.TimeMark.PLAIN}
    GROUP BY GROUPING SETS (
        (event.course_id, event.user_id, touched.day), (event.course_id, touched.day, event.event_type)
    )
"""  # noqa: S608  constants only
_FORGET_DAYS: Final = """
    DELETE FROM telemetry_{table} AS kept USING touched
    WHERE kept.course_id = touched.course_id AND kept.day = touched.day
"""
_STORE_LEARNER_DAYS: Final = """
    INSERT INTO telemetry_learnerday (user_id, course_id, day, events, first_event_at, last_event_at)
    SELECT user_id, course_id, day, events, first_event_at, last_event_at FROM counted WHERE event_type IS NULL
"""
_STORE_COURSE_DAYS: Final = """
    INSERT INTO telemetry_courseday (course_id, day, active_learners, events)
    SELECT course_id, day, count(*), sum(events) FROM counted WHERE event_type IS NULL GROUP BY course_id, day
"""
# Clients can make up a type for each event; of the others the day's sum tells.
_STORE_TYPE_DAYS: Final = """
    INSERT INTO telemetry_eventtypeday (course_id, day, event_type, events)
    SELECT course_id, day, event_type, events FROM (
        SELECT *, row_number() OVER (PARTITION BY course_id, day ORDER BY events DESC, event_type COLLATE "C") AS place
        FROM counted WHERE user_id IS NULL
    ) AS typed
    WHERE place <= %s
"""
_FORGET_WEEKS: Final = """
    DELETE FROM telemetry_courseweek AS kept USING touched
    WHERE kept.course_id = touched.course_id AND kept.week = date_trunc('week', touched.day)::date
"""
# A look into the index for each week: joined, all days of all learners would be read for a few weeks.
_STORE_WEEKS: Final = """
    INSERT INTO telemetry_courseweek (course_id, week, active_learners)
    SELECT course_id, week, active_learners
    FROM (SELECT DISTINCT course_id, date_trunc('week', day)::date AS week FROM touched) AS weeks
    CROSS JOIN LATERAL (
        SELECT count(DISTINCT user_id) AS active_learners FROM telemetry_learnerday AS seen
        WHERE seen.course_id = weeks.course_id AND seen.day >= weeks.week AND seen.day < weeks.week + 7
    ) AS seen
    WHERE active_learners > 0
"""

# Only rows that change are written: most learners are where they were an hour ago. `ON CONFLICT ... WHERE` would lock
# the others, which writes them too. `furthest` is twice the place of the last chapter that was begun, and one more when
# that is completed. The newest event is of the newest day.
_STORE_LEARNERS_STANDING: Final = f"""
    WITH chapters AS (
        SELECT id, course_id, row_number() OVER (PARTITION BY course_id ORDER BY "order", chapter_code) AS place,
            count(*) OVER (PARTITION BY course_id) AS total
        FROM courses_chapter WHERE course_id = ANY (%(course_ids)s) AND is_active
    ), begun AS (
        SELECT progress.user_id, chapters.course_id, max(progress.updated_at) AS reported_at,
            max(2 * place + (progress.status = {ChapterProgress.Status.COMPLETED})::int) AS furthest,
            count(*) FILTER (WHERE progress.status = {ChapterProgress.Status.COMPLETED}) AS completed
        FROM telemetry_chapterprogress AS progress JOIN chapters ON chapters.id = progress.chapter_id
        WHERE progress.status > {ChapterProgress.Status.LOCKED}
        GROUP BY progress.user_id, chapters.course_id
    ), standing AS (
        SELECT enrollment.user_id, enrollment.course_id, chapters.id AS chapter_id,
            coalesce(mod(furthest, 2) = 1, false) AS chapter_is_completed, coalesce(completed, 0) AS completed,
            greatest(seen.last_event_at, reported_at) AS last_active_at,
            coalesce(completed < total AND greatest(seen.last_event_at, reported_at) < %(stopped_before)s, false)
                AS has_stopped
        FROM courses_enrollment AS enrollment
        LEFT JOIN begun ON begun.user_id = enrollment.user_id AND begun.course_id = enrollment.course_id
        LEFT JOIN chapters ON chapters.course_id = enrollment.course_id AND chapters.place = furthest / 2
        LEFT JOIN LATERAL (
            SELECT last_event_at FROM telemetry_learnerday AS studied
            WHERE studied.user_id = enrollment.user_id AND studied.course_id = enrollment.course_id
            ORDER BY day DESC LIMIT 1
        ) AS seen ON true
        WHERE enrollment.course_id = ANY (%(course_ids)s) AND enrollment.removed_at IS NULL
    )
    INSERT INTO telemetry_learnerstanding
        (user_id, course_id, chapter_id, chapter_is_completed, completed, last_active_at, has_stopped)
    SELECT standing.* FROM standing LEFT JOIN telemetry_learnerstanding AS kept USING (user_id, course_id)
    WHERE (kept.chapter_id, kept.chapter_is_completed, kept.completed, kept.last_active_at, kept.has_stopped)
        IS DISTINCT FROM (standing.chapter_id, standing.chapter_is_completed, standing.completed,
            standing.last_active_at, standing.has_stopped)
    ON CONFLICT (user_id, course_id) DO UPDATE SET
        chapter_id = excluded.chapter_id, chapter_is_completed = excluded.chapter_is_completed,
        completed = excluded.completed, last_active_at = excluded.last_active_at, has_stopped = excluded.has_stopped
"""  # noqa: S608  constants only
_FORGET_LEARNERS: Final = """
    DELETE FROM telemetry_learnerstanding AS kept WHERE course_id = ANY (%(course_ids)s) AND NOT EXISTS (
        SELECT FROM courses_enrollment AS enrollment
        WHERE enrollment.user_id = kept.user_id AND enrollment.course_id = kept.course_id
            AND enrollment.removed_at IS NULL
    )
"""
_STORE_CHAPTERS_STANDING: Final = f"""
    WITH reached AS (
        SELECT progress.chapter_id,
            count(*) FILTER (WHERE status = {ChapterProgress.Status.IN_PROGRESS}) AS in_progress,
            count(*) FILTER (WHERE status = {ChapterProgress.Status.COMPLETED}) AS completed,
            percentile_cont(0.5) WITHIN GROUP (
                ORDER BY extract(epoch FROM progress.completed_at - progress.created_at)::float8
            ) FILTER (
                WHERE status = {ChapterProgress.Status.COMPLETED} AND progress.completed_at > progress.created_at
            ) AS median_seconds
        FROM telemetry_chapterprogress AS progress
        JOIN courses_chapter AS chapter ON chapter.id = progress.chapter_id
        JOIN courses_enrollment AS enrollment
            ON enrollment.user_id = progress.user_id AND enrollment.course_id = chapter.course_id
        WHERE chapter.course_id = ANY (%(course_ids)s) AND enrollment.removed_at IS NULL
        GROUP BY progress.chapter_id
    ), stopped AS (
        SELECT chapter_id, count(*) FILTER (WHERE NOT chapter_is_completed) AS stopped_in,
            count(*) FILTER (WHERE chapter_is_completed) AS stopped_after
        FROM telemetry_learnerstanding WHERE course_id = ANY (%(course_ids)s) AND has_stopped GROUP BY chapter_id
    ), standing AS (
        SELECT chapter.id AS chapter_id, coalesce(in_progress, 0) AS in_progress, coalesce(completed, 0) AS completed,
            median_seconds, coalesce(stopped_in, 0) AS stopped_in, coalesce(stopped_after, 0) AS stopped_after
        FROM courses_chapter AS chapter LEFT JOIN reached ON reached.chapter_id = chapter.id
            LEFT JOIN stopped ON stopped.chapter_id = chapter.id
        WHERE chapter.course_id = ANY (%(course_ids)s)
    )
    INSERT INTO telemetry_chapterstanding
        (chapter_id, in_progress, completed, median_seconds, stopped_in, stopped_after)
    SELECT standing.* FROM standing LEFT JOIN telemetry_chapterstanding AS kept USING (chapter_id)
    WHERE (kept.in_progress, kept.completed, kept.median_seconds, kept.stopped_in, kept.stopped_after)
        IS DISTINCT FROM (standing.in_progress, standing.completed, standing.median_seconds, standing.stopped_in,
            standing.stopped_after)
    ON CONFLICT (chapter_id) DO UPDATE SET
        in_progress = excluded.in_progress, completed = excluded.completed, median_seconds = excluded.median_seconds,
        stopped_in = excluded.stopped_in, stopped_after = excluded.stopped_after
"""  # noqa: S608  constants only
_STORE_COURSE_STANDING: Final = """
    INSERT INTO telemetry_coursestanding (course_id, learners, begun, finished, stopped, active_learners, counted_at)
    SELECT course.id, count(user_id), count(chapter_id),
        count(*) FILTER (WHERE completed > 0 AND completed >= chapters.count), count(*) FILTER (WHERE has_stopped),
        count(*) FILTER (WHERE last_active_at >= %(active_since)s), %(now)s
    FROM courses_course AS course
        CROSS JOIN LATERAL (
            SELECT count(*) FROM courses_chapter WHERE course_id = course.id AND is_active
        ) AS chapters
        LEFT JOIN telemetry_learnerstanding AS standing ON standing.course_id = course.id
    WHERE course.id = ANY (%(course_ids)s)
    GROUP BY course.id
    ON CONFLICT (course_id) DO UPDATE SET
        learners = excluded.learners, begun = excluded.begun, finished = excluded.finished,
        stopped = excluded.stopped, active_learners = excluded.active_learners, counted_at = excluded.counted_at
"""
_MARK_COUNTED_DAYS_OF: Final = """
    INSERT INTO telemetry_touchedday (course_id, day)
    SELECT course_id, day FROM telemetry_learnerday WHERE user_id = %s
"""
# Not the days that were counted: a count that isn't committed yet may have these events in it.
_MARK_DAYS_OF: Final = f"""
    INSERT INTO telemetry_touchedday (course_id, day)
    SELECT DISTINCT course_id, (event_time AT TIME ZONE 'UTC')::date FROM telemetry_analyticsevent
    WHERE user_id = %s AND course_id IS NOT NULL AND time_mark = {AnalyticsEvent.TimeMark.PLAIN}
"""  # noqa: S608  constants only

# A statement for each reference: `OR` keeps PostgreSQL from an anti-join, and takes four times as long.
_DELETE_ORPHANS: Final = """
    DELETE FROM telemetry_{table} AS kept
    WHERE NOT EXISTS (SELECT FROM {to} AS target WHERE target.id = kept.{reference}_id)
"""
_REFERENCES: Final = (
    ("learnerday", "user", "accounts_user"),
    ("chapterstanding", "chapter", "courses_chapter"),
    ("coursestanding", "course", "courses_course"),
)
"""Tables of counts, what a row of them is of, and where that is. Standings of learners who are gone `count_courses`
deletes, with those of all who are not enrolled any more."""

# Many rows are of few courses: the index tells the next course that a table has, again and again. That takes 1 ms for a
# million rows, the anti-join 100 to 200 ms. Learners are too many for it.
_DELETE_ORPHANS_OF_COURSES: Final = """
    WITH RECURSIVE counted_course (id) AS (
        (SELECT course_id FROM telemetry_{table} ORDER BY course_id LIMIT 1)
        UNION ALL
        SELECT (SELECT course_id FROM telemetry_{table} WHERE course_id > previous.id ORDER BY course_id LIMIT 1)
        FROM counted_course AS previous WHERE previous.id IS NOT NULL
    )
    DELETE FROM telemetry_{table} WHERE course_id = ANY (ARRAY(
        SELECT id FROM counted_course
        WHERE id IS NOT NULL AND NOT EXISTS (SELECT FROM courses_course AS course WHERE course.id = counted_course.id)
    ))
"""
_TABLES_OF_COURSES: Final = ("learnerday", "courseday", "courseweek", "eventtypeday", "learnerstanding")
"""Tables of counts with many rows of each course."""


@dataclass(frozen=True, slots=True)
class Refreshed:
    """What was counted anew: days of courses, and courses."""

    days: int
    courses: int


def refresh(*, progress: Progress) -> Refreshed:
    """Bring all counts up to date. Ingest never waits for it; on two machines at once they take turns."""
    days = 0
    months = _touched_months()
    with progress.counting("Counting events", len(months), "months") as advance:
        for month in months:
            days += count_month(month)
            advance(1)
    courses = list(Course.objects.order_by("pk").values_list("pk", flat=True))
    with progress.counting("Counting learners", len(courses), "courses") as advance:
        for first in range(0, len(courses), _COURSES_AT_ONCE):
            some = courses[first : first + _COURSES_AT_ONCE]
            count_courses(some)
            advance(len(some))
    delete_orphans()
    return Refreshed(days, len(courses))


def count_month(month: date) -> int:
    """Count the marked days of the month that begins on this day; return how many they were, over all courses."""
    with _counting() as cursor:
        end = _following(month)
        cursor.execute(_TAKE_MARKS, {"start": month, "end": end})
        cursor.execute("DELETE FROM touched WHERE day < %s", [_oldest_complete_day()])
        cursor.execute("ANALYZE touched")
        cursor.execute("SELECT count(*), min(day), max(day) FROM touched")
        days, first, last = cursor.fetchone()
        if days:
            cursor.execute(_COUNT_EVENTS, {"first": _midnight(first), "last": _midnight(last + timedelta(days=1))})
            for table in ("learnerday", "courseday", "eventtypeday"):
                cursor.execute(_FORGET_DAYS.format(table=table))
            cursor.execute(_STORE_TYPE_DAYS, [limits.INSIGHTS_TYPES_KEPT])
            for statement in (_STORE_LEARNER_DAYS, _STORE_COURSE_DAYS, _FORGET_WEEKS, _STORE_WEEKS):
                cursor.execute(statement)
        cursor.execute("DROP TABLE IF EXISTS touched, counted")  # a caller's transaction may go on
    return int(days)


def count_courses(course_ids: list[uuid.UUID]) -> None:
    """Count how far the learners of these courses have got."""
    now = timezone.now()
    parameters: dict[str, list[uuid.UUID] | datetime] = {
        "course_ids": course_ids,
        "now": now,
        "stopped_before": now - timedelta(days=limits.INSIGHTS_STOPPED_AFTER_DAYS),
        "active_since": now - timedelta(days=limits.INSIGHTS_ACTIVE_DAYS),
    }
    with _counting() as cursor:
        for statement in (
            _FORGET_LEARNERS,
            _STORE_LEARNERS_STANDING,
            _STORE_CHAPTERS_STANDING,
            _STORE_COURSE_STANDING,
        ):
            cursor.execute(statement, parameters)


def delete_orphans() -> None:
    """Delete counts whose learner, course or chapter was deleted before they were there to go with it."""
    with _counting() as cursor:
        for table, reference, to in _REFERENCES:
            cursor.execute(_DELETE_ORPHANS.format(table=table, reference=reference, to=to))
        for table in _TABLES_OF_COURSES:
            cursor.execute(_DELETE_ORPHANS_OF_COURSES.format(table=table))


def prune() -> int:
    """Forget which learners had events on days that are older than events are kept; return of how many such days."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM telemetry_learnerday WHERE day < %s", [_oldest_complete_day()])
        return int(cursor.rowcount)


def mark_days_of(*, user_id: uuid.UUID) -> None:
    """Mark the days that have events of a learner which are about to be deleted."""
    with connection.cursor() as cursor:
        cursor.execute(_MARK_DAYS_OF, [user_id])


def forget_learner(*, user_id: uuid.UUID) -> int:
    """Delete a learner's own counts, whose events are gone, and mark the days that had them; return how many rows.

    It waits for whoever is counting, who may have read the events before they went.
    """
    with _counting() as cursor:
        cursor.execute(_MARK_COUNTED_DAYS_OF, [user_id])
        rows = (LearnerDay.objects, LearnerStanding.objects)
        return sum(counts.filter(user_id=user_id).delete()[0] for counts in rows)


@contextmanager
def _counting() -> Iterator[CursorWrapper]:
    """Open a transaction in which nobody else counts."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_COUNTING_LOCK])
        yield cursor


def _touched_months() -> list[date]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT DISTINCT date_trunc('month', day)::date AS month FROM telemetry_touchedday ORDER BY month"
        )
        return [month for (month,) in cursor.fetchall()]


def _oldest_complete_day() -> date:
    """The oldest day none of whose events is older than events are kept."""
    return (timezone.now() - timedelta(days=settings.ANALYTICS_RETENTION_DAYS)).astimezone(UTC).date() + timedelta(
        days=1
    )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


def _following(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)
