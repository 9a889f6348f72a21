"""The database of `bench.insights`: learners on their way through courses, and the events that they leave behind.

When a learner begins, how fast they go, and at which chapter they stop follows from a number of theirs; so do the days
on which they study, and each event. A run makes the same rows as another, but for the dates, which end yesterday.
"""

import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand
from django.db import connection, transaction
from django.utils import timezone
from tqdm import tqdm

from accounts.models import User
from bench.admin_database import CHAPTERS_PER_COURSE, STAFF, STATEMENTS
from config.terminal import Progress
from courses.models import Course, CourseInstructor
from telemetry.models import AnalyticsEvent, ChapterProgress
from telemetry.partitions import list_partitions, maintain_events, month_of, sole_maintainer

DAYS: Final = 180
COURSES_PER_LEARNER: Final = 5
"""All are in the first course; the others are drawn, some courses more often, and one drawn twice counts once."""
INSTRUCTORS: Final = 25
COURSES_PER_INSTRUCTOR: Final = 3

EVENT_TYPES: Final = {
    "message_sent": 20,
    "reply_received": 20,
    "file_opened": 16,
    "code_run": 14,
    "code_failed": 9,
    "task_completed": 6,
    "chapter_opened": 5,
    "hint_requested": 4,
    "quiz_answered": 3,
    "video_played": 1,
    "app_started": 1,
    "chapter_completed": 1,
}
"""How many of a hundred events are of each type."""
SESSION_HOURS: Final = (6, 7, 8, 8, 9, 9, 9, 10, 10, 11, 13, 14, 14, 15, 16, 17, 18, 19, 19, 20, 20, 20, 21, 22)
"""When sessions begin (UTC), each as likely as another."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows of each kind."""

    learners: int
    courses: int
    events: int

    @classmethod
    def at(cls, scale: float) -> "Sizes":
        """Return the sizes at a share of the whole, each at least so large that every kind of row occurs."""
        return cls(
            learners=max(100, round(10_000 * scale)),
            courses=max(5, round(50 * scale)),
            events=max(5_000, round(10_000_000 * scale)),
        )


# --- Rows ---------------------------------------------------------------------------------------------------------


def _share(number: str, salt: int) -> str:
    """Some number in [0, 1) that follows from this one; another for each salt."""
    return f"((hashint8extended({number}, {salt}) & 16777215) / 16777216.0::float8)"


def _pick(texts: Iterable[object], share: str) -> str:
    values = list(texts)
    return f"(ARRAY[{', '.join(repr(value) for value in values)}])[1 + floor({share} * {len(values)})::int]"


# A place is a learner's in a course. `quits_in` is the chapter that they don't get beyond, 0 when they never begin.
# Of those who begin, 8% leave in each chapter, so that a fifth gets through all. A chapter takes `pace` days.
_MAKE_PLACES: Final = f"""
    CREATE TEMPORARY TABLE place AS
    WITH learner AS (
        SELECT id AS user_id, row_number() OVER (ORDER BY id) - 1 AS n FROM accounts_user WHERE NOT is_staff
    ), course AS (
        SELECT id AS course_id, row_number() OVER (ORDER BY course_code) - 1 AS n, count(*) OVER () AS courses
        FROM courses_course
    ), wish AS (
        SELECT DISTINCT ON (user_id, course_id) wish.n, user_id, course_id
        FROM (SELECT user_id, n * {COURSES_PER_LEARNER} + k AS n, k
              FROM learner, generate_series(0, {COURSES_PER_LEARNER} - 1) AS k) AS wish
        JOIN course ON course.n =
            CASE k WHEN 0 THEN 0 ELSE 1 + floor((courses - 1) * power({_share("wish.n", 1)}, 1.5)) END
        ORDER BY user_id, course_id, wish.n
    ), fate AS (
        SELECT n, user_id, course_id, floor(150 * power({_share("n", 2)}, 2))::int AS joined,
            3 + 7 * {_share("n", 3)} AS pace,
            CASE WHEN {_share("n", 4)} < 0.15 THEN 0 ELSE 1 + floor(-ln(1 - {_share("n", 5)}) / 0.08) END AS quits_in
        FROM wish
    )
    SELECT n, user_id, course_id, joined, pace, quits_in > {CHAPTERS_PER_COURSE} AS gets_through,
        least(quits_in, {CHAPTERS_PER_COURSE}, 1 + floor(({DAYS} - joined) / pace))::int AS reached,
        least(joined + pace * least(quits_in, {CHAPTERS_PER_COURSE}), {DAYS}) AS leaves
    FROM fate
"""

_ENROL: Final = f"""
    INSERT INTO courses_enrollment (user_id, course_id, joined_at, removed_at)
    SELECT user_id, course_id, %(start)s + interval '1 day' * (joined - {_share("n", 6)}),
        CASE WHEN {_share("n", 7)} < 0.02 THEN %(start)s + interval '1 day' * leaves END
    FROM place ORDER BY n
"""

# Who left in the middle of a chapter has completed it in four of ten cases, and not begun the next one.
_MAKE_PROGRESS: Final = f"""
    INSERT INTO telemetry_chapterprogress
        (user_id, chapter_id, status, session_id, task_snapshot, created_at, updated_at, completed_at)
    SELECT user_id, chapter_id,
        CASE WHEN took IS NULL THEN {ChapterProgress.Status.IN_PROGRESS} ELSE {ChapterProgress.Status.COMPLETED} END,
        'session-' || n || '-' || chapter, '{{"tasks": [{{"id": 1, "done": true}}]}}', begun,
        least(begun + interval '1 day' * coalesce(took, pace * {_share("n", 8)}), %(end)s),
        begun + interval '1 day' * took
    FROM (
        SELECT place.*, chapter.id AS chapter_id, "order" AS chapter,
            %(start)s + interval '1 day' * (joined + ("order" - 1) * pace) AS begun,
            CASE
                WHEN "order" < reached OR (leaves < {DAYS} AND (gets_through OR {_share("n", 9)} < 0.4))
                THEN pace * (0.2 + 0.8 * {_share('n * 100 + "order"', 10)})
            END AS took
        FROM place JOIN courses_chapter AS chapter USING (course_id) WHERE "order" <= reached
    ) AS reports ORDER BY begun
"""

# The days on which somebody studied, in the order in which their events arrive, and the numbers of these events. Of a
# hundred such days three were offline: what happened then arrives up to twenty days later, but not after the end.
_MAKE_LEARNER_DAYS: Final = f"""
    CREATE TEMPORARY TABLE learner_day AS
    WITH studied AS (
        SELECT n * 1000 + day AS seed, user_id, course_id, day,
            least(reached, 1 + floor((day - joined) / pace)) AS chapter
        FROM place, generate_series(joined, least(ceil(leaves), {DAYS})::int - 1) AS day
        WHERE reached > 0 AND {_share("n * 1000 + day", 11)}
            < CASE WHEN extract(isodow FROM %(start)s + interval '1 day' * day) > 5 THEN 0.15 ELSE 0.4 END
    ), sent AS (
        SELECT *, CASE WHEN {_share("seed", 12)} < 0.03
            THEN least(day + 1 + floor(20 * {_share("seed", 13)}), {DAYS} - 1) ELSE day END::int AS sent_day,
            1 - 20 * ln(1 - {_share("seed", 14)}) AS weight
        FROM studied
    ), summed AS (
        SELECT *, sum(weight) OVER (ORDER BY sent_day, seed) - weight AS before, sum(weight) OVER () AS total FROM sent
    )
    SELECT seed, user_id, course_id, day, sent_day, chapter_code,
        ceil(before / total * %(events)s)::bigint AS first_n,
        lead(ceil(before / total * %(events)s)::bigint, 1, %(events)s) OVER (ORDER BY sent_day, seed) - 1 AS last_n
    FROM summed JOIN courses_chapter USING (course_id) WHERE "order" = chapter ORDER BY sent_day, seed
"""

# A learner studies in up to three sessions a day, of 80 minutes each. Of a thousand events 30 are of no course, and the
# clocks of some are wrong: one by more than a day ahead, one by years behind.
_MAKE_EVENTS: Final = f"""
    INSERT INTO telemetry_analyticsevent
        (user_id, event_id, event_time, received_at, event_type, course_id, chapter_id, session_id, payload, time_mark)
    SELECT user_id, 'sha256:' || encode(sha256(int8send(n)), 'hex'),
        happened + interval '1 day' * CASE fate WHEN 0 THEN 400 WHEN 1 THEN -%(kept_days)s - 100 ELSE 0 END,
        happened + interval '1 day' * (sent_day - day) + interval '1 second' * (1 + 60 * {_share("n", 15)}),
        {_pick((name for name, weight in EVENT_TYPES.items() for _ in range(weight)), _share("n", 16))},
        CASE WHEN fate NOT BETWEEN 2 AND 31 THEN course_id END,
        CASE WHEN fate NOT BETWEEN 2 AND 31 THEN chapter_code ELSE '' END, 'session-' || seed || '-' || session,
        jsonb_build_object('source', 'bench', 'duration_ms', 50 + mod(n * 37, 90000), 'tokens', mod(n * 7919, 4000)),
        CASE fate WHEN 0 THEN {AnalyticsEvent.TimeMark.AHEAD} WHEN 1 THEN {AnalyticsEvent.TimeMark.EXPIRED}
             ELSE {AnalyticsEvent.TimeMark.PLAIN} END
    FROM (
        SELECT learner_day.*, n, floor(1000 * {_share("n", 17)}) AS fate, session,
            %(start)s + interval '1 day' * day
                + interval '1 hour' * {_pick(SESSION_HOURS, _share("seed * 10 + session", 18))}
                + interval '80 minutes' * {_share("n", 19)} AS happened
        FROM learner_day, generate_series(first_n, last_n) AS n,
            LATERAL (SELECT floor(3 * {_share("n", 20)})::int AS session) AS sessions
        WHERE sent_day = %(day)s
    ) AS events ORDER BY happened + interval '1 day' * (sent_day - day)
"""


def fill(sizes: Sizes, *, quiet: bool = False) -> None:
    """Make all rows, with a progress bar of the events; nothing is counted yet, and all days are marked."""
    end = datetime.combine(timezone.now().date(), time.min, UTC)
    parameters: dict[str, Any] = {
        "start": end - timedelta(days=DAYS),
        "end": end,
        "events": sizes.events,
        "kept_days": settings.ANALYTICS_RETENTION_DAYS,
    }
    with connection.cursor() as cursor:
        _make_people_and_courses(cursor, sizes)
        cursor.execute(_MAKE_PLACES)
        for statement in ("ANALYZE place", _ENROL, _MAKE_PROGRESS, _MAKE_LEARNER_DAYS):
            cursor.execute(statement, parameters if "%(" in statement else None)
        cursor.execute("CREATE INDEX ON learner_day (sent_day)")
        cursor.execute("ANALYZE learner_day")
        _bind_instructors()
        _make_events(cursor, parameters, quiet=quiet)
        cursor.execute("DROP TABLE place, learner_day")
        mark_all_days(cursor)


def mark_all_days(cursor: Any) -> None:
    """Mark the days of all events, as a migration does for those that came before anything was counted."""
    cursor.execute(importlib.import_module("telemetry.migrations.0004_insights").MARK_ALL_DAYS)


def _make_people_and_courses(cursor: Any, sizes: Sizes) -> None:
    rows = {
        "users": STAFF + sizes.learners,
        "courses": sizes.courses,
        "chapters": sizes.courses * CHAPTERS_PER_COURSE,
    }
    for kind, number in rows.items():
        cursor.execute(STATEMENTS[kind], {"first": 0, "last": number - 1})
    for table in ("accounts_user", "courses_course", "courses_chapter"):
        cursor.execute(f"ANALYZE {table}")


def _bind_instructors() -> None:
    """Make staff instructors of some courses; every other may see email addresses."""
    group = Group.objects.get(name="Instructors")
    courses = list(Course.objects.order_by("course_code"))
    staff = User.objects.filter(is_staff=True, is_superuser=False).order_by("email")[:INSTRUCTORS]
    for number, user in enumerate(staff):
        user.groups.add(group)
        places = {(number * COURSES_PER_INSTRUCTOR + k) % len(courses) for k in range(COURSES_PER_INSTRUCTOR)}
        CourseInstructor.objects.bulk_create(
            [CourseInstructor(course=courses[place], user=user, may_see_emails=number % 2 == 0) for place in places]
        )


def _make_events(cursor: Any, parameters: dict[str, Any], *, quiet: bool) -> None:
    """Make the events day by day, as they arrive.

    The first day of each month comes first, and so to the default partition, from which maintenance makes the months.
    """
    days = [parameters["start"] + timedelta(days=number) for number in range(DAYS)]
    first_days = [number for number, day in enumerate(days) if number == 0 or day == month_of(day)]
    with tqdm(total=parameters["events"], unit=" events", unit_scale=True, disable=quiet or None) as bar:
        for day in first_days:
            bar.update(_make_day(cursor, parameters, day))
        _make_months()
        for day in range(DAYS):
            if day not in first_days:
                bar.update(_make_day(cursor, parameters, day))


def _make_day(cursor: Any, parameters: dict[str, Any], day: int) -> int:
    with transaction.atomic():
        cursor.execute(_MAKE_EVENTS, {**parameters, "day": day})
    return int(cursor.rowcount)


def _make_months() -> None:
    with sole_maintainer():
        problems = maintain_events(report=lambda text: None, progress=Progress(BaseCommand(), verbosity=0))
    if problems:
        raise RuntimeError("; ".join(problems))
    if len(list_partitions()) < DAYS // 31:
        raise RuntimeError("Maintenance made no months.")
