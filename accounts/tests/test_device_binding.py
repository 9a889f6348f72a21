"""Which device a session belongs to: a client's first run changes its id once, and must not be logged out for it."""

from typing import Any

import pytest
from pytest_django.fixtures import DjangoAssertNumQueries, Settings
from rest_framework.request import Request
from rest_framework.test import APIClient, APIRequestFactory

from accounts import services
from accounts.authentication import SessionTokenAuthentication
from accounts.models import DeviceSession
from tests.cast import Actor, error_code, make_actor, open_session
from tests.races import in_parallel

pytestmark = pytest.mark.django_db


def refresh(token: str, device_id: str) -> Any:
    body = {"refresh_token": token, "device_id": device_id}
    return APIClient().post("/v1/auth/refresh", body, format="json")


@pytest.fixture
def fresh(learner: Actor) -> Actor:
    """`learner` right after a login with a random device id."""
    return open_session(learner.user, device_id="random", confirmed=False)


def device_of(actor: Actor) -> str:
    return DeviceSession.objects.get(pk=actor.session.pk).device_id


def test_the_whole_first_day(api: APIClient, settings: Settings) -> None:
    """Register with one id (and a third in the header), go on with another, refresh with that one."""
    settings.DEV_FIXED_EMAIL_CODE = "1234"
    body = {"email": "a@example.com", "verification_code": "1234", "password": "long enough", "device_id": "first"}
    opened = api.post("/v1/auth/register", body, format="json", headers={"X-Device-Id": "third"}).json()
    headers = {"Authorization": f"Bearer {opened['access_token']}", "X-Device-Id": "persisted"}
    assert api.get("/v1/me", headers=headers).status_code == 200
    assert refresh(opened["refresh_token"], "persisted").status_code == 200
    assert error_code(refresh(opened["refresh_token"], "first")) == "DEVICE_MISMATCH"
    assert error_code(refresh(opened["refresh_token"], "third")) == "DEVICE_MISMATCH"


def test_the_first_header_binds_and_later_ones_do_not(fresh: Actor) -> None:
    fresh.get("/v1/me", **{"X-Device-Id": "persisted"})
    fresh.get("/v1/me", **{"X-Device-Id": "another"})
    assert device_of(fresh) == "persisted"


def test_a_call_without_the_header_binds_nothing(fresh: Actor) -> None:
    fresh.get("/v1/me")
    fresh.get("/v1/me", **{"X-Device-Id": "persisted"})
    assert device_of(fresh) == "persisted"


@pytest.mark.parametrize("header", ["", " ", "x" * 256])
def test_a_header_that_is_no_device_id_binds_nothing(fresh: Actor, header: str) -> None:
    assert fresh.get("/v1/me", **{"X-Device-Id": header}).status_code == 200
    assert device_of(fresh) == "random"


def test_a_session_that_holds_the_id_already_is_superseded(learner: Actor, fresh: Actor) -> None:
    assert fresh.get("/v1/me", **{"X-Device-Id": "learner-device"}).status_code == 200
    assert error_code(refresh(learner.refresh_token, "learner-device")) == "INVALID_REFRESH_TOKEN"
    assert learner.get("/v1/me").status_code == 200, "its access token lives on"
    assert refresh(fresh.refresh_token, "learner-device").status_code == 200


def test_a_refresh_supersedes_as_well(learner: Actor, fresh: Actor) -> None:
    assert refresh(fresh.refresh_token, "learner-device").status_code == 200
    assert error_code(refresh(learner.refresh_token, "learner-device")) == "INVALID_REFRESH_TOKEN"


def test_somebody_elses_session_with_the_same_id_is_left_alone(fresh: Actor, outsider: Actor) -> None:
    fresh.get("/v1/me", **{"X-Device-Id": "outsider-device"})
    assert refresh(outsider.refresh_token, "outsider-device").status_code == 200


def test_a_superseded_session_binds_nothing(learner: Actor, fresh: Actor) -> None:
    """Its token goes on for a while; it must not take the id from the session that replaced it."""
    body = {"email": learner.user.email, "password": "correct horse battery", "device_id": "random"}
    newer = APIClient().post("/v1/auth/login", body, format="json").json()
    assert fresh.get("/v1/me", **{"X-Device-Id": "persisted"}).status_code == 200
    assert refresh(newer["refresh_token"], "persisted").status_code == 200
    assert error_code(refresh(fresh.refresh_token, "persisted")) == "INVALID_REFRESH_TOKEN"


def test_binding_is_written_once(fresh: Actor, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    fresh.get("/v1/me", **{"X-Device-Id": "persisted"})
    with django_assert_num_queries(1):
        fresh.get("/v1/me", **{"X-Device-Id": "persisted"})


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("attempt", range(3))
def test_parallel_first_calls_of_two_sessions_agree_on_one_owner(attempt: int) -> None:
    """Two fresh sessions claim one id at once, by headers and refreshes: no 500, one refreshable session."""
    actor = make_actor("racer")
    sessions = [open_session(actor.user, device_id=f"random-{n}", confirmed=False) for n in range(2)]

    def one(number: int) -> int:
        mine = sessions[number % 2]
        if number < 4:
            return int(mine.get("/v1/me", **{"X-Device-Id": "persisted"}).status_code)
        return int(refresh(mine.refresh_token, "persisted").status_code)

    statuses = in_parallel(8, one)
    assert set(statuses[:4]) == {200}
    assert set(statuses[4:]) <= {200, 401}
    assert DeviceSession.objects.filter(device_id="persisted", superseded_at=None, revoked_at=None).count() == 1
    assert [refresh(session.refresh_token, "persisted").status_code for session in sessions].count(200) == 1


def test_an_id_beyond_ascii_is_the_same_in_header_and_body(fresh: Actor) -> None:
    """WSGI hands a header's UTF-8 bytes on as Latin-1."""
    fresh.get("/v1/me", **{"X-Device-Id": "gerät-1".encode().decode("latin-1")})
    assert device_of(fresh) == "gerät-1"
    assert refresh(fresh.refresh_token, "gerät-1").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_whoever_loses_the_race_goes_on_with_the_winners_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rollouts go by the session's device: a request must not be answered for the random id of the login."""
    fresh = open_session(make_actor("racer").user, device_id="random", confirmed=False)
    real = services.confirm_device

    def confirm_second(*, session: DeviceSession, device_id: str) -> bool:
        other = DeviceSession.objects.get(pk=session.pk)
        real(session=other, device_id="of the winner")
        return real(session=session, device_id=device_id)

    monkeypatch.setattr(services, "confirm_device", confirm_second)
    request = Request(APIRequestFactory().get("/", headers={"Authorization": f"Bearer {fresh.access_token}"}))
    request._request.META["HTTP_X_DEVICE_ID"] = "of the loser"
    authenticated = SessionTokenAuthentication().authenticate(request)
    assert authenticated is not None
    assert authenticated[1].device_id == "of the winner"


@pytest.mark.django_db(transaction=True)
def test_parallel_headers_of_one_session_bind_one_of_them() -> None:
    fresh = open_session(make_actor("racer").user, device_id="random", confirmed=False)

    def one(number: int) -> int:
        return int(fresh.get("/v1/me", **{"X-Device-Id": f"device-{number}"}).status_code)

    assert set(in_parallel(8, one)) == {200}
    assert device_of(fresh).startswith("device-")
