"""GET /v1/admin/bundles"""

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries
from rest_framework.test import APIClient

from config import limits
from courses.models import Chapter
from tests.cast import error_code
from updates.tests.pipelines import BUNDLES
from updates.tests.shelf import APP, SHARED, chapter_scope, draft, published, withdraw

pytestmark = pytest.mark.django_db


def listed(client: APIClient, **query: Any) -> tuple[list[str], int]:
    """Return the releases that are listed, and the total."""
    response = client.get(BUNDLES, query)
    assert response.status_code == 200, response.content
    answer = response.json()
    return [f"{row['bundle_type']}/{row['scope_id']} {row['version']}" for row in answer["bundles"]], answer["total"]


def test_an_entry(operator: APIClient) -> None:
    release = published(APP, rollout_basis_points=1_000)
    answer = operator.get(BUNDLES).json()
    entry = answer["bundles"][0]
    assert answer == {"bundles": [entry], "total": 1}
    assert entry == {
        "id": str(release.pk),
        "bundle_type": "app_agents",
        "scope_id": "core",
        "version": "1.0.0",
        "artifact_url": entry["artifact_url"],
        "state": "published",
        "created_at": entry["created_at"],
        "sha256": release.sha256,
        "size_bytes": release.size_bytes,
        "is_mandatory": True,
        "rollout_percent": 10.0,
        "publish_at": None,
        "published_at": entry["published_at"],
    }
    assert entry["artifact_url"].startswith("http://testserver/artifacts/")


def test_nothing(operator: APIClient) -> None:
    assert operator.get(BUNDLES).json() == {"bundles": [], "total": 0}


def test_the_newest_first_and_by_pages(operator: APIClient) -> None:
    names = [f"app_agents/core 1.0.{number}" for number in range(5)]
    for number in range(5):
        draft(APP, f"1.0.{number}")
    names.reverse()
    assert listed(operator) == (names, 5)
    assert listed(operator, limit=2) == (names[:2], 5)
    assert listed(operator, limit=2, offset=2) == (names[2:4], 5)
    assert listed(operator, limit=200, offset=4) == (names[4:], 5)
    assert listed(operator, offset=5) == ([], 5)


def test_filters(operator: APIClient, chapter: Chapter) -> None:
    draft(APP)
    withdraw(published(SHARED))
    published(chapter_scope(chapter))
    lesson = f"chapter/{chapter.course_id}/ch1_intro 1.0.0"
    assert listed(operator, bundle_type="chapter") == ([lesson], 1)
    assert listed(operator, scope_id=f"{chapter.course_id}/ch1_intro") == ([lesson], 1)
    assert listed(operator, state="draft") == (["app_agents/core 1.0.0"], 1)
    assert listed(operator, state="withdrawn") == (["experts_shared/shared 1.0.0"], 1)
    assert listed(operator, bundle_type="app_agents", scope_id="core", state="published") == ([], 0)
    assert listed(operator, scope_id="nothing") == ([], 0)
    assert listed(operator, bundle_type="", scope_id="", state="")[1] == 3, "an empty one is none"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bundle_type", "plugins"),
        ("state", "deleted"),
        ("scope_id", "x" * 161),
        ("limit", ""),
        ("limit", "0"),
        ("limit", str(limits.BUNDLES_PER_PAGE_MAX + 1)),
        ("limit", "-1"),
        ("limit", "all"),
        ("offset", "-1"),
        ("scope", "core"),
        ("type", ""),
        ("offset", "9" * 30),
    ],
)
def test_a_wrong_parameter_is_named(operator: APIClient, field: str, value: str) -> None:
    response = operator.get(BUNDLES, {field: value})
    assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")
    assert [detail["field"] for detail in response.json()["error"]["details"]] == [field]


def test_two_queries_whatever_the_number(
    operator: APIClient, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        draft(APP, f"1.0.{number}")
    with django_assert_num_queries(2):  # the page and the total; the key needs none
        assert len(listed(operator)[0]) == 3
