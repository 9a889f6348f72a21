"""Drafts: made, made again, changed and deleted by the services."""

import uuid
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from pytest_django import Settings

from config import limits
from config.errors import ErrorCode
from courses.models import Chapter
from storage.artifacts import artifact_exists, open_artifact
from tests.races import in_thread, wait_until_blocked
from updates.bundles.base import Bundle
from updates.models import BundleRelease, ReleaseEvent
from updates.services.drafts import Draft, ReleaseOptions, delete_draft, update_draft
from updates.services.publication import publish_releases, withdraw_releases
from updates.services.registrations import register_draft
from updates.services.stored_bytes import holding_key
from updates.services.uploads import upload_draft
from updates.tests.archives import packed, with_manifest
from updates.tests.shelf import (
    APP,
    SOMEBODY,
    a_bundle,
    chapter_scope,
    draft,
    outcomes,
    publish,
    published,
    refused,
)

pytestmark = pytest.mark.django_db

ELSEWHERE: dict[str, Any] = {
    "bundle_type": "experts",
    "scope_id": "alpha",
    "version": "1.0.0",
    "sha256": "a" * 64,
    "size_bytes": 5,
    "manifest": {"required_experts": []},
    "external_url": "https://cdn.example.org/bundle.tar.gz",
    "principal": SOMEBODY,
}


def upload(bundle: Bundle, scope: tuple[str, str] = APP, version: str = "1.0.0", **options: Any) -> Draft:
    return upload_draft(
        file=bundle.file,
        bundle_type=scope[0],
        scope_id=scope[1],
        version=version,
        principal=SOMEBODY,
        options=ReleaseOptions(**options),
    )


def test_a_draft_has_the_hash_and_size_of_what_lies_in_the_store() -> None:
    with a_bundle(APP) as bundle:
        made = upload(bundle)

    release = made.release
    assert (made.is_new, made.warnings) == (True, [])
    assert (release.state, release.sha256, release.size_bytes) == ("draft", bundle.sha256, bundle.size_bytes)
    with open_artifact(key=release.artifact_key) as file:
        assert len(file.read()) == release.size_bytes


def test_the_same_bytes_again_are_the_same_release() -> None:
    first = draft(APP)

    assert draft(APP).pk == first.pk
    publish(first)
    again = draft(APP)
    assert (again.pk, again.state) == (first.pk, "published")


@pytest.mark.parametrize("version", ["1.0.0-RC", "1.0.0-rc"])
def test_other_bytes_under_a_version_are_a_conflict(version: str) -> None:
    release = draft(APP, "1.0.0-rc")
    with (
        a_bundle(APP, version, files={"prompt.md": "Something else\n"}) as bundle,
        refused(ErrorCode.BUNDLE_RELEASE_CONFLICT),
    ):
        upload_draft(file=bundle.file, bundle_type=APP[0], scope_id=APP[1], version=version, principal=SOMEBODY)

    release.refresh_from_db()
    assert BundleRelease.objects.get().sha256 == release.sha256


def test_a_chapter_draft_belongs_to_its_chapter_and_takes_the_experts_of_its_manifest(chapter: Chapter) -> None:
    release = draft(chapter_scope(chapter), experts=("b_expert", "a_expert"))

    assert release.chapter == chapter
    assert release.required_experts == ["b_expert", "a_expert"]
    assert release.artifact_key == f"bundles/chapter/{chapter.course_id}/ch1_intro/1.0.0/bundle.tar.gz"
    assert artifact_exists(key=release.artifact_key)


def test_options_take_the_place_of_the_manifest(chapter: Chapter) -> None:
    release = draft(chapter_scope(chapter), experts=("b_expert",), required_experts=["mine"])

    assert release.required_experts == ["mine"]


def test_minimums_come_from_the_manifest_unless_others_are_asked_for() -> None:
    stated = {"min_desktop_version": "0.3.0", "chapter": {"min_sidecar_version": "0.2.0"}}
    taken = register_draft(**{**ELSEWHERE, "manifest": stated}).release
    asked = register_draft(
        **{**ELSEWHERE, "version": "2.0.0", "manifest": stated},
        options=ReleaseOptions(min_desktop_version="", min_sidecar_version="9.0.0"),
    ).release

    assert (taken.min_desktop_version, taken.min_sidecar_version) == ("0.3.0", "0.2.0")
    assert (asked.min_desktop_version, asked.min_sidecar_version) == ("", "9.0.0")


def test_other_bytes_under_a_draft_say_how_to_make_room() -> None:
    release = draft(APP)
    for state, words in (("draft", f"delete it ({release.pk})"), ("published", "use another version")):
        if state == "published":
            publish(release)
        with (
            a_bundle(APP, files={"prompt.md": "Better\n"}) as bundle,
            refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, words),
        ):
            upload(bundle)


def test_an_archive_without_files_and_experts_that_are_no_longer_needed_are_told(chapter: Chapter) -> None:
    with a_bundle(APP) as bundle:
        raw = packed(with_manifest({}))
        assert upload(Bundle(raw, "", 0, bundle.manifest)).warnings == ["The archive has no files but its manifest."]

    before = published(chapter_scope(chapter), experts=("alpha", "beta"))
    scope = chapter_scope(chapter)
    with a_bundle(scope, "2.0.0", experts=("beta",)) as bundle:
        made = upload(bundle, scope, "2.0.0")
    assert made.warnings == [f"It doesn't need these experts, which {before} needs: alpha."]


def test_what_lies_elsewhere_and_was_not_checked_is_told() -> None:
    assert register_draft(**ELSEWHERE).warnings == ["Nobody has fetched and checked what lies at its URL: verify it."]


def test_experts_have_a_number() -> None:
    many = [f"expert{number}" for number in range(limits.REQUIRED_EXPERTS_MAX)]
    assert len(register_draft(**{**ELSEWHERE, "manifest": {"required_experts": many}}).release.required_experts) == 100
    for wrong in ([*many, "another"], ["alpha", "alpha"]):
        with refused(ErrorCode.VALIDATION_ERROR):
            register_draft(**{**ELSEWHERE, "version": "2.0.0", "manifest": {"required_experts": wrong}})


def test_a_draft_that_is_older_than_a_rule_can_be_changed_but_not_published() -> None:
    release = draft(APP)
    BundleRelease.objects.filter(pk=release.pk).update(version="1.0")
    release.refresh_from_db()

    update_draft(release=release, changes={"rollout_basis_points": 500}, principal=SOMEBODY)
    with refused(ErrorCode.VALIDATION_ERROR, "version"):
        publish_releases(releases=[release], principal=SOMEBODY)


@pytest.mark.parametrize(
    ("scope", "version"),
    [
        (("app_agents", "other"), "1.0.0"),
        (("experts_shared", "core"), "1.0.0"),
        (("experts", "a/b"), "1.0.0"),
        (("experts", ".."), "1.0.0"),
        (("experts", "a b"), "1.0.0"),
        (("nonsense", "core"), "1.0.0"),
        (("chapter", "ch1_intro"), "1.0.0"),
        (("chapter", f"{uuid.uuid4()}/ch1_intro"), "1.0.0"),
        (APP, ".."),
        (APP, ""),
        (APP, "1.0 0"),
        (APP, "1" * 65),
        (APP, "1.0"),
        (APP, "v1.0.0"),
        (APP, "01.0.0"),
        (APP, "1.0.0+build"),
    ],
)
def test_scopes_and_versions_that_no_client_could_ask_for(scope: tuple[str, str], version: str) -> None:
    with a_bundle(scope, version) as bundle, refused(ErrorCode.VALIDATION_ERROR):
        upload_draft(file=bundle.file, bundle_type=scope[0], scope_id=scope[1], version=version, principal=SOMEBODY)

    assert not BundleRelease.objects.exists()


@pytest.mark.parametrize(
    "options",
    [
        {"min_desktop_version": "latest"},
        {"min_sidecar_version": "1.0"},
        {"rollout_basis_points": 10_001},
        {"rollout_basis_points": -1},
        {"required_experts": ["../x"]},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with a_bundle(APP) as bundle, refused(ErrorCode.VALIDATION_ERROR):
        upload_draft(
            file=bundle.file,
            bundle_type=APP[0],
            scope_id=APP[1],
            version="1.0.0",
            principal=SOMEBODY,
            options=ReleaseOptions(**options),
        )
    release = draft(APP)
    with refused(ErrorCode.VALIDATION_ERROR):
        update_draft(release=release, changes=options, principal=SOMEBODY)


def test_only_a_draft_can_be_changed() -> None:
    release = draft(APP)
    update_draft(release=release, changes={"rollout_basis_points": 500}, principal=SOMEBODY)
    release.refresh_from_db()
    assert release.rollout_basis_points == 500

    publish(release)

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        update_draft(release=release, changes={"rollout_basis_points": 900}, principal=SOMEBODY)
    release.refresh_from_db()
    assert release.rollout_basis_points == 500


@pytest.mark.django_db(transaction=True)
def test_a_deleted_draft_leaves_room_for_other_bytes() -> None:
    release = draft(APP)
    delete_draft(release=release, principal=SOMEBODY)
    assert not artifact_exists(key=release.artifact_key)

    with a_bundle(APP, files={"prompt.md": "Better\n"}) as bundle:
        again = upload(bundle).release

    publish(again)
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        delete_draft(release=again, principal=SOMEBODY)
    assert artifact_exists(key=again.artifact_key)


def test_the_same_bytes_again_keep_the_options_and_say_so() -> None:
    with a_bundle(APP) as bundle:
        upload(bundle, rollout_basis_points=500)
        again = upload(bundle, rollout_basis_points=900, is_mandatory=False)

    assert not again.is_new
    assert again.release.rollout_basis_points == 500
    assert again.warnings == ["It was there already, and keeps what it had: mandatory or not, rollout."]


def test_experts_without_a_published_release_are_a_warning_of_the_draft(chapter: Chapter) -> None:
    published(("experts", "alpha"))
    draft(("experts", "beta"))
    scope = chapter_scope(chapter)
    with a_bundle(scope, experts=("alpha", "beta", "gamma")) as bundle:
        made = upload(bundle, scope)

    assert made.warnings == ["Before it can be published, these experts need a published release: beta, gamma."]


def test_a_scope_of_another_course_is_a_warning_of_the_draft(chapter: Chapter) -> None:
    scope = chapter_scope(chapter)
    with a_bundle(("chapter", f"{uuid.uuid4()}/ch1_intro")) as bundle:
        made = upload(bundle, scope)

    assert made.release.scope_id == scope[1]
    assert len(made.warnings) == 1


def test_a_bad_archive_leaves_nothing(artifact_root: Path) -> None:
    with (
        a_bundle(("app_agents", "other")) as bundle,
        refused(ErrorCode.BUNDLE_INVALID, "scope_id"),
    ):
        upload(bundle)

    assert not BundleRelease.objects.exists()
    assert not list(artifact_root.rglob("*.gz"))


def test_an_upload_that_met_an_outage_can_be_repeated(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    root = settings.ARTIFACT_ROOT
    settings.ARTIFACT_ROOT = tmp_path / "file" / "artifacts"
    with a_bundle(APP) as bundle:
        with refused(ErrorCode.STORAGE_UNAVAILABLE):
            upload(bundle)
        assert not BundleRelease.objects.exists()

        settings.ARTIFACT_ROOT = root
        assert upload(bundle).is_new


def test_bytes_without_a_release_are_taken_over_when_they_are_the_same() -> None:
    release = draft(APP)
    BundleRelease.objects.all().delete()

    assert draft(APP).artifact_key == release.artifact_key


def test_other_bytes_without_a_release_are_left_alone_and_explained() -> None:
    draft(APP)
    BundleRelease.objects.all().delete()

    with (
        a_bundle(APP, files={"prompt.md": "Other\n"}) as bundle,
        refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "prune_artifacts"),
    ):
        upload(bundle)


def test_registering_bytes_that_lie_elsewhere() -> None:
    made = register_draft(**ELSEWHERE)

    assert (made.is_new, made.release.external_url) == (True, ELSEWHERE["external_url"])
    again = register_draft(**ELSEWHERE)
    assert (again.is_new, again.release.pk) == (False, made.release.pk)
    for other in ({"sha256": "b" * 64}, {"size_bytes": 6}, {"external_url": "https://cdn.example.org/other"}):
        with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
            register_draft(**{**ELSEWHERE, **other})


@pytest.mark.parametrize(
    "wrong",
    [
        {"sha256": "no hash"},
        {"sha256": "A" * 64},
        {"manifest": {"required_experts": 1}},
        {"manifest": {"min_desktop_version": "new"}},
        {"manifest": {"min_sidecar_version": 1}},
        {"external_url": "http://cdn.example.org/bundle.tar.gz"},
        {"external_url": "ftp://cdn.example.org/bundle.tar.gz"},
        {"external_url": "https://me:secret@cdn.example.org/bundle.tar.gz"},
        {"external_url": "bundles/x"},
        {"size_bytes": -1},
    ],
)
def test_what_can_not_be_registered(wrong: dict[str, Any]) -> None:
    with refused(ErrorCode.VALIDATION_ERROR):
        register_draft(**{**ELSEWHERE, **wrong})

    assert not BundleRelease.objects.exists()


# --- At the same moment -------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_uploads_under_one_version_one_wins() -> None:
    def upload_text(text: str) -> None:
        with a_bundle(APP, files={"prompt.md": text}) as bundle:
            upload(bundle)

    ended = outcomes(*(lambda text=text: upload_text(text) for text in ("a", "b", "b", "a")))

    assert sorted(ended) == ["BUNDLE_RELEASE_CONFLICT"] * 2 + ["done"] * 2
    publish(BundleRelease.objects.get())


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("what", ["renamed", "deleted"])
def test_a_chapter_that_changes_during_the_upload_is_a_conflict(chapter: Chapter, what: str) -> None:
    scope = chapter_scope(chapter)

    class Slow(BytesIO):
        """Changes the chapter when it is read for the first time: after the fields were checked."""

        def read(self, size: int | None = -1) -> bytes:
            chapters = Chapter.objects.filter(pk=chapter.pk)
            chapters.update(chapter_code="other") if what == "renamed" else chapters.delete()
            return super().read(size)

    with a_bundle(scope) as bundle, refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "got another code"):
        upload(Bundle(Slow(bundle.file.read()), "", 0, bundle.manifest), scope)

    assert not BundleRelease.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_chapter_is_not_renamed_beside_a_draft_that_is_being_made(chapter: Chapter) -> None:
    scope = chapter_scope(chapter)

    def rename() -> None:
        with pytest.raises(IntegrityError, match="can not change"):
            Chapter.objects.filter(pk=chapter.pk).update(chapter_code="other")

    with transaction.atomic():
        draft(scope)
        renaming = in_thread(rename)
        wait_until_blocked()
    renaming.result(20)


@pytest.mark.django_db(transaction=True)
def test_deleting_publishing_and_withdrawing_a_draft_at_once_ends_in_one_of_them() -> None:
    for number in range(12):
        release = draft(APP, f"1.0.{number}")
        page = BundleRelease.objects.get(pk=release.pk)

        ended = outcomes(
            lambda: delete_draft(release=page, principal=SOMEBODY),  # noqa: B023
            lambda: publish_releases(releases=[page], principal=SOMEBODY),  # noqa: B023
            *[lambda: withdraw_releases(releases=[page], principal=SOMEBODY)] * 3,  # noqa: B023
        )

        assert sorted(ended) == ["BUNDLE_RELEASE_CONFLICT"] * 4 + ["done"]
        assert ReleaseEvent.objects.filter(release_id=release.pk).exclude(refusal="").count() == 4
        assert artifact_exists(key=release.artifact_key) == (ended[1] == "done")


@pytest.mark.django_db(transaction=True)
def test_a_draft_that_is_deleted_while_it_is_uploaded_again_is_whole_or_gone() -> None:
    for _ in range(10):
        release = draft(APP)
        outcomes(lambda: draft(APP), lambda: delete_draft(release=release, principal=SOMEBODY))  # noqa: B023

        left = BundleRelease.objects.first()
        assert artifact_exists(key=release.artifact_key) == (left is not None)
        if left is not None:
            delete_draft(release=left, principal=SOMEBODY)


@pytest.mark.django_db(transaction=True)
def test_an_upload_waits_for_another_of_its_version_only_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARTIFACT_LOCK_WAIT_SECONDS", 0.3)
    with holding_key("bundles/app_agents/core/1.0.0/bundle.tar.gz"):
        other = in_thread(lambda: draft(APP, "2.0.0"))
        assert other.result(20).version == "2.0.0", "other versions don't wait"

        with refused(ErrorCode.SERVICE_UNAVAILABLE, "under way"):
            in_thread(lambda: draft(APP)).result(20)

    assert draft(APP).version == "1.0.0"
