"""POST /v1/admin/bundles/publish: register by URL, and publish."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from config import limits
from courses.models import Chapter
from tests.cast import Actor, error_code
from tests.races import in_parallel
from updates.models import BundleRelease, ReleaseEvent
from updates.tests.mirror import Mirror, mirror_on_campus, ok
from updates.tests.pipelines import ADMIN_API_KEY, BUNDLES, a_token, archive_of, client_of, registration
from updates.tests.shelf import APP, chapter_scope, draft, withdraw

pytestmark = pytest.mark.django_db


def register(client: APIClient, scope: tuple[str, str] = APP, **fields: Any) -> Any:
    return client.post(f"{BUNDLES}/publish", registration(scope, **fields), format="json")


def refusal(response: Any) -> tuple[int, str]:
    return response.status_code, error_code(response)


@pytest.fixture
def mirror(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    with mirror_on_campus(settings, monkeypatch, tmp_path) as mirror:
        yield mirror


def on_mirror(mirror: Mirror, raw: bytes) -> dict[str, Any]:
    """What registers an archive that lies on the mirror."""
    mirror.answers["/bundle"] = ok(raw)
    return {
        "artifact_url": mirror.url("/bundle"),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "size_bytes": len(raw),
    }


# --- Registered and published ---------------------------------------------------------------------------------------


def test_it_is_registered_and_published(operator: APIClient) -> None:
    response = register(operator)
    assert response.status_code == 201
    answer = response.json()
    release = BundleRelease.objects.get()
    assert answer["id"] == str(release.pk)
    assert answer["state"] == release.state == "published"
    assert answer["artifact_url"] == release.external_url == "https://cdn.example.com/1.0.0.tar.gz"
    assert (answer["sha256"], answer["size_bytes"]) == ("a" * 64, 1_000)
    assert answer["notices"] == []
    assert "verify" in answer["warnings"][0]
    assert not release.artifact_key


def test_all_options(operator: APIClient, chapter: Chapter) -> None:
    register(operator, ("experts", "helper"))
    response = register(
        operator,
        chapter_scope(chapter),
        sha256="A" * 64,
        is_mandatory=False,
        required_experts=["helper"],
        min_desktop_version="1.2.0",
        min_sidecar_version="0.9.0",
        strict_versions=True,
        rollout_percent=2.5,
        publish_at="2030-01-01T00:00:00Z",
        manifest_json={"required_experts": ["other"]},
        verify=False,
    )
    assert response.status_code == 201, response.content
    release = BundleRelease.objects.get(bundle_type="chapter")
    assert release.chapter == chapter
    assert release.sha256 == "a" * 64
    assert not release.is_mandatory
    assert release.required_experts == ["helper"]
    assert (release.min_desktop_version, release.min_sidecar_version) == ("1.2.0", "0.9.0")
    assert release.strict_versions
    assert release.rollout_basis_points == 250
    assert release.manifest == {"required_experts": ["other"]}
    assert any("don't get it" in notice for notice in response.json()["notices"])


@pytest.mark.parametrize("manifest", [{"required_experts": []}, '{"required_experts": []}'])
def test_a_manifest_or_its_text(operator: APIClient, manifest: Any) -> None:
    assert register(operator, manifest_json=manifest).status_code == 201
    assert BundleRelease.objects.get().manifest == {"required_experts": []}


def test_null_is_the_default(operator: APIClient) -> None:
    fields = ("manifest_json", "required_experts", "rollout_percent", "publish_at")
    optional: dict[str, Any] = dict.fromkeys(fields)
    assert register(operator, **optional).status_code == 201
    assert BundleRelease.objects.get().rollout_basis_points == 10_000


# --- The same again, and another ------------------------------------------------------------------------------------


def test_the_same_again(operator: APIClient) -> None:
    first, again = register(operator), register(operator)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json() == again.json()
    assert ReleaseEvent.objects.filter(action="published").count() == 1


def test_a_draft_that_is_there_gets_what_the_request_states(operator: APIClient, chapter: Chapter) -> None:
    scope = chapter_scope(chapter)
    assert refusal(register(operator, scope, required_experts=["missing"])) == (409, "BUNDLE_RELEASE_CONFLICT")
    response = register(operator, scope, required_experts=[], rollout_percent=5, min_desktop_version="1.2.0")
    assert response.status_code == 200
    release = BundleRelease.objects.get()
    assert (release.state, release.rollout_basis_points) == ("published", 500)
    assert (release.required_experts, release.min_desktop_version) == ([], "1.2.0")


def test_what_is_published_on_other_terms_is_a_conflict(operator: APIClient) -> None:
    register(operator, rollout_percent=50)
    assert register(operator, rollout_percent=20).status_code == 200, "wider than stated"
    response = register(operator, rollout_percent=60, strict_versions=True)
    assert refusal(response) == (409, "BUNDLE_RELEASE_CONFLICT")
    message = response.json()["error"]["message"]
    assert "strict_versions (false), rollout_percent (50)" in message
    assert "widen" in message
    assert BundleRelease.objects.get().rollout_basis_points == 5_000


@pytest.mark.parametrize(
    "other", [{"sha256": "b" * 64}, {"size_bytes": 999}, {"artifact_url": "https://elsewhere.example.com/x"}]
)
def test_other_bytes_or_another_place(operator: APIClient, other: dict[str, Any]) -> None:
    register(operator)
    assert refusal(register(operator, **other)) == (409, "BUNDLE_RELEASE_CONFLICT")
    assert BundleRelease.objects.get().sha256 == "a" * 64


def test_what_was_uploaded_is_not_registered(operator: APIClient) -> None:
    uploaded = draft(APP)
    response = register(operator, sha256=uploaded.sha256, size_bytes=uploaded.size_bytes)
    assert refusal(response) == (409, "BUNDLE_RELEASE_CONFLICT")


def test_what_was_withdrawn_stays_withdrawn(operator: APIClient) -> None:
    register(operator)
    withdraw(BundleRelease.objects.get())
    assert refusal(register(operator)) == (409, "BUNDLE_RELEASE_CONFLICT")
    assert BundleRelease.objects.get().state == "withdrawn"


@pytest.mark.django_db(transaction=True)
def test_the_same_at_the_same_moment(settings: Settings) -> None:
    settings.ADMIN_API_KEY = ADMIN_API_KEY
    answers = in_parallel(4, lambda _: register(client_of(ADMIN_API_KEY)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert {answer.json()["state"] for answer in answers} == {"published"}
    assert BundleRelease.objects.count() == 1


def test_a_draft_that_can_not_be_published_stands(operator: APIClient, chapter: Chapter) -> None:
    response = register(operator, chapter_scope(chapter), required_experts=["missing"])
    assert refusal(response) == (409, "BUNDLE_RELEASE_CONFLICT")
    assert f"The draft stands: {BundleRelease.objects.get().pk}." in response.json()["error"]["message"]


def test_who_may_not_publish_makes_no_draft_on_the_way(staff: Actor) -> None:
    assert refusal(register(client_of(a_token("upload", created_by=staff.user)))) == (403, "FORBIDDEN")
    assert refusal(register(client_of(a_token("publish", created_by=staff.user, name="other")))) == (403, "FORBIDDEN")
    assert not BundleRelease.objects.exists()


# --- Verified before it is published --------------------------------------------------------------------------------


def test_it_is_fetched_and_checked_first(operator: APIClient, mirror: Mirror) -> None:
    response = register(operator, **on_mirror(mirror, archive_of(APP)), verify=True)
    assert response.status_code == 201, response.content
    release = BundleRelease.objects.get()
    assert release.verified_at is not None
    assert release.state == "published"
    assert register(operator, **on_mirror(mirror, archive_of(APP)), verify=True).status_code == 200
    assert mirror.connections == 1, "what is published was checked already"


def test_what_is_not_what_was_registered_is_not_published(operator: APIClient, mirror: Mirror) -> None:
    fields = on_mirror(mirror, archive_of(APP))
    mirror.answers["/bundle"] = ok(b"x" * fields["size_bytes"])
    response = register(operator, **fields, verify=True)
    assert refusal(response) == (422, "BUNDLE_INVALID")
    release = BundleRelease.objects.get()
    assert release.state == "draft"
    assert str(release.pk) in response.json()["error"]["message"]


def test_what_can_not_be_fetched_is_not_published(operator: APIClient) -> None:
    response = register(operator, artifact_url="https://127.0.0.1/bundle", verify=True)
    assert refusal(response) == (502, "ARTIFACT_UNREACHABLE")
    assert BundleRelease.objects.get().state == "draft"


# --- Malformed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bundle_type", "plugins"),
        ("bundle_type", None),
        ("scope_id", "other"),
        ("scope_id", 1),
        ("scope_id", "co\x00re"),
        ("scope_id", "\ud800"),
        ("version", "one"),
        ("version", 1.0),
        ("artifact_url", "http://cdn.example.com/x"),
        ("artifact_url", "https://name:password@cdn.example.com/x"),
        ("artifact_url", "https://@cdn.example.com/x"),
        ("artifact_url", "ftp://cdn.example.com/x"),
        ("artifact_url", "file:///etc/passwd"),
        ("artifact_url", "https://["),
        ("artifact_url", "/x"),
        ("artifact_url", "https://cdn.example.com/" + "x" * 1_024),
        ("artifact_url", 1),
        ("artifact_url", ""),
        ("sha256", "a" * 63),
        ("sha256", None),
        ("sha256", 10**63),
        ("size_bytes", 0),
        ("size_bytes", -1),
        ("size_bytes", limits.BUNDLE_ARCHIVE_MAX_BYTES + 1),
        ("size_bytes", "1000"),
        ("size_bytes", True),
        ("size_bytes", 10.5),
        ("size_bytes", 10**200),
        ("manifest_json", []),
        ("manifest_json", "{"),
        ("manifest_json", "[]"),
        ("manifest_json", "[" * 100_000),
        ("manifest_json", {"a": "\x00"}),
        ("manifest_json", {"required_experts": "a"}),
        ("manifest_json", {"required_experts": ["../a"]}),
        ("is_mandatory", "true"),
        ("is_mandatory", 1),
        ("is_mandatory", None),
        ("required_experts", "a"),
        ("required_experts", [1]),
        ("required_experts", ["../a"]),
        ("min_desktop_version", "new"),
        ("strict_versions", "yes"),
        ("rollout_percent", "10"),
        ("rollout_percent", True),
        ("rollout_percent", 100.01),
        ("rollout_percent", -0.01),
        ("rollout_percent", 0.001),
        ("publish_at", "2030-01-01T00:00:00"),
        ("publish_at", 1),
        ("publish_at", "9999-12-31T23:59:59-14:00"),
        ("verify", "yes"),
    ],
)
def test_a_wrong_field_is_named(operator: APIClient, field: str, value: Any) -> None:
    body = json.dumps({**registration(), field: value})
    response = operator.post(f"{BUNDLES}/publish", body, content_type="application/json")
    assert refusal(response) == (422, "VALIDATION_ERROR")
    assert {detail["field"].split(".")[0] for detail in response.json()["error"]["details"]} == {field}
    assert not BundleRelease.objects.exists()


@pytest.mark.parametrize("name", ["rollout", "manifest", "publish", "file"])
def test_an_unknown_field_is_refused(operator: APIClient, name: str) -> None:
    unknown: dict[str, Any] = {name: 10}
    response = register(operator, **unknown)
    assert refusal(response) == (422, "VALIDATION_ERROR")
    assert [detail["field"] for detail in response.json()["error"]["details"]] == [name]
    assert not BundleRelease.objects.exists()


@pytest.mark.parametrize("body", [[], "text", None, 1])
def test_a_body_that_is_no_object(operator: APIClient, body: Any) -> None:
    assert refusal(operator.post(f"{BUNDLES}/publish", body, format="json")) == (422, "VALIDATION_ERROR")


def test_everything_missing_is_named_at_once(operator: APIClient) -> None:
    for response in (operator.post(f"{BUNDLES}/publish", {}, format="json"), operator.post(f"{BUNDLES}/publish")):
        assert refusal(response) == (422, "VALIDATION_ERROR")
        named = {detail["field"] for detail in response.json()["error"]["details"]}
        assert named == {"bundle_type", "scope_id", "version", "artifact_url", "sha256", "size_bytes"}


def test_a_form_is_no_registration(operator: APIClient) -> None:
    response = operator.post(f"{BUNDLES}/publish", registration(), format="multipart")
    assert refusal(response) == (415, "UNSUPPORTED_MEDIA_TYPE")
