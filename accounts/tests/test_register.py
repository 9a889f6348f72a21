"""POST /v1/auth/register"""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from accounts import slots
from accounts.models import DeviceSession, EmailVerificationCode, User
from config import limits
from tests.cast import Actor, error_code
from tests.races import in_parallel

URL = "/v1/auth/register"
pytestmark = pytest.mark.django_db


def code_for(email: str = "new@example.com") -> str:
    body = {"email": email, "purpose": "register"}
    response = APIClient().post("/v1/auth/request-email-code", body, format="json")
    assert response.status_code == 200, response.content
    return str(response.json()["dev_code"])


def register(api: APIClient, code: str, **changes: Any) -> Any:
    body = {
        "email": "new@example.com",
        "verification_code": code,
        "password": "a good password",
        "device_id": "first-device",
        **changes,
    }
    sent = json.dumps({name: value for name, value in body.items() if value is not ...})
    return api.post(URL, sent, content_type="application/json")


def wrong(code: str) -> str:
    return f"{(int(code) + 1) % 1_000_000:06d}"


def test_an_account_and_its_session_are_made(api: APIClient) -> None:
    response = register(api, code_for(), display_name="New Learner", invite_code="IGNORED", anything={"else": 1})

    assert response.status_code == 201
    body = response.json()
    user = User.objects.get()
    assert body["user"] == {"id": str(user.pk), "email": "new@example.com", "display_name": "New Learner"}
    assert body["access_token_expires_in"] == 3600
    assert set(body) == {"user", "access_token", "access_token_expires_in", "refresh_token"}
    assert user.check_password("a good password")
    me = api.get("/v1/me", headers={"Authorization": f"Bearer {body['access_token']}"})
    assert me.json() == body["user"]


def test_passwords_are_argon2id_with_the_stated_cost(api: APIClient) -> None:
    register(api, code_for())
    assert User.objects.get().password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")


def test_only_the_digest_of_the_refresh_token_is_stored(api: APIClient) -> None:
    token = register(api, code_for()).json()["refresh_token"]
    session = DeviceSession.objects.get()
    assert token not in session.refresh_digest
    assert len(token) >= 43  # 256 bits in base64
    assert timedelta(days=29) < session.expires_at - timezone.now() <= timedelta(days=30)


@pytest.mark.parametrize(("sent", "stored"), [(..., "new"), (None, "new"), ("Ada", "Ada"), ("学习者", "学习者")])
def test_display_name(api: APIClient, sent: Any, stored: str) -> None:
    assert register(api, code_for(), display_name=sent).json()["user"]["display_name"] == stored


def test_emails_are_one_without_case_and_blanks(api: APIClient) -> None:
    code = code_for("New@Example.COM")
    assert register(api, code, email=" nEW@example.com ").json()["user"]["email"] == "new@example.com"


def test_wrong_method(api: APIClient) -> None:
    assert error_code(api.get(URL)) == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    "changes",
    [
        {"email": ...},
        {"email": "no address"},
        {"verification_code": ...},
        {"verification_code": "123"},
        {"verification_code": "1" * 13},
        {"password": ...},
        {"password": "seven77"},
        {"password": "x" * 129},
        {"password": "nul\x00nul\x00"},
        {"password": "lone \ud800 surrogate"},
        {"display_name": ""},
        {"display_name": "x" * 121},
        {"device_id": ...},
        {"device_id": ""},
        {"device_id": "x" * 256},
        {"device_id": {"a": 1}},
    ],
)
def test_malformed_fields(api: APIClient, changes: dict[str, Any]) -> None:
    response = register(api, "123456", **changes)
    assert response.status_code == 422
    assert error_code(response) == "VALIDATION_ERROR"
    assert [detail["field"] for detail in response.json()["error"]["details"]] == list(changes)


# --- The code ---------------------------------------------------------------------------------------------------


def test_no_code_pending(api: APIClient) -> None:
    response = register(api, "123456")
    assert response.status_code == 400
    assert error_code(response) == "VERIFICATION_CODE_NOT_FOUND"


def test_an_expired_code(api: APIClient) -> None:
    code = code_for()
    EmailVerificationCode.objects.update(expires_at=timezone.now())
    response = register(api, code)
    assert response.status_code == 400
    assert error_code(response) == "VERIFICATION_CODE_EXPIRED"


def test_a_code_of_another_address(api: APIClient) -> None:
    mine, other = code_for(), code_for("other@example.com")
    if mine != other:
        assert error_code(register(api, other)) == "INVALID_VERIFICATION_CODE"


def test_from_the_sixth_try_on_the_right_code_is_refused_too(api: APIClient, settings: Settings) -> None:
    settings.AUTH_CODE_COOLDOWN_SECONDS = 0
    code = code_for()
    for _ in range(5):
        response = register(api, wrong(code))
        assert response.status_code == 400
        assert error_code(response) == "INVALID_VERIFICATION_CODE"
    assert error_code(register(api, code)) == "INVALID_VERIFICATION_CODE"
    assert register(api, code_for()).status_code == 201


def test_the_fifth_try_may_be_right(api: APIClient) -> None:
    code = code_for()
    for _ in range(4):
        register(api, wrong(code))
    assert register(api, code).status_code == 201


def test_a_new_code_voids_the_earlier(api: APIClient, settings: Settings) -> None:
    settings.AUTH_CODE_COOLDOWN_SECONDS = 0
    first, second = code_for(), code_for()
    if first != second:
        assert error_code(register(api, first)) == "INVALID_VERIFICATION_CODE"
    assert register(api, second).status_code == 201


def test_a_code_works_once(api: APIClient) -> None:
    code = code_for()
    assert register(api, code).status_code == 201
    assert error_code(register(api, code)) == "VERIFICATION_CODE_NOT_FOUND"


def test_the_fixed_development_code_works_without_a_request(api: APIClient, settings: Settings) -> None:
    settings.DEV_FIXED_EMAIL_CODE = "0000"
    assert register(api, "0000").status_code == 201
    assert error_code(register(api, "0000")) == "EMAIL_ALREADY_REGISTERED"
    assert error_code(register(api, "0001", email="x@example.com")) == "VERIFICATION_CODE_NOT_FOUND"


def test_a_registered_address_reveals_nothing_without_the_decoy(api: APIClient, learner: Actor) -> None:
    code = code_for(learner.user.email)
    assert error_code(register(api, wrong(code), email=learner.user.email)) == "INVALID_VERIFICATION_CODE"
    assert error_code(register(api, wrong(code), email="nobody@example.com")) == "VERIFICATION_CODE_NOT_FOUND"
    response = register(api, code, email=learner.user.email)
    assert response.status_code == 400
    assert error_code(response) == "EMAIL_ALREADY_REGISTERED"
    assert error_code(register(api, code, email=learner.user.email)) == "VERIFICATION_CODE_NOT_FOUND"


# --- Limits and races -------------------------------------------------------------------------------------------


def test_limit_per_address(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REGISTER_PER_ADDRESS", (2, 600))
    assert [register(api, "123456").status_code for _ in range(3)] == [400, 400, 429]


def test_a_busy_server_uses_up_no_try(api: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PASSWORD_HASH_WAIT_SECONDS", 0.01)
    code = code_for()
    taken = [slots.password_hash_slot() for _ in range(limits.PASSWORD_HASHES_IN_FLIGHT)]
    for slot in taken:
        slot.__enter__()
    try:
        response = register(api, code)
    finally:
        for slot in taken:
            slot.__exit__(None, None, None)
    assert response.status_code == 503
    assert error_code(response) == "SERVICE_UNAVAILABLE"
    assert int(response["Retry-After"]) >= 1
    assert EmailVerificationCode.objects.get().tries == 0


@pytest.mark.django_db(transaction=True)
def test_parallel_registrations_with_one_code_make_one_account() -> None:
    code = code_for()

    def one(number: int) -> int:
        return int(register(APIClient(), code, device_id=f"device-{number}").status_code)

    statuses = in_parallel(50, one)
    assert statuses.count(201) == 1
    assert set(statuses) <= {201, 400, 503}
    assert User.objects.count() == DeviceSession.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_share_no_try() -> None:
    code = code_for()

    def one(_: int) -> str:
        return error_code(register(APIClient(), wrong(code)))

    assert set(in_parallel(20, one)) == {"INVALID_VERIFICATION_CODE"}
    assert EmailVerificationCode.objects.get().tries == 20
