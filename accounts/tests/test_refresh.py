"""POST /v1/auth/refresh"""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries
from rest_framework.test import APIClient

from accounts.models import DeviceSession
from tests.cast import Actor, error_code, open_session

URL = "/v1/auth/refresh"
pytestmark = pytest.mark.django_db


def refresh(api: APIClient, token: str, device_id: str) -> Any:
    return api.post(URL, {"refresh_token": token, "device_id": device_id}, format="json")


def test_a_new_access_token(api: APIClient, learner: Actor) -> None:
    response = refresh(api, learner.refresh_token, "learner-device")
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"access_token", "access_token_expires_in"}
    assert body["access_token_expires_in"] == 3600
    me = api.get("/v1/me", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert me.json()["id"] == str(learner.user.pk)


def test_the_presented_token_stays_valid(api: APIClient, learner: Actor) -> None:
    for _ in range(3):
        assert refresh(api, learner.refresh_token, "learner-device").status_code == 200


def test_two_queries(api: APIClient, learner: Actor, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(2):
        refresh(api, learner.refresh_token, "learner-device")


def test_never_rate_limited(api: APIClient, learner: Actor) -> None:
    statuses = {refresh(api, learner.refresh_token, "learner-device").status_code for _ in range(400)}
    assert statuses == {200}


def test_unknown_token(api: APIClient, db: None) -> None:
    response = refresh(api, "never issued", "device")
    assert response.status_code == 401
    assert error_code(response) == "INVALID_REFRESH_TOKEN"


def test_an_access_token_is_no_refresh_token(api: APIClient, learner: Actor) -> None:
    assert error_code(refresh(api, learner.access_token, "learner-device")) == "INVALID_REFRESH_TOKEN"


@pytest.mark.parametrize("ended", ["superseded_at", "revoked_at"])
def test_an_ended_session(api: APIClient, learner: Actor, ended: str) -> None:
    DeviceSession.objects.filter(pk=learner.session.pk).update(**{ended: timezone.now()})
    response = refresh(api, learner.refresh_token, "learner-device")
    assert response.status_code == 401
    assert error_code(response) == "INVALID_REFRESH_TOKEN"


def test_another_device(api: APIClient, learner: Actor) -> None:
    response = refresh(api, learner.refresh_token, "stolen-to-here")
    assert response.status_code == 401
    assert error_code(response) == "DEVICE_MISMATCH"
    assert refresh(api, learner.refresh_token, "learner-device").status_code == 200


def test_past_its_expiry(api: APIClient, learner: Actor) -> None:
    DeviceSession.objects.filter(pk=learner.session.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    response = refresh(api, learner.refresh_token, "learner-device")
    assert response.status_code == 401
    assert error_code(response) == "REFRESH_TOKEN_EXPIRED"


def test_an_inactive_user(api: APIClient, learner: Actor) -> None:
    learner.user.is_active = False
    learner.user.save(update_fields=["is_active"])
    response = refresh(api, learner.refresh_token, "learner-device")
    assert response.status_code == 401
    assert error_code(response) == "INVALID_USER"


def test_a_deleted_user(api: APIClient, learner: Actor) -> None:
    learner.user.delete()
    response = refresh(api, learner.refresh_token, "learner-device")
    assert response.status_code == 401
    assert error_code(response) == "INVALID_USER"


def test_wrong_method(api: APIClient) -> None:
    assert error_code(api.get(URL)) == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    "body", [{}, {"refresh_token": "x"}, {"device_id": "x"}, {"refresh_token": "", "device_id": "x"}]
)
def test_malformed_fields(api: APIClient, body: dict[str, str]) -> None:
    response = api.post(URL, body, format="json")
    assert response.status_code == 422
    assert error_code(response) == "VALIDATION_ERROR"


def test_a_provisional_session_takes_the_device_of_its_first_refresh(api: APIClient, learner: Actor) -> None:
    fresh = open_session(learner.user, device_id="random-of-the-login", confirmed=False)
    assert refresh(api, fresh.refresh_token, "persisted").status_code == 200
    assert error_code(refresh(api, fresh.refresh_token, "random-of-the-login")) == "DEVICE_MISMATCH"
    assert refresh(api, fresh.refresh_token, "persisted").status_code == 200


def test_an_expired_provisional_session_takes_no_device(api: APIClient, learner: Actor) -> None:
    fresh = open_session(learner.user, device_id="random-of-the-login", confirmed=False)
    DeviceSession.objects.filter(pk=fresh.session.pk).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert error_code(refresh(api, fresh.refresh_token, "learner-device")) == "REFRESH_TOKEN_EXPIRED"
    assert refresh(api, learner.refresh_token, "learner-device").status_code == 200, "nothing was superseded"
