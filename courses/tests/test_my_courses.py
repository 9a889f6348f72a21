"""GET /v1/courses/my"""

from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries
from rest_framework.test import APIClient

from courses.models import Course, Enrollment
from tests.cast import Actor, error_code

URL = "/v1/courses/my"
pytestmark = pytest.mark.django_db


def test_my_courses(learner: Actor, course: Course) -> None:
    response = learner.get(URL)
    assert response.status_code == 200
    (mine,) = response.json()["courses"]
    assert mine.pop("joined_at").endswith("Z")
    assert mine == {
        "id": str(course.pk),
        "title": "Testing",
        "course_code": "TST100",
        "instructor": "Dr. Test",
        "semester": "2026 Fall",
        "description": "",
    }


def test_newest_enrolment_first_active_courses_only(learner: Actor, course: Course) -> None:
    now = timezone.now()
    for code, days, active, removed in (
        ("OLD", 9, True, None),
        ("NEW", -1, True, None),
        ("OFF", 1, False, None),
        ("OUT", 1, True, now),
    ):
        other = Course.objects.create(course_code=code, title=code, is_active=active)
        joined = now - timedelta(days=days)
        Enrollment.objects.create(user=learner.user, course=other, joined_at=joined, removed_at=removed)
    assert [item["course_code"] for item in learner.get(URL).json()["courses"]] == ["NEW", "TST100", "OLD"]


def test_two_queries(learner: Actor, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for number in range(5):
        other = Course.objects.create(course_code=f"C{number}", title="x")
        Enrollment.objects.create(user=learner.user, course=other)
    with django_assert_num_queries(2):
        learner.get(URL)


def test_nobody_elses_courses(outsider: Actor, learner: Actor) -> None:
    assert outsider.get(URL).json() == {"courses": []}


def test_without_a_token(api: APIClient) -> None:
    assert error_code(api.get(URL)) == "UNAUTHORIZED"


def test_wrong_method(learner: Actor) -> None:
    assert error_code(learner.post(URL)) == "METHOD_NOT_ALLOWED"
