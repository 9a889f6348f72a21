import pytest
from django.core.exceptions import DisallowedHost
from django.test import RequestFactory
from pytest_django.fixtures import Settings

from config.urlbase import public_base_url

REQUEST = RequestFactory(headers={"Host": "localhost:10723"}).get("/")


def test_the_setting_wins(settings: Settings) -> None:
    settings.PUBLIC_BASE_URL = "https://api.example.com/base"

    assert public_base_url(REQUEST) == "https://api.example.com/base"


def test_development_answers_as_it_was_asked() -> None:
    assert public_base_url(REQUEST) == "http://localhost:10723"
    assert public_base_url(RequestFactory().get("/", secure=True)) == "https://testserver"


def test_development_takes_no_foreign_host_either(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]
    with pytest.raises(DisallowedHost):
        public_base_url(RequestFactory(headers={"Host": "evil.example.com"}).get("/"))


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["localhost", "127.0.0.1", "api.example.com", "evil.example.com"], "https://api.example.com"),
        ([".example.com", "evil.example.com"], "https://example.com"),
        (["localhost", "127.0.0.1", "[::1]"], "http://127.0.0.1:10723"),
    ],
)
def test_production_does_not_trust_the_host_header(settings: Settings, hosts: list[str], expected: str) -> None:
    settings.PRODUCTION = True
    settings.APP_PORT = 10723
    settings.ALLOWED_HOSTS = hosts
    request = RequestFactory(headers={"Host": "evil.example.com"}).get("/")

    assert public_base_url(request) == expected
