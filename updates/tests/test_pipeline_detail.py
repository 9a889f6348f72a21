"""GET and DELETE /v1/admin/bundles/{id}"""

from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from courses.models import Chapter
from storage.artifacts import artifact_exists
from tests.cast import error_code
from updates.models import BundleRelease, ReleaseEvent
from updates.tests.pipelines import BUNDLES, archive_of, registration, upload
from updates.tests.shelf import APP, chapter_scope, draft, published, withdraw

pytestmark = pytest.mark.django_db


def refusal(response: Any) -> tuple[int, str]:
    return response.status_code, error_code(response)


def test_a_release(operator: APIClient, chapter: Chapter) -> None:
    release = draft(
        chapter_scope(chapter),
        experts=("helper",),
        is_mandatory=False,
        min_desktop_version="1.2.0",
        rollout_basis_points=1_250,
    )
    response = operator.get(f"{BUNDLES}/{release.pk}")
    assert response.status_code == 200
    answer = response.json()
    assert answer == {
        "id": str(release.pk),
        "bundle_type": "chapter",
        "scope_id": f"{chapter.course_id}/ch1_intro",
        "version": "1.0.0",
        "artifact_url": answer["artifact_url"],
        "state": "draft",
        "created_at": release.created_at.isoformat().replace("+00:00", "Z"),
        "sha256": release.sha256,
        "size_bytes": release.size_bytes,
        "is_mandatory": False,
        "rollout_percent": 12.5,
        "publish_at": None,
        "published_at": None,
        "first_published_at": None,
        "withdrawn_at": None,
        "verified_at": None,
        "required_experts": ["helper"],
        "min_desktop_version": "1.2.0",
        "min_sidecar_version": "",
        "strict_versions": False,
        "manifest_json": release.manifest,
    }
    assert answer["manifest_json"]["version"] == "1.0.0"
    assert answer["artifact_url"].startswith("http://testserver/artifacts/bundles/chapter/")


def test_one_whose_bytes_lie_elsewhere(operator: APIClient) -> None:
    made = operator.post(f"{BUNDLES}/publish", registration(), format="json").json()
    answer = operator.get(f"{BUNDLES}/{made['id']}").json()
    assert answer["artifact_url"] == "https://cdn.example.com/1.0.0.tar.gz"
    assert answer["manifest_json"] == {}


def test_an_id_in_capitals(operator: APIClient) -> None:
    assert operator.get(f"{BUNDLES}/{str(draft(APP).pk).upper()}").status_code == 200


# --- DELETE ---------------------------------------------------------------------------------------------------------


def test_a_draft_is_deleted_with_its_bytes(operator: APIClient, artifact_root: Path) -> None:
    release = draft(APP)
    response = operator.delete(f"{BUNDLES}/{release.pk}")
    assert response.status_code == 204
    assert response.content == b""
    assert not BundleRelease.objects.exists()
    assert not artifact_exists(key=release.artifact_key)
    assert ReleaseEvent.objects.filter(action="deleted", version="1.0.0").exists()
    assert refusal(operator.delete(f"{BUNDLES}/{release.pk}")) == (404, "NOT_FOUND")
    assert refusal(operator.get(f"{BUNDLES}/{release.pk}")) == (404, "NOT_FOUND")
    other = archive_of(APP, files={"prompt.md": "other"})
    assert upload(operator, other).status_code == 201, "the version is free for other bytes"


def test_what_was_ever_published_stays(operator: APIClient) -> None:
    release = published(APP)
    assert refusal(operator.delete(f"{BUNDLES}/{release.pk}")) == (409, "BUNDLE_RELEASE_CONFLICT")
    withdraw(release)
    assert refusal(operator.delete(f"{BUNDLES}/{release.pk}")) == (409, "BUNDLE_RELEASE_CONFLICT")
    assert artifact_exists(key=release.artifact_key)
