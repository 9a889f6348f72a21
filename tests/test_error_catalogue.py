"""Every code of the catalogue is produced once through HTTP, with its status."""

from collections.abc import Callable
from datetime import timedelta
from io import BytesIO, StringIO
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from rest_framework.test import APIClient

from accounts.models import DeviceSession, EmailVerificationCode
from accounts.slots import mail_slot
from config import limits
from config.errors import ErrorCode
from courses.models import Chapter, Course
from storage.artifacts import artifact_exists, artifact_url, store_artifact
from tests.cast import PASSWORD, Actor, error_code
from tests.live import free_port
from updates.models import BundleRelease
from updates.tests.pipelines import ADMIN_API_KEY, BUNDLES, client_of

pytestmark = pytest.mark.django_db


class Scene:
    """What a producer of an error may use."""

    def __init__(self, settings: Settings, monkeypatch: pytest.MonkeyPatch, learner: Actor, course: Course) -> None:
        self.settings = settings
        self.monkeypatch = monkeypatch
        self.learner = learner
        self.course = course
        self.nobody = APIClient(raise_request_exception=False)

    def post(self, path: str, body: Any) -> Any:
        return self.nobody.post(path, body, format="json")

    def register(self, code: str = "000000", email: str = "new@example.com") -> Any:
        fields = {"email": email, "verification_code": code, "password": "a good password", "device_id": "d"}
        return self.post("/v1/auth/register", fields)

    def ask(self, email: str = "new@example.com", purpose: str = "register") -> Any:
        return self.post("/v1/auth/request-email-code", {"email": email, "purpose": purpose})

    def login(self, **changes: str) -> Any:
        body = {"email": self.learner.user.email, "password": PASSWORD, "device_id": "d", **changes}
        return self.post("/v1/auth/login", body)

    def refresh(self, token: str = "", device_id: str = "learner-device") -> Any:
        body = {"refresh_token": token or self.learner.refresh_token, "device_id": device_id}
        return self.post("/v1/auth/refresh", body)

    def pipeline(self) -> APIClient:
        self.settings.ADMIN_API_KEY = ADMIN_API_KEY
        return client_of(ADMIN_API_KEY)

    def progress(self, **changes: Any) -> Any:
        body = {"course_id": str(self.course.pk), "chapter_id": "ch1_intro", "status": "IN_PROGRESS", **changes}
        return self.learner.post("/v1/progress/chapter", body)


def unauthorized(scene: Scene) -> Any:
    return scene.nobody.get("/v1/me")


def invalid_token(scene: Scene) -> Any:
    return scene.nobody.get("/v1/me", headers={"Authorization": "Bearer broken"})


def invalid_user(scene: Scene) -> Any:
    scene.learner.user.is_active = False
    scene.learner.user.save(update_fields=["is_active"])
    return scene.learner.get("/v1/me")


def email_already_registered(scene: Scene) -> Any:
    scene.settings.AUTH_CONCEAL_ACCOUNTS = False
    return scene.ask(scene.learner.user.email)


def user_not_found(scene: Scene) -> Any:
    scene.settings.AUTH_CONCEAL_ACCOUNTS = False
    return scene.login(email="nobody@example.com")


def verification_code_not_found(scene: Scene) -> Any:
    return scene.register()


def verification_code_expired(scene: Scene) -> Any:
    code = scene.ask().json()["dev_code"]
    EmailVerificationCode.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    return scene.register(code)


def invalid_verification_code(scene: Scene) -> Any:
    code = scene.ask().json()["dev_code"]
    return scene.register("999999" if code != "999999" else "888888")


def invalid_credentials(scene: Scene) -> Any:
    return scene.login(password="wrong password")


def unsupported_auth_flow(scene: Scene) -> Any:
    return scene.ask(purpose="login")


def invalid_refresh_token(scene: Scene) -> Any:
    return scene.refresh("never issued")


def device_mismatch(scene: Scene) -> Any:
    return scene.refresh(device_id="another")


def refresh_token_expired(scene: Scene) -> Any:
    DeviceSession.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    return scene.refresh()


def email_send_failed(scene: Scene) -> Any:
    scene.settings.EMAIL_SENDER_BACKEND = "smtp"
    scene.settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    scene.settings.EMAIL_HOST, scene.settings.EMAIL_PORT = "127.0.0.1", 1
    scene.settings.DEFAULT_FROM_EMAIL = "courses@example.com"
    return scene.ask()


def server_misconfigured(scene: Scene) -> Any:
    scene.settings.EMAIL_SENDER_BACKEND = "smtp"
    return scene.ask()


def too_many_requests(scene: Scene) -> Any:
    scene.ask()
    return scene.ask()


def course_not_found(scene: Scene) -> Any:
    Course.objects.update(is_active=False)
    return scene.learner.get(f"/v1/courses/{scene.course.pk}")


def course_access_denied(scene: Scene) -> Any:
    return scene.learner.get("/v1/courses/another")


def chapter_not_found(scene: Scene) -> Any:
    return scene.progress(chapter_id="nothing")


def validation_error(scene: Scene) -> Any:
    return scene.progress(status="DONE")


def malformed_request(scene: Scene) -> Any:
    client: Any = scene.nobody
    return client.generic("POST", "/v1/auth/login", b"{", "application/json")


def not_found(scene: Scene) -> Any:
    return scene.nobody.get("/v1/me/")


def method_not_allowed(scene: Scene) -> Any:
    return scene.nobody.put("/v1/me")


def unsupported_media_type(scene: Scene) -> Any:
    client: Any = scene.nobody
    return client.generic("POST", "/v1/auth/login", b"a=b", "text/plain")


def payload_too_large(scene: Scene) -> Any:
    events = [{"event_type": "x", "event_time": "2026-01-01T00:00:00Z"}] * (limits.EVENTS_PER_CALL_MAX + 1)
    return scene.learner.post("/v1/analytics/events:ingest", {"events": events})


def forbidden(scene: Scene) -> Any:
    """The admin's CSRF check is Django's; outside /admin/ its refusal has our shape."""
    scene.settings.ROOT_URLCONF = "tests.faulty_urls"
    return Client(enforce_csrf_checks=True).post("/form")


def artifact_access_denied(scene: Scene) -> Any:
    return scene.learner.post("/v1/oss/resolve-artifact-url", {"artifact": "bundles/not/yours/1/bundle.tar.gz"})


def range_not_satisfiable(scene: Scene) -> Any:
    key = "catalogue-test/bundle.tar.gz"
    if not artifact_exists(key=key):
        store_artifact(key=key, content=BytesIO(b"bytes"))
    url = artifact_url(key=key, base_url="http://testserver").removeprefix("http://testserver")
    return scene.nobody.get(url, headers={"Range": "bytes=100-"})


def storage_unavailable(scene: Scene) -> Any:
    """OSS at a port where nobody listens, asked for temporary credentials."""
    _seed()
    scene.settings.OSS_ENABLED = True
    for name, value in {
        "OSS_ENDPOINT": "oss.example.com",
        "OSS_BUCKET_NAME": "bucket",
        "OSS_REGION_ID": "cn-test",
        "OSS_ACCESS_KEY_ID": "id",
        "OSS_ACCESS_KEY_SECRET": "secret",
        "OSS_ROLE_ARN": "acs:ram::1:role/reader",
        "OSS_STS_ENDPOINT": "http://127.0.0.1:1",
    }.items():
        setattr(scene.settings, name, value)
    return scene.learner.post("/v1/oss/download-credentials", {})


def bundle_release_conflict(scene: Scene) -> Any:
    _seed()
    release = BundleRelease.objects.filter(state=BundleRelease.State.PUBLISHED).first()
    assert release
    return scene.pipeline().post(f"{BUNDLES}/{release.pk}/publish", {}, format="json")


def bundle_invalid(scene: Scene) -> Any:
    archive = SimpleUploadedFile("bundle.tar.gz", b"no archive")
    form = {"bundle_type": "app_agents", "scope_id": "core", "version": "1.0.0", "file": archive}
    return scene.pipeline().post(f"{BUNDLES}/upload", form, format="multipart")


def artifact_unreachable(scene: Scene) -> Any:
    """An archive at a port where nobody listens."""
    scene.settings.VERIFY_PRIVATE_HOSTS = frozenset({"localhost"})
    bundle = {
        "bundle_type": "app_agents",
        "scope_id": "core",
        "version": "1.0.0",
        "artifact_url": f"https://localhost:{free_port()}/bundle.tar.gz",
        "sha256": "a" * 64,
        "size_bytes": 1,
        "verify": True,
    }
    return scene.pipeline().post(f"{BUNDLES}/publish", bundle, format="json")


def internal_error(scene: Scene) -> Any:
    scene.settings.ROOT_URLCONF = "tests.faulty_urls"
    return scene.nobody.get("/bug")


def service_unavailable(scene: Scene) -> Any:
    scene.settings.WEB_CONCURRENCY = 2
    scene.monkeypatch.setattr(limits, "MAIL_SLOT_WAIT_SECONDS", 0.0)
    with mail_slot():
        return scene.ask()


def _seed() -> None:
    call_command("seed_data", stdout=StringIO())


OF_ONE_EVENT = {ErrorCode.EVENT_CONFLICT}
"""Codes that stand in the answer to a batch only, beside its other events: see telemetry/tests."""

PRODUCERS: list[Callable[[Scene], Any]] = [
    unauthorized,
    invalid_token,
    invalid_user,
    email_already_registered,
    user_not_found,
    verification_code_not_found,
    verification_code_expired,
    invalid_verification_code,
    invalid_credentials,
    unsupported_auth_flow,
    invalid_refresh_token,
    device_mismatch,
    refresh_token_expired,
    email_send_failed,
    server_misconfigured,
    too_many_requests,
    course_not_found,
    course_access_denied,
    chapter_not_found,
    validation_error,
    malformed_request,
    not_found,
    method_not_allowed,
    unsupported_media_type,
    payload_too_large,
    forbidden,
    artifact_access_denied,
    range_not_satisfiable,
    storage_unavailable,
    bundle_release_conflict,
    bundle_invalid,
    artifact_unreachable,
    internal_error,
    service_unavailable,
]


@pytest.mark.parametrize("produce", PRODUCERS, ids=lambda produce: produce.__name__)
def test_code_is_produced_with_its_status(
    produce: Callable[[Scene], Any],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    learner: Actor,
    course: Course,
    chapter: Chapter,
) -> None:
    response = produce(Scene(settings, monkeypatch, learner, course))
    code = ErrorCode[produce.__name__.upper()]
    assert error_code(response) == code
    assert response.status_code == code.status
    assert connection.is_usable()


def test_the_list_is_whole() -> None:
    assert {produce.__name__.upper() for produce in PRODUCERS} == set(ErrorCode) - OF_ONE_EVENT
