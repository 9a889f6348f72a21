"""Releases in the admin."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries, Settings

from courses.models import Chapter
from storage.artifacts import artifact_exists, open_artifact
from tests.cast import Actor, make_actor
from updates.models import BundleRelease
from updates.tests.shelf import APP, SHARED, a_bundle, chapter_scope, draft, published
from updates.tests.test_bundles import MANIFEST, packed

LIST = "/admin/updates/bundlerelease/"

pytestmark = pytest.mark.django_db

FORM = {
    "bundle_type": "app_agents",
    "chapter": "",
    "scope_id": "core",
    "version": "1.0.0",
    "is_mandatory": "on",
    "min_desktop_version": "",
    "min_sidecar_version": "",
    "rollout_basis_points": "10000",
    "publish_at_0": "",
    "publish_at_1": "",
}


def archive(raw: bytes) -> SimpleUploadedFile:
    return SimpleUploadedFile("bundle.tar.gz", raw, content_type="application/gzip")


def bundle_of(scope: tuple[str, str], version: str = "1.0.0", **fields: Any) -> bytes:
    with a_bundle(scope, version, **fields) as bundle:
        return bundle.file.read()


def upload(page: Client, raw: bytes, **fields: str) -> Any:
    return page.post(f"{LIST}add/", {**FORM, **fields, "archive": archive(raw)})


def act(page: Client, action: str, *releases: BundleRelease) -> str:
    """Run an action of the list; return the messages that it showed."""
    response = page.post(
        LIST, {"action": action, "_selected_action": [str(release.pk) for release in releases]}, follow=True
    )
    assert response.status_code == 200
    return " ".join(str(message) for message in response.context["messages"])


def test_the_list_shows_state_rollout_and_size(admin_page: Client) -> None:
    published(APP, rollout_basis_points=1_250)

    page = admin_page.get(LIST).content.decode()

    for text in ("App agents", "core", "1.0.0", "Published", "12.5 %", "bytes"):
        assert text in page


@pytest.mark.parametrize(
    ("query", "found"), [("q=alpha", 1), ("state__exact=published", 1), ("bundle_type__exact=experts", 1), ("q=", 2)]
)
def test_search_and_filters(admin_page: Client, query: str, found: int) -> None:
    draft(("experts", "alpha"))
    published(APP)

    response = admin_page.get(f"{LIST}?{query}")

    assert len(response.context["cl"].result_list) == found


def test_the_list_has_a_bounded_number_of_queries(
    admin_page: Client, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        draft(chapter_scope(chapter), f"1.{number}.0")
    admin_page.get(LIST)

    with django_assert_num_queries(4):  # session, user, count, page
        admin_page.get(LIST)


# --- Uploading --------------------------------------------------------------------------------------------------


def test_an_upload_makes_a_draft_with_our_own_hash_and_size(admin_page: Client, staff: Actor) -> None:
    raw = bundle_of(APP, experts=("alpha",))

    response = upload(admin_page, raw, min_desktop_version="0.3.0", rollout_basis_points="500")

    assert response.status_code == 302
    release = BundleRelease.objects.get()
    assert (release.state, release.created_by, release.size_bytes) == ("draft", staff.user, len(raw))
    assert (release.min_desktop_version, release.rollout_basis_points) == ("0.3.0", 500)
    assert release.required_experts == ["alpha"]
    assert release.artifact_key == "bundles/app_agents/core/1.0.0/bundle.tar.gz"
    with open_artifact(key=release.artifact_key) as file:
        assert file.read() == raw
    (entry,) = LogEntry.objects.all()
    assert (entry.user, entry.object_id) == (staff.user, str(release.pk))
    assert release.sha256 in entry.change_message


def test_the_scope_of_a_chapter_follows_from_the_chapter(admin_page: Client, chapter: Chapter) -> None:
    raw = bundle_of(("chapter", "ch1_intro"))

    assert upload(admin_page, raw, bundle_type="chapter", scope_id="", chapter=str(chapter.pk)).status_code == 302

    release = BundleRelease.objects.get()
    assert (release.scope_id, release.chapter) == (f"{chapter.course_id}/ch1_intro", chapter)


def test_a_chapter_is_found_by_its_course_code(admin_page: Client, chapter: Chapter) -> None:
    query = {"app_label": "updates", "model_name": "bundlerelease", "field_name": "chapter", "term": "tst100"}
    found = admin_page.get(reverse("admin:autocomplete"), query).json()["results"]
    assert {"id": str(chapter.pk), "text": "TST100 ch1_intro: Introduction"} in found


@pytest.mark.parametrize(
    ("raw", "fields", "message"),
    [
        (b"no archive", {}, "not a readable .tar.gz"),
        (packed({"a.md": b"a"}).getvalue(), {}, "no bundle.manifest.json"),
        (packed({"bundle.manifest.json": json.dumps(MANIFEST).encode()}).getvalue(), {"version": "2"}, "version is"),
        (packed({"bundle.manifest.json": json.dumps(MANIFEST).encode()}).getvalue(), {"scope_id": "x"}, "scope_id is"),
        (b"", {}, "empty"),
    ],
    ids=["no archive", "no manifest", "another version", "another scope", "empty"],
)
def test_a_bad_archive_is_an_error_of_the_form(
    admin_page: Client, artifact_root: Path, raw: bytes, fields: dict[str, str], message: str
) -> None:
    response = upload(admin_page, raw, **fields)

    assert response.status_code == 200
    assert message in " ".join(response.context["adminform"].form.errors["archive"])
    assert not BundleRelease.objects.exists()
    assert not list(artifact_root.rglob("*.gz"))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"scope_id": ""}, "scope_id"),
        ({"scope_id": "../core"}, "scope_id"),
        ({"scope_id": "a b"}, "scope_id"),
        ({"version": ""}, "version"),
        ({"version": ".."}, "version"),
        ({"bundle_type": "chapter"}, "scope_id"),
        ({"min_desktop_version": "new"}, "min_desktop_version"),
        ({"rollout_basis_points": "10001"}, "rollout_basis_points"),
    ],
)
def test_wrong_fields_are_errors_of_the_form(admin_page: Client, fields: dict[str, str], field: str) -> None:
    response = upload(admin_page, bundle_of(APP), **fields)

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert not BundleRelease.objects.exists()


def test_a_chapter_for_another_family_is_refused(admin_page: Client, chapter: Chapter) -> None:
    response = upload(admin_page, bundle_of(APP), chapter=str(chapter.pk))

    assert "any other release has none" in response.content.decode()
    assert not BundleRelease.objects.exists()


def test_a_version_that_exists_is_an_error_of_the_form(admin_page: Client) -> None:
    draft(APP, "1.0.0-rc")

    response = upload(admin_page, bundle_of(APP, "1.0.0-RC"), version="1.0.0-RC")

    assert response.status_code == 200
    assert "This version exists already" in response.content.decode()
    assert BundleRelease.objects.count() == 1


def test_other_bytes_in_the_store_are_told_and_nothing_is_made(admin_page: Client, artifact_root: Path) -> None:
    orphan = artifact_root / "bundles/app_agents/core/1.0.0/bundle.tar.gz"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"other bytes")

    response = upload(admin_page, bundle_of(APP))

    assert response.status_code == 302
    page = admin_page.get(response.url)
    assert "Other bytes are already stored" in page.content.decode()
    assert not BundleRelease.objects.exists()


def test_a_store_that_is_away_is_told(admin_page: Client, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    settings.ARTIFACT_ROOT = tmp_path / "file" / "artifacts"

    response = upload(admin_page, bundle_of(APP))

    assert "storage is not available" in admin_page.get(response.url).content.decode()
    assert not BundleRelease.objects.exists()


# --- Changing ---------------------------------------------------------------------------------------------------


def change_form(**fields: str) -> dict[str, str]:
    options = {name: value for name, value in FORM.items() if name not in ("bundle_type", "scope_id", "version")}
    return {**options, "required_experts": "[]", **fields}


def test_the_options_of_a_draft_can_be_changed(admin_page: Client) -> None:
    release = draft(APP)
    page = f"{LIST}{release.pk}/change/"

    response = admin_page.post(page, change_form(rollout_basis_points="100", required_experts='["alpha"]', version="9"))

    assert response.status_code == 302
    release.refresh_from_db()
    assert (release.rollout_basis_points, release.required_experts, release.version) == (100, ["alpha"], "1.0.0")
    (entry,) = LogEntry.objects.all()
    assert "rollout_basis_points: 10000 → 100" in entry.change_message


def test_nothing_of_a_published_release_can_be_changed(admin_page: Client) -> None:
    release = published(APP)
    page = f"{LIST}{release.pk}/change/"

    assert 'name="rollout_basis_points"' not in admin_page.get(page).content.decode()
    admin_page.post(page, change_form(rollout_basis_points="100"))

    release.refresh_from_db()
    assert release.rollout_basis_points == 10_000
    assert not LogEntry.objects.exists()


def test_bad_options_of_a_draft_are_errors_of_the_form(admin_page: Client) -> None:
    release = draft(APP)

    response = admin_page.post(f"{LIST}{release.pk}/change/", change_form(required_experts='{"a": 1}'))

    assert "required_experts" in response.context["adminform"].form.errors


@pytest.mark.django_db(transaction=True)
def test_a_draft_can_be_deleted_and_a_published_release_can_not(admin_page: Client) -> None:
    gone, stays = draft(APP), published(SHARED)

    assert admin_page.post(f"{LIST}{gone.pk}/delete/", {"post": "yes"}).status_code == 302
    assert admin_page.post(f"{LIST}{stays.pk}/delete/", {"post": "yes"}).status_code == 403
    admin_page.post(LIST, {"action": "delete_selected", "_selected_action": [str(stays.pk)], "post": "yes"})

    assert [release.pk for release in BundleRelease.objects.all()] == [stays.pk]
    assert not artifact_exists(key=gone.artifact_key)
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Deleted the draft."]


def test_several_drafts_can_be_deleted(admin_page: Client) -> None:
    chosen = [draft(APP, "1.0.0"), draft(APP, "2.0.0")]

    act(admin_page, "delete_selected", *chosen)
    admin_page.post(LIST, {"action": "delete_selected", "_selected_action": [str(r.pk) for r in chosen], "post": "yes"})

    assert not BundleRelease.objects.exists()
    assert LogEntry.objects.count() == 2


# --- Publishing -------------------------------------------------------------------------------------------------


def test_publish_and_withdraw(admin_page: Client, staff: Actor, learner: Actor) -> None:
    first, second = draft(APP), draft(SHARED)

    shown = act(admin_page, "publish", first, second)

    assert shown == "Published app_agents/core 1.0.0, experts_shared/shared 1.0.0."
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.state == second.state == "published"
    assert first.cohort_key == second.cohort_key

    assert act(admin_page, "withdraw", first) == "Withdrew app_agents/core 1.0.0."
    first.refresh_from_db()
    assert first.state == "withdrawn"
    assert list(LogEntry.objects.order_by("pk").values_list("user_id", "change_message")) == [
        (staff.user.pk, "Published."),
        (staff.user.pk, "Published."),
        (staff.user.pk, "Withdrawn."),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_learner_sees_at_once_what_was_published_here(admin_page: Client, learner: Actor) -> None:
    release = draft(APP)
    body: dict[str, Any] = {"installed": {}}
    assert learner.post("/v1/updates/check-app", body).json()["required"] == []

    act(admin_page, "publish", release)
    assert len(learner.post("/v1/updates/check-app", body).json()["required"]) == 1

    act(admin_page, "withdraw", release)
    assert learner.post("/v1/updates/check-app", body).json()["required"] == []


def test_what_can_not_be_published_is_told(admin_page: Client) -> None:
    release, other = published(APP), draft(SHARED)

    assert "can't be published" in act(admin_page, "publish", release, other)
    assert "can't be withdrawn" in act(admin_page, "withdraw", other)

    other.refresh_from_db()
    assert other.state == "draft"


# --- Who may ----------------------------------------------------------------------------------------------------


def test_nobody_but_staff_gets_in(learner: Actor) -> None:
    browser = Client()
    assert browser.get(LIST).status_code == 302
    browser.force_login(learner.user)
    assert browser.get(LIST).status_code == 302


def test_who_may_only_look_can_not_publish() -> None:
    release = draft(APP)
    viewer = make_actor("viewer", is_staff=True)
    viewer.user.user_permissions.add(Permission.objects.get(codename="view_bundlerelease"))
    browser = Client()
    browser.force_login(viewer.user)

    assert browser.get(f"{LIST}{release.pk}/change/").status_code == 200
    assert browser.get(f"{LIST}add/").status_code == 403
    act(browser, "publish", release)

    release.refresh_from_db()
    assert release.state == "draft"


def test_a_forged_post_is_refused(staff: Actor) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(staff.user)

    assert browser.post(f"{LIST}add/", {**FORM, "archive": archive(bundle_of(APP))}).status_code == 403
