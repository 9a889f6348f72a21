"""Releases that lie elsewhere, of which staff give the address only: the archive there says what it is."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from config import limits
from config.errors import ErrorCode
from courses.models import Chapter, Course
from tests.cast import Actor
from updates.models import BundleRelease, ReleaseEvent
from updates.principals import person
from updates.services.registrations import register_archive
from updates.tests.archives import packed
from updates.tests.mirror import Mirror, answer, mirror_on_campus, ok, redirect
from updates.tests.shelf import APP, a_bundle, chapter_scope, draft, refused
from updates.tests.test_release_admin import FORM, LIST, member_of, plain, told

ADD = f"{LIST}add/?by=url"

pytestmark = pytest.mark.django_db


@pytest.fixture
def mirror(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mirror]:
    with mirror_on_campus(settings, monkeypatch, tmp_path) as mirror:
        yield mirror


def shelve(mirror: Mirror, scope: tuple[str, str] = APP, version: str = "7.7.7", **fields: Any) -> str:
    """Put an archive on the mirror; return its SHA-256."""
    with a_bundle(scope, version, **fields) as bundle:
        body = bundle.file.read()
    mirror.answers["/bundle"] = ok(body)
    return hashlib.sha256(body).hexdigest()


def register(page: Client, mirror: Mirror, url: str = "", **fields: str) -> Any:
    form = {**FORM, "external_url": url or mirror.url("/bundle"), "sha256": "", **fields}
    return page.post(ADD, form, follow=True)


def errors(page: Any) -> dict[str, list[str]]:
    assert not BundleRelease.objects.exists()
    return dict(page.context["adminform"].form.errors)


def test_the_address_is_all_that_is_asked(admin_page: Client, mirror: Mirror, staff: Actor) -> None:
    sha256 = shelve(mirror)
    assert (
        set(admin_page.get(ADD).context["adminform"].form.fields)
        & {
            "bundle_type",
            "scope_id",
            "version",
            "size_bytes",
        }
        == set()
    )

    page = register(admin_page, mirror, min_desktop_version="1.4.0")

    release = BundleRelease.objects.get()
    assert (release.bundle_type, release.scope_id, release.version) == (*APP, "7.7.7")
    assert (release.external_url, release.artifact_key) == (mirror.url("/bundle"), "")
    assert (release.sha256, release.state, release.created_by) == (sha256, "draft", staff.user)
    assert (release.size_bytes, release.min_desktop_version) == (len(_body(mirror)), "1.4.0")
    assert release.manifest["version"] == "7.7.7"
    assert release.verified_at is not None, "it was fetched and found right"
    assert "verify it" not in told(page)
    event = ReleaseEvent.objects.get()
    assert (event.action, event.release, event.user) == ("created", release, staff.user)
    assert "1 file" in plain(page)


def _body(mirror: Mirror) -> bytes:
    reply = mirror.answers["/bundle"]
    assert isinstance(reply, bytes)
    return reply.partition(b"\r\n\r\n")[2]


def test_a_chapter_is_found_by_its_manifest_or_chosen(admin_page: Client, mirror: Mirror, chapter: Chapter) -> None:
    shelve(mirror, ("chapter", "ch1_intro"))
    assert "Choose the chapter." in errors(register(admin_page, mirror))["chapter"][0]
    register(admin_page, mirror, chapter=str(chapter.pk))
    assert BundleRelease.objects.get().scope_id == chapter_scope(chapter)[1]

    shelve(mirror, ("chapter", "TST100/ch1_intro"), "7.7.8")
    register(admin_page, mirror)
    assert BundleRelease.objects.get(version="7.7.8").chapter == chapter


def test_the_same_again_is_nothing_new(admin_page: Client, mirror: Mirror) -> None:
    shelve(mirror)
    register(admin_page, mirror)

    assert "Nothing new" in told(register(admin_page, mirror))
    assert BundleRelease.objects.count() == 1


def test_other_bytes_under_a_version_are_refused(admin_page: Client, mirror: Mirror) -> None:
    draft(APP, "7.7.7")
    shelve(mirror)

    form = register(admin_page, mirror).context["adminform"].form

    assert "exists already with other bytes, or at another place" in form.non_field_errors()[0]
    assert ReleaseEvent.objects.latest("pk").refusal


def test_a_checksum_is_compared(admin_page: Client, mirror: Mirror) -> None:
    sha256 = shelve(mirror)

    wrong = errors(register(admin_page, mirror, sha256="A" * 64))
    assert wrong == {"external_url": [f"The archive there has the SHA-256 {sha256}, not {'a' * 64}."]}
    assert "has the SHA-256" in ReleaseEvent.objects.get().refusal

    assert set(errors(register(admin_page, mirror, sha256="a" * 63))) == {"sha256"}
    register(admin_page, mirror, sha256=f" {sha256.upper()} ")
    assert BundleRelease.objects.get().sha256 == sha256


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"no archive", "This is not a gzip file"),
        (packed({"readme.md": b"no manifest"}).getvalue(), "has no bundle.manifest.json at its root"),
        (packed({"bundle.manifest.json": b"{}"}).getvalue(), "bundle_type is missing"),
    ],
)
def test_what_is_no_bundle_is_told(admin_page: Client, mirror: Mirror, body: bytes, words: str) -> None:
    mirror.answers["/bundle"] = ok(body)

    assert words in " ".join(errors(register(admin_page, mirror))["external_url"])


def test_what_can_not_be_fetched_is_told(admin_page: Client, mirror: Mirror, settings: Settings) -> None:
    mirror.answers["/away"] = answer("503 Service Unavailable", "Content-Length: 0")
    mirror.answers["/inside"] = redirect("https://169.254.169.254/latest")
    plain_address = mirror.url("/bundle").replace("https", "http")
    with_password = mirror.url("/bundle").replace("https://", "https://me:secret@")
    for url, words in (
        (mirror.url("/away"), "answers with status 503"),
        (mirror.url("/inside"), "169.254.169.254 is not a public address"),
        (plain_address, "only https is fetched"),
        (with_password, "name or password"),
    ):
        assert words in errors(register(admin_page, mirror, url))["external_url"][0]

    settings.VERIFY_PRIVATE_HOSTS = frozenset()
    connections = mirror.connections
    assert "is not a public address" in errors(register(admin_page, mirror))["external_url"][0]
    assert mirror.connections == connections, "nothing is even asked"


@pytest.mark.parametrize("is_announced", [True, False])
def test_no_more_is_fetched_than_an_archive_may_have(
    admin_page: Client, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, is_announced: bool
) -> None:
    monkeypatch.setattr(limits, "BUNDLE_ARCHIVE_MAX_BYTES", 1_000)
    body = bytes(1_001)
    mirror.answers["/bundle"] = ok(body) if is_announced else answer("200 OK", "Connection: close", body=body)

    (error,) = errors(register(admin_page, mirror))["external_url"]

    assert ("1,001 bytes there; an archive may have 1,000" in error) == is_announced
    assert ("too large" in error) != is_announced


def test_an_author_registers_and_a_tester_makes_the_server_fetch_nothing(mirror: Mirror, course: Course) -> None:
    shelve(mirror)
    tester, actor = member_of("Testers")
    assert register(tester, mirror).status_code == 403
    assert mirror.connections == 0

    with refused(ErrorCode.FORBIDDEN):
        register_archive(external_url=mirror.url("/bundle"), principal=person(actor.user))
    assert mirror.connections == 0

    author, _ = member_of("Authors")
    register(author, mirror)
    assert BundleRelease.objects.get().version == "7.7.7"
