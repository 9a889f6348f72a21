"""POST /v1/admin/bundles/{id}/reschedule"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from courses.models import Chapter
from tests.cast import error_code
from updates.models import BundleRelease, ReleaseEvent
from updates.tests.pipelines import act
from updates.tests.shelf import APP, chapter_scope, draft, publish, published, withdraw

pytestmark = pytest.mark.django_db

SOON, LATER = datetime(2098, 1, 2, 3, 4, tzinfo=UTC), datetime(2099, 2, 3, 4, 5, tzinfo=UTC)


def refusal(response: Any) -> tuple[int, str]:
    return response.status_code, error_code(response)


def move(client: APIClient, release: BundleRelease, publish_at: str = "2099-02-03T12:05:00+08:00") -> Any:
    return act(client, release, "reschedule", {"publish_at": publish_at})


def test_the_time_is_moved(operator: APIClient) -> None:
    release = published(APP, "7.7.7", publish_at=SOON)

    response = move(operator, release)

    assert response.status_code == 200
    answer = response.json()
    assert datetime.fromisoformat(answer["publish_at"]) == LATER
    assert answer["state"] == "published"
    assert [row["id"] for row in answer["together"]] == [str(release.pk)]
    assert answer["notices"] == ["Scheduled: no device is offered it before 2099-02-03 04:05 UTC."]
    release.refresh_from_db()
    assert release.publish_at == LATER
    event = ReleaseEvent.objects.get(action="rescheduled")
    assert (event.actor_kind, event.refusal) == ("admin_key", "")


def test_it_is_published_now(operator: APIClient) -> None:
    release = published(APP, "7.7.7", publish_at=SOON)

    assert act(operator, release, "reschedule", {"now": True}).status_code == 200

    release.refresh_from_db()
    assert release.publish_at is not None
    assert release.publish_at <= timezone.now()
    assert refusal(act(operator, release, "reschedule", {"now": True})) == (409, "BUNDLE_RELEASE_CONFLICT")


def test_what_was_published_with_it_is_moved_along(operator: APIClient, chapter: Chapter) -> None:
    lesson, expert = draft(chapter_scope(chapter), "7.7.7", publish_at=SOON), draft(("experts", "helper"), "7.7.7")
    BundleRelease.objects.filter(pk=expert.pk).update(publish_at=SOON)
    expert.refresh_from_db()
    publish(lesson, expert)

    answer = move(operator, expert).json()

    assert {row["id"] for row in answer["together"]} == {str(lesson.pk), str(expert.pk)}
    lesson.refresh_from_db()
    assert lesson.publish_at == LATER


def test_the_same_again_changes_nothing(operator: APIClient) -> None:
    release = published(APP, "7.7.7", publish_at=SOON)
    for _ in range(2):
        assert move(operator, release).status_code == 200
    assert ReleaseEvent.objects.filter(action="rescheduled").count() == 1


@pytest.mark.parametrize("body", [{"publish_at": "2099-02-03T04:05:00Z"}, {"now": True}])
def test_only_what_is_scheduled_has_a_time(operator: APIClient, body: Any) -> None:
    planned, offered, gone = draft(APP, "7.7.1", publish_at=SOON), published(APP, "7.7.2"), published(APP, "7.7.3")
    came = published(APP, "7.7.4", publish_at=SOON)
    BundleRelease.objects.filter(pk=came.pk).update(publish_at=timezone.now() - timedelta(minutes=1))
    withdraw(gone)
    for release in (planned, offered, gone, came):
        assert refusal(act(operator, release, "reschedule", body)) == (409, "BUNDLE_RELEASE_CONFLICT")


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [],
        "text",
        {"now": False},
        {"now": True, "publish_at": "2099-02-03T04:05:00Z"},
        {"now": "true"},
        {"publish_at": None},
        {"publish_at": ""},
        {"publish_at": "2099-02-03T04:05:00"},
        {"publish_at": "2020-02-03T04:05:00Z"},
        {"publish_at": 4_073_000_000},
        {"publish_at": "2099-02-03T04:05:00Z", "rollout_percent": 50},
    ],
)
def test_a_wrong_body(operator: APIClient, body: Any) -> None:
    release = published(APP, "7.7.7", publish_at=SOON)
    assert refusal(act(operator, release, "reschedule", body)) == (422, "VALIDATION_ERROR")
    release.refresh_from_db()
    assert release.publish_at == SOON
