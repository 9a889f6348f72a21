"""POST /v1/admin/bundles/{id}/verify"""

from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from config import uploads
from config.errors import ApiError
from config.places import Places
from tests.cast import error_code
from updates.services.registrations import register_draft
from updates.tests.pipelines import act
from updates.tests.shelf import APP, SOMEBODY, draft, published

pytestmark = pytest.mark.django_db


def refusal(response: Any) -> tuple[int, str]:
    return response.status_code, error_code(response)


@pytest.mark.parametrize("make", [draft, published])
def test_the_bytes_are_found_right(operator: APIClient, make: Any) -> None:
    release = make(APP)
    response = act(operator, release, "verify")
    assert response.status_code == 200
    release.refresh_from_db()
    assert release.verified_at is not None
    assert response.json()["verified_at"] == release.verified_at.isoformat().replace("+00:00", "Z")
    assert response.json()["state"] == release.state


def test_other_bytes(operator: APIClient, artifact_root: Path) -> None:
    release = draft(APP)
    path = artifact_root / release.artifact_key
    path.write_bytes(bytes(path.stat().st_size))
    assert refusal(act(operator, release, "verify")) == (422, "BUNDLE_INVALID")
    release.refresh_from_db()
    assert release.verified_at is None


def test_bytes_that_can_not_be_fetched(operator: APIClient) -> None:
    release = register_draft(
        bundle_type=APP[0],
        scope_id=APP[1],
        version="1.0.0",
        external_url="https://127.0.0.1/bundle",
        sha256="a" * 64,
        size_bytes=1_000,
        manifest={},
        principal=SOMEBODY,
    ).release
    assert refusal(act(operator, release, "verify")) == (502, "ARTIFACT_UNREACHABLE")


def test_it_takes_a_place_and_gives_it_back(operator: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetching takes minutes: it must not hold every thread."""
    monkeypatch.setattr(uploads, "_places", Places(1))
    release = draft(APP)
    with uploads.slow_place():
        response = act(operator, release, "verify")
        assert refusal(response) == (503, "SERVICE_UNAVAILABLE")
        assert int(response["Retry-After"]) >= 1
    for _ in range(3):
        assert act(operator, release, "verify").status_code == 200
    with pytest.raises(ApiError), uploads.slow_place(), uploads.slow_place():
        pass
