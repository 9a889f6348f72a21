"""GET /v1/courses/{course_id}"""

import uuid

import pytest
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries
from rest_framework.test import APIClient

from courses.models import Course, Enrollment
from tests.cast import Actor, error_code

pytestmark = pytest.mark.django_db


def test_one_course(learner: Actor, course: Course) -> None:
    response = learner.get(f"/v1/courses/{course.pk}")
    assert response.status_code == 200
    body = response.json()
    assert body["id"] == str(course.pk)
    assert {"title", "description", "instructor"} <= set(body)


def test_the_id_in_upper_case(learner: Actor, course: Course) -> None:
    assert learner.get(f"/v1/courses/{str(course.pk).upper()}").status_code == 200


def test_two_queries(learner: Actor, course: Course, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(2):
        learner.get(f"/v1/courses/{course.pk}")


@pytest.mark.parametrize("suffix", ["", "/chapters"])
class TestWhoGetsNoAnswer:
    def test_a_stranger_cannot_tell_a_course_from_none(self, outsider: Actor, course: Course, suffix: str) -> None:
        answers = []
        for course_id in (course.pk, uuid.uuid4(), "SOC101", "1", str(course.pk)[:-1], f"{{{course.pk}}}", "%00", "ä"):
            response = outsider.get(f"/v1/courses/{course_id}{suffix}")
            assert response.status_code == 403, course_id
            assert error_code(response) == "COURSE_ACCESS_DENIED"
            answers.append(response.json()["error"]["message"])
        assert len(set(answers)) == 1

    def test_a_removed_learner(self, learner: Actor, course: Course, suffix: str) -> None:
        Enrollment.objects.update(removed_at=timezone.now())
        assert error_code(learner.get(f"/v1/courses/{course.pk}{suffix}")) == "COURSE_ACCESS_DENIED"

    def test_a_deactivated_course(self, learner: Actor, outsider: Actor, course: Course, suffix: str) -> None:
        Course.objects.update(is_active=False)
        response = learner.get(f"/v1/courses/{course.pk}{suffix}")
        assert response.status_code == 404
        assert error_code(response) == "COURSE_NOT_FOUND"
        assert error_code(outsider.get(f"/v1/courses/{course.pk}{suffix}")) == "COURSE_ACCESS_DENIED"

    def test_nobody(self, api: APIClient, course: Course, suffix: str) -> None:
        assert error_code(api.get(f"/v1/courses/{course.pk}{suffix}")) == "UNAUTHORIZED"

    def test_wrong_method(self, learner: Actor, course: Course, suffix: str) -> None:
        assert error_code(learner.client.delete(f"/v1/courses/{course.pk}{suffix}")) == "METHOD_NOT_ALLOWED"

    def test_a_trailing_slash_is_not_found(self, learner: Actor, course: Course, suffix: str) -> None:
        response = learner.get(f"/v1/courses/{course.pk}{suffix}/")
        assert response.status_code == 404
        assert error_code(response) == "NOT_FOUND"
