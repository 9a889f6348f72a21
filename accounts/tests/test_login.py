"""POST /v1/auth/login"""

import threading
from typing import Any

import pytest
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from accounts import slots
from accounts.hashers import Argon2idHasher
from accounts.models import DeviceSession, User
from config import limits
from tests.cast import PASSWORD, Actor, error_code, make_actor
from tests.races import in_parallel

URL = "/v1/auth/login"
pytestmark = pytest.mark.django_db


def login(api: APIClient, email: str = "learner@example.com", password: str = PASSWORD, **changes: Any) -> Any:
    body = {"email": email, "password": password, "device_id": "another-device", **changes}
    return api.post(URL, body, format="json")


def test_the_right_password_opens_a_session(api: APIClient, learner: Actor) -> None:
    response = login(api, " LEARNER@example.com ")

    assert response.status_code == 200
    body = response.json()
    assert body["user"] == {"id": str(learner.user.pk), "email": "learner@example.com", "display_name": "learner"}
    assert body["access_token_expires_in"] == 3600
    assert set(body) == {"user", "access_token", "access_token_expires_in", "refresh_token"}
    assert api.get("/v1/me", headers={"Authorization": f"Bearer {body['access_token']}"}).status_code == 200


def test_blanks_in_a_password_count(api: APIClient, db: None) -> None:
    User.objects.create_user("blank@example.com", " padded password ")
    assert login(api, "blank@example.com", " padded password ").status_code == 200
    assert login(api, "blank@example.com", "padded password").status_code == 401


def test_an_expired_or_broken_token_in_the_header_is_no_obstacle(api: APIClient, learner: Actor) -> None:
    api.credentials(HTTP_AUTHORIZATION="Bearer broken")
    assert login(api).status_code == 200


def test_unknown_email_and_wrong_password_are_alike(api: APIClient, learner: Actor) -> None:
    wrong, unknown = login(api, password="wrong password"), login(api, "nobody@example.com")
    for response in (wrong, unknown):
        assert response.status_code == 401
        assert error_code(response) == "INVALID_CREDENTIALS"
    assert wrong.json()["error"]["message"] == unknown.json()["error"]["message"]


def test_an_unknown_email_costs_one_hash_too(api: APIClient, learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted at argon2 itself, since a timed test would be a coin toss."""
    from argon2 import low_level

    verified: list[int] = []
    real = low_level.verify_secret

    def counting(*args: Any, **kwargs: Any) -> bool:
        verified.append(1)
        return real(*args, **kwargs)

    login(api, "nobody@example.com")  # makes the decoy hash
    monkeypatch.setattr("argon2._password_hasher.verify_secret", counting)
    login(api, password="wrong password")
    known, verified[:] = len(verified), []
    login(api, "nobody@example.com")
    assert len(verified) == known == 1


def test_without_concealment_an_unknown_email_is_404(api: APIClient, learner: Actor, settings: Settings) -> None:
    settings.AUTH_CONCEAL_ACCOUNTS = False
    response = login(api, "nobody@example.com")
    assert response.status_code == 404
    assert error_code(response) == "USER_NOT_FOUND"
    assert error_code(login(api, password="wrong password")) == "INVALID_CREDENTIALS"


def test_an_inactive_account(api: APIClient, learner: Actor) -> None:
    learner.user.is_active = False
    learner.user.save(update_fields=["is_active"])
    response = login(api)
    assert response.status_code == 401
    assert error_code(response) == "INVALID_USER"
    assert error_code(login(api, password="wrong password")) == "INVALID_CREDENTIALS"


def test_wrong_method(api: APIClient) -> None:
    assert error_code(api.put(URL, {}, format="json")) == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    "changes",
    [{"email": "none"}, {"password": ""}, {"password": ["a", "b"]}, {"device_id": ""}, {"device_id": "x" * 256}],
)
def test_malformed_fields(api: APIClient, learner: Actor, changes: dict[str, Any]) -> None:
    response = login(api, **changes)
    assert response.status_code == 422
    assert error_code(response) == "VALIDATION_ERROR"


def make_hash_of_another_cost(user: User) -> None:
    hasher = Argon2idHasher()
    hasher.time_cost = 1
    User.objects.filter(pk=user.pk).update(password=hasher.encode(PASSWORD, hasher.salt()))


@pytest.mark.django_db(transaction=True)
def test_two_logins_that_renew_one_hash_both_succeed() -> None:
    """The renewal by the first must not look like a new password to the second."""
    racer = make_actor("racer")
    for _ in range(3):
        make_hash_of_another_cost(racer.user)

        def one(number: int) -> int:
            return int(login(APIClient(), "racer@example.com", device_id=f"d{number}").status_code)

        assert in_parallel(2, one) == [200, 200]


def test_a_hash_of_another_cost_is_renewed(api: APIClient, learner: Actor) -> None:
    make_hash_of_another_cost(learner.user)
    assert login(api).status_code == 200
    learner.user.refresh_from_db()
    assert learner.user.password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")
    assert learner.get("/v1/me").status_code == 200, "renewing a hash is no change of the password"


# --- Sessions ---------------------------------------------------------------------------------------------------


def test_a_login_supersedes_the_devices_earlier_session_only(api: APIClient, learner: Actor) -> None:
    """The refresh token stops at once; the access token in hand lives on; other devices are left alone."""
    first = login(api, device_id="laptop").json()
    other = login(api, device_id="desktop").json()
    second = login(api, device_id="laptop").json()

    def refresh(body: dict[str, str], device_id: str) -> Any:
        sent = {"refresh_token": body["refresh_token"], "device_id": device_id}
        return api.post("/v1/auth/refresh", sent, format="json")

    assert error_code(refresh(first, "laptop")) == "INVALID_REFRESH_TOKEN"
    assert refresh(second, "laptop").status_code == 200
    assert refresh(other, "desktop").status_code == 200
    assert api.get("/v1/me", headers={"Authorization": f"Bearer {first['access_token']}"}).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_parallel_logins_on_one_device_leave_one_refreshable_session() -> None:
    make_actor("racer")

    def one(_: int) -> int:
        return int(login(APIClient(), "racer@example.com", device_id="same").status_code)

    statuses = in_parallel(12, one)
    assert set(statuses) <= {200, 429, 503}
    assert statuses.count(200) == 10
    live = DeviceSession.objects.filter(device_id="same", superseded_at=None, revoked_at=None)
    assert live.count() == 1


# --- Limits -----------------------------------------------------------------------------------------------------


def test_limit_per_account_and_address(api: APIClient, learner: Actor, fellow: Actor) -> None:
    statuses = [login(api, password="wrong password").status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    refused = login(api)
    assert error_code(refused) == "TOO_MANY_REQUESTS"
    assert 1 <= int(refused["Retry-After"]) <= 300
    assert login(api, fellow.user.email).status_code == 200, "a fellow behind the same address is not locked out"
    elsewhere = APIClient(REMOTE_ADDR="203.0.113.7")
    assert login(elsewhere).status_code == 200, "the owner elsewhere is not locked out"


def test_limit_per_address(api: APIClient, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LOGIN_PER_ADDRESS", (3, 300))
    statuses = [login(api, f"nobody{number}@example.com").status_code for number in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


def test_no_place_for_another_hash_is_503(api: APIClient, learner: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PASSWORD_HASH_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(slots, "_password_hashes", threading.BoundedSemaphore(1))
    with slots.password_hash_slot():
        response = login(api)
    assert response.status_code == 503
    assert error_code(response) == "SERVICE_UNAVAILABLE"
    assert int(response["Retry-After"]) >= 1
    assert login(api).status_code == 200
