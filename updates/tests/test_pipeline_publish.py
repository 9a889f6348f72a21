"""POST /v1/admin/bundles/{id}/publish"""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from courses.models import Chapter
from storage.artifacts import delete_artifact
from tests.cast import error_code
from tests.races import run_at_once
from updates.models import BundleRelease, ReleaseEvent
from updates.tests.pipelines import ADMIN_API_KEY, BUNDLES, act, client_of, state_of
from updates.tests.shelf import APP, SHARED, chapter_scope, draft, published, withdraw

pytestmark = pytest.mark.django_db

CONFLICT = (409, "BUNDLE_RELEASE_CONFLICT")
INVALID = (422, "VALIDATION_ERROR")


def refusal(response: Any) -> tuple[int, str]:
    return response.status_code, error_code(response)


@pytest.mark.parametrize("body", [None, {}])
def test_a_draft_is_published(operator: APIClient, body: Any) -> None:
    release = draft(APP, rollout_basis_points=1_000)
    response = act(operator, release, "publish", body)
    assert response.status_code == 200
    answer = response.json()
    release.refresh_from_db()
    assert answer["id"] == str(release.pk)
    assert answer["state"] == release.state == "published"
    assert answer["rollout_percent"] == 10.0
    assert answer["published_at"] == answer["first_published_at"] is not None
    assert answer["manifest_json"] == release.manifest
    assert answer["notices"] == []
    name = {"bundle_type": "app_agents", "scope_id": "core", "version": "1.0.0"}
    assert answer["together"] == [{"id": str(release.pk), **name, "state": "published"}]


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "application/json", "text/plain", ""])
def test_an_empty_body_of_any_kind(operator: Any, content_type: str) -> None:
    release = draft(APP)
    assert operator.generic("POST", f"{BUNDLES}/{release.pk}/publish", b"", content_type).status_code == 200


def test_terms_take_the_place_of_the_drafts(operator: APIClient) -> None:
    release = draft(APP)
    body = {"rollout_percent": 0.01, "publish_at": "2030-01-01T09:00:00+09:00"}
    answer = act(operator, release, "publish", body).json()
    assert (answer["rollout_percent"], answer["publish_at"]) == (0.01, "2030-01-01T00:00:00Z")
    release.refresh_from_db()
    assert (release.rollout_basis_points, release.publish_at) == (1, datetime(2030, 1, 1, tzinfo=UTC))


def test_null_terms_are_none(operator: APIClient) -> None:
    release = draft(APP, rollout_basis_points=500)
    answer = act(operator, release, "publish", {"rollout_percent": None, "publish_at": None}).json()
    assert (answer["rollout_percent"], answer["publish_at"]) == (5.0, None)


def test_a_chapter_and_its_experts_in_one_act(operator: APIClient, chapter: Chapter) -> None:
    lesson = draft(chapter_scope(chapter), experts=("helper", "other"))
    experts = [draft(("experts", name)) for name in ("helper", "other")]
    assert refusal(act(operator, lesson, "publish")) == CONFLICT
    response = act(operator, lesson, "publish", {"with": [str(expert.pk) for expert in experts], "rollout_percent": 20})
    assert response.status_code == 200
    assert response.json()["id"] == str(lesson.pk)
    assert {row["id"] for row in response.json()["together"]} == {str(row.pk) for row in (lesson, *experts)}
    rows = BundleRelease.objects.all()
    assert {(row.state, row.rollout_basis_points) for row in rows} == {("published", 2_000)}
    assert len({row.cohort_key for row in rows}) == 1
    assert ReleaseEvent.objects.filter(action="published", refusal="").values("act_id").distinct().count() == 1


def test_a_withdrawn_one_is_published_again_and_named_a_roll_back(operator: APIClient) -> None:
    old = published(APP, "1.0.0")
    withdraw(old)
    published(APP, "2.0.0")
    response = act(operator, old, "publish")
    assert response.status_code == 200
    assert response.json()["notices"] == ["Roll-back: app_agents/core 1.0.0 takes the place of 2.0.0."]
    assert response.json()["withdrawn_at"] is None


def test_a_published_one(operator: APIClient) -> None:
    release = published(APP)
    response = act(operator, release, "publish")
    assert refusal(response) == CONFLICT
    assert ReleaseEvent.objects.filter(action="published").exclude(refusal="").count() == 1


def test_one_whose_bytes_are_gone(operator: APIClient) -> None:
    release = draft(APP)
    delete_artifact(key=release.artifact_key)
    assert refusal(act(operator, release, "publish")) == CONFLICT
    assert state_of(release) == "draft"


@pytest.mark.django_db(transaction=True)
def test_twice_at_the_same_moment(settings: Settings) -> None:
    settings.ADMIN_API_KEY = ADMIN_API_KEY
    release = draft(APP)
    answers = run_at_once(*(lambda: act(client_of(ADMIN_API_KEY), release, "publish"),) * 3)
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rollout_percent", 101),
        ("rollout_percent", "10"),
        ("rollout_percent", 1.001),
        ("publish_at", "soon"),
        ("with", "x"),
        ("with", ["x"]),
        ("with", [str(uuid.UUID(int=0))]),
        ("with", [str(uuid.UUID(int=number)) for number in range(100)]),
        ("with", None),
        ("with", [None]),
        ("rollout", 10),
        ("rollout_basis_points", 1_000),
    ],
)
def test_a_wrong_field_is_named(operator: APIClient, field: str, value: Any) -> None:
    release = draft(APP)
    response = act(operator, release, "publish", {field: value})
    assert refusal(response) == INVALID
    assert {detail["field"].split(".")[0] for detail in response.json()["error"]["details"]} == {field}
    assert state_of(release) == "draft"


def test_different_terms_in_one_act(operator: APIClient) -> None:
    one, other = draft(APP), draft(SHARED, rollout_basis_points=100)
    assert refusal(act(operator, one, "publish", {"with": [str(other.pk)]})) == INVALID
    assert (state_of(one), state_of(other)) == ("draft", "draft")


@pytest.mark.parametrize("body", [[], "text", 1])
def test_a_body_that_is_no_object(operator: APIClient, body: Any) -> None:
    assert refusal(act(operator, draft(APP), "publish", body)) == INVALID


def test_a_form(operator: Any) -> None:
    release = draft(APP)
    response = operator.generic(
        "POST", f"{BUNDLES}/{release.pk}/publish", b"rollout_percent=10", "application/x-www-form-urlencoded"
    )
    assert refusal(response) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert state_of(release) == "draft"
