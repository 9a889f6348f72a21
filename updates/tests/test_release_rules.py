"""The life cycle: what the services and the database refuse, and what happens at the same moment."""

import uuid
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone

from config.errors import ApiError, ErrorCode
from courses.models import Chapter
from storage.artifacts import artifact_exists, delete_artifact
from tests.cast import Actor
from tests.races import run_at_once
from updates.models import BundleRelease
from updates.services import (
    ReleaseOptions,
    create_draft,
    delete_draft,
    publish_releases,
    update_draft,
    upload_draft,
    withdraw_releases,
)
from updates.tests.shelf import APP, SHARED, a_bundle, chapter_scope, draft, publish, published, withdraw

pytestmark = pytest.mark.django_db


def refused(code: ErrorCode) -> Any:
    return pytest.raises(ApiError, check=lambda error: error.code is code)


# --- What the database refuses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [{"sha256": "b" * 64}, {"size_bytes": 1}, {"version": "1.0.1"}, {"scope_id": "other"}, {"bundle_type": "experts"}],
)
@pytest.mark.parametrize("withdrawn", [False, True])
def test_the_bytes_of_a_published_version_never_change(change: dict[str, Any], withdrawn: bool) -> None:
    release = published(APP)
    if withdrawn:
        withdraw(release)

    with pytest.raises(IntegrityError, match="can not change"), transaction.atomic():
        BundleRelease.objects.filter(pk=release.pk).update(**change)

    with pytest.raises(IntegrityError, match="can not be deleted"), transaction.atomic():
        BundleRelease.objects.filter(pk=release.pk).delete()
    with pytest.raises(IntegrityError, match="can not change"), transaction.atomic():
        BundleRelease.objects.filter(pk=release.pk).update(first_published_at=None)


def test_a_draft_may_be_changed_and_deleted() -> None:
    release = draft(APP)

    assert BundleRelease.objects.filter(pk=release.pk).update(size_bytes=1) == 1
    assert BundleRelease.objects.filter(pk=release.pk).delete()[0] == 1


def test_a_chapter_with_releases_can_not_be_deleted(chapter: Chapter) -> None:
    draft(chapter_scope(chapter))

    with pytest.raises(DatabaseError), transaction.atomic():
        chapter.delete()


# --- Drafts -----------------------------------------------------------------------------------------------------


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
        upload_draft(bundle=bundle, bundle_type=APP[0], scope_id=APP[1], version=version, actor=None)

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
    ],
)
def test_scopes_and_versions_that_no_client_could_ask_for(scope: tuple[str, str], version: str) -> None:
    with a_bundle(scope, version) as bundle, refused(ErrorCode.VALIDATION_ERROR):
        upload_draft(bundle=bundle, bundle_type=scope[0], scope_id=scope[1], version=version, actor=None)

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
            bundle=bundle,
            bundle_type=APP[0],
            scope_id=APP[1],
            version="1.0.0",
            actor=None,
            options=ReleaseOptions(**options),
        )
    release = draft(APP)
    with refused(ErrorCode.VALIDATION_ERROR):
        update_draft(release=release, changes=options, actor=None)


def test_only_a_draft_can_be_changed() -> None:
    release = draft(APP)
    update_draft(release=release, changes={"rollout_basis_points": 500}, actor=None)
    release.refresh_from_db()
    assert release.rollout_basis_points == 500

    publish(release)

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        update_draft(release=release, changes={"rollout_basis_points": 900}, actor=None)
    release.refresh_from_db()
    assert release.rollout_basis_points == 500


@pytest.mark.django_db(transaction=True)
def test_a_deleted_draft_leaves_room_for_other_bytes() -> None:
    release = draft(APP)
    delete_draft(release=release, actor=None)
    assert not artifact_exists(key=release.artifact_key)

    with a_bundle(APP, files={"prompt.md": "Better\n"}) as bundle:
        again = upload_draft(bundle=bundle, bundle_type=APP[0], scope_id=APP[1], version="1.0.0", actor=None)

    publish(again)
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        delete_draft(release=again, actor=None)
    assert artifact_exists(key=again.artifact_key)


# --- Publishing and withdrawing ---------------------------------------------------------------------------------


def test_published_together_share_a_cohort_and_a_republication_draws_another() -> None:
    first, second, third = draft(APP), draft(SHARED), draft(("experts", "alpha"))
    publish(first, second)
    publish(third)
    assert first.cohort_key == second.cohort_key != third.cohort_key

    before = first.cohort_key
    withdraw(first)
    publish(first)

    assert first.cohort_key != before
    second.refresh_from_db()
    assert second.cohort_key == before


def test_publications_are_in_strict_order_and_the_first_one_is_remembered() -> None:
    releases = [draft(APP, f"1.{minor}.0") for minor in range(3)]
    publish(*releases)
    times = [release.published_at for release in releases]
    assert all(times)
    assert sorted(set(times)) == times  # type: ignore[type-var]
    assert [release.first_published_at for release in releases] == times

    withdraw(releases[0])
    publish(releases[0])

    assert releases[0].published_at > times[2]  # type: ignore[operator]
    assert releases[0].first_published_at == times[0]
    assert releases[0].withdrawn_at is None


def test_a_publication_comes_after_one_by_a_server_whose_clock_is_fast() -> None:
    fast, release = published(APP, "1.0.0"), draft(APP, "2.0.0")
    BundleRelease.objects.filter(pk=fast.pk).update(published_at=timezone.now() + timedelta(hours=1))
    fast.refresh_from_db()

    publish(release)

    assert release.published_at > fast.published_at  # type: ignore[operator]


def test_all_of_an_act_or_nothing() -> None:
    new, old = draft(APP, "2.0.0"), published(APP, "1.0.0")

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        publish_releases(releases=[new, old], actor=None)
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        withdraw_releases(releases=[old, new], actor=None)

    new.refresh_from_db()
    old.refresh_from_db()
    assert (new.state, old.state) == ("draft", "published")


def test_bytes_that_are_missing_are_not_published() -> None:
    release = draft(APP)
    delete_artifact(key=release.artifact_key)

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        publish_releases(releases=[release], actor=None)

    assert draft(APP).pk == release.pk, "the same upload puts them back"
    publish(release)
    assert release.state == "published"


def test_the_audit_says_who_did_what(staff: Actor) -> None:
    with a_bundle(APP) as bundle:
        release = upload_draft(bundle=bundle, bundle_type=APP[0], scope_id=APP[1], version="1.0.0", actor=staff.user)
    update_draft(release=release, changes={"rollout_basis_points": 100}, actor=staff.user)
    publish_releases(releases=[release], actor=staff.user)
    withdraw_releases(releases=[release], actor=staff.user)
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        withdraw_releases(releases=[release], actor=staff.user)

    entries = LogEntry.objects.filter(object_id=str(release.pk)).order_by("pk")

    assert {entry.user_id for entry in entries} == {staff.user.pk}
    assert [entry.change_message.partition(":")[0] for entry in entries] == [
        "Made the draft",
        "Changed rollout_basis_points",
        "Published.",
        "Withdrawn.",
    ]
    assert "10000 → 100" in entries[1].change_message


# --- At the same moment -----------------------------------------------------------------------------------------


def outcomes(*acts: Any) -> list[str]:
    """Run the acts at the same moment, each in a thread of its own; say how each ended."""

    def run(act: Any) -> str:
        try:
            act()
        except ApiError as error:
            return str(error.code)
        return "done"

    return run_at_once(*(partial(run, act) for act in acts))


@pytest.mark.django_db(transaction=True)
def test_of_many_publications_of_one_release_one_wins() -> None:
    release = draft(APP)

    ended = outcomes(*[lambda: publish_releases(releases=[release], actor=None)] * 6)

    assert sorted(ended) == ["BUNDLE_RELEASE_CONFLICT"] * 5 + ["done"]


@pytest.mark.django_db(transaction=True)
def test_acts_on_many_releases_in_any_order_never_wait_for_each_other() -> None:
    releases = [published(("experts", f"expert{number}")) for number in range(4)]
    for _ in range(5):
        ended = outcomes(
            lambda: withdraw_releases(releases=releases, actor=None),
            lambda: withdraw_releases(releases=releases[::-1], actor=None),
            *(lambda release=release: withdraw_releases(releases=[release], actor=None) for release in releases),
        )
        assert set(ended) <= {"done", "BUNDLE_RELEASE_CONFLICT"}
        assert not BundleRelease.objects.filter(state="published").exists()
        ended = outcomes(
            lambda: publish_releases(releases=releases, actor=None),
            lambda: publish_releases(releases=releases[::-1], actor=None),
        )
        assert sorted(ended) == ["BUNDLE_RELEASE_CONFLICT", "done"]


@pytest.mark.django_db(transaction=True)
def test_of_two_uploads_under_one_version_one_wins() -> None:
    def upload(text: str) -> None:
        with a_bundle(APP, files={"prompt.md": text}) as bundle:
            upload_draft(bundle=bundle, bundle_type=APP[0], scope_id=APP[1], version="1.0.0", actor=None)

    ended = outcomes(*(lambda text=text: upload(text) for text in ("a", "b", "b", "a")))

    assert sorted(ended) == ["BUNDLE_RELEASE_CONFLICT"] * 2 + ["done"] * 2
    publish(BundleRelease.objects.get())


def test_registering_bytes_that_lie_elsewhere() -> None:
    fields: dict[str, Any] = {
        "bundle_type": "experts",
        "scope_id": "alpha",
        "version": "1.0.0",
        "size_bytes": 5,
        "manifest": {"required_experts": []},
        "external_url": "https://cdn.example.org/bundle.tar.gz",
        "actor": None,
    }
    release = create_draft(sha256="a" * 64, **fields)
    assert create_draft(sha256="a" * 64, **fields).pk == release.pk
    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        create_draft(sha256="b" * 64, **fields)
    with refused(ErrorCode.VALIDATION_ERROR):
        create_draft(sha256="no hash", **fields)
    with refused(ErrorCode.VALIDATION_ERROR):
        create_draft(sha256="a" * 64, **{**fields, "manifest": {"required_experts": 1}})
