"""A build pipeline for tests: its credentials, and its calls."""

from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from rest_framework.test import APIClient

from accounts.models import User
from courses.models import Course
from tests.cast import Actor, make_actor
from updates.models import Ability, BundleRelease
from updates.principals import PERMISSIONS
from updates.services.tokens import create_token
from updates.tests.shelf import APP, a_bundle

BUNDLES: Final = "/v1/admin/bundles"
ADMIN_API_KEY: Final = "the-operators-key-of-the-tests-0123456789"

Scope = tuple[str, str]


def maker(name: str = "author", *abilities: str) -> Actor:
    """A member of the staff with the permissions for these abilities; none named: for all."""
    actor = make_actor(name, is_staff=True)
    codenames = [PERMISSIONS[ability].rpartition(".")[2] for ability in abilities or Ability.values]
    actor.user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return actor


def a_token(
    *abilities: str,
    created_by: User,
    name: str = "pipeline",
    expires_at: datetime | None = None,
    bundle_types: tuple[str, ...] = (),
    course: Course | None = None,
) -> str:
    """Make a token and return its secret; without abilities it has all."""
    return create_token(
        name=name,
        abilities=abilities or Ability.values,
        expires_at=expires_at or timezone.now() + timedelta(days=30),
        created_by=created_by,
        bundle_types=bundle_types,
        course=course,
    )[1]


def client_of(credential: str, header: str = "X-Admin-Key") -> APIClient:
    """A client that sends this credential with each call."""
    client = APIClient()
    if header == "Authorization":
        client.credentials(HTTP_AUTHORIZATION=f"Bearer {credential}")
    elif credential:
        client.credentials(HTTP_X_ADMIN_KEY=credential)
    return client


def archive_of(scope: Scope = APP, version: str = "1.0.0", **fields: Any) -> bytes:
    with a_bundle(scope, version, **fields) as bundle:
        return bundle.file.read()


def as_file(raw: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("bundle.tar.gz", raw, content_type="application/gzip")


def upload(
    client: APIClient, raw: bytes | None = None, scope: Scope = APP, version: str = "1.0.0", **fields: Any
) -> Any:
    """Upload an archive; without one, the least that the scope may have."""
    content = as_file(archive_of(scope, version) if raw is None else raw)
    form = {"bundle_type": scope[0], "scope_id": scope[1], "version": version, "file": content, **fields}
    return client.post(f"{BUNDLES}/upload", form, format="multipart")


def registration(scope: Scope = APP, version: str = "1.0.0", **fields: Any) -> dict[str, Any]:
    """What registers a release whose bytes lie elsewhere."""
    return {
        "bundle_type": scope[0],
        "scope_id": scope[1],
        "version": version,
        "artifact_url": f"https://cdn.example.com/{version}.tar.gz",
        "sha256": "a" * 64,
        "size_bytes": 1_000,
        **fields,
    }


def act(client: APIClient, release: BundleRelease | str, action: str, body: Any = None) -> Any:
    """Publish, withdraw, widen or verify a release; None is no body at all."""
    path = f"{BUNDLES}/{getattr(release, 'pk', release)}/{action}"
    return client.post(path) if body is None else client.post(path, body, format="json")


def state_of(release: BundleRelease) -> str:
    return BundleRelease.objects.values_list("state", flat=True).get(pk=release.pk)
