"""POST /v1/admin/bundles/{id}/rollout"""

from typing import Any

import pytest
from rest_framework.test import APIClient

from courses.models import Chapter
from tests.cast import error_code
from updates.models import ReleaseEvent
from updates.tests.pipelines import act
from updates.tests.shelf import APP, chapter_scope, draft, publish, published

pytestmark = pytest.mark.django_db

TEN_PERCENT = 1_000


def refusal(response: Any) -> tuple[int, str]:
    return response.status_code, error_code(response)


@pytest.mark.parametrize(("percent", "basis_points"), [(10.01, 1_001), (50, 5_000), (100, 10_000), (29.29, 2_929)])
def test_it_is_widened(operator: APIClient, percent: float, basis_points: int) -> None:
    release = published(APP, rollout_basis_points=TEN_PERCENT)
    response = act(operator, release, "rollout", {"rollout_percent": percent})
    assert response.status_code == 200
    assert response.json()["rollout_percent"] == percent
    release.refresh_from_db()
    assert release.rollout_basis_points == basis_points


def test_what_was_published_with_it_is_widened_along(operator: APIClient, chapter: Chapter) -> None:
    lesson = draft(chapter_scope(chapter), rollout_basis_points=TEN_PERCENT)
    expert = draft(("experts", "helper"), rollout_basis_points=TEN_PERCENT)
    publish(lesson, expert)
    answer = act(operator, expert, "rollout", {"rollout_percent": 50}).json()
    assert {row["id"] for row in answer["together"]} == {str(lesson.pk), str(expert.pk)}
    lesson.refresh_from_db()
    assert lesson.rollout_basis_points == 5_000


def test_the_same_again_changes_nothing(operator: APIClient) -> None:
    release = published(APP, rollout_basis_points=TEN_PERCENT)
    for _ in range(2):
        assert act(operator, release, "rollout", {"rollout_percent": 50}).status_code == 200
    assert ReleaseEvent.objects.filter(action="widened").count() == 1


def test_it_is_never_narrowed(operator: APIClient) -> None:
    release = published(APP, rollout_basis_points=TEN_PERCENT)
    response = act(operator, release, "rollout", {"rollout_percent": 9.99})
    assert refusal(response) == (409, "BUNDLE_RELEASE_CONFLICT")
    assert "withdraw" in response.json()["error"]["message"]


def test_a_draft(operator: APIClient) -> None:
    response = act(operator, draft(APP), "rollout", {"rollout_percent": 50})
    assert refusal(response) == (409, "BUNDLE_RELEASE_CONFLICT")


@pytest.mark.parametrize("value", [None, "50", True, -1, 100.5, 0.005, [], {}, 10**100])
def test_a_wrong_share(operator: APIClient, value: Any) -> None:
    release = published(APP, rollout_basis_points=TEN_PERCENT)
    response = act(operator, release, "rollout", {"rollout_percent": value})
    assert refusal(response) == (422, "VALIDATION_ERROR")
    assert [detail["field"] for detail in response.json()["error"]["details"]] == ["rollout_percent"]


@pytest.mark.parametrize("body", [None, {}, [], "text", {"rollout_percent": 50, "together": False}])
def test_no_share_and_more_than_a_share(operator: APIClient, body: Any) -> None:
    release = published(APP, rollout_basis_points=TEN_PERCENT)
    assert refusal(act(operator, release, "rollout", body)) == (422, "VALIDATION_ERROR")
