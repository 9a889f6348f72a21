"""POST /v1/admin/bundles/{id}/withdraw"""

from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from courses.models import Chapter
from tests.cast import error_code
from tests.races import run_at_once
from updates.models import BundleRelease
from updates.tests.pipelines import ADMIN_API_KEY, BUNDLES, act, client_of, state_of
from updates.tests.shelf import APP, chapter_scope, draft, publish, published

pytestmark = pytest.mark.django_db


def refusal(response: Any) -> tuple[int, str]:
    return response.status_code, error_code(response)


@pytest.fixture
def pair(chapter: Chapter) -> tuple[BundleRelease, BundleRelease]:
    """A chapter and its expert, published in one act."""
    lesson, expert = draft(chapter_scope(chapter), experts=("helper",)), draft(("experts", "helper"))
    publish(lesson, expert)
    return lesson, expert


@pytest.mark.parametrize("body", [None, {}])
def test_it_is_taken_back(operator: APIClient, body: Any) -> None:
    release = published(APP)
    response = act(operator, release, "withdraw", body)
    assert response.status_code == 200
    answer = response.json()
    assert answer["state"] == state_of(release) == "withdrawn"
    assert answer["withdrawn_at"] is not None
    assert [row["id"] for row in answer["together"]] == [str(release.pk)]


@pytest.mark.parametrize("body", [None, {}, {"together": True}])
def test_what_was_published_with_it_goes_along(
    operator: APIClient, pair: tuple[BundleRelease, BundleRelease], body: Any
) -> None:
    answer = act(operator, pair[0], "withdraw", body).json()
    assert {(row["id"], row["state"]) for row in answer["together"]} == {
        (str(release.pk), "withdrawn") for release in pair
    }
    assert [state_of(release) for release in pair] == ["withdrawn", "withdrawn"]


def test_an_empty_form_is_no_wish_to_leave_the_others(operator: Any, pair: tuple[BundleRelease, BundleRelease]) -> None:
    """`curl -d ''` sends one; a form without a checkbox would mean false."""
    path = f"{BUNDLES}/{pair[0].pk}/withdraw"
    assert operator.generic("POST", path, b"", "application/x-www-form-urlencoded").status_code == 200
    assert [state_of(release) for release in pair] == ["withdrawn", "withdrawn"]


def test_alone(operator: APIClient, pair: tuple[BundleRelease, BundleRelease]) -> None:
    lesson, expert = pair
    answer = act(operator, expert, "withdraw", {"together": False}).json()
    assert [row["id"] for row in answer["together"]] == [str(expert.pk)]
    assert (state_of(lesson), state_of(expert)) == ("published", "withdrawn")
    assert "helper" in answer["notices"][0]


def test_a_draft_and_the_same_again(operator: APIClient) -> None:
    release = draft(APP)
    assert refusal(act(operator, release, "withdraw")) == (409, "BUNDLE_RELEASE_CONFLICT")
    publish(release)
    assert act(operator, release, "withdraw").status_code == 200
    assert refusal(act(operator, release, "withdraw")) == (409, "BUNDLE_RELEASE_CONFLICT")


@pytest.mark.django_db(transaction=True)
def test_published_and_withdrawn_at_the_same_moment(settings: Settings) -> None:
    settings.ADMIN_API_KEY = ADMIN_API_KEY
    release = draft(APP)
    run_at_once(
        lambda: act(client_of(ADMIN_API_KEY), release, "publish"),
        lambda: act(client_of(ADMIN_API_KEY), release, "withdraw"),
    )
    assert state_of(release) in ("published", "withdrawn")
    answers = run_at_once(*(lambda: act(client_of(ADMIN_API_KEY), release, "withdraw"),) * 2)
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert state_of(release) == "withdrawn"


@pytest.mark.parametrize("body", [{"together": "no"}, {"together": 0}, {"together": None}, {"alone": True}, [], "text"])
def test_a_wrong_body(operator: APIClient, body: Any) -> None:
    release = published(APP)
    assert refusal(act(operator, release, "withdraw", body)) == (422, "VALIDATION_ERROR")
    assert state_of(release) == "published"
