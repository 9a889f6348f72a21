"""GET /v1/courses/{course_id}/chapters"""

import pytest
from pytest_django.fixtures import DjangoAssertNumQueries

from courses.models import Chapter, Course
from tests.cast import Actor

pytestmark = pytest.mark.django_db


@pytest.fixture
def sequential(course: Course) -> Course:
    """`course` with a third chapter, opened one after the other."""
    Chapter.objects.create(course=course, chapter_code="ch3_end", title="End", order=3)
    course.progression = Course.Progression.SEQUENTIAL
    course.save(update_fields=["progression"])
    return course


def chapters(actor: Actor, course: Course) -> list[tuple[str, str, bool]]:
    listed = actor.get(f"/v1/courses/{course.pk}/chapters").json()["chapters"]
    return [(item["chapter_code"], item["status"], item["locked"]) for item in listed]


def report(actor: Actor, course: Course, chapter: str, status: str) -> None:
    body = {"course_id": str(course.pk), "chapter_id": chapter, "status": status}
    assert actor.post("/v1/progress/chapter", body).status_code == 200


def test_the_fields_of_both_generations(learner: Actor, course: Course, chapter: Chapter) -> None:
    body = learner.get(f"/v1/courses/{course.pk}/chapters").json()
    assert body["course_id"] == str(course.pk)
    assert body["chapters"][0] == {
        "id": str(chapter.pk),
        "chapter_code": "ch1_intro",
        "title": "Introduction",
        "status": "IN_PROGRESS",
        "locked": False,
        "order": 1,
    }


def test_active_ones_by_order(learner: Actor, course: Course) -> None:
    Chapter.objects.create(course=course, chapter_code="ch0_zero", title="Zero", order=0)
    Chapter.objects.create(course=course, chapter_code="ch9_off", title="Off", order=9, is_active=False)
    assert [code for code, _, _ in chapters(learner, course)] == ["ch0_zero", "ch1_intro", "ch2_more"]


def test_nothing_is_locked_in_an_open_course(learner: Actor, course: Course) -> None:
    report(learner, course, "ch2_more", "LOCKED")
    assert [status for _, status, _ in chapters(learner, course)] == ["IN_PROGRESS", "IN_PROGRESS"]


def test_a_new_course_is_open() -> None:
    assert Course.objects.create(course_code="NEW", title="New").progression == "open"


def test_a_sequential_course_opens_one_after_the_other(learner: Actor, sequential: Course) -> None:
    assert chapters(learner, sequential) == [
        ("ch1_intro", "IN_PROGRESS", False),
        ("ch2_more", "LOCKED", True),
        ("ch3_end", "LOCKED", True),
    ]
    report(learner, sequential, "ch1_intro", "IN_PROGRESS")
    assert [locked for _, _, locked in chapters(learner, sequential)] == [False, True, True]
    report(learner, sequential, "ch1_intro", "COMPLETED")
    assert chapters(learner, sequential) == [
        ("ch1_intro", "COMPLETED", False),
        ("ch2_more", "IN_PROGRESS", False),
        ("ch3_end", "LOCKED", True),
    ]


def test_a_chapter_with_progress_is_open_whatever_stands_before_it(learner: Actor, sequential: Course) -> None:
    report(learner, sequential, "ch3_end", "IN_PROGRESS")
    assert [locked for _, _, locked in chapters(learner, sequential)] == [False, True, False]


def test_a_reported_lock_counts_as_no_progress(learner: Actor, sequential: Course) -> None:
    report(learner, sequential, "ch1_intro", "LOCKED")
    assert chapters(learner, sequential)[0] == ("ch1_intro", "IN_PROGRESS", False)


def test_an_inactive_chapter_blocks_nobody(learner: Actor, sequential: Course) -> None:
    Chapter.objects.filter(chapter_code="ch1_intro").update(is_active=False)
    assert [locked for _, _, locked in chapters(learner, sequential)] == [False, True]


def test_the_progress_of_a_fellow_does_not_count(learner: Actor, fellow: Actor, sequential: Course) -> None:
    report(fellow, sequential, "ch1_intro", "COMPLETED")
    assert chapters(learner, sequential)[1] == ("ch2_more", "LOCKED", True)


def test_four_queries(learner: Actor, course: Course, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(4):
        learner.get(f"/v1/courses/{course.pk}/chapters")
