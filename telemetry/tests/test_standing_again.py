"""Where learners stand, counted again: what only time changes, what many days tell, and several courses at once."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from config import limits
from courses.models import Chapter, Course, Enrollment
from telemetry import rollups
from telemetry.models import ChapterProgress, ChapterStanding, CourseStanding, LearnerStanding
from tests.cast import Actor, make_actor

pytestmark = pytest.mark.django_db

NOW = timezone.now()


def refresh() -> None:
    call_command("refresh_insights", verbosity=0)


def see(actor: Actor, course: Course, days_ago: int) -> None:
    event: dict[str, Any] = {"event_type": "opened", "event_time": (NOW - timedelta(days=days_ago)).isoformat()}
    response = actor.post("/v1/analytics/events:ingest", {"events": [event | {"course_id": str(course.pk)}]})
    assert response.json()["accepted"] == 1


def begin(actor: Actor, chapter: Chapter, days_ago: int, status: int = ChapterProgress.Status.IN_PROGRESS) -> None:
    moment = NOW - timedelta(days=days_ago)
    ChapterProgress.objects.create(
        user=actor.user, chapter=chapter, status=status, created_at=moment, updated_at=moment
    )


@pytest.fixture
def chapter(course: Course) -> Chapter:
    return Chapter.objects.create(course=course, chapter_code="first", title="First", order=1)


def test_the_newest_of_many_days_tells_when_a_learner_was_active(
    learner: Actor, course: Course, chapter: Chapter
) -> None:
    begin(learner, chapter, days_ago=80)
    for days_ago in (40, 3, 20):
        see(learner, course, days_ago)
    refresh()
    row = LearnerStanding.objects.get()
    assert (row.last_active_at, row.has_stopped) == (NOW - timedelta(days=3), False)
    assert CourseStanding.objects.get().active_learners == 1


def test_progress_that_is_newer_than_events_tells(learner: Actor, course: Course, chapter: Chapter) -> None:
    see(learner, course, days_ago=20)
    begin(learner, chapter, days_ago=2)
    refresh()
    assert LearnerStanding.objects.get().last_active_at == NOW - timedelta(days=2)


def test_time_alone_makes_a_learner_one_who_stopped_and_an_event_one_who_goes_on(
    learner: Actor, course: Course, chapter: Chapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(learner, chapter, days_ago=limits.INSIGHTS_STOPPED_AFTER_DAYS - 1)
    refresh()
    assert not LearnerStanding.objects.get().has_stopped
    monkeypatch.setattr(limits, "INSIGHTS_STOPPED_AFTER_DAYS", limits.INSIGHTS_STOPPED_AFTER_DAYS - 2)  # two days later
    refresh()
    assert LearnerStanding.objects.get().has_stopped
    assert ChapterStanding.objects.get(chapter=chapter).stopped_in == CourseStanding.objects.get().stopped == 1
    see(learner, course, days_ago=0)
    refresh()
    assert not LearnerStanding.objects.get().has_stopped
    assert ChapterStanding.objects.get(chapter=chapter).stopped_in == CourseStanding.objects.get().stopped == 0


def test_courses_that_are_counted_together_do_not_mix(
    learner: Actor, course: Course, chapter: Chapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five courses with one to five chapters, of which the learner has begun all but the last; two at once."""
    monkeypatch.setattr(rollups, "_COURSES_AT_ONCE", 2)
    fellow = make_actor("fellow")
    courses = []
    for number in range(1, 6):
        other = Course.objects.create(course_code=f"C{number}", title=f"Course {number}")
        courses.append(other)
        chapters = [
            Chapter.objects.create(course=other, chapter_code=f"c{order}", title="", order=order)
            for order in range(number)
        ]
        for actor in (learner, fellow):
            Enrollment.objects.create(user=actor.user, course=other)
        for done in chapters[:-1]:
            begin(learner, done, days_ago=1, status=ChapterProgress.Status.COMPLETED)
    refresh()
    for number, other in enumerate(courses, start=1):
        row = LearnerStanding.objects.get(user=learner.user, course=other)
        code = row.chapter.chapter_code if row.chapter else None
        assert (code, row.completed) == (f"c{number - 2}" if number > 1 else None, number - 1)
        whole = CourseStanding.objects.get(course=other)
        assert (whole.learners, whole.begun, whole.finished) == (2, int(number > 1), 0)


def test_a_count_with_nothing_new_takes_as_many_statements_for_many_courses_as_for_one(
    course: Course, chapter: Chapter
) -> None:
    refresh()
    with CaptureQueriesContext(connection) as one:
        refresh()
    for number in range(5):
        Course.objects.create(course_code=f"C{number}", title=f"Course {number}")
    refresh()
    with CaptureQueriesContext(connection) as many:
        refresh()
    assert len(many) == len(one)


@pytest.mark.django_db(transaction=True)
def test_what_is_as_it_was_is_not_even_locked(learner: Actor, course: Course, chapter: Chapter) -> None:
    """A row that was locked has the transaction's number in `xmax`, and was written for that."""
    begin(learner, chapter, days_ago=1)
    refresh()
    with connection.cursor() as cursor:
        cursor.execute("SELECT xmin, xmax, ctid FROM telemetry_learnerstanding")
        before = cursor.fetchall()
        refresh()
        cursor.execute("SELECT xmin, xmax, ctid FROM telemetry_learnerstanding")
        assert cursor.fetchall() == before
