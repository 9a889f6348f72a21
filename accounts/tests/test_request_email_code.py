"""POST /v1/auth/request-email-code"""

import re
import socket
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from accounts.models import EmailVerificationCode
from accounts.slots import mail_slot, mail_slot_count
from accounts.tests.conftest import Mailbox
from config import limits
from tests.cast import Actor, error_code
from tests.races import in_parallel

URL = "/v1/auth/request-email-code"
pytestmark = pytest.mark.django_db


def ask(api: APIClient, email: str = "new@example.com", purpose: Any = "register", **extra: Any) -> Any:
    return api.post(URL, {"email": email, "purpose": purpose}, format="json", **extra)


def test_a_code_is_mailed_and_shown_outside_production(api: APIClient, mailbox: Mailbox) -> None:
    response = ask(api, "  New@Example.com ")

    assert response.status_code == 200
    body = response.json()
    assert body == {"sent": True, "expires_in_seconds": 300, "dev_code": body["dev_code"]}
    assert re.fullmatch(r"\d{6}", body["dev_code"])
    assert mailbox.mails[0]["To"] == "new@example.com"
    assert body["dev_code"] in mailbox.text()


def test_production_shows_no_code(api: APIClient, mailbox: Mailbox, settings: Settings) -> None:
    settings.PRODUCTION = True
    assert ask(api).json()["dev_code"] is None


def test_only_a_digest_of_the_code_is_stored(api: APIClient) -> None:
    code = ask(api).json()["dev_code"]
    stored = EmailVerificationCode.objects.get()
    assert code not in stored.digest
    assert re.fullmatch(r"[0-9a-f]{64}", stored.digest)


def test_the_console_backend_prints_the_code(api: APIClient, settings: Settings, capsys: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    code = ask(api).json()["dev_code"]
    assert code in capsys.readouterr().out


def test_the_fixed_development_code_is_issued(api: APIClient, mailbox: Mailbox, settings: Settings) -> None:
    settings.DEV_FIXED_EMAIL_CODE = "24682468"
    assert ask(api).json()["dev_code"] == "24682468"
    assert "24682468" in mailbox.text()


@pytest.mark.parametrize("purpose", ["login", "reset", "REGISTER", "", "x" * 100])
def test_another_purpose_is_unsupported(api: APIClient, purpose: str) -> None:
    response = ask(api, purpose=purpose)
    assert response.status_code == 400
    assert error_code(response) == "UNSUPPORTED_AUTH_FLOW"


def test_wrong_method(api: APIClient) -> None:
    response = api.get(URL)
    assert response.status_code == 405
    assert error_code(response) == "METHOD_NOT_ALLOWED"
    assert "POST" in response["Allow"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "new@example.com"},
        {"email": "no address", "purpose": "register"},
        {"email": "a@" + "b" * 260 + ".com", "purpose": "register"},
        {"email": "new@example.com\r\nBcc: x@example.com", "purpose": "register"},
        {"email": None, "purpose": "register"},
        {"email": "b@" + "ü" * 60 + ".com", "purpose": "register"},
        {"email": "a@\u00ad.com", "purpose": "register"},
        {"email": "ſome@example.com", "purpose": "register"},
        {"email": ["new@example.com"], "purpose": "register"},
        ["new@example.com"],
        "new@example.com",
        None,
    ],
)
def test_malformed_fields(api: APIClient, body: Any) -> None:
    response = api.post(URL, body, format="json")
    assert response.status_code == 422
    assert error_code(response) == "VALIDATION_ERROR"
    assert response.json()["error"]["details"]


# --- Concealment ------------------------------------------------------------------------------------------------


def test_a_registered_address_gets_a_notice_and_a_decoy(api: APIClient, learner: Actor, mailbox: Mailbox) -> None:
    registered = ask(api, learner.user.email)
    unknown = ask(api, "new@example.com")

    assert registered.status_code == unknown.status_code == 200
    assert registered.json().keys() == unknown.json().keys()
    decoy = registered.json()["dev_code"]
    assert re.fullmatch(r"\d{6}", decoy)
    assert decoy not in mailbox.text(0)
    assert decoy not in mailbox.mails[0]["Subject"]
    assert "already" in mailbox.text(0)
    assert EmailVerificationCode.objects.filter(email=learner.user.email).exists()


def test_without_concealment_a_registered_address_is_refused(
    api: APIClient, learner: Actor, mailbox: Mailbox, settings: Settings
) -> None:
    settings.AUTH_CONCEAL_ACCOUNTS = False
    response = ask(api, learner.user.email)
    assert response.status_code == 400
    assert error_code(response) == "EMAIL_ALREADY_REGISTERED"
    assert not mailbox.mails


# --- Mail faults ------------------------------------------------------------------------------------------------


def _nothing_pending_and_asking_again_works(api: APIClient, mend: Callable[[], None]) -> None:
    assert not EmailVerificationCode.objects.exists()
    mend()
    assert ask(api).status_code == 200, "the cooldown and the allowance were not given back"


def test_a_refusing_mail_server(api: APIClient, mailbox: Mailbox, settings: Settings) -> None:
    settings.AUTH_CODE_MAX_PER_EMAIL_WINDOW = 1
    mailbox.refuse = True
    response = ask(api)
    assert response.status_code == 502
    assert error_code(response) == "EMAIL_SEND_FAILED"
    _nothing_pending_and_asking_again_works(api, lambda: setattr(mailbox, "refuse", False))


def test_a_mail_server_that_hangs(api: APIClient, mailbox: Mailbox, settings: Settings) -> None:
    good_port = settings.EMAIL_PORT
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = silent.getsockname()[1], 0.3
        response = ask(api)
    assert response.status_code == 502
    assert error_code(response) == "EMAIL_SEND_FAILED"
    _nothing_pending_and_asking_again_works(api, lambda: setattr(settings, "EMAIL_PORT", good_port))


def test_a_failed_mail_does_not_void_a_newer_code(api: APIClient, mailbox: Mailbox, settings: Settings) -> None:
    """Only the failed code itself is taken back."""
    settings.AUTH_CODE_COOLDOWN_SECONDS = 0
    assert ask(api, "other@example.com").status_code == 200
    mailbox.refuse = True
    assert ask(api).status_code == 502
    assert EmailVerificationCode.objects.filter(email="other@example.com").exists()


@pytest.mark.parametrize("missing", ["EMAIL_HOST", "DEFAULT_FROM_EMAIL"])
def test_mail_that_is_not_configured(api: APIClient, mailbox: Mailbox, settings: Settings, missing: str) -> None:
    good = getattr(settings, missing)
    setattr(settings, missing, "")
    response = ask(api)
    assert response.status_code == 500
    assert error_code(response) == "SERVER_MISCONFIGURED"
    _nothing_pending_and_asking_again_works(api, lambda: setattr(settings, missing, good))


def test_the_addresss_count_is_not_given_back(api: APIClient, mailbox: Mailbox, settings: Settings) -> None:
    settings.AUTH_CODE_MAX_PER_IP_WINDOW = 1
    mailbox.refuse = True
    assert ask(api).status_code == 502
    assert ask(api).status_code == 429


def test_no_free_mail_slot_is_503_and_costs_nothing(
    api: APIClient, mailbox: Mailbox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAIL_SLOT_WAIT_SECONDS", 0.1)
    settings.WEB_CONCURRENCY = 2
    assert mail_slot_count() == 1
    with mail_slot():
        response = ask(api)
    assert response.status_code == 503
    assert error_code(response) == "SERVICE_UNAVAILABLE"
    assert int(response["Retry-After"]) >= 1
    assert not mailbox.mails
    assert ask(api).status_code == 200


# --- Limits -----------------------------------------------------------------------------------------------------


def test_cooldown(api: APIClient, settings: Settings) -> None:
    assert ask(api).status_code == 200
    response = ask(api, "NEW@example.com")
    assert response.status_code == 429
    assert error_code(response) == "TOO_MANY_REQUESTS"
    assert 1 <= int(response["Retry-After"]) <= 30
    assert ask(api, "another@example.com").status_code == 200


@pytest.mark.parametrize(
    "spelling", ["new@ｅxample.com", "new@exａmple.com", "new@e\u00adxample.com", "new@example．com", "new@EXAMPLE.com"]
)
def test_another_spelling_of_a_domain_is_no_other_allowance(api: APIClient, spelling: str) -> None:
    assert ask(api).status_code == 200
    assert ask(api, spelling).status_code in (422, 429)
    assert EmailVerificationCode.objects.count() == 1


def test_an_international_domain_is_kept_in_ascii(api: APIClient, mailbox: Mailbox) -> None:
    assert ask(api, "ada@bücher.example").status_code == 200
    assert EmailVerificationCode.objects.get().email == "ada@xn--bcher-kva.example"


def test_window_per_email(api: APIClient, settings: Settings) -> None:
    settings.AUTH_CODE_COOLDOWN_SECONDS = 0
    assert [ask(api).status_code for _ in range(7)] == [200] * 5 + [429] * 2
    assert 1 <= int(ask(api)["Retry-After"]) <= 600


def test_a_refused_request_does_not_start_a_cooldown(api: APIClient, settings: Settings) -> None:
    settings.AUTH_CODE_MAX_PER_EMAIL_WINDOW = 1
    settings.AUTH_CODE_COOLDOWN_SECONDS = 0
    assert ask(api).status_code == 200
    settings.AUTH_CODE_COOLDOWN_SECONDS = 600
    assert ask(api).status_code == 429
    settings.AUTH_CODE_MAX_PER_EMAIL_WINDOW = 2
    assert ask(api).status_code == 200


def test_window_per_address(api: APIClient, settings: Settings) -> None:
    settings.AUTH_CODE_MAX_PER_IP_WINDOW = 3
    statuses = [ask(api, f"new{number}@example.com").status_code for number in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert ask(api, "else@example.com", REMOTE_ADDR="203.0.113.9").status_code == 200


@pytest.mark.django_db(transaction=True)
def test_limits_hold_exactly_in_parallel(settings: Settings) -> None:
    settings.AUTH_CODE_MAX_PER_IP_WINDOW = 10

    def one(number: int) -> int:
        return int(ask(APIClient(), f"new{number}@example.com").status_code)

    settings.WEB_CONCURRENCY = 100  # mail slots are not what is measured here
    statuses = in_parallel(20, one)
    assert sorted(statuses) == [200] * 10 + [429] * 10


@pytest.mark.django_db(transaction=True)
def test_one_cooldown_of_parallel_requests(settings: Settings) -> None:
    settings.WEB_CONCURRENCY = 100

    def one(_: int) -> int:
        return int(ask(APIClient()).status_code)

    statuses = in_parallel(10, one)
    assert sorted(statuses) == [200] + [429] * 9


def test_the_cache_being_away_is_503(api: APIClient, settings: Settings) -> None:
    """A limiter that can't count must not let everybody pass, and must not blame the caller."""
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.redis.RedisCache",
            "LOCATION": "redis://127.0.0.1:1/0",
            "OPTIONS": {"socket_connect_timeout": 0.2},
        }
    }
    assert cache is not None
    response = ask(api)
    assert response.status_code == 503
    assert error_code(response) == "SERVICE_UNAVAILABLE"
    assert response["Retry-After"]
