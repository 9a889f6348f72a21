"""From a release to its bytes, through both rooms: which learner gets which artifact, and by which names."""

import hashlib
from io import StringIO
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.management import call_command
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from courses.models import Chapter, Course, Enrollment
from tests.cast import Actor, error_code, make_actor
from updates.models import BundleRelease
from updates.principals import command
from updates.services.publication import withdraw_releases

RESOLVE = "/v1/oss/resolve-artifact-url"
CREDENTIALS = "/v1/oss/download-credentials"


@pytest.fixture(params=["bundles/", "prod/content/"])
def soc101(request: pytest.FixtureRequest, settings: Settings, db: None) -> Course:
    """The seed data, under the usual prefix and under another."""
    settings.OSS_BUNDLE_PREFIX = request.param
    call_command("seed_data", stdout=StringIO())
    return Course.objects.get()


@pytest.fixture
def student(soc101: Course) -> Actor:
    actor = make_actor("student")
    Enrollment.objects.create(user=actor.user, course=soc101)
    return actor


def names_of(release: BundleRelease) -> list[str]:
    """Return every name by which a client may ask for the chapter's archive."""
    chapter: Chapter | None = release.chapter
    assert chapter is not None
    scopes = (f"{chapter.course_id}/{chapter.chapter_code}", str(chapter.pk))
    return [release.artifact_key, *(f"bundles/chapter/{scope}/{release.version}/bundle.tar.gz" for scope in scopes)]


def resolve(actor: Actor, artifact: str) -> Any:
    return actor.post(RESOLVE, {"artifact": artifact})


def test_a_chapters_archive_by_all_its_names(student: Actor, api: APIClient) -> None:
    release = BundleRelease.objects.get(bundle_type="chapter")
    for name in names_of(release):
        url = urlsplit(resolve(student, name).json()["artifact_url"])
        content = b"".join(api.get(f"{url.path}?{url.query}"))
        assert hashlib.sha256(content).hexdigest() == release.sha256


def test_the_experts_of_the_chapter_and_the_apps_own_bundles(student: Actor, outsider: Actor) -> None:
    for release in BundleRelease.objects.all():
        assert resolve(student, release.artifact_key).status_code == 200
        allowed = release.bundle_type in ("app_agents", "experts_shared")
        assert resolve(outsider, release.artifact_key).status_code == (200 if allowed else 403)


def test_an_outsider_gets_it_by_no_name(soc101: Course, outsider: Actor) -> None:
    for name in names_of(BundleRelease.objects.get(bundle_type="chapter")):
        response = resolve(outsider, name)
        assert response.status_code == 403
        assert error_code(response) == "ARTIFACT_ACCESS_DENIED"


def test_a_withdrawn_release_is_nobodys(student: Actor, django_capture_on_commit_callbacks: Any) -> None:
    release = BundleRelease.objects.get(bundle_type="chapter")
    with django_capture_on_commit_callbacks(execute=True):
        withdraw_releases(releases=[release], principal=command("test"))
    assert error_code(resolve(student, release.artifact_key)) == "ARTIFACT_ACCESS_DENIED"


@pytest.fixture
def oss(settings: Settings) -> None:
    """OSS without a role: prefixes are answered, credentials are null. Signing needs no network."""
    settings.OSS_ENABLED = True
    settings.OSS_ENDPOINT, settings.OSS_BUCKET_NAME, settings.OSS_REGION_ID = "oss.example.com", "bucket", "cn-test"
    settings.OSS_ACCESS_KEY_ID, settings.OSS_ACCESS_KEY_SECRET = "id", "secret"


def test_the_literal_prefix_of_an_install_becomes_the_real_one(student: Actor, oss: None) -> None:
    release = BundleRelease.objects.get(bundle_type="chapter")
    for name in names_of(release):
        asked = name.removesuffix("bundle.tar.gz")
        body = student.post(CREDENTIALS, {"allowed_prefixes": [asked]}).json()
        assert body["allowed_prefixes"] == [release.artifact_key.removesuffix("bundle.tar.gz")]
        assert body["access_key_id"] is body["security_token"] is body["expiration"] is None


def test_without_prefixes_it_is_all_that_the_learner_may_have(student: Actor, outsider: Actor, oss: None) -> None:
    mine = student.post(CREDENTIALS, {}).json()["allowed_prefixes"]
    assert len(mine) == 5
    others = outsider.post(CREDENTIALS, {}).json()["allowed_prefixes"]
    assert len(others) == 2
    assert set(others) < set(mine)


@pytest.mark.parametrize("prefix", ["", "/", "..", "bundles/../", "oss://other/bundles/", "secret/", "bundles/chap"])
def test_nothing_wider(student: Actor, oss: None, prefix: str) -> None:
    response = student.post(CREDENTIALS, {"allowed_prefixes": [prefix]})
    assert response.status_code == 403
    assert error_code(response) == "ARTIFACT_ACCESS_DENIED"
