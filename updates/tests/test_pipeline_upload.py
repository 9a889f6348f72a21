"""POST /v1/admin/bundles/upload"""

import gc
import hashlib
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings
from rest_framework.test import APIClient

from config import limits, uploads
from config.places import Places
from courses.models import Chapter
from storage.artifacts import artifact_size
from tests.cast import Actor, error_code
from tests.races import in_parallel, run_at_once
from updates.models import BundleRelease, ReleaseEvent
from updates.principals import ADMIN_KEY
from updates.services.publication import ensure_published
from updates.tests.pipelines import (
    ADMIN_API_KEY,
    BUNDLES,
    a_token,
    act,
    archive_of,
    as_file,
    client_of,
    upload,
)
from updates.tests.shelf import APP, SHARED, SOMEBODY, chapter_scope, draft, publish, published, withdraw

pytestmark = pytest.mark.django_db

EXPERT = ("experts", "helper")


@pytest.fixture
def spools(settings: Settings, tmp_path: Path) -> Path:
    """Where uploads lie while they arrive."""
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "spools")
    (tmp_path / "spools").mkdir()
    return tmp_path / "spools"


def open_spools(folder: Path) -> list[str]:
    """The files of the folder that this process has open, also those without a name."""
    gc.collect()
    descriptors = Path("/proc/self/fd").iterdir() if Path("/proc/self/fd").is_dir() else iter(())
    return [target for each in descriptors if (target := _target(each)).startswith(str(folder))]


def _target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)
    except OSError:
        return ""


def nothing_is_left(spools: Path, artifact_root: Path) -> bool:
    files = [path for path in (*spools.rglob("*"), *artifact_root.rglob("*")) if path.is_file()]
    return not files and not open_spools(spools) and not BundleRelease.objects.exists()


# --- A draft --------------------------------------------------------------------------------------------------------


def test_a_draft_is_made(operator: APIClient) -> None:
    raw = archive_of(APP)
    response = upload(operator, raw)
    assert response.status_code == 201
    answer = response.json()
    release = BundleRelease.objects.get()
    assert answer == {
        "id": str(release.pk),
        "bundle_type": "app_agents",
        "scope_id": "core",
        "version": "1.0.0",
        "artifact_url": answer["artifact_url"],
        "state": "draft",
        "created_at": release.created_at.isoformat().replace("+00:00", "Z"),
        "sha256": hashlib.sha256(raw).hexdigest(),
        "size_bytes": len(raw),
        "is_mandatory": True,
        "rollout_percent": 100.0,
        "publish_at": None,
        "published_at": None,
        "required_experts": [],
        "warnings": [],
        "notices": [],
    }
    assert (release.sha256, release.size_bytes) == (hashlib.sha256(raw).hexdigest(), len(raw))
    assert artifact_size(key=release.artifact_key) == len(raw)
    path = answer["artifact_url"].removeprefix("http://testserver")
    fetched: Any = APIClient().get(path)
    assert b"".join(fetched.streaming_content) == raw


def test_all_options(operator: APIClient, chapter: Chapter) -> None:
    response = upload(
        operator,
        scope=chapter_scope(chapter),
        is_mandatory="false",
        required_experts='["helper", "other"]',
        min_desktop_version="1.2.0",
        min_sidecar_version="0.9.0",
        strict_versions="true",
        rollout_percent="12.34",
        publish_at="2030-01-01T08:00:00+08:00",
        publish="false",
        sha256=hashlib.sha256(archive_of(chapter_scope(chapter))).hexdigest().upper(),
    )
    assert response.status_code == 201, response.content
    release = BundleRelease.objects.get()
    assert release.chapter == chapter
    assert not release.is_mandatory
    assert release.required_experts == ["helper", "other"]
    assert (release.min_desktop_version, release.min_sidecar_version) == ("1.2.0", "0.9.0")
    assert release.strict_versions
    assert release.rollout_basis_points == 1_234
    assert release.publish_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert release.state == "draft"
    assert response.json()["rollout_percent"] == 12.34
    assert response.json()["publish_at"] == "2030-01-01T00:00:00Z"
    assert "helper, other" in response.json()["warnings"][0]


@pytest.mark.parametrize(
    ("sent", "expected"), [(["a", "b"], ["a", "b"]), ("a", ["a"]), ("[]", []), (None, ["named"]), ("", ["named"])]
)
def test_experts_are_those_sent_or_those_of_the_manifest(
    operator: APIClient, chapter: Chapter, sent: Any, expected: list[str]
) -> None:
    scope = chapter_scope(chapter)
    fields = {} if sent is None else {"required_experts": sent}
    assert upload(operator, archive_of(scope, experts=("named",)), scope, **fields).status_code == 201
    assert BundleRelease.objects.get().required_experts == expected


def test_a_field_that_a_script_left_empty_is_absent(operator: APIClient) -> None:
    names = ("is_mandatory", "min_desktop_version", "strict_versions", "rollout_percent", "publish_at", "publish")
    empty: dict[str, Any] = dict.fromkeys((*names, "sha256"), "")
    assert upload(operator, **empty).status_code == 201
    release = BundleRelease.objects.get()
    assert (release.is_mandatory, release.rollout_basis_points, release.state) == (True, 10_000, "draft")


# --- Published at once ----------------------------------------------------------------------------------------------


def test_it_is_published_at_once(operator: APIClient) -> None:
    published(APP, "2.0.0")
    answer = upload(operator, version="1.0.0", publish="true", rollout_percent="10").json()
    assert answer["state"] == "published"
    assert answer["published_at"] is not None
    assert answer["notices"] == ["Roll-back: app_agents/core 1.0.0 takes the place of 2.0.0."]
    release = BundleRelease.objects.get(pk=answer["id"])
    assert (release.state, release.rollout_basis_points) == ("published", 1_000)


def test_a_run_that_is_repeated(operator: APIClient) -> None:
    raw = archive_of(APP)
    first = upload(operator, raw, publish="true")
    again = upload(operator, raw, publish="true")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    assert again.json()["state"] == "published"
    assert again.json()["published_at"] == first.json()["published_at"]
    assert ReleaseEvent.objects.filter(action="published").count() == 1


def test_what_was_withdrawn_stays_withdrawn(operator: APIClient) -> None:
    raw = archive_of(APP)
    release = published(APP)
    withdraw(release)
    response = upload(operator, raw, publish="true")
    assert (response.status_code, error_code(response)) == (409, "BUNDLE_RELEASE_CONFLICT")
    assert "withdrawn" in response.json()["error"]["message"]
    assert "draft stands" not in response.json()["error"]["message"]


def test_a_draft_that_can_not_be_published_stands(operator: APIClient, chapter: Chapter) -> None:
    scope = chapter_scope(chapter)
    raw = archive_of(scope, experts=("missing",))
    response = upload(operator, raw, scope, publish="true")
    assert (response.status_code, error_code(response)) == (409, "BUNDLE_RELEASE_CONFLICT")
    release = BundleRelease.objects.get()
    assert release.state == "draft"
    message = response.json()["error"]["message"]
    assert "missing" in message
    assert str(release.pk) in message
    published(("experts", "missing"))
    assert upload(operator, raw, scope, publish="true").json()["state"] == "published"


def test_who_may_not_publish_makes_no_draft_on_the_way(staff: Actor) -> None:
    response = upload(client_of(a_token("upload", created_by=staff.user)), publish="true")
    assert response.status_code == 403
    assert not BundleRelease.objects.exists()


# --- The same again, and other bytes --------------------------------------------------------------------------------


def test_the_same_bytes_are_the_same_draft(operator: APIClient) -> None:
    raw = archive_of(APP)
    first = upload(operator, raw, rollout_percent="10")
    again = upload(operator, raw)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json(), "what a request doesn't state stays"


ALL_OPTIONS = {
    "is_mandatory": ("false", False),
    "required_experts": ("[]", []),
    "min_desktop_version": ("1.2.0", "1.2.0"),
    "min_sidecar_version": ("0.9.0", "0.9.0"),
    "strict_versions": ("true", True),
    "rollout_percent": ("5", 5.0),
    "publish_at": ("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"),
}


@pytest.mark.parametrize("publish", ["false", "true"])
def test_a_draft_that_is_there_gets_what_the_request_states(
    operator: APIClient, chapter: Chapter, publish: str
) -> None:
    """A retry after a refused publication once published to everybody, whatever share it asked for."""
    scope = chapter_scope(chapter)
    raw = archive_of(scope, experts=("missing",))
    assert upload(operator, raw, scope, publish="true").status_code == 409
    stated: dict[str, Any] = {name: sent for name, (sent, _) in ALL_OPTIONS.items()}
    response = upload(operator, raw, scope, publish=publish, **stated)
    assert response.status_code == 200
    detail = operator.get(f"{BUNDLES}/{response.json()['id']}").json()
    assert {name: detail[name] for name in ALL_OPTIONS} == {name: value for name, (_, value) in ALL_OPTIONS.items()}
    assert detail["state"] == {"true": "published", "false": "draft"}[publish]
    assert response.json()["rollout_percent"] == 5.0
    assert not [warning for warning in response.json()["warnings"] if "already" in warning]
    (changed,) = ReleaseEvent.objects.filter(action="changed")
    assert "rollout_basis_points" in str(changed.changes)


def test_a_draft_keeps_what_the_request_leaves_open(operator: APIClient) -> None:
    raw = archive_of(APP)
    upload(operator, raw, rollout_percent="10", min_desktop_version="1.2.0", is_mandatory="false")
    answer = upload(operator, raw, publish="true", is_mandatory="true").json()
    assert (answer["state"], answer["rollout_percent"], answer["is_mandatory"]) == ("published", 10.0, True)
    assert answer["warnings"] == []
    assert BundleRelease.objects.get().min_desktop_version == "1.2.0"


@pytest.mark.parametrize("name", ALL_OPTIONS)
def test_what_is_published_on_other_terms_is_a_conflict(operator: APIClient, name: str) -> None:
    raw = archive_of(APP)
    before: dict[str, Any] = {"rollout_percent": "4"} if name == "rollout_percent" else {}
    if name == "required_experts":
        published(("experts", "helper"))
        before = {"required_experts": "helper"}
    assert upload(operator, raw, publish="true", **before).status_code == 201
    kept = BundleRelease.objects.filter(bundle_type="app_agents").values().get()
    other: dict[str, Any] = {name: ALL_OPTIONS[name][0]}
    response = upload(operator, raw, publish="true", **other)
    assert (response.status_code, error_code(response)) == (409, "BUNDLE_RELEASE_CONFLICT")
    message = response.json()["error"]["message"]
    assert f"{name} (" in message
    assert ("widen" in message) == (name == "rollout_percent")
    assert "another version" in message or name == "rollout_percent"
    assert ReleaseEvent.objects.filter(action="published").exclude(refusal="").count() == 1
    only_uploaded = upload(operator, raw, **other)
    assert only_uploaded.status_code == 200
    assert "keeps" in only_uploaded.json()["warnings"][0]
    assert BundleRelease.objects.filter(bundle_type="app_agents").values().get() == kept


def test_a_run_that_is_repeated_after_staff_widened_the_rollout(operator: APIClient) -> None:
    raw = archive_of(APP)
    stated: dict[str, Any] = {
        "publish": "true",
        "rollout_percent": "5",
        "is_mandatory": "false",
        "min_desktop_version": "1.2.0",
    }
    release = upload(operator, raw, **stated).json()["id"]
    assert upload(operator, raw, **stated).status_code == 200
    assert act(operator, release, "rollout", {"rollout_percent": 50}).status_code == 200
    again = upload(operator, raw, **stated)
    assert (again.status_code, again.json()["rollout_percent"]) == (200, 50.0)


@pytest.mark.django_db(transaction=True)
def test_a_draft_published_with_the_same_options_at_the_same_moment(settings: Settings) -> None:
    settings.ADMIN_API_KEY = ADMIN_API_KEY
    draft(APP)
    raw = archive_of(APP)
    answers = in_parallel(
        4, lambda _: upload(client_of(ADMIN_API_KEY), raw, publish="true", rollout_percent="5", is_mandatory="false")
    )
    assert [answer.status_code for answer in answers] == [200] * 4
    assert {answer.json()["rollout_percent"] for answer in answers} == {5.0}


def test_other_bytes_under_the_version(operator: APIClient) -> None:
    upload(operator, archive_of(APP))
    other = archive_of(APP, files={"prompt.md": "other"})
    response = upload(operator, other)
    assert (response.status_code, error_code(response)) == (409, "BUNDLE_RELEASE_CONFLICT")
    assert BundleRelease.objects.get().sha256 == hashlib.sha256(archive_of(APP)).hexdigest()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("publish", ["false", "true"])
def test_the_same_upload_at_the_same_moment(settings: Settings, publish: str) -> None:
    settings.ADMIN_API_KEY = ADMIN_API_KEY
    raw = archive_of(APP)
    answers = in_parallel(4, lambda _: upload(client_of(ADMIN_API_KEY), raw, publish=publish))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert {answer.json()["state"] for answer in answers} == {"published" if publish == "true" else "draft"}
    assert ReleaseEvent.objects.filter(action="published", refusal="").count() == (publish == "true")


def test_a_draft_that_another_run_published_meanwhile(operator: APIClient) -> None:
    release = draft(APP)
    found_before = BundleRelease.objects.get()
    publish(release)
    published_at = BundleRelease.objects.get().published_at
    act = ensure_published(release=found_before, principal=SOMEBODY)
    assert [row.state for row in act.releases] == ["published"]
    assert BundleRelease.objects.get().published_at == published_at


@pytest.mark.django_db(transaction=True)
def test_different_uploads_at_the_same_moment(settings: Settings) -> None:
    settings.ADMIN_API_KEY = ADMIN_API_KEY
    one, other = archive_of(APP), archive_of(APP, files={"prompt.md": "other"})
    answers = run_at_once(
        lambda: upload(client_of(ADMIN_API_KEY), one), lambda: upload(client_of(ADMIN_API_KEY), other)
    )
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    winner = next(answer for answer in answers if answer.status_code == 201)
    assert BundleRelease.objects.get().sha256 == winner.json()["sha256"]
    assert artifact_size(key=BundleRelease.objects.get().artifact_key) == winner.json()["size_bytes"]


# --- What is refused leaves nothing ---------------------------------------------------------------------------------


def test_a_bad_archive(operator: APIClient, spools: Path, artifact_root: Path) -> None:
    response = upload(operator, b"no archive at all")
    assert (response.status_code, error_code(response)) == (422, "BUNDLE_INVALID")
    assert nothing_is_left(spools, artifact_root)


def test_another_digest_than_the_pipeline_computed(operator: APIClient, spools: Path, artifact_root: Path) -> None:
    response = upload(operator, sha256="0" * 64)
    assert (response.status_code, error_code(response)) == (422, "BUNDLE_INVALID")
    assert "0" * 64 in response.json()["error"]["message"]
    assert nothing_is_left(spools, artifact_root)


def test_a_manifest_of_another_release(operator: APIClient, spools: Path, artifact_root: Path) -> None:
    response = upload(operator, archive_of(SHARED))
    assert (response.status_code, error_code(response)) == (422, "BUNDLE_INVALID")
    assert nothing_is_left(spools, artifact_root)


def test_an_archive_that_is_too_large(
    operator: APIClient, spools: Path, artifact_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = archive_of(APP)
    monkeypatch.setattr(limits, "BUNDLE_ARCHIVE_MAX_BYTES", len(raw) - 1)
    response = upload(operator, raw)
    assert (response.status_code, error_code(response)) == (413, "PAYLOAD_TOO_LARGE")
    assert f"{len(raw) - 1:,} bytes" in response.json()["error"]["message"]
    assert nothing_is_left(spools, artifact_root)
    monkeypatch.setattr(limits, "BUNDLE_ARCHIVE_MAX_BYTES", len(raw))
    assert upload(operator, raw).status_code == 201
    assert not open_spools(spools)


def test_a_body_that_is_too_large_is_not_read(operator: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BUNDLE_ARCHIVE_MAX_BYTES", 1_000)
    monkeypatch.setattr(limits, "UPLOAD_FORM_MAX_BYTES", 1_000)
    body = Unread(2_001)
    response = post_stream(operator, body)
    assert (response.status_code, error_code(response)) == (413, "PAYLOAD_TOO_LARGE")
    assert not body.was_read


class Unread:
    """A body that remembers whether anybody read it."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.was_read = False

    def read(self, size: int = -1) -> bytes:
        self.was_read = True
        return b""

    readline = read


def post_stream(client: APIClient, body: Unread, **headers: Any) -> Any:
    return client.post(
        f"{BUNDLES}/upload",
        **{
            "CONTENT_TYPE": "multipart/form-data; boundary=x",
            "CONTENT_LENGTH": str(body.length),
            "wsgi.input": body,
            **headers,
        },
    )


def test_nobody_who_may_not_upload_is_listened_to(operator: APIClient, staff: Actor) -> None:
    reader = client_of(a_token("read", "publish", created_by=staff.user))
    for client, status in ((APIClient(), 401), (client_of("wrong"), 401), (staff.client, 403), (reader, 403)):
        body = Unread(50_000_000)
        response = post_stream(client, body)
        assert response.status_code == status
        assert not body.was_read
    allowed = Unread(100)
    assert post_stream(operator, allowed).status_code == 422
    assert allowed.was_read, "the test sees whether a body is read"


def test_places_are_given_back(operator: APIClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused or not, an upload never keeps the place that it had."""
    monkeypatch.setattr(limits, "REQUEST_BODY_MAX_BYTES", 0)  # every upload counts as a slow one
    raw = archive_of(APP)
    for number in range(10):
        assert upload(operator, b"bad", version=f"1.0.{number}").status_code == 422
        assert upload(operator, raw).status_code in (200, 201)
        assert post_form(operator, b"--x\r\n\r\n").status_code in (400, 422)


def test_one_token_never_has_all_places(operator: APIClient, staff: Actor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "REQUEST_BODY_MAX_BYTES", 0)  # every upload counts as a slow one
    monkeypatch.setattr(uploads, "_places", Places(2))
    other = client_of(a_token(created_by=staff.user))
    with uploads.slow_place(ADMIN_KEY):
        response = upload(operator)
        assert (response.status_code, error_code(response)) == (503, "SERVICE_UNAVAILABLE")
        assert "of yours" in response.json()["error"]["message"]
        assert int(response["Retry-After"]) >= 1
        assert upload(other).status_code == 201
    assert upload(operator).status_code == 200


def post_form(client: Any, body: bytes, content_type: str = "multipart/form-data; boundary=x") -> Any:
    return client.generic("POST", f"{BUNDLES}/upload", body, content_type)


# --- Malformed forms ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("bundle_type", ""),
        ("bundle_type", "plugins"),
        ("scope_id", ""),
        ("scope_id", "other"),
        ("scope_id", "../core"),
        ("version", ""),
        ("version", "one"),
        ("version", "1.0"),
        ("version", "1.0.0/.."),
        ("version", "1" * 70),
        ("file", ""),
        ("is_mandatory", "perhaps"),
        ("required_experts", "[1]"),
        ("required_experts", "[broken"),
        ("required_experts", "../x"),
        ("min_desktop_version", "new"),
        ("min_sidecar_version", "1"),
        ("strict_versions", "2"),
        ("rollout_percent", "ten"),
        ("rollout_percent", "NaN"),
        ("rollout_percent", "100.01"),
        ("rollout_percent", "-1"),
        ("rollout_percent", "0.001"),
        ("publish_at", "tomorrow"),
        ("publish_at", "2030-01-01T08:00:00"),
        ("publish_at", "0001-01-01T00:00:00+14:00"),
        ("publish", "maybe"),
        ("sha256", "abc"),
        ("sha256", "g" * 64),
    ],
)
def test_a_wrong_field_is_named(operator: APIClient, field: str, value: str) -> None:
    form = {"bundle_type": "app_agents", "scope_id": "core", "version": "1.0.0", "file": as_file(archive_of())}
    response = operator.post(f"{BUNDLES}/upload", {**form, field: value}, format="multipart")
    assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")
    assert {detail["field"].split(".")[0] for detail in response.json()["error"]["details"]} == {field}
    assert not BundleRelease.objects.exists()


def test_a_chapter_that_is_not_there(operator: APIClient, chapter: Chapter) -> None:
    for scope_id in (f"{chapter.course_id}/other", f"{uuid.uuid4()}/ch1_intro", "ch1_intro", str(chapter.pk)):
        response = upload(operator, archive_of(chapter_scope(chapter)), ("chapter", scope_id))
        assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")


def test_everything_missing_is_named_at_once(operator: APIClient) -> None:
    for response in (operator.post(f"{BUNDLES}/upload", {}, format="multipart"), post_form(operator, b"")):
        assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")
        named = {detail["field"] for detail in response.json()["error"]["details"]}
        assert named == {"file", "bundle_type", "scope_id", "version"}


def test_an_empty_file_and_one_in_another_field(operator: APIClient, spools: Path, artifact_root: Path) -> None:
    form = {"bundle_type": "app_agents", "scope_id": "core", "version": "1.0.0"}
    empty = operator.post(f"{BUNDLES}/upload", {**form, "file": as_file(b"")}, format="multipart")
    other = operator.post(f"{BUNDLES}/upload", {**form, "archive": as_file(archive_of())}, format="multipart")
    as_text = operator.post(f"{BUNDLES}/upload", {**form, "file": "text"}, format="multipart")
    for response, field in ((empty, "file"), (other, "archive"), (as_text, "file")):
        assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")
        assert [detail["field"] for detail in response.json()["error"]["details"]] == [field]
    assert nothing_is_left(spools, artifact_root)


@pytest.mark.parametrize("name", ["rollout", "Version", "x" * 500, "\x07"])
@pytest.mark.parametrize("value", ["10", ""])
def test_an_unknown_field_is_refused(operator: APIClient, name: str, value: str) -> None:
    """`rollout=10` was dropped once, and published to everybody."""
    unknown: dict[str, Any] = {name: value}
    response = upload(operator, publish="true", **unknown)
    assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")
    assert [detail["field"] for detail in response.json()["error"]["details"]] == [name[:200]]
    assert not BundleRelease.objects.exists()


def test_other_files_and_a_second_archive_are_refused(operator: APIClient, spools: Path, artifact_root: Path) -> None:
    """An option that is sent as a file, `curl -F rollout_percent=@share`, would be no option."""
    raw = archive_of(APP)
    twice = upload(operator, file=[as_file(raw), as_file(raw)])
    others: list[dict[str, Any]] = [{name: as_file(b"5")} for name in ("rollout_percent", "other")]
    answers = (twice, *(upload(operator, raw, **other) for other in others))
    for response, field in zip(answers, ("file", "rollout_percent", "other"), strict=True):
        assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")
        assert [detail["field"] for detail in response.json()["error"]["details"]] == [field]
        assert nothing_is_left(spools, artifact_root)


def test_too_many_fields_and_too_large_ones(operator: APIClient, spools: Path, artifact_root: Path) -> None:
    fields: dict[str, Any] = {f"x{number}": "1" for number in range(limits.FORM_FIELDS_MAX + 1)}
    response = upload(operator, **fields)
    assert (response.status_code, error_code(response)) == (400, "MALFORMED_REQUEST")
    large = upload(operator, x="1" * (limits.REQUEST_BODY_MAX_BYTES + 1))
    assert (large.status_code, error_code(large)) == (413, "PAYLOAD_TOO_LARGE")
    assert nothing_is_left(spools, artifact_root)


PART = b'--x\r\nContent-Disposition: form-data; name="file"; filename="b.tar.gz"\r\n'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"--x\r\n\r\n", "multipart/form-data"),
        (b"--x\r\n\r\n", "multipart/form-data; boundary=\x01"),
        (PART + b"\r\nthe end is missing", "multipart/form-data; boundary=x"),
        (PART + b"Content-Transfer-Encoding: base64\r\n\r\nabc\r\n--x--\r\n", "multipart/form-data; boundary=x"),
    ],
)
def test_what_is_no_form(
    operator: APIClient, spools: Path, artifact_root: Path, body: bytes, content_type: str
) -> None:
    response = post_form(operator, body, content_type)
    assert (response.status_code, error_code(response)) == (400, "MALFORMED_REQUEST")
    assert nothing_is_left(spools, artifact_root)


@pytest.mark.parametrize("charset", ["hex", "idna", "zlib", "undefined", "rot13", "base64", "utf-16", "nonsense"])
def test_a_form_is_utf_8_whatever_charset_it_names(operator: APIClient, charset: str) -> None:
    response = post_form(operator, b"--x--\r\n", f"multipart/form-data; boundary=x; charset={charset}")
    assert (response.status_code, error_code(response)) == (422, "VALIDATION_ERROR")
    field = 'Content-Disposition: form-data; name="sch\u00f6n"\r\n\r\n1\r\n'.encode()
    response = post_form(
        operator, b"--x\r\n" + field + b"--x--\r\n", f"multipart/form-data; boundary=x; charset={charset}"
    )
    assert response.json()["error"]["details"][0]["field"] == "sch\u00f6n"


@pytest.mark.parametrize("name", ["../../x", "a\x00b", "x" * 5_000, "..", "C:\\x", "ф.tar.gz"])
def test_the_name_of_the_file_means_nothing(operator: APIClient, name: str) -> None:
    body = PART.replace(b"b.tar.gz", name.encode()) + b"\r\nbytes\r\n--x--\r\n"
    response = post_form(operator, body)
    assert error_code(response) in ("VALIDATION_ERROR", "MALFORMED_REQUEST")


def test_another_media_type(operator: APIClient) -> None:
    for content_type in ("application/json", "application/x-www-form-urlencoded", "application/gzip", ""):
        response = post_form(operator, b"{}", content_type)
        assert (response.status_code, error_code(response)) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert "multipart/form-data" in response.json()["error"]["message"]


def test_a_full_disk(operator: APIClient, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path / "nowhere")
    response = upload(operator)
    assert (response.status_code, error_code(response)) == (503, "STORAGE_UNAVAILABLE")
    assert int(response["Retry-After"]) >= 1
    assert "temporary files" in caplog.text
