"""The renderer as a browser page: CORS by allowlist (Fetch standard)."""

import pytest
from django.test import Client
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db


def preflight(client: Client, origin: str, headers: str = "authorization,content-type") -> dict[str, str]:
    response = client.options(
        "/v1/progress/chapter",
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": headers,
        },
    )
    assert response.status_code == 200
    return dict(response.headers)


@pytest.mark.parametrize("origin", ["null", "http://localhost:5173", "http://localhost", "http://127.0.0.1:3000"])
def test_development_allows_the_desk(client: Client, origin: str) -> None:
    headers = preflight(client, origin, "authorization,content-type,x-device-id")
    assert headers["access-control-allow-origin"] == origin
    for name in ("authorization", "content-type", "x-device-id"):
        assert name in headers["access-control-allow-headers"]
    assert "POST" in headers["access-control-allow-methods"]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost.evil.example", "file://"])
def test_others_get_no_permission(client: Client, origin: str) -> None:
    assert "access-control-allow-origin" not in preflight(client, origin)


def test_a_list_replaces_the_desk(client: Client, settings: Settings) -> None:
    settings.CORS_ALLOWED_ORIGINS = ["https://app.example.com"]
    settings.CORS_ALLOWED_ORIGIN_REGEXES = []
    assert preflight(client, "https://app.example.com")["access-control-allow-origin"] == "https://app.example.com"
    assert "access-control-allow-origin" not in preflight(client, "null")


@pytest.mark.parametrize("path", ["/v1/me", "/v1/nothing", "/healthz"])
def test_answers_and_errors_carry_the_header(api: APIClient, path: str) -> None:
    """A page can't read the code of an error that lacks it."""
    response = api.get(path, headers={"Origin": "null"})
    assert response["Access-Control-Allow-Origin"] == "null"
    assert "X-Request-Id" in response["Access-Control-Expose-Headers"]


def test_the_admin_is_not_for_other_origins(client: Client) -> None:
    assert "Access-Control-Allow-Origin" not in client.get("/admin/login/", headers={"Origin": "null"})
