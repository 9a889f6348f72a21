"""What insights are shown from equals a query over all events and all progress, whatever came in, and when."""

import statistics
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.models import User
from config import limits
from courses.models import Chapter, Course, Enrollment
from telemetry.models import (
    AnalyticsEvent,
    ChapterProgress,
    ChapterStanding,
    CourseDay,
    CourseStanding,
    CourseWeek,
    EventTypeDay,
    LearnerDay,
    LearnerStanding,
    TouchedDay,
)
from telemetry.tests.partitioned import drop_partitions
from tests.cast import Actor, make_actor
from tests.races import in_thread, run_at_once, wait_until_blocked

URL = "/v1/analytics/events:ingest"
PROGRESS_URL = "/v1/progress/chapter"
TODAY = timezone.now().astimezone(UTC).date()
Status = ChapterProgress.Status


def refresh() -> None:
    call_command("refresh_insights", verbosity=0)


def at(days_ago: int, hour: int = 12) -> datetime:
    return datetime.combine(TODAY - timedelta(days=days_ago), time(hour), UTC)


def event(course: Course | None, moment: datetime, event_type: str = "opened", **fields: Any) -> dict[str, Any]:
    course_id = course and str(course.pk)
    return {"event_type": event_type, "event_time": moment.isoformat(), "course_id": course_id, **fields}


def send(actor: Actor, *events: dict[str, Any]) -> dict[str, Any]:
    response = actor.post(URL, {"events": list(events)})
    assert response.status_code == 200
    return dict(response.json())


# --- The same by a walk over all events ---------------------------------------------------------------------------


def counted() -> dict[str, Any]:
    return {
        "learners": {
            (row.user_id, row.course_id, row.day): (row.events, row.first_event_at, row.last_event_at)
            for row in LearnerDay.objects.all()
        },
        "days": {(row.course_id, row.day): (row.active_learners, row.events) for row in CourseDay.objects.all()},
        "weeks": {(row.course_id, row.week): row.active_learners for row in CourseWeek.objects.all()},
        "types": {(row.course_id, row.day, row.event_type): row.events for row in EventTypeDay.objects.all()},
    }


def walked() -> dict[str, Any]:
    moments = defaultdict(list)
    types: Counter[Any] = Counter()
    for one in AnalyticsEvent.objects.exclude(course_id=None).filter(time_mark=AnalyticsEvent.TimeMark.PLAIN):
        day = one.event_time.astimezone(UTC).date()
        moments[one.user_id, one.course_id, day].append(one.event_time)
        types[one.course_id, day, one.event_type] += 1
    days: dict[Any, tuple[int, int]] = defaultdict(lambda: (0, 0))
    weeks = defaultdict(set)
    for (user_id, course_id, day), times in moments.items():
        learners, events = days[course_id, day]
        days[course_id, day] = learners + 1, events + len(times)
        weeks[course_id, monday(day)].add(user_id)
    return {
        "learners": {key: (len(times), min(times), max(times)) for key, times in moments.items()},
        "days": dict(days),
        "weeks": {key: len(users) for key, users in weeks.items()},
        "types": most_frequent(types),
    }


def most_frequent(types: Counter[Any]) -> dict[Any, int]:
    """Of each day of a course the types that are kept; of two as frequent ones the first by name."""
    by_day = defaultdict(list)
    for (course_id, day, event_type), events in types.items():
        by_day[course_id, day].append((-events, event_type))
    return {
        (*key, event_type): -events
        for key, found in by_day.items()
        for events, event_type in sorted(found)[: limits.INSIGHTS_TYPES_KEPT]
    }


def monday(day: date) -> date:
    return day - timedelta(days=day.weekday())


# --- Events -------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_course(learner: Actor, fellow: Actor) -> Course:
    other = Course.objects.create(course_code="OTHER-1", title="Other")
    Enrollment.objects.bulk_create(Enrollment(user=actor.user, course=other) for actor in (learner, fellow))
    return other


# Two learners, two courses and none; days around the borders of week, month and retention; more types than are kept;
# now and then a count.
_moments = st.builds(
    lambda days_ago, seconds: (
        datetime.combine(TODAY - timedelta(days=days_ago), time(), UTC) + timedelta(seconds=seconds)
    ),
    st.sampled_from([-30, -1, 0, 1, 6, 7, 8, 31, 62, settings.ANALYTICS_RETENTION_DAYS - 1, 3_000]),
    st.sampled_from([0, 1, 43_200, 86_399]),
)
_calls = st.lists(
    st.tuples(
        st.sampled_from(["learner", "fellow"]),
        st.lists(
            st.tuples(
                st.sampled_from(["course", "other", "none"]), _moments, st.sampled_from(["opened", "closed", "Z", "ä"])
            ),
            max_size=5,
        ),
        st.booleans(),
    ),
    max_size=6,
)


@given(calls=_calls)
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_equal_a_walk_over_all_events(
    learner: Actor,
    fellow: Actor,
    course: Course,
    other_course: Course,
    calls: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "INSIGHTS_TYPES_KEPT", 1)
    courses = {"course": course, "other": other_course, "none": None}
    actors = {"learner": learner, "fellow": fellow}
    with transaction.atomic():
        for who, events, then_counts in calls:
            send(actors[who], *(event(courses[where], moment, kind) for where, moment, kind in events))
            if then_counts:
                refresh()
        refresh()
        assert counted() == walked()
        assert not TouchedDay.objects.exists()
        transaction.set_rollback(True)


def test_only_what_is_stored_and_plausible_is_counted(learner: Actor, course: Course) -> None:
    foreign = Course.objects.create(course_code="FOREIGN-1", title="Foreign")
    send(
        learner,
        event(course, at(0)),
        event(course, at(-60), "ahead"),
        event(course, at(settings.ANALYTICS_RETENTION_DAYS + 40), "expired"),
        event(None, at(0), "without"),
        event(foreign, at(0), "foreign"),
        {"event_type": "broken"},
    )
    refresh()
    assert list(EventTypeDay.objects.values_list("event_type", "events")) == [("opened", 1)]
    assert set(CourseDay.objects.values_list("course_id", flat=True)) == {course.pk}


def test_a_mark_of_a_far_year_is_no_burden(learner: Actor, course: Course) -> None:
    send(learner, *(event(course, datetime(year, 12, 31, tzinfo=UTC)) for year in (1, 1_900, 9_999)))
    assert not TouchedDay.objects.exists()


def test_a_replay_counts_once(learner: Actor, course: Course) -> None:
    for _ in range(3):
        send(learner, event(course, at(1)), event(course, at(1)))
        refresh()
    assert CourseDay.objects.get().events == 1


def test_a_late_event_changes_its_own_day_and_week(learner: Actor, fellow: Actor, course: Course) -> None:
    send(learner, event(course, at(0)), event(course, at(40)))
    refresh()
    send(fellow, event(course, at(40)))
    refresh()
    assert CourseDay.objects.get(day=TODAY - timedelta(days=40)).active_learners == 2
    assert CourseWeek.objects.get(week=monday(TODAY - timedelta(days=40))).active_learners == 2
    assert CourseDay.objects.get(day=TODAY).active_learners == 1


@pytest.mark.django_db(transaction=True)
def test_an_event_that_is_not_committed_yet_is_counted_the_next_time(learner: Actor, course: Course) -> None:
    with transaction.atomic():
        send(learner, event(course, at(0)))
        in_thread(refresh).result(60)
        assert not CourseDay.objects.exists()
    refresh()
    assert CourseDay.objects.get().events == 1


def test_types_that_a_client_makes_up_fill_no_table(learner: Actor, course: Course) -> None:
    made_up = [event(course, at(0), f"type-{number:03}") for number in range(limits.INSIGHTS_TYPES_KEPT + 20)]
    send(learner, *made_up, event(course, at(0), "zealous"), event(course, at(0, 13), "zealous"))
    refresh()
    kept = dict(EventTypeDay.objects.values_list("event_type", "events"))
    assert kept == {"zealous": 2, **{f"type-{number:03}": 1 for number in range(limits.INSIGHTS_TYPES_KEPT - 1)}}
    assert CourseDay.objects.get().events == len(made_up) + 2


@pytest.mark.django_db(transaction=True)
def test_ingest_and_counts_at_once(learner: Actor, fellow: Actor, course: Course) -> None:
    def keep_sending(actor: Actor) -> None:
        for number in range(30):
            send(actor, event(course, at(number % 3), event_id=f"{actor.user.email}-{number}"))

    def keep_counting() -> None:
        for _ in range(8):
            refresh()

    run_at_once(lambda: keep_sending(learner), lambda: keep_sending(fellow), keep_counting, keep_counting)
    refresh()
    assert counted() == walked()
    assert AnalyticsEvent.objects.count() == 60


@pytest.mark.django_db(transaction=True)
def test_ingest_waits_for_no_count(learner: Actor, course: Course) -> None:
    send(learner, event(course, at(0)))
    with transaction.atomic():
        refresh()  # not committed: it holds all that a count holds
        assert in_thread(lambda: send(learner, event(course, at(0), "next"))).result(10)["accepted"] == 1


@pytest.mark.django_db(transaction=True)
def test_counts_of_two_months_take_turns_at_their_common_week(learner: Actor, fellow: Actor, course: Course) -> None:
    first = next(
        day for day in (TODAY - timedelta(days=number) for number in range(90)) if day.day == 1 and day.weekday()
    )
    begin = datetime.combine(first, time(12), UTC)
    send(learner, event(course, begin))
    with transaction.atomic():
        refresh()
        in_thread(lambda: send(fellow, event(course, begin - timedelta(days=1)))).result(60)
        second = in_thread(refresh)
        wait_until_blocked()
    second.result(60)
    assert counted() == walked()
    assert CourseWeek.objects.get().active_learners == 2


@pytest.fixture
def partitioned(transactional_db: None) -> Iterator[None]:
    """Let maintenance change the table, which no other test shall find changed."""
    drop_partitions()
    yield
    drop_partitions()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("partitioned")
def test_counts_of_days_older_than_events_are_kept_stay_without_their_learners(
    learner: Actor, course: Course, settings: Any
) -> None:
    send(learner, event(course, at(100)), event(course, at(1)))
    refresh()
    settings.ANALYTICS_RETENTION_DAYS = 60
    AnalyticsEvent.objects.filter(event_time__lt=at(60)).delete()
    TouchedDay.objects.create(course_id=course.pk, day=TODAY - timedelta(days=100))
    call_command("maintain_telemetry", verbosity=0)
    assert CourseDay.objects.get(day=TODAY - timedelta(days=100)).events == 1
    assert set(LearnerDay.objects.values_list("day", flat=True)) == {TODAY - timedelta(days=1)}
    assert not TouchedDay.objects.exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("partitioned")
def test_maintenance_counts_and_tells(learner: Actor, course: Course) -> None:
    send(learner, event(course, at(0)), event(course, at(1)))
    out = StringIO()
    call_command("maintain_telemetry", stdout=out)
    assert "Counted anew: 2 days of courses." in out.getvalue()
    assert counted() == walked()


def test_the_command_tells_what_it_counted(learner: Actor, course: Course) -> None:
    send(learner, event(course, at(0)), event(course, at(1)))
    out = StringIO()
    call_command("refresh_insights", stdout=out)
    assert out.getvalue().endswith("Counted days: 2; courses: 1.\n")


def test_a_deleted_learner_is_counted_no_more(learner: Actor, fellow: Actor, course: Course, staff: Actor) -> None:
    send(learner, event(course, at(0)), event(course, at(3)))
    send(fellow, event(course, at(0)))
    refresh()
    staff.user.is_superuser = True
    staff.user.save()
    browser = Client()
    browser.force_login(staff.user)
    page = f"/admin/accounts/user/{learner.user.pk}/delete/"
    assert browser.post(page, {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=learner.user.pk).exists()
    refresh()
    assert counted() == walked()
    assert [row.active_learners for row in CourseDay.objects.all()] == [1]
    assert set(LearnerStanding.objects.values_list("user_id", flat=True)) == {fellow.user.pk}


# --- What is deleted while it is being counted --------------------------------------------------------------------


def delete(staff: Actor, *pages: str) -> None:
    browser = Client()
    browser.force_login(staff.user)
    for page in pages:
        assert browser.post(f"/admin/{page}/delete/", {"post": "yes"}).status_code == 302


@pytest.mark.django_db(transaction=True)
def test_a_learner_who_is_deleted_while_being_counted(
    learner: Actor, fellow: Actor, course: Course, staff: Actor
) -> None:
    send(learner, event(course, at(0)), event(course, at(3)))
    send(fellow, event(course, at(0)))
    with transaction.atomic():
        refresh()  # not committed: nothing of it goes with the learner
        in_thread(lambda: delete(staff, f"accounts/user/{learner.user.pk}")).result(60)
    assert LearnerDay.objects.filter(user_id=learner.user.pk).exists()
    refresh()
    assert counted() == walked()
    assert [row.active_learners for row in CourseDay.objects.all()] == [1]
    assert set(LearnerStanding.objects.values_list("user_id", flat=True)) == {fellow.user.pk}


@pytest.mark.django_db(transaction=True)
def test_a_course_that_is_deleted_while_being_counted(learner: Actor, course: Course, staff: Actor) -> None:
    """Nobody may be in it, so its learner goes first; another course keeps what it has."""
    other = Course.objects.create(course_code="OTHER-1", title="Other")
    send(learner, event(course, at(0)))
    tables = (LearnerDay, CourseDay, CourseWeek, EventTypeDay, LearnerStanding, CourseStanding)
    of_chapters = ChapterStanding.objects.filter(chapter_id__in=list(course.chapters.values_list("pk", flat=True)))
    with transaction.atomic():
        refresh()
        pages = (f"accounts/user/{learner.user.pk}", f"courses/course/{course.pk}")
        in_thread(lambda: delete(staff, *pages)).result(60)
    assert not Course.objects.filter(pk=course.pk).exists()
    left = [table.__name__ for table in tables if table.objects.filter(course_id=course.pk).exists()]
    assert left == [table.__name__ for table in tables]
    assert of_chapters.exists()
    refresh()
    assert not any(table.objects.filter(course_id=course.pk).exists() for table in tables)
    assert not of_chapters.exists()
    assert CourseStanding.objects.get().course_id == other.pk


@pytest.mark.django_db(transaction=True)
def test_a_chapter_that_is_deleted_while_being_counted(course: Course, chapters: list[Chapter]) -> None:
    gone = chapters[1].pk
    with transaction.atomic():
        refresh()
        in_thread(chapters[1].delete).result(60)
    assert ChapterStanding.objects.filter(chapter_id=gone).exists()
    refresh()
    assert {row.chapter_id for row in ChapterStanding.objects.all()} == {chapters[0].pk, chapters[2].pk}


@pytest.mark.django_db(transaction=True)
def test_a_count_that_waits_for_the_deletion_of_its_learner_leaves_nothing(
    learner: Actor, fellow: Actor, course: Course, staff: Actor
) -> None:
    send(learner, event(course, at(3)))
    refresh()
    send(learner, event(course, at(0)))
    send(fellow, event(course, at(0)))
    with transaction.atomic():
        delete(staff, f"accounts/user/{learner.user.pk}")
        counting = in_thread(refresh)
        wait_until_blocked()
    counting.result(60)
    assert not LearnerDay.objects.filter(user_id=learner.user.pk).exists()
    refresh()
    assert counted() == walked()
    assert set(LearnerStanding.objects.values_list("user_id", flat=True)) == {fellow.user.pk}


def test_counts_of_what_is_gone_go(learner: Actor, course: Course) -> None:
    """However they came to stay, and however old they are."""
    gone, first, last = uuid.uuid4(), uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)
    times = {"first_event_at": at(300), "last_event_at": at(300)}
    of_gone = ((gone, course.pk), (learner.user.pk, first), (learner.user.pk, last))
    for user_id, course_id in (*of_gone, (learner.user.pk, course.pk)):
        LearnerDay.objects.create(
            user_id=user_id, course_id=course_id, day=TODAY - timedelta(days=300), events=1, **times
        )
    for user_id, course_id in of_gone:
        LearnerStanding.objects.create(
            user_id=user_id, course_id=course_id, chapter_is_completed=False, completed=0, has_stopped=False
        )
    refresh()
    for table in (LearnerDay, LearnerStanding):
        assert table.objects.values_list("user_id", "course_id").get() == (learner.user.pk, course.pk)


# --- Standing -----------------------------------------------------------------------------------------------------


@pytest.fixture
def chapters(course: Course) -> list[Chapter]:
    """Three active chapters in an order that is neither that of their codes nor of their making."""
    course.chapters.all().delete()
    return [
        Chapter.objects.create(course=course, chapter_code=code, title=code, order=order)
        for code, order in (("b", 1), ("c", 2), ("a", 3))
    ]


def make_learners(course: Course, number: int) -> list[User]:
    users = [
        User.objects.create_user(f"somebody-{one}-{uuid.uuid4().hex[:6]}@example.com", None) for one in range(number)
    ]
    Enrollment.objects.bulk_create(Enrollment(user=user, course=course) for user in users)
    return users


def put(user: User, chapter: Chapter, status: int, *, days_ago: float, took_seconds: int = 0) -> None:
    then = timezone.now() - timedelta(days=days_ago)
    ChapterProgress.objects.create(
        user=user,
        chapter=chapter,
        status=status,
        created_at=then - timedelta(seconds=took_seconds),
        updated_at=then,
        completed_at=then if status == Status.COMPLETED else None,
    )


def test_what_a_device_reports_shows_in_the_funnel(learner: Actor, course: Course, chapters: list[Chapter]) -> None:
    for chapter, status in ((chapters[0], "COMPLETED"), (chapters[1], "IN_PROGRESS"), (chapters[2], "LOCKED")):
        body = {"course_id": str(course.pk), "chapter_id": chapter.chapter_code, "status": status}
        assert learner.post(PROGRESS_URL, body).status_code == 200
    Enrollment.objects.exclude(user=learner.user).delete()
    refresh()
    standing = {row.chapter_id: (row.in_progress, row.completed) for row in ChapterStanding.objects.all()}
    assert [standing[chapter.pk] for chapter in chapters] == [(0, 1), (1, 0), (0, 0)]
    mine = LearnerStanding.objects.get()
    assert (mine.chapter_id, mine.chapter_is_completed, mine.completed) == (chapters[1].pk, False, 1)
    assert not mine.has_stopped
    whole = CourseStanding.objects.get()
    assert (whole.learners, whole.begun, whole.finished, whole.stopped, whole.active_learners) == (1, 1, 0, 0, 1)


def test_the_median_time_is_of_those_who_were_seen_beginning_and_completing(
    course: Course, chapters: list[Chapter]
) -> None:
    users = make_learners(course, 5)
    for user, took in zip(users, (60, 100, 7_200, 0, 0), strict=True):
        put(user, chapters[0], Status.COMPLETED, days_ago=1, took_seconds=took)
    refresh()
    row = ChapterStanding.objects.get(chapter=chapters[0])
    assert (row.completed, row.median_seconds) == (5, statistics.median([60, 100, 7_200]))
    assert ChapterStanding.objects.get(chapter=chapters[1]).median_seconds is None


def test_where_learners_stop(course: Course, chapters: list[Chapter]) -> None:
    in_second, after_first, through, recent, seen, absent = make_learners(course, 6)
    put(in_second, chapters[0], Status.COMPLETED, days_ago=20)
    put(in_second, chapters[1], Status.IN_PROGRESS, days_ago=15)
    put(after_first, chapters[0], Status.COMPLETED, days_ago=15)
    for chapter in chapters:
        put(through, chapter, Status.COMPLETED, days_ago=30)
    put(recent, chapters[0], Status.IN_PROGRESS, days_ago=13)
    put(seen, chapters[0], Status.IN_PROGRESS, days_ago=90)
    LearnerDay.objects.create(
        user=seen, course=course, day=TODAY, events=1, first_event_at=at(0), last_event_at=timezone.now()
    )
    refresh()
    stops = {row.chapter_id: (row.stopped_in, row.stopped_after) for row in ChapterStanding.objects.all()}
    assert [stops[chapter.pk] for chapter in chapters] == [(0, 1), (1, 0), (0, 0)]
    assert set(LearnerStanding.objects.filter(has_stopped=True).values_list("user_id", flat=True)) == {
        in_second.pk,
        after_first.pk,
    }
    absent_row = LearnerStanding.objects.get(user=absent)
    assert (absent_row.chapter_id, absent_row.last_active_at, absent_row.has_stopped) == (None, None, False)
    whole = CourseStanding.objects.get()
    assert (whole.learners, whole.begun, whole.finished, whole.stopped) == (6, 5, 1, 2)


def test_removed_learners_and_inactive_chapters_do_not_count(course: Course, chapters: list[Chapter]) -> None:
    stays, goes = make_learners(course, 2)
    for user in (stays, goes):
        put(user, chapters[0], Status.COMPLETED, days_ago=1)
        put(user, chapters[2], Status.IN_PROGRESS, days_ago=1)
    refresh()
    assert CourseStanding.objects.get().learners == 2
    Enrollment.objects.filter(user=goes).update(removed_at=timezone.now())
    Chapter.objects.filter(pk=chapters[2].pk).update(is_active=False)
    refresh()
    assert CourseStanding.objects.get().learners == 1
    row = LearnerStanding.objects.get()
    assert (row.user_id, row.chapter_id, row.chapter_is_completed) == (stays.pk, chapters[0].pk, True)
    assert ChapterStanding.objects.get(chapter=chapters[0]).completed == 1


def test_a_reset_takes_progress_out_of_the_counts(course: Course, chapters: list[Chapter]) -> None:
    (user,) = make_learners(course, 1)
    put(user, chapters[0], Status.COMPLETED, days_ago=1)
    refresh()
    ChapterProgress.objects.all().delete()
    refresh()
    assert ChapterStanding.objects.get(chapter=chapters[0]).completed == 0
    assert LearnerStanding.objects.get().chapter_id is None
    assert CourseStanding.objects.get().begun == 0


def test_a_count_with_nothing_new_writes_no_learner(course: Course, chapters: list[Chapter]) -> None:
    for user in make_learners(course, 3):
        put(user, chapters[0], Status.COMPLETED, days_ago=1)
    refresh()
    with connection.cursor() as cursor:
        cursor.execute("SELECT array_agg(ctid::text ORDER BY id) FROM telemetry_learnerstanding")
        before = cursor.fetchone()
        refresh()
        cursor.execute("SELECT array_agg(ctid::text ORDER BY id) FROM telemetry_learnerstanding")
        assert cursor.fetchone() == before


def test_a_course_without_anything_is_counted_as_empty(course: Course) -> None:
    course.chapters.all().delete()
    Enrollment.objects.all().delete()
    refresh()
    row = CourseStanding.objects.get()
    assert (row.learners, row.begun, row.finished, row.stopped, row.active_learners) == (0, 0, 0, 0, 0)


@pytest.fixture
def finisher(course: Course, chapters: list[Chapter]) -> Actor:
    actor = make_actor("finisher")
    Enrollment.objects.create(user=actor.user, course=course)
    for chapter in chapters:
        put(actor.user, chapter, Status.COMPLETED, days_ago=1)
    return actor


def test_a_new_chapter_makes_nobody_finished(finisher: Actor, course: Course) -> None:
    refresh()
    assert CourseStanding.objects.get().finished == 1
    Chapter.objects.create(course=course, chapter_code="z", title="New", order=9)
    refresh()
    assert CourseStanding.objects.get().finished == 0
