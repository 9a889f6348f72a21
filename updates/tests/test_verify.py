import gzip
import hashlib
import io
import os
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from accounts.models import User
from config.errors import ApiError, ErrorCode
from courses.models import Chapter
from tests.cast import make_actor
from updates.models import BundleRelease, ReleaseEvent
from updates.principals import person
from updates.services.drafts import ReleaseOptions, delete_draft
from updates.services.registrations import register_draft
from updates.services.verification import verify_release
from updates.tests.mirror import Mirror, mirror_on_campus, ok
from updates.tests.shelf import APP, SOMEBODY, a_bundle, chapter_scope, publish, published, refused

pytestmark = pytest.mark.django_db


@pytest.fixture
def mirror(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    with mirror_on_campus(settings, monkeypatch, tmp_path) as mirror:
        yield mirror


def elsewhere(
    mirror: Mirror,
    scope: tuple[str, str] = APP,
    *,
    experts: tuple[str, ...] = (),
    manifest: dict[str, Any] | None = None,
    options: ReleaseOptions | None = None,
    **wrong: Any,
) -> BundleRelease:
    """The draft of an archive on the mirror, registered without its manifest; `wrong` fields replace the true ones."""
    with a_bundle(scope, experts=experts) as bundle:
        body = bundle.file.read()
    mirror.answers["/bundle"] = ok(body)
    truth = {"sha256": hashlib.sha256(body).hexdigest(), "size_bytes": len(body)}
    return register_draft(
        bundle_type=scope[0],
        scope_id=scope[1],
        version="1.0.0",
        external_url=mirror.url("/bundle"),
        manifest=manifest or {},
        principal=SOMEBODY,
        options=options,
        **{**truth, **wrong},
    ).release


def last_event() -> ReleaseEvent:
    return ReleaseEvent.objects.latest("pk")


def test_bytes_elsewhere_are_fetched_and_found_right(mirror: Mirror) -> None:
    release = elsewhere(mirror)
    began = timezone.now()

    verified = verify_release(release=release, principal=SOMEBODY)

    row = BundleRelease.objects.get(pk=release.pk)
    assert row.verified_at is not None
    assert began < row.verified_at < timezone.now()
    assert verified.verified_at == row.verified_at
    event = last_event()
    assert (event.action, event.refusal, event.release) == ("verified", "", release)
    assert event.changes == {"verified_at": [None, row.verified_at.isoformat()]}


def test_our_own_bytes_are_verified_as_well(artifact_root: Path) -> None:
    release = published(APP)
    assert verify_release(release=release, principal=SOMEBODY).verified_at is not None

    stored = artifact_root / release.artifact_key
    stored.write_bytes(stored.read_bytes()[:-1] + b"?")
    with refused(ErrorCode.BUNDLE_INVALID, "SHA-256"):
        verify_release(release=release, principal=SOMEBODY)

    stored.unlink()
    with refused(ErrorCode.BUNDLE_INVALID, "not in the artifact store"):
        verify_release(release=release, principal=SOMEBODY)
    assert last_event().refusal == "The bytes of app_agents/core 1.0.0 are not in the artifact store."


def test_a_draft_without_a_manifest_takes_that_of_the_archive(mirror: Mirror, chapter: Chapter) -> None:
    release = elsewhere(mirror, chapter_scope(chapter), experts=("data_inspector",))
    assert (release.manifest, release.required_experts) == ({}, [])

    verified = verify_release(release=release, principal=SOMEBODY)

    row = BundleRelease.objects.get(pk=release.pk)
    assert row.manifest["format_version"] == "bundle-v2"
    assert row.manifest == verified.manifest
    assert row.required_experts == ["data_inspector"]
    event = last_event()
    assert event.changes["required_experts"] == [[], ["data_inspector"]]
    assert event.notices == ["The draft had no manifest, and has that of its archive now."]


def test_experts_that_were_asked_for_stay(mirror: Mirror, chapter: Chapter) -> None:
    release = elsewhere(
        mirror,
        chapter_scope(chapter),
        experts=("data_inspector",),
        options=ReleaseOptions(required_experts=["another"]),
    )
    assert verify_release(release=release, principal=SOMEBODY).required_experts == ["another"]


def test_what_is_published_keeps_its_manifest_and_experts(mirror: Mirror, chapter: Chapter) -> None:
    release = elsewhere(mirror, chapter_scope(chapter), experts=("data_inspector",))
    publish(release)

    verified = verify_release(release=release, principal=SOMEBODY)

    assert verified.verified_at is not None
    row = BundleRelease.objects.get(pk=release.pk)
    assert (row.state, row.manifest, row.required_experts) == ("published", {}, [])
    assert "not the one in the archive" in last_event().notices[0]


def test_another_manifest_than_the_registered_one_is_told(mirror: Mirror) -> None:
    release = elsewhere(mirror, manifest={"format_version": "bundle-v2"})
    assert verify_release(release=release, principal=SOMEBODY).manifest == {"format_version": "bundle-v2"}
    assert "not the one in the archive" in last_event().notices[0]


def test_again_gives_a_later_time(mirror: Mirror) -> None:
    release = elsewhere(mirror)
    first, second = (verify_release(release=release, principal=SOMEBODY).verified_at for _ in range(2))
    assert first is not None
    assert second is not None
    assert first < second


# --- What differs --------------------------------------------------------------------------------------------------


def assert_invalid(release: BundleRelease, words: str) -> ApiError:
    with pytest.raises(ApiError) as refusal:
        verify_release(release=release, principal=SOMEBODY)
    assert refusal.value.code is ErrorCode.BUNDLE_INVALID
    assert words in refusal.value.message
    assert BundleRelease.objects.get(pk=release.pk).verified_at is None
    event = last_event()
    assert (event.action, event.refusal, event.release) == ("verified", refusal.value.message, release)
    return refusal.value


def test_another_hash_is_named(mirror: Mirror) -> None:
    release = elsewhere(mirror, sha256="0" * 64)
    error = assert_invalid(release, f"that of app_agents/core 1.0.0 is {'0' * 64}")
    assert error.message.startswith("The SHA-256 is ")


@pytest.mark.parametrize("by", [-1, 1, 10**6])
@pytest.mark.parametrize("announced", [True, False], ids=["announced", "not announced"])
def test_another_size_is_named(mirror: Mirror, by: int, announced: bool) -> None:
    release = elsewhere(mirror)
    BundleRelease.objects.filter(pk=release.pk).update(size_bytes=release.size_bytes + by)
    release.refresh_from_db()
    if not announced:
        mirror.answers["/bundle"] = without_length(mirror)
    assert_invalid(release, f"{release.size_bytes:,}")


def without_length(mirror: Mirror) -> bytes:
    reply = mirror.answers["/bundle"]
    assert isinstance(reply, bytes)
    head, _, body = reply.partition(b"\r\n\r\n")
    return head.partition(b"\r\n")[0] + b"\r\nConnection: close\r\n\r\n" + body


def test_a_longer_body_is_left_at_its_first_byte_too_many(mirror: Mirror) -> None:
    release = elsewhere(mirror)
    sent, ended = [0], threading.Event()

    def without_end(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while sent[0] < 1024 * 1024 * 1024:
                sent[0] += connection.send(b"x" * 65_536)
        finally:
            ended.set()

    mirror.answers["/bundle"] = without_end
    assert_invalid(release, "more than")
    assert ended.wait(10)
    assert sent[0] < 64 * 1024 * 1024


def test_a_body_that_breaks_off_is_unreachable(mirror: Mirror) -> None:
    release = elsewhere(mirror)
    reply = mirror.answers["/bundle"]
    assert isinstance(reply, bytes)
    mirror.answers["/bundle"] = reply[:-10]
    with refused(ErrorCode.ARTIFACT_UNREACHABLE, "localhost"):
        verify_release(release=release, principal=SOMEBODY)
    event = last_event()
    assert (event.action, event.release) == ("verified", release)
    assert event.refusal.startswith("localhost: ")


def test_the_right_bytes_that_are_no_bundle_are_refused(mirror: Mirror) -> None:
    body = gzip.compress(os.urandom(10_000))
    release = elsewhere(mirror, sha256=hashlib.sha256(body).hexdigest(), size_bytes=len(body))
    mirror.answers["/bundle"] = ok(body)
    error = assert_invalid(release, "")
    assert error.details


def test_the_bundle_of_another_release_is_refused(mirror: Mirror) -> None:
    release = elsewhere(mirror)
    BundleRelease.objects.filter(pk=release.pk).update(version="2.0.0")
    release.refresh_from_db()
    assert_invalid(release, "version")


def test_more_than_a_bundle_may_have_is_not_fetched(mirror: Mirror) -> None:
    release = elsewhere(mirror, size_bytes=2**40)
    assert_invalid(release, "bytes that a bundle may have")
    assert mirror.connections == 0


def test_a_full_disk_is_told_as_such(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    release = elsewhere(mirror)
    monkeypatch.setattr(
        "updates.services.verification.tempfile.TemporaryFile", lambda: io.BufferedRandom(io.FileIO("/dev/full", "r+"))
    )
    with refused(ErrorCode.STORAGE_UNAVAILABLE, "no room"):
        verify_release(release=release, principal=SOMEBODY)


# --- Meanwhile -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_the_bytes_are_fetched(mirror: Mirror) -> None:
    release = elsewhere(mirror)
    reply = mirror.answers["/bundle"]
    assert isinstance(reply, bytes)
    ours, seen = connections["default"], []

    def look(connection: ssl.SSLSocket) -> None:
        seen.append(ours.in_atomic_block)
        connection.sendall(reply)

    mirror.answers["/bundle"] = look
    verify_release(release=release, principal=SOMEBODY)
    assert seen == [False]


@pytest.mark.django_db(transaction=True)
def test_a_draft_that_is_deleted_meanwhile_is_told(mirror: Mirror) -> None:
    release = elsewhere(mirror)
    reply = mirror.answers["/bundle"]
    assert isinstance(reply, bytes)

    def delete(connection: ssl.SSLSocket) -> None:
        try:
            delete_draft(release=BundleRelease.objects.get(pk=release.pk), principal=SOMEBODY)
        finally:
            connections.close_all()
        connection.sendall(reply)

    mirror.answers["/bundle"] = delete
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "deletes or replaces meanwhile"):
        verify_release(release=release, principal=SOMEBODY)
    event = last_event()
    assert (event.action, event.release_id) == ("verified", release.pk)
    assert event.refusal


# --- Who may -------------------------------------------------------------------------------------------------------


def member(name: str, *permissions: str) -> User:
    user = make_actor(name, is_staff=True).user
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


def test_who_may_make_drafts_may_verify(mirror: Mirror) -> None:
    release = elsewhere(mirror)
    reader = person(member("reader", "view_bundlerelease"))
    with refused(ErrorCode.FORBIDDEN):
        verify_release(release=release, principal=reader)
    assert mirror.connections == 0

    author = person(member("author", "add_bundlerelease"))
    assert verify_release(release=release, principal=author).verified_at is not None
    assert last_event().user == author.user
