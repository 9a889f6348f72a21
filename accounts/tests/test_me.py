"""GET /v1/me, and what every protected call asks of its token."""

import time
import uuid
from typing import Any

import jwt
import pytest
from django.conf import settings as django_settings
from django.utils import timezone
from pytest_django.fixtures import DjangoAssertNumQueries, Settings
from rest_framework.test import APIClient

from accounts.models import DeviceSession
from tests.cast import Actor, error_code

URL = "/v1/me"
pytestmark = pytest.mark.django_db


def claims(actor: Actor, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    base = {
        "sub": str(actor.user.pk),
        "sid": str(actor.session.pk),
        "type": "access",
        "iat": now,
        "exp": now + 60,
    }
    return {name: value for name, value in (base | changes).items() if value is not ...}


def signed(payload: dict[str, Any], key: str = "", algorithm: str = "HS256") -> str:
    return jwt.encode(payload, key or django_settings.JWT_SECRET, algorithm=algorithm)


def get(api: APIClient, authorization: str) -> Any:
    return api.get(URL, headers={"Authorization": authorization})


def test_who_am_i(learner: Actor) -> None:
    response = learner.get(URL)
    assert response.status_code == 200
    assert response.json() == {"id": str(learner.user.pk), "email": "learner@example.com", "display_name": "learner"}


def test_one_query(learner: Actor, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        learner.get(URL, **{"X-Device-Id": "learner-device"})


def test_never_rate_limited(learner: Actor) -> None:
    assert {learner.get(URL).status_code for _ in range(400)} == {200}


def test_the_token_holds_what_clients_read(learner: Actor) -> None:
    decoded = jwt.decode(learner.access_token, django_settings.JWT_SECRET, algorithms=["HS256"])
    assert decoded["sub"] == str(learner.user.pk)
    assert decoded["sid"] == str(learner.session.pk)
    assert decoded["type"] == "access"
    assert decoded["exp"] - decoded["iat"] == 3600
    assert set(decoded) == {"sub", "sid", "type", "exp", "iat"}


def test_any_case_of_the_scheme(api: APIClient, learner: Actor) -> None:
    """RFC 9110, section 11.1: the scheme is compared without case."""
    assert get(api, f"bearer {learner.access_token}").status_code == 200


@pytest.mark.parametrize("authorization", [None, "", "Basic dXNlcjpwYXNz", "Token abc"])
def test_no_token(api: APIClient, authorization: str | None) -> None:
    response = api.get(URL, headers={"Authorization": authorization} if authorization is not None else {})
    assert response.status_code == 401
    assert error_code(response) == "UNAUTHORIZED"
    assert response["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("authorization", ["Bearer", "Bearer a b", "Bearer broken", "Bearer ä", "Bearer a.b.c"])
def test_a_broken_token(api: APIClient, authorization: str) -> None:
    response = get(api, authorization)
    assert response.status_code == 401
    expected = "INVALID_TOKEN"
    assert error_code(response) == expected


def test_a_sound_token_made_by_hand_is_accepted(api: APIClient, learner: Actor) -> None:
    """The control of the refusals below: only what each of them changes makes the difference."""
    assert get(api, f"Bearer {signed(claims(learner))}").status_code == 200


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 1},
        {"exp": ...},
        {"type": "refresh"},
        {"type": ...},
        {"sub": ...},
        {"sub": "not-a-uuid"},
        {"sid": ...},
        {"sid": "not-a-uuid"},
        {"sid": str(uuid.uuid4())},
    ],
)
def test_an_unsound_token(api: APIClient, learner: Actor, changes: dict[str, Any]) -> None:
    response = get(api, f"Bearer {signed(claims(learner, **changes))}")
    assert response.status_code == 401
    assert error_code(response) == "INVALID_TOKEN"


def test_another_key_and_no_key(api: APIClient, learner: Actor) -> None:
    assert error_code(get(api, f"Bearer {signed(claims(learner), key='x' * 40)}")) == "INVALID_TOKEN"
    unsigned = jwt.encode(claims(learner), "", algorithm="none")
    assert error_code(get(api, f"Bearer {unsigned}")) == "INVALID_TOKEN"
    assert error_code(get(api, f"Bearer {signed(claims(learner), algorithm='HS512')}")) == "INVALID_TOKEN"


def test_a_session_of_somebody_else(api: APIClient, learner: Actor, outsider: Actor) -> None:
    mixed = signed(claims(learner, sid=str(outsider.session.pk)))
    assert error_code(get(api, f"Bearer {mixed}")) == "INVALID_TOKEN"


def test_a_revoked_session(learner: Actor) -> None:
    DeviceSession.objects.filter(pk=learner.session.pk).update(revoked_at=timezone.now())
    assert error_code(learner.get(URL)) == "INVALID_TOKEN"


def test_a_superseded_session_lives_to_its_tokens_expiry(learner: Actor) -> None:
    DeviceSession.objects.filter(pk=learner.session.pk).update(superseded_at=timezone.now())
    assert learner.get(URL).status_code == 200


def test_an_inactive_user(learner: Actor) -> None:
    learner.user.is_active = False
    learner.user.save(update_fields=["is_active"])
    response = learner.get(URL)
    assert response.status_code == 401
    assert error_code(response) == "INVALID_USER"


def test_a_deleted_user(learner: Actor) -> None:
    authorization = f"Bearer {learner.access_token}"
    learner.user.delete()
    assert error_code(get(APIClient(), authorization)) == "INVALID_USER"


def test_a_changed_password_ends_all_sessions_at_once(learner: Actor) -> None:
    learner.user.set_password("another password")
    learner.user.save()
    assert error_code(learner.get(URL)) == "INVALID_TOKEN"


def test_a_password_that_is_taken_away_ends_all_sessions_at_once(learner: Actor) -> None:
    learner.user.set_unusable_password()
    learner.user.save()
    assert error_code(learner.get(URL)) == "INVALID_TOKEN"


def test_an_access_token_expires(api: APIClient, learner: Actor, settings: Settings) -> None:
    settings.ACCESS_TOKEN_EXPIRE_SECONDS = 1
    token = learner.access_token
    assert get(api, f"Bearer {token}").status_code == 200
    time.sleep(2.1)
    assert error_code(get(api, f"Bearer {token}")) == "INVALID_TOKEN"


def test_wrong_method_is_405_with_and_without_a_token(api: APIClient, learner: Actor) -> None:
    for client in (api, learner.client):
        response = client.delete(URL)
        assert response.status_code == 405
        assert error_code(response) == "METHOD_NOT_ALLOWED"
        assert "GET" in response["Allow"]
