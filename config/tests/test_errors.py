"""Every error has the one shape, whatever layer it comes from."""

import logging
from typing import Any

import pytest
from django.test import Client
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from config import limits
from config.errors import ErrorCode
from tests.cast import Actor, error_code

REGISTER = "/v1/auth/register"


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/", "/v1/nothing", "/v1/me/", "/v1/auth/login/", "/favicon.ico"])
@pytest.mark.parametrize("method", ["get", "post", "delete"])
def test_unknown_paths(api: APIClient, path: str, method: str) -> None:
    response = getattr(api, method)(path)
    assert response.status_code == 404
    assert error_code(response) == "NOT_FOUND"


def test_static_files_that_do_not_exist_or_are_posted_to(client: Client) -> None:
    missing = client.get("/static/nothing.css")
    assert missing.status_code == 404
    assert error_code(missing) == "NOT_FOUND"
    posted = client.post("/static/admin/css/base.css")
    assert posted.status_code == 405
    assert error_code(posted) == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"no json",
        b"",
        b"\xff\xfe{}",
        b'{"email": NaN}',
        b'{"email": Infinity}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
    ],
)
def test_malformed_json(api: Any, db: None, body: bytes) -> None:
    response = api.generic("POST", REGISTER, body, content_type="application/json")
    if body == b"":
        assert response.status_code == 422, "an empty body has no fields"
        return
    assert response.status_code == 400
    assert error_code(response) == "MALFORMED_REQUEST"


def test_an_integer_of_any_length_is_json(learner: Actor) -> None:
    """It is for the event to be refused, not for the batch."""
    client: Any = learner.client
    event = b'{"event_type": "x", "event_time": "2026-01-01T00:00:00Z", "payload": {"n": ' + b"9" * 5_000 + b"}}"
    good = b'{"event_type": "y", "event_time": "2026-01-01T00:00:00Z"}'
    body = b'{"events": [' + event + b"," + good + b"]}"
    response = client.generic("POST", "/v1/analytics/events:ingest", body, "application/json")
    assert response.status_code == 200
    assert (response.json()["accepted"], response.json()["failed"]) == (1, 1)


def test_a_byte_order_mark_is_no_fault(api: Any, db: None) -> None:
    response = api.generic("POST", "/v1/auth/logout", b'\xef\xbb\xbf{"refresh_token": "x"}', "application/json")
    assert response.status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "", "application/xml"])
def test_another_media_type(api: Any, content_type: str) -> None:
    response = api.generic("POST", REGISTER, b"a=b", content_type=content_type)
    assert response.status_code == 415
    assert error_code(response) == "UNSUPPORTED_MEDIA_TYPE"


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
def test_spellings_of_json(api: Any, db: None, content_type: str) -> None:
    assert api.generic("POST", "/v1/auth/logout", b"{}", content_type=content_type).status_code == 200


def test_the_largest_body_and_one_byte_more(api: Any, db: None) -> None:
    padding = b" " * (limits.REQUEST_BODY_MAX_BYTES - 2)
    assert api.generic("POST", "/v1/auth/logout", b"{}" + padding, "application/json").status_code == 200
    response = api.generic("POST", "/v1/auth/logout", b"{} " + padding, "application/json")
    assert response.status_code == 413
    assert error_code(response) == "PAYLOAD_TOO_LARGE"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "BREW"])
def test_wrong_methods(api: APIClient, method: str) -> None:
    response = api.generic(method, REGISTER)
    assert response.status_code == 405
    assert error_code(response) == "METHOD_NOT_ALLOWED"
    assert "POST" in response["Allow"]


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "image/png;q=0", "nonsense"])
def test_whatever_a_client_accepts_it_gets_json(api: APIClient, accept: str) -> None:
    response = api.get("/v1/me", headers={"Accept": accept})
    assert error_code(response) == "UNAUTHORIZED"


def test_a_host_that_is_not_ours(client: Client) -> None:
    response = client.get("/v1/me", headers={"Host": "evil.example"})
    assert response.status_code == 400
    assert error_code(response) == "MALFORMED_REQUEST"


def test_validation_errors_name_every_field(api: APIClient, db: None) -> None:
    response = api.post(REGISTER, {}, format="json")
    error = response.json()["error"]
    assert {item["field"] for item in error["details"]} == {"email", "verification_code", "password", "device_id"}
    assert all(item["message"] for item in error["details"])
    assert error["message"] == f"{error['details'][0]['field']}: {error['details'][0]['message']}"


def test_an_error_that_repeats_a_lone_surrogate(learner: Actor) -> None:
    raw = b'{"course_id": "x", "chapter_id": "y", "status": "\\ud800"}'
    client: Any = learner.client
    response = client.generic("POST", "/v1/progress/chapter", raw, "application/json")
    assert response.status_code == 422
    assert error_code(response) == "VALIDATION_ERROR"


# --- Faults of ours are never the caller's --------------------------------------------------------------------------


@pytest.fixture
def faulty(settings: Settings) -> Client:
    settings.ROOT_URLCONF = "tests.faulty_urls"
    return Client(raise_request_exception=False)


@pytest.mark.parametrize("path", ["/bug", "/plain-bug"])
def test_an_unhandled_exception(faulty: Client, path: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = faulty.get(path)
    assert response.status_code == 500
    assert error_code(response) == "INTERNAL_ERROR"
    assert "a bug" not in response.content.decode()
    assert any(record.exc_info for record in caplog.records), "the trace belongs into the log"


@pytest.mark.parametrize("path", ["/outage", "/plain-outage"])
def test_the_database_being_away(faulty: Client, path: str) -> None:
    response = faulty.get(path)
    assert response.status_code == 503
    assert error_code(response) == "SERVICE_UNAVAILABLE"
    assert int(response["Retry-After"]) >= 1


@pytest.mark.parametrize("path", ["/v1/me?x=%00", "/admin/accounts/user/?email__gt=%00"])
def test_nul_in_a_query_string(admin_page: Client, path: str) -> None:
    response = admin_page.get(path)
    assert response.status_code == 400
    assert error_code(response) == "MALFORMED_REQUEST"


def test_the_admin_keeps_its_pages(client: Client, admin_page: Client) -> None:
    response = admin_page.get("/admin/nothing/")
    assert response.status_code == 404
    assert response["Content-Type"].startswith("text/html")
    assert client.get("/admin").status_code == 302


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({f"f{number}": "1" for number in range(limits.FORM_FIELDS_MAX + 1)}, 400),
        ({"text": "x" * limits.REQUEST_BODY_MAX_BYTES}, 413),
    ],
    ids=["fields", "text"],
)
def test_a_form_of_the_admin_that_is_too_much(admin_page: Client, form: dict[str, str], status: int) -> None:
    refused = admin_page.post("/admin/courses/course/add/", form)
    assert refused.status_code == status
    assert refused["Content-Type"].startswith("text/html")
    assert "<h1>That was too much at once</h1>" in refused.content.decode()


def test_an_address_of_the_admin_that_asks_for_what_it_may_not(admin_page: Client) -> None:
    refused = admin_page.get("/admin/courses/course/?instructors__user__password__startswith=a")
    assert refused.status_code == 400
    assert "<h1>What was sent can't be read</h1>" in refused.content.decode()


# --- Request ids ------------------------------------------------------------------------------------------------


def test_every_answer_has_a_request_id(api: APIClient, db: None) -> None:
    first, second = api.get("/healthz"), api.get("/healthz")
    assert first["X-Request-Id"] != second["X-Request-Id"]


def test_a_sound_request_id_is_kept(api: APIClient) -> None:
    response = api.get("/v1/me", headers={"X-Request-Id": "trace-0123456789"})
    assert response["X-Request-Id"] == response.json()["error"]["request_id"] == "trace-0123456789"


@pytest.mark.parametrize("sent", ["short", "x" * 65, "a b c d e f", 'quote"quote', "ünïcödé-id"])
def test_another_is_replaced(api: APIClient, sent: str) -> None:
    assert api.get("/v1/me", headers={"X-Request-Id": sent})["X-Request-Id"] != sent


def test_the_catalogue_is_sound() -> None:
    for code in ErrorCode:
        assert code.isupper()
        assert 400 <= code.status < 600
        assert code.message.endswith(".")


def test_a_request_id_is_in_the_log(faulty: Client, caplog: Any) -> None:
    from config.logs import RequestIdFilter

    caplog.handler.addFilter(RequestIdFilter())
    response = faulty.get("/bug")
    assert response["X-Request-Id"] in {getattr(record, "request_id", "") for record in caplog.records}
