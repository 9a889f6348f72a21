"""POST /v1/auth/logout"""

from typing import Any

import pytest
from rest_framework.test import APIClient

from tests.cast import Actor, error_code, open_session

URL = "/v1/auth/logout"
pytestmark = pytest.mark.django_db


def test_it_ends_refresh_and_access_at_once(api: APIClient, learner: Actor) -> None:
    response = api.post(URL, {"refresh_token": learner.refresh_token}, format="json")
    assert response.status_code == 200
    assert response.json() == {"success": True}
    assert error_code(learner.get("/v1/me")) == "INVALID_TOKEN"
    body = {"refresh_token": learner.refresh_token, "device_id": "learner-device"}
    assert error_code(api.post("/v1/auth/refresh", body, format="json")) == "INVALID_REFRESH_TOKEN"


def test_other_devices_stay_logged_in(api: APIClient, learner: Actor) -> None:
    other = open_session(learner.user, device_id="desktop")
    api.post(URL, {"refresh_token": learner.refresh_token}, format="json")
    assert other.get("/v1/me").status_code == 200


@pytest.mark.parametrize(
    "body",
    [{"refresh_token": "never issued"}, {"refresh_token": ""}, {"refresh_token": None}, {"refresh_token": [1]}, {}],
)
def test_whatever_the_token_the_answer_is_200(api: APIClient, body: dict[str, Any]) -> None:
    """A client that is refused stays on its logged-in page."""
    for _ in range(2):
        response = api.post(URL, body, format="json")
        assert response.status_code == 200
        assert response.json() == {"success": True}


def test_again(api: APIClient, learner: Actor) -> None:
    for _ in range(2):
        assert api.post(URL, {"refresh_token": learner.refresh_token}, format="json").status_code == 200


def test_a_dead_access_token_in_the_header_is_no_obstacle(api: APIClient, learner: Actor) -> None:
    api.credentials(HTTP_AUTHORIZATION="Bearer broken")
    assert api.post(URL, {"refresh_token": learner.refresh_token}, format="json").status_code == 200


def test_wrong_method(api: APIClient) -> None:
    assert error_code(api.get(URL)) == "METHOD_NOT_ALLOWED"
