"""POST /v1/progress/chapter"""

import json
import logging
import uuid
from collections.abc import Callable
from datetime import datetime
from itertools import permutations
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from courses.models import Chapter, Course, Enrollment
from telemetry.models import ChapterProgress
from tests.cast import Actor, error_code
from tests.races import in_thread, run_at_once, wait_until_blocked

URL = "/v1/progress/chapter"
STATUSES = ["LOCKED", "IN_PROGRESS", "COMPLETED"]
SECRET = "sk-ant-api03-PLANTEDplanted0123456789"


def report(chapter: Chapter, status: str = "IN_PROGRESS", **fields: Any) -> dict[str, Any]:
    return {"course_id": str(chapter.course_id), "chapter_id": chapter.chapter_code, "status": status, **fields}


def progress_of(actor: Actor, chapter: Chapter) -> ChapterProgress:
    return ChapterProgress.objects.get(user=actor.user, chapter=chapter)


def test_report_by_code(learner: Actor, chapter: Chapter) -> None:
    before = timezone.now()
    response = learner.post(URL, report(chapter, session_id="s-1", task_snapshot={"tasks": [{"id": 1, "done": True}]}))
    assert response.status_code == 200
    assert response.json()["accepted"] is True
    assert before <= datetime.fromisoformat(response.json()["server_time"]) <= timezone.now()
    progress = progress_of(learner, chapter)
    assert progress.get_status_display() == "IN_PROGRESS"
    assert progress.session_id == "s-1"
    assert progress.task_snapshot == {"tasks": [{"id": 1, "done": True}]}
    assert progress.completed_at is None


@pytest.mark.parametrize("spell", [str, lambda value: str(value).upper()])
def test_report_by_uuid(learner: Actor, chapter: Chapter, spell: Callable[[uuid.UUID], str]) -> None:
    body = report(chapter, chapter_id=spell(chapter.id), course_id=spell(chapter.course_id))
    assert learner.post(URL, body).status_code == 200
    assert progress_of(learner, chapter).status == ChapterProgress.Status.IN_PROGRESS


def test_both_generations_share_one_row(learner: Actor, chapter: Chapter) -> None:
    learner.post(URL, report(chapter))
    learner.post(URL, report(chapter, chapter_id=str(chapter.id)))
    assert ChapterProgress.objects.count() == 1


def test_two_queries(learner: Actor, chapter: Chapter, django_assert_num_queries: Any) -> None:
    learner.post(URL, report(chapter))
    for body in (report(chapter), report(chapter, "COMPLETED"), report(chapter, chapter_id="ch2_more")):
        with django_assert_num_queries(2):
            assert learner.post(URL, body).status_code == 200
    with django_assert_num_queries(2):
        assert learner.post(URL, report(chapter, chapter_id="nothing")).status_code == 404
    with django_assert_num_queries(2):
        assert learner.post(URL, report(chapter, course_id=str(uuid.uuid4()))).status_code == 403


def test_wrong_method(learner: Actor) -> None:
    response = learner.get(URL)
    assert response.status_code == 405
    assert error_code(response) == "METHOD_NOT_ALLOWED"


def test_trailing_slash_is_not_found(learner: Actor, chapter: Chapter) -> None:
    assert error_code(learner.post(f"{URL}/", report(chapter))) == "NOT_FOUND"


def test_no_token(api: APIClient, chapter: Chapter) -> None:
    response = api.post(URL, report(chapter), format="json")
    assert response.status_code == 401
    assert error_code(response) == "UNAUTHORIZED"


def test_not_enrolled(outsider: Actor, chapter: Chapter) -> None:
    response = outsider.post(URL, report(chapter))
    assert response.status_code == 403
    assert error_code(response) == "COURSE_ACCESS_DENIED"
    assert not ChapterProgress.objects.exists()


def test_removed(learner: Actor, chapter: Chapter) -> None:
    Enrollment.objects.filter(user=learner.user).update(removed_at=timezone.now())
    assert error_code(learner.post(URL, report(chapter))) == "COURSE_ACCESS_DENIED"
    assert not ChapterProgress.objects.exists()


def test_course_that_is_none(learner: Actor, chapter: Chapter) -> None:
    canonical = str(chapter.course_id)
    for course_id in (
        str(uuid.uuid4()),
        "TST100",
        canonical.replace("-", ""),
        f"{{{canonical}}}",
        f"urn:uuid:{canonical}",
    ):
        response = learner.post(URL, report(chapter, course_id=course_id))
        assert response.status_code == 403, course_id
        assert error_code(response) == "COURSE_ACCESS_DENIED"


def test_chapter_that_is_none(learner: Actor, chapter: Chapter) -> None:
    other = Course.objects.create(course_code="OTH100", title="Other")
    foreign = Chapter.objects.create(course=other, chapter_code="elsewhere", title="Elsewhere")
    for chapter_id in ("nothing", "CH1_INTRO", str(uuid.uuid4()), str(foreign.id), "elsewhere", chapter.id.hex):
        response = learner.post(URL, report(chapter, chapter_id=chapter_id))
        assert response.status_code == 404, chapter_id
        assert error_code(response) == "CHAPTER_NOT_FOUND"
    assert not ChapterProgress.objects.exists()


def test_same_code_in_two_courses(learner: Actor, chapter: Chapter) -> None:
    other = Course.objects.create(course_code="OTH100", title="Other")
    twin = Chapter.objects.create(course=other, chapter_code=chapter.chapter_code, title="Twin")
    Enrollment.objects.create(user=learner.user, course=other)
    learner.post(URL, report(twin))
    assert ChapterProgress.objects.get().chapter == twin


def test_deactivated_course_and_chapter_still_take_progress(learner: Actor, chapter: Chapter) -> None:
    Course.objects.update(is_active=False)
    Chapter.objects.update(is_active=False)
    assert learner.post(URL, report(chapter)).status_code == 200
    assert progress_of(learner, chapter).status == ChapterProgress.Status.IN_PROGRESS


def test_learners_are_kept_apart(learner: Actor, fellow: Actor, chapter: Chapter) -> None:
    learner.post(URL, report(chapter, "COMPLETED"))
    fellow.post(URL, report(chapter))
    assert progress_of(learner, chapter).status == ChapterProgress.Status.COMPLETED
    assert progress_of(fellow, chapter).status == ChapterProgress.Status.IN_PROGRESS


@pytest.mark.parametrize(
    "change",
    [
        {"status": "DONE"},
        {"status": "in_progress"},
        {"status": 10},
        {"status": None},
        {"status": ["IN_PROGRESS"]},
        {"status": "\ud800"},
        {"course_id": None},
        {"course_id": ""},
        {"course_id": 7},
        {"course_id": "\x00"},
        {"chapter_id": ""},
        {"chapter_id": "x" * 256},
        {"chapter_id": "ch\x001"},
        {"chapter_id": "\udfff"},
        {"chapter_id": {}},
        {"session_id": 5},
        {"session_id": "x" * 256},
        {"session_id": "\x00"},
        {"task_snapshot": "text"},
        {"task_snapshot": []},
        {"task_snapshot": {"a": "\x00"}},
        {"task_snapshot": {"\ud800": 1}},
        {"task_snapshot": {"a": 2**63}},
    ],
)
def test_malformed_field(learner: Actor, chapter: Chapter, change: dict[str, Any]) -> None:
    # Dumped here: the test client's own encoder stumbles over lone surrogates.
    response = learner.client.post(URL, json.dumps(report(chapter) | change), content_type="application/json")
    assert response.status_code == 422
    assert error_code(response) == "VALIDATION_ERROR"
    assert response.json()["error"]["details"][0]["field"] == next(iter(change))


@pytest.mark.parametrize("body", ["[]", "null", '"text"', "3", "{}"])
def test_body_that_is_no_report(learner: Actor, body: str) -> None:
    response = learner.client.post(URL, body, content_type="application/json")
    assert response.status_code == 422
    assert error_code(response) == "VALIDATION_ERROR"


def test_body_that_is_no_json(learner: Actor) -> None:
    response = learner.client.post(URL, "{", content_type="application/json")
    assert response.status_code == 400
    assert error_code(response) == "MALFORMED_REQUEST"


def test_snapshot_nested_too_deeply(learner: Actor, chapter: Chapter) -> None:
    deep: dict[str, Any] = {}
    for _ in range(64):
        deep = {"a": deep}
    assert error_code(learner.post(URL, report(chapter, task_snapshot=deep))) == "VALIDATION_ERROR"
    assert learner.post(URL, report(chapter, task_snapshot=deep["a"])).status_code == 200


def test_null_and_absent_optional_fields_and_unknown_ones(learner: Actor, chapter: Chapter) -> None:
    body = report(chapter, session_id=None, task_snapshot=None, invented=True)
    assert learner.post(URL, body).status_code == 200
    assert progress_of(learner, chapter).session_id == ""
    assert learner.post(URL, report(chapter, session_id="")).status_code == 200


def test_again_is_the_same(learner: Actor, chapter: Chapter) -> None:
    for _ in range(3):
        assert learner.post(URL, report(chapter)).json()["accepted"] is True
    assert ChapterProgress.objects.count() == 1


# --- Never back -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", list(permutations(STATUSES)))
def test_status_never_goes_down(learner: Actor, chapter: Chapter, order: tuple[str, ...]) -> None:
    for status in order:
        assert learner.post(URL, report(chapter, status)).json()["accepted"] is True
    assert progress_of(learner, chapter).status == ChapterProgress.Status.COMPLETED


def test_late_report_leaves_the_row_as_it_is(learner: Actor, chapter: Chapter) -> None:
    learner.post(URL, report(chapter, "COMPLETED", session_id="first", task_snapshot={"n": 1}))
    before = ChapterProgress.objects.values().get()
    assert (
        learner.post(URL, report(chapter, "IN_PROGRESS", session_id="late", task_snapshot={"n": 2})).status_code == 200
    )
    assert ChapterProgress.objects.values().get() == before


def test_first_completion_counts(learner: Actor, chapter: Chapter) -> None:
    learner.post(URL, report(chapter))
    assert progress_of(learner, chapter).completed_at is None
    first = learner.post(URL, report(chapter, "COMPLETED")).json()["server_time"]
    learner.post(URL, report(chapter, "COMPLETED"))
    progress = progress_of(learner, chapter)
    assert progress.completed_at == datetime.fromisoformat(first)
    assert progress.updated_at > progress.completed_at


def test_snapshot_is_that_of_the_last_report_with_one(learner: Actor, chapter: Chapter) -> None:
    learner.post(URL, report(chapter, task_snapshot={"n": 1}))
    learner.post(URL, report(chapter, task_snapshot={"n": 2}))
    learner.post(URL, report(chapter, "COMPLETED"))
    learner.post(URL, report(chapter, "COMPLETED", task_snapshot=None))
    assert progress_of(learner, chapter).task_snapshot == {"n": 2}
    learner.post(URL, report(chapter, "COMPLETED", task_snapshot={}))
    assert progress_of(learner, chapter).task_snapshot == {}


@pytest.mark.parametrize(
    ("before", "sent", "applied", "status"),
    [
        (None, "LOCKED", True, "LOCKED"),
        (None, "IN_PROGRESS", True, "IN_PROGRESS"),
        (None, "COMPLETED", True, "COMPLETED"),
        ("LOCKED", "IN_PROGRESS", True, "IN_PROGRESS"),
        ("IN_PROGRESS", "IN_PROGRESS", True, "IN_PROGRESS"),
        ("IN_PROGRESS", "LOCKED", False, "IN_PROGRESS"),
        ("COMPLETED", "LOCKED", False, "COMPLETED"),
        ("COMPLETED", "IN_PROGRESS", False, "COMPLETED"),
        ("COMPLETED", "COMPLETED", True, "COMPLETED"),
    ],
)
def test_answer(learner: Actor, chapter: Chapter, before: str | None, sent: str, applied: bool, status: str) -> None:
    if before:
        learner.post(URL, report(chapter, before))
    answer = learner.post(URL, report(chapter, sent)).json()
    assert answer.keys() == {"accepted", "applied", "status", "server_time"}
    assert (answer["accepted"], answer["applied"], answer["status"]) == (True, applied, status)


Reports = list[tuple[str, int | None]]
reports_drawn = st.lists(st.tuples(st.sampled_from(STATUSES), st.none() | st.integers(0, 9)), min_size=1, max_size=6)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reports=reports_drawn)
def test_any_order_of_reports_ends_alike(learner: Actor, chapter: Chapter, reports: Reports) -> None:
    """The status is the highest, the snapshot the last one that came with a report which was applied."""
    ChapterProgress.objects.all().delete()
    highest, snapshot = -1, None
    for status, number in reports:
        body = report(chapter, status, task_snapshot=None if number is None else {"n": number})
        answer = learner.post(URL, body).json()
        rank = STATUSES.index(status)
        assert answer["applied"] is (rank >= highest)
        if rank >= highest:
            highest, snapshot = rank, snapshot if number is None else {"n": number}
        assert answer["status"] == STATUSES[highest]
    progress = progress_of(learner, chapter)
    assert progress.get_status_display() == max((status for status, _ in reports), key=STATUSES.index)
    assert progress.task_snapshot == snapshot
    assert (progress.completed_at is not None) == (highest == 2)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(reports=reports_drawn, data=st.data())
def test_orders_and_repetitions_converge(
    learner: Actor, fellow: Actor, chapter: Chapter, reports: Reports, data: st.DataObject
) -> None:
    """One learner's reports arrive once, another's in any order and some of them again: both end with one status."""
    ChapterProgress.objects.all().delete()
    again = data.draw(st.lists(st.sampled_from(reports), max_size=4))
    shuffled = data.draw(st.permutations([*reports, *again]))
    for actor, sequence in ((learner, reports), (fellow, shuffled)):
        for status, number in sequence:
            snapshot = None if number is None else {"n": number}
            assert actor.post(URL, report(chapter, status, task_snapshot=snapshot)).status_code == 200
    first, second = progress_of(learner, chapter), progress_of(fellow, chapter)
    assert first.status == second.status
    assert (first.completed_at is None) == (second.completed_at is None)


# --- Reported while locked --------------------------------------------------------------------------------------


@pytest.fixture
def sequential(course: Course) -> Course:
    course.progression = Course.Progression.SEQUENTIAL
    course.save(update_fields=["progression"])
    return course


def was_locked(actor: Actor, chapter: Chapter) -> bool:
    return progress_of(actor, chapter).reported_while_locked


def test_report_of_a_locked_chapter_is_accepted_and_marked(learner: Actor, sequential: Course) -> None:
    first, second = sequential.chapters.all()
    answer = learner.post(URL, report(second)).json()
    assert (answer["applied"], answer["status"]) == (True, "IN_PROGRESS")
    assert was_locked(learner, second)
    learner.post(URL, report(first))
    assert not was_locked(learner, first)


def test_the_mark_stays(learner: Actor, sequential: Course) -> None:
    first, second = sequential.chapters.all()
    learner.post(URL, report(second))
    learner.post(URL, report(first, "COMPLETED"))
    for status in ("IN_PROGRESS", "COMPLETED", "LOCKED"):
        learner.post(URL, report(second, status))
    assert was_locked(learner, second)


def test_no_mark_once_it_is_open(learner: Actor, sequential: Course) -> None:
    first, second = sequential.chapters.all()
    learner.post(URL, report(first, "COMPLETED"))
    learner.post(URL, report(second))
    assert not was_locked(learner, second)


def test_a_device_that_says_locked_knows_no_more_than_we(learner: Actor, sequential: Course) -> None:
    _first, second = sequential.chapters.all()
    learner.post(URL, report(second, "LOCKED"))
    assert not was_locked(learner, second)
    learner.post(URL, report(second))
    assert was_locked(learner, second)


def test_a_chapter_with_progress_is_not_locked(learner: Actor, sequential: Course) -> None:
    _first, second = sequential.chapters.all()
    ChapterProgress.objects.create(user=learner.user, chapter=second, status=ChapterProgress.Status.IN_PROGRESS)
    learner.post(URL, report(second))
    assert not was_locked(learner, second)


def test_another_learners_progress_opens_nothing(learner: Actor, fellow: Actor, sequential: Course) -> None:
    first, second = sequential.chapters.all()
    fellow.post(URL, report(first, "COMPLETED"))
    learner.post(URL, report(second))
    assert was_locked(learner, second)


def test_two_queries_in_a_sequential_course(learner: Actor, sequential: Course, django_assert_num_queries: Any) -> None:
    first, second = sequential.chapters.all()
    for chapter, status in ((first, "IN_PROGRESS"), (second, "COMPLETED"), (second, "IN_PROGRESS"), (second, "LOCKED")):
        with django_assert_num_queries(2):
            assert learner.post(URL, report(chapter, status)).status_code == 200


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    progression=st.sampled_from(["open", "sequential", "sequential"]),
    chapters=st.lists(
        st.tuples(st.integers(1, 3), st.booleans(), st.none() | st.sampled_from([0, 10, 20])), min_size=1, max_size=4
    ),
)
def test_marked_is_what_is_listed_as_locked(
    learner: Actor, course: Course, progression: str, chapters: list[tuple[int, bool, int | None]]
) -> None:
    course.chapters.all().delete()
    Course.objects.update(progression=progression)
    for number, (order, is_active, status) in enumerate(chapters):
        chapter = course.chapters.create(chapter_code=f"c{number}", title="Drawn", order=order, is_active=is_active)
        if status is not None:
            ChapterProgress.objects.create(user=learner.user, chapter=chapter, status=status)
    listed = learner.get(f"/v1/courses/{course.pk}/chapters").json()["chapters"]
    for shown in listed:
        with transaction.atomic():
            learner.post(URL, {"course_id": str(course.pk), "chapter_id": shown["id"], "status": "IN_PROGRESS"})
            row = ChapterProgress.objects.get(user=learner.user, chapter=shown["id"])
            assert row.reported_while_locked is shown["locked"]
            transaction.set_rollback(True)


# --- Secrets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"session_id": SECRET},
        {"task_snapshot": {"log": f"called with {SECRET}", SECRET: 1, "deep": [{"api_key": SECRET}]}},
        {"chapter_id": SECRET},
        {"course_id": SECRET},
        {"status": SECRET},
        {"task_snapshot": SECRET},
    ],
)
def test_secrets_do_not_land(
    learner: Actor, chapter: Chapter, change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    response = learner.post(URL, report(chapter) | change)
    with connection.cursor() as cursor:
        cursor.execute("SELECT coalesce(string_agg(p::text, ' '), '') FROM telemetry_chapterprogress AS p")
        stored = cursor.fetchone()[0]
    assert "PLANTED" not in stored
    assert "PLANTED" not in response.content.decode()
    assert "PLANTED" not in caplog.text
    if response.status_code == 200:
        assert "[redacted]" in stored


# --- Races ------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_reports_at_once_end_in_one_row(learner: Actor, chapter: Chapter) -> None:
    bodies = [report(chapter, status, task_snapshot={"of": status}) for status in STATUSES * 4]
    responses = run_at_once(*(lambda body=body: learner.post(URL, body) for body in bodies))
    assert [response.status_code for response in responses] == [200] * len(bodies)
    progress = ChapterProgress.objects.get()
    assert progress.status == ChapterProgress.Status.COMPLETED
    assert progress.task_snapshot == {"of": "COMPLETED"}
    for body, response in zip(bodies, responses, strict=True):
        answer = response.json()
        assert answer["applied"] is (answer["status"] == body["status"])


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sent", ["LOCKED", "IN_PROGRESS"])
def test_the_answer_tells_of_a_report_that_won_meanwhile(learner: Actor, chapter: Chapter, sent: str) -> None:
    """The row is made by somebody else after the statement began, so that its snapshot doesn't have it."""
    with transaction.atomic():
        ChapterProgress.objects.create(user=learner.user, chapter=chapter, status=ChapterProgress.Status.COMPLETED)
        response = in_thread(lambda: learner.post(URL, report(chapter, sent, task_snapshot={"late": True})))
        wait_until_blocked()
    answer = response.result().json()
    assert (answer["applied"], answer["status"]) == (False, "COMPLETED")
    assert progress_of(learner, chapter).task_snapshot is None


@pytest.mark.django_db(transaction=True)
def test_a_report_that_was_unlocked_meanwhile_is_not_marked(learner: Actor, sequential: Course) -> None:
    second = sequential.chapters.all()[1]
    with transaction.atomic():
        ChapterProgress.objects.create(user=learner.user, chapter=second, status=ChapterProgress.Status.IN_PROGRESS)
        response = in_thread(lambda: learner.post(URL, report(second)))
        wait_until_blocked()
    assert response.result().status_code == 200
    assert not was_locked(learner, second)


@pytest.mark.django_db(transaction=True)
def test_reset_while_a_report_waits(learner: Actor, chapter: Chapter) -> None:
    learner.post(URL, report(chapter, "COMPLETED"))
    with transaction.atomic():
        ChapterProgress.objects.all().delete()
        response = in_thread(lambda: learner.post(URL, report(chapter)))
        wait_until_blocked()
    assert response.result().json()["status"] == "IN_PROGRESS"
    assert progress_of(learner, chapter).completed_at is None


@pytest.mark.django_db(transaction=True)
def test_removal_while_reports_come_in(learner: Actor, chapter: Chapter) -> None:
    enrollment = Enrollment.objects.filter(user=learner.user)
    responses = run_at_once(
        *(lambda: learner.post(URL, report(chapter)) for _ in range(6)),
        lambda: enrollment.update(removed_at=timezone.now()),
        lambda: enrollment.delete(),
    )
    assert {response.status_code for response in responses[:6]} <= {200, 403}


@pytest.mark.django_db(transaction=True)
def test_chapter_deleted_while_a_report_waits_for_it(learner: Actor, chapter: Chapter) -> None:
    body = report(chapter)
    with transaction.atomic():
        chapter.delete()
        response = in_thread(lambda: learner.post(URL, body))
        wait_until_blocked()
    assert error_code(response.result()) == "CHAPTER_NOT_FOUND"
