"""Releases in the admin: uploading, changing, publishing, widening, withdrawing, and who may."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, Settings

from config import limits
from courses.models import Chapter, Course
from storage.artifacts import artifact_exists, open_artifact, store_artifact
from tests.cast import Actor, make_actor
from updates.catalogue import catalogue
from updates.models import BundleRelease, ReleaseEvent
from updates.services import drafts
from updates.services.publication import Terms, publish_releases
from updates.tests.archives import packed, with_manifest
from updates.tests.shelf import APP, SHARED, SOMEBODY, a_bundle, chapter_scope, draft, publish, published, withdraw

LIST = "/admin/updates/bundlerelease/"

pytestmark = pytest.mark.django_db

FORM = {
    "chapter": "",
    "is_mandatory": "on",
    "min_desktop_version": "",
    "min_sidecar_version": "",
    "rollout_basis_points": "100",
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


def told(response: Any) -> str:
    """Return the messages that a page showed."""
    assert response.status_code == 200
    return " ".join(str(message) for message in response.context["messages"])


def plain(response: Any) -> str:
    """Return the text of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split()).replace(" : ", ": ")


def choose(page: Client, action: str, *releases: BundleRelease) -> Any:
    """Choose an action of the list for these releases; return the page that it leads to."""
    chosen = [str(release.pk) for release in releases]
    return page.post(LIST, {"action": action, "_selected_action": chosen}, follow=True)


def confirm(page: Client, action: str, *releases: BundleRelease, **terms: str) -> Any:
    """Send what the page between would send, which shows the releases in the state that the instances have."""
    form = {
        "action": action,
        "confirmed": "yes",
        "_selected_action": [str(release.pk) for release in releases],
        **{f"state-{release.pk}": release.state for release in releases},
        **terms,
    }
    return page.post(LIST, form, follow=True)


def events(*names: str) -> list[tuple[Any, ...]]:
    return list(ReleaseEvent.objects.order_by("pk").values_list(*names))


def member_of(group: str) -> tuple[Client, Actor]:
    actor = make_actor(group.lower(), is_staff=True)
    actor.user.groups.add(Group.objects.get(name=group))
    browser = Client()
    browser.force_login(actor.user)
    return browser, actor


# --- Looking ----------------------------------------------------------------------------------------------------


def test_the_list_shows_state_rollout_and_size(admin_page: Client) -> None:
    published(APP, rollout_basis_points=1_250)

    page = admin_page.get(LIST).content.decode()

    for text in ("app_agents/core", "1.0.0", "Published", "12.5 %", "bytes"):
        assert text in page


def test_the_list_shows_what_is_scheduled(admin_page: Client) -> None:
    published(APP, publish_at=datetime(2099, 1, 2, 3, 4, tzinfo=UTC))
    draft(SHARED, publish_at=datetime(2098, 1, 2, 3, 4, tzinfo=UTC))

    page = plain(admin_page.get(LIST))

    assert "Scheduled for 2099-01-02 03:04 UTC" in page
    assert "2098-01-02" not in page, "a draft is not offered by itself"


def test_drafts_are_on_top_and_then_what_was_published_last(admin_page: Client) -> None:
    first, last = draft(APP, "1.0.0"), draft(APP, "2.0.0")
    work = draft(APP, "3.0.0")
    newest = draft(SHARED)
    publish(newest)
    publish(last)
    publish(first)

    assert list(admin_page.get(LIST).context["cl"].result_list) == [work, first, last, newest]


def test_a_chapter_is_named_by_its_codes(admin_page: Client, chapter: Chapter) -> None:
    draft(chapter_scope(chapter))

    assert "TST100/ch1_intro" in admin_page.get(LIST).content.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("q=alpha", 1),
        ("q=tst100", 1),
        ("q=", 3),
        ("state__exact=published", 1),
        ("bundle_type__exact=experts", 1),
    ],
)
def test_search_and_filters(admin_page: Client, chapter: Chapter, query: str, found: int) -> None:
    draft(("experts", "alpha"))
    draft(chapter_scope(chapter))
    published(APP)

    response = admin_page.get(f"{LIST}?{query}")

    assert len(response.context["cl"].result_list) == found


def test_the_list_has_a_bounded_number_of_queries(
    admin_page: Client, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        draft(chapter_scope(chapter), f"1.{number}.0")
    admin_page.get(LIST)

    # Session, user, count, the page's keys, its rows, and what is current in its scopes.
    with django_assert_num_queries(6):
        admin_page.get(LIST)


def test_the_page_of_a_release_has_a_bounded_number_of_queries(
    admin_page: Client, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    release = draft(chapter_scope(chapter))
    page = f"{LIST}{release.pk}/change/"
    admin_page.get(page)

    # Session, user, release, its manifest, what it replaces; and its reach: published, enrolments, devices. There is no
    # adoption of what was never published.
    with django_assert_num_queries(8):
        response = admin_page.get(page)

    shown = response.content.decode()
    for text in ("3 files", "prompts/", "task_list.md", release.sha256):
        assert text in shown


def test_the_forms_for_a_new_release_have_a_bounded_number_of_queries(
    admin_page: Client, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    draft(chapter_scope(chapter))

    for page in (f"{LIST}add/", f"{LIST}add/?by=url", f"{LIST}add/?by=fields"):
        admin_page.get(page)
        with django_assert_num_queries(2):  # session, user
            assert "Minimum desktop version" in admin_page.get(page).content.decode()


def test_the_page_before_deleting_has_a_bounded_number_of_queries(
    admin_page: Client, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    release = draft(chapter_scope(chapter))
    others = [draft(APP), draft(SHARED), draft(("experts", "alpha"))]
    admin_page.get(f"{LIST}{release.pk}/delete/")

    with django_assert_num_queries(3):  # session, user, release
        assert "1.0.0" in admin_page.get(f"{LIST}{release.pk}/delete/").content.decode()
    for chosen in ([release], [release, *others]):
        several = {"action": "delete_selected", "_selected_action": [str(one.pk) for one in chosen]}
        # Session, user, count of the list, its page's keys and rows, what was published, what goes, how many.
        with django_assert_num_queries(8):
            assert "1.0.0" in admin_page.post(LIST, several).content.decode()


def test_a_manifest_of_any_shape_can_be_looked_at(admin_page: Client) -> None:
    release = draft(APP)
    page = f"{LIST}{release.pk}/change/"

    for manifest in ({}, {"files": 3}, {"files": ["<b>", {"path": "<i>", "size_bytes": "x"}]}):
        BundleRelease.objects.filter(pk=release.pk).update(manifest=manifest)
        shown = admin_page.get(page).content.decode()
        assert "<b>" not in shown
        assert "<i>" not in shown


# --- Uploading --------------------------------------------------------------------------------------------------


def test_an_upload_makes_a_draft_with_our_own_hash_and_size(admin_page: Client, staff: Actor) -> None:
    raw = bundle_of(APP)

    response = upload(admin_page, raw, min_desktop_version="0.3.0", rollout_basis_points="5.25")

    release = BundleRelease.objects.get()
    assert response.url == f"{LIST}{release.pk}/change/"
    assert (release.state, release.created_by, release.size_bytes) == ("draft", staff.user, len(raw))
    assert (release.min_desktop_version, release.rollout_basis_points) == ("0.3.0", 525)
    assert release.artifact_key == "bundles/app_agents/core/1.0.0/bundle.tar.gz"
    with open_artifact(key=release.artifact_key) as file:
        assert file.read() == raw
    assert events("action", "user", "release", "actor_kind") == [("created", staff.user.pk, release.pk, "user")]
    assert not LogEntry.objects.exists()
    assert "Uploaded App agents 1.0.0" in told(admin_page.get(response.url))


def test_a_minimum_that_is_left_empty_is_for_the_manifest_to_say(admin_page: Client) -> None:
    raw = packed(with_manifest({"a.md": b"a"}, min_desktop_version="0.3.0", min_sidecar_version="0.2.0")).getvalue()

    upload(admin_page, raw, min_desktop_version="0.4.0")

    release = BundleRelease.objects.get()
    assert (release.min_desktop_version, release.min_sidecar_version) == ("0.4.0", "0.2.0")


def test_warnings_are_told(admin_page: Client, chapter: Chapter) -> None:
    raw = bundle_of(("chapter", "ch1_intro"), experts=("alpha",))

    response = upload(admin_page, raw, chapter=str(chapter.pk))

    text = told(admin_page.get(response.url))
    assert "need a published release: alpha" in text
    assert "scope_id" in text, "it differs in its course part only"
    assert BundleRelease.objects.get().required_experts == ["alpha"]


def test_no_transaction_is_open_while_an_archive_is_stored(
    admin_page: Client, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    seen = []

    def storing(**arguments: Any) -> Any:
        seen.append(connection.in_atomic_block)
        return store_artifact(**arguments)

    monkeypatch.setattr("updates.services.uploads.store_artifact", storing)

    assert upload(admin_page, bundle_of(APP)).status_code == 302
    assert seen == [False]


@pytest.mark.parametrize(
    "scope",
    [("app_agents", "core"), ("experts_shared", "shared"), ("experts", "alpha"), ("chapter", "tst100/ch1_intro")],
)
def test_the_archive_is_all_that_an_upload_needs(admin_page: Client, chapter: Chapter, scope: tuple[str, str]) -> None:
    raw = bundle_of(scope, "2.1.0")

    page = admin_page.post(f"{LIST}add/", {"archive": archive(raw), "rollout_basis_points": "100"}, follow=True)

    release = BundleRelease.objects.get()
    expected = chapter_scope(chapter) if scope[0] == "chapter" else scope
    assert (release.bundle_type, release.scope_id, release.version) == (*expected, "2.1.0")
    assert release.chapter == (chapter if scope[0] == "chapter" else None)
    assert "It is a draft until somebody publishes it." in told(page)


@pytest.mark.parametrize(("query", "button"), [("", "Upload"), ("?by=url", "Register"), ("?by=fields", "Register")])
def test_the_button_of_a_new_release_says_what_it_does(admin_page: Client, query: str, button: str) -> None:
    page = admin_page.get(f"{LIST}add/{query}").content.decode()

    assert re.findall(r'<button[^>]*name="_save"[^>]*>\s*([^<]*?)\s*</button>', page) == [button]


def test_a_draft_is_saved_by_its_button(admin_page: Client) -> None:
    page = admin_page.get(f"{LIST}{draft(APP).pk}/change/").content.decode()

    assert re.findall(r'<button[^>]*name="_save"[^>]*>\s*([^<]*?)\s*</button>', page) == ["Save"]


def test_the_form_for_an_upload_asks_for_nothing_that_the_archive_says(admin_page: Client) -> None:
    page = admin_page.get(f"{LIST}add/")

    assert not {"bundle_type", "scope_id", "version"} & set(page.context["adminform"].form.fields)


def test_a_chapter_is_chosen_where_the_archive_names_no_course(admin_page: Client, chapter: Chapter) -> None:
    raw = bundle_of(("chapter", "ch1_intro"))

    (error,) = upload(admin_page, raw).context["adminform"].form.errors["chapter"]
    assert error == "The archive is for ch1_intro, which names no chapter of a course here. Choose the chapter."
    assert not BundleRelease.objects.exists()

    assert upload(admin_page, raw, chapter=str(chapter.pk)).status_code == 302
    release = BundleRelease.objects.get()
    assert (release.scope_id, release.chapter) == (f"{chapter.course_id}/ch1_intro", chapter)


def test_a_chosen_chapter_takes_the_place_of_another_course_but_not_of_another_chapter(
    admin_page: Client, chapter: Chapter
) -> None:
    elsewhere = Course.objects.create(course_code="OTHER", title="Other")
    copy = Chapter.objects.create(course=elsewhere, chapter_code="ch1_intro", title="Introduction")
    raw = bundle_of(chapter_scope(chapter))

    assert upload(admin_page, raw, chapter=str(copy.pk)).status_code == 302
    assert BundleRelease.objects.get().chapter == copy

    another = chapter.course.chapters.get(chapter_code="ch2_more")
    (error,) = upload(admin_page, raw, chapter=str(another.pk)).context["adminform"].form.errors["chapter"]
    assert error == "The archive is for TST100/ch1_intro, not for this chapter."
    assert BundleRelease.objects.get().chapter == copy


def test_after_a_refusal_all_is_kept_but_the_file(admin_page: Client, chapter: Chapter) -> None:
    response = upload(
        admin_page,
        b"no archive",
        chapter=str(chapter.pk),
        is_mandatory="",
        min_desktop_version="0.3.0",
        rollout_basis_points="5",
        publish_at_0="2099-01-02",
        publish_at_1="03:04",
    )

    form = response.context["adminform"].form
    kept = {name: form[name].value() for name in ("chapter", "is_mandatory", "rollout_basis_points", "publish_at")}
    assert kept["publish_at"] == ["2099-01-02", "03:04"]
    assert (kept["chapter"], kept["is_mandatory"], kept["rollout_basis_points"]) == (str(chapter.pk), False, "5")
    assert "Choose the file once more: browsers don" in plain(response)
    assert "TST100 ch1_intro: Introduction" in response.content.decode()
    assert "Choose the file once more" not in plain(admin_page.get(f"{LIST}add/"))


def test_a_chapter_is_found_by_its_course_code(admin_page: Client, chapter: Chapter) -> None:
    query = {"app_label": "updates", "model_name": "bundlerelease", "field_name": "chapter", "term": "tst100"}
    found = admin_page.get(reverse("admin:autocomplete"), query).json()["results"]
    assert {"id": str(chapter.pk), "text": "TST100 ch1_intro: Introduction"} in found


@pytest.mark.parametrize(
    ("raw", "fields", "words"),
    [
        (b"no archive", {}, ["gzip"]),
        (packed({"a.md": b"a"}).getvalue(), {}, ["bundle.manifest.json"]),
        (packed(with_manifest({}, version="1.0")).getvalue(), {}, ["version", "semantic version"]),
        (packed(with_manifest({}, version=None)).getvalue(), {}, ["version is missing"]),
        (packed(with_manifest({}, version="1." * 200)).getvalue(), {}, ["version"]),
        (packed(with_manifest({}, bundle_type="agents")).getvalue(), {}, ["'agents'", "app_agents, experts_shared"]),
        (packed(with_manifest({}, bundle_type=[1])).getvalue(), {}, ["bundle_type is missing"]),
        (packed(with_manifest({}, scope_id="other")).getvalue(), {}, ["scope_id", "core"]),
        (packed(with_manifest({}, scope_id="../core" * 50)).getvalue(), {}, ["scope_id"]),
        (packed({**with_manifest({}), "a.md": b"a"}).getvalue(), {}, ["a.md: "]),
        (b"", {}, ["empty"]),
    ],
    ids=[
        "no archive",
        "no manifest",
        "no version",
        "version missing",
        "a long version",
        "no kind",
        "a kind of another type",
        "another scope",
        "a long scope",
        "a file that is not listed",
        "empty",
    ],
)
def test_a_bad_archive_is_an_error_of_the_form(
    admin_page: Client, artifact_root: Path, raw: bytes, fields: dict[str, str], words: list[str]
) -> None:
    response = upload(admin_page, raw, min_desktop_version="0.3.0", **fields)

    assert response.status_code == 200
    form = response.context["adminform"].form
    errors = " ".join(form.errors["archive"])
    assert all(word in errors for word in words), errors
    assert form["min_desktop_version"].value() == "0.3.0", "what was entered is kept"
    assert not BundleRelease.objects.exists()
    assert not list(artifact_root.rglob("*.gz"))


def test_a_refused_archive_that_does_not_say_what_it_is_stands_in_the_audit(admin_page: Client) -> None:
    upload(admin_page, b"no archive")

    (event,) = ReleaseEvent.objects.all()
    assert (event.action, event.release, event.bundle_type) == ("created", None, "")
    audit = "/admin/updates/releaseevent/"
    for address in (audit, f"{audit}{event.pk}/change/", "/admin/"):
        shown = plain(admin_page.get(address))
        assert "Unreadable archive" in shown, address
        assert "This is not a gzip file" in shown


def test_each_fault_of_an_archive_is_named_with_its_file(admin_page: Client) -> None:
    raw = packed({**with_manifest({"a.md": b"a", "b.md": b"b"}), "a.md": b"A", "b.md": b"B"}).getvalue()

    errors = upload(admin_page, raw).context["adminform"].form.errors["archive"]

    assert len(errors) == 2
    assert {error.partition(":")[0] for error in errors} == {"a.md", "b.md"}
    assert events("action", "release") == [("created", None)], "the refusal is in the audit"


def test_an_archive_over_the_limit_is_told_the_limit(admin_page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = bundle_of(APP)
    monkeypatch.setattr(limits, "BUNDLE_ARCHIVE_MAX_BYTES", 64)

    errors = upload(admin_page, raw).context["adminform"].form.errors

    assert errors == {"archive": ["The archive is too large: 64\xa0bytes are the limit."]}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"chapter": "00000000-0000-4000-8000-000000000000"}, "chapter"),
        ({"min_desktop_version": "new"}, "min_desktop_version"),
        ({"rollout_basis_points": "100.01"}, "rollout_basis_points"),
        ({"rollout_basis_points": "-1"}, "rollout_basis_points"),
        ({"rollout_basis_points": "1.234"}, "rollout_basis_points"),
        ({"rollout_basis_points": "NaN"}, "rollout_basis_points"),
    ],
)
def test_wrong_fields_are_errors_of_the_form(admin_page: Client, fields: dict[str, str], field: str) -> None:
    response = upload(admin_page, bundle_of(APP), **fields)

    assert response.status_code == 200
    assert field in response.context["adminform"].form.errors
    assert not BundleRelease.objects.exists()


def test_a_chapter_for_another_family_is_refused(admin_page: Client, chapter: Chapter) -> None:
    response = upload(admin_page, bundle_of(APP), chapter=str(chapter.pk))

    assert "Only a chapter" in response.context["adminform"].form.errors["chapter"][0]
    assert not BundleRelease.objects.exists()


def test_the_same_bytes_again_lead_to_the_release_that_has_them(admin_page: Client) -> None:
    raw = bundle_of(APP)
    first, again = upload(admin_page, raw), upload(admin_page, raw)

    assert again.url == first.url
    assert "Nothing new: App agents 1.0.0 has these bytes already." in told(admin_page.get(again.url))
    assert BundleRelease.objects.count() == 1


@pytest.mark.parametrize("existing", ["1.0.0-rc", "1.0.0-RC"])
def test_other_bytes_under_a_version_that_exists_are_an_error_of_the_form(admin_page: Client, existing: str) -> None:
    draft(APP, existing)

    raw = bundle_of(APP, "1.0.0-RC", files={"other.md": "other"})
    response = upload(admin_page, raw)

    (error,) = response.context["adminform"].form.non_field_errors()
    assert "exists already with other bytes" in error
    assert BundleRelease.objects.count() == 1


def test_other_bytes_in_the_store_are_told_and_nothing_is_made(admin_page: Client, artifact_root: Path) -> None:
    orphan = artifact_root / "bundles/app_agents/core/1.0.0/bundle.tar.gz"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"other bytes")

    response = upload(admin_page, bundle_of(APP))

    assert "Other bytes lie in the artifact store" in response.context["adminform"].form.non_field_errors()[0]
    assert not BundleRelease.objects.exists()


def test_a_store_that_is_away_is_told(admin_page: Client, settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    settings.ARTIFACT_ROOT = tmp_path / "file" / "artifacts"

    response = upload(admin_page, bundle_of(APP))

    assert "storage is not available" in response.context["adminform"].form.non_field_errors()[0]
    assert not BundleRelease.objects.exists()


# --- Changing and deleting --------------------------------------------------------------------------------------


def change_form(**fields: str) -> dict[str, str]:
    options = {name: value for name, value in FORM.items() if name != "chapter"}
    return {**options, "required_experts": "", **fields}


def test_the_options_of_a_draft_can_be_changed(admin_page: Client) -> None:
    release = draft(APP)
    page = f"{LIST}{release.pk}/change/"
    assert admin_page.get(page).context["adminform"].form["rollout_basis_points"].value() == "100"

    response = admin_page.post(page, change_form(rollout_basis_points="1", required_experts="alpha,beta", version="9"))

    assert response.status_code == 302
    release.refresh_from_db()
    assert (release.rollout_basis_points, release.required_experts) == (100, ["alpha", "beta"])
    assert release.version == "1.0.0"
    event = ReleaseEvent.objects.get(action="changed")
    assert event.changes == {"rollout_basis_points": [10_000, 100], "required_experts": [[], ["alpha", "beta"]]}


def test_saving_a_draft_as_it_is_changes_nothing(admin_page: Client) -> None:
    release = draft(APP, rollout_basis_points=1_250, publish_at=datetime(2099, 1, 2, 3, 4, tzinfo=UTC))
    form = change_form(rollout_basis_points="12.50", publish_at_0="2099-01-02", publish_at_1="03:04:00")

    assert admin_page.post(f"{LIST}{release.pk}/change/", form).status_code == 302

    assert not ReleaseEvent.objects.filter(action="changed").exists()


def test_nothing_of_a_published_release_can_be_changed(admin_page: Client) -> None:
    release = published(APP)
    page = f"{LIST}{release.pk}/change/"

    shown = admin_page.get(page).content.decode()
    assert 'name="rollout_basis_points"' not in shown
    assert 'name="_save"' not in shown
    assert "Only a draft can be changed" in told(admin_page.post(page, change_form(), follow=True))

    release.refresh_from_db()
    assert release.rollout_basis_points == 10_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("required_experts", "a b"),
        ("required_experts", "a,../x"),
        ("required_experts", "a,,b"),
        ("min_sidecar_version", "x"),
    ],
)
def test_bad_options_of_a_draft_are_errors_of_the_form(admin_page: Client, field: str, value: str) -> None:
    release = draft(APP)

    response = admin_page.post(f"{LIST}{release.pk}/change/", change_form(**{field: value}))

    (error,) = response.context["adminform"].form.errors[field]
    assert "[" not in error, "the form wants commas, no JSON"


def test_an_expert_that_nobody_has_is_told_when_a_draft_is_saved(admin_page: Client) -> None:
    release = draft(APP)

    page = admin_page.post(f"{LIST}{release.pk}/change/", change_form(required_experts="alpha"), follow=True)

    assert "these experts need a published release: alpha" in told(page)


def test_what_can_not_be_changed_has_no_help_for_entering_it(admin_page: Client) -> None:
    release = draft(APP)
    page = f"{LIST}{release.pk}/change/"
    assert "A semantic version such as" in admin_page.get(page).content.decode()
    publish(release)

    shown = admin_page.get(page).content.decode()

    for help_text in ("A semantic version such as", "Empty: ", "Ids of the experts"):
        assert help_text not in shown


def test_a_draft_can_be_deleted_and_a_published_release_can_not(admin_page: Client, transactional_db: None) -> None:
    gone, stays = draft(APP), published(SHARED)

    assert admin_page.post(f"{LIST}{gone.pk}/delete/", {"post": "yes"}).status_code == 302
    assert admin_page.post(f"{LIST}{stays.pk}/delete/", {"post": "yes"}).status_code == 403
    assert "Only drafts" in told(choose(admin_page, "delete_selected", stays))
    confirm(admin_page, "delete_selected", stays, post="yes")

    assert [release.pk for release in BundleRelease.objects.all()] == [stays.pk]
    assert not artifact_exists(key=gone.artifact_key)
    assert events("action", "version").count(("deleted", "1.0.0")) == 1
    assert not LogEntry.objects.exists()


def test_several_drafts_can_be_deleted(admin_page: Client) -> None:
    chosen = [draft(APP, "1.0.0"), draft(APP, "2.0.0")]

    page = choose(admin_page, "delete_selected", *chosen)
    assert 'name="post"' in page.content.decode(), "it asks first"
    assert BundleRelease.objects.count() == 2
    confirm(admin_page, "delete_selected", *chosen, post="yes")

    assert not BundleRelease.objects.exists()
    assert ReleaseEvent.objects.filter(action="deleted").count() == 2


def test_a_refused_deletion_stays_in_the_audit(
    admin_page: Client, monkeypatch: pytest.MonkeyPatch, transactional_db: None
) -> None:
    release = draft(APP)
    collect = drafts.delete_draft

    def published_meanwhile(**arguments: Any) -> None:
        publish(BundleRelease.objects.get(pk=release.pk))
        collect(**arguments)

    monkeypatch.setattr(drafts, "delete_draft", published_meanwhile)
    response = admin_page.post(f"{LIST}{release.pk}/delete/", {"post": "yes"})

    assert response.status_code == 302
    event = ReleaseEvent.objects.get(action="deleted")
    assert "can't be deleted" in event.refusal
    assert BundleRelease.objects.exists()


# --- Publishing -------------------------------------------------------------------------------------------------


def test_acting_on_one_release_leads_to_its_page(admin_page: Client) -> None:
    release, other = draft(APP), draft(SHARED)
    path = f"{LIST}{release.pk}/change/"
    assert f'href="{path}"' in choose(admin_page, "publish", release).content.decode(), "the way to cancel"

    page = confirm(admin_page, "publish", release, rollout_percent="10")
    assert page.redirect_chain[-1][0] == path

    page = confirm(admin_page, "publish", other, draft(("experts", "alpha")), rollout_percent="10")
    assert page.redirect_chain[-1][0] == LIST


def test_the_labels_of_the_form_do_not_depend_on_earlier_pages(admin_page: Client) -> None:
    page = admin_page.get(f"{LIST}add/?by=fields").content.decode()

    assert "Kind of bundle:" not in page
    assert "Kind of bundle" in page


def test_the_page_before_publishing_says_what_will_happen(admin_page: Client) -> None:
    first, second = draft(APP, rollout_basis_points=1_000), draft(SHARED, rollout_basis_points=1_000)

    page = choose(admin_page, "publish", first, second)

    text = " ".join(page.content.decode().split())
    assert "2 releases will be offered to" in text
    assert ">10</output> % of devices" in text
    assert "from now on" in text
    assert "Shared experts 1.0.0" in text
    assert not BundleRelease.objects.exclude(state="draft").exists(), "nothing is done yet"


def test_publish_at_a_share_of_the_devices(admin_page: Client, staff: Actor) -> None:
    first, second = draft(APP), draft(SHARED)

    page = confirm(admin_page, "publish", first, second, rollout_percent="12.5")

    assert told(page) == (
        "Published, and offered to 12.5 % of devices from now on: App agents 1.0.0, Shared experts 1.0.0."
    )
    first.refresh_from_db()
    second.refresh_from_db()
    assert first.state == second.state == "published"
    assert first.cohort_key == second.cohort_key
    assert first.rollout_basis_points == second.rollout_basis_points == 1_250
    assert events("action", "user")[-2:] == [("published", staff.user.pk)] * 2


@pytest.mark.parametrize("state", ["draft", "withdrawn"])
def test_scheduled_for_a_time_to_come(admin_page: Client, state: str) -> None:
    release, other = draft(APP), draft(SHARED)
    if state == "withdrawn":
        publish(release)
        withdraw(release)

    page = confirm(admin_page, "schedule", release, other, rollout_percent="50", publish_at="2099-01-02T03:04")

    assert "Scheduled: offered to 50 % of devices from 2099-01-02 03:04 UTC on: App agents 1.0.0" in told(page)
    release.refresh_from_db()
    other.refresh_from_db()
    assert release.state == other.state == "published"
    assert release.publish_at == other.publish_at == datetime(2099, 1, 2, 3, 4, tzinfo=UTC)
    assert release.rollout_basis_points == 5_000
    assert release.cohort_key == other.cohort_key
    assert "Scheduled for 2099-01-02 03:04 UTC" in plain(admin_page.get(LIST))
    shown = plain(admin_page.get(f"{LIST}{release.pk}/change/"))
    assert "State Scheduled for 2099-01-02 03:04 UTC Kind of bundle" in shown


def test_the_page_before_scheduling_waits_for_a_time(admin_page: Client) -> None:
    page = choose(admin_page, "schedule", draft(APP, rollout_basis_points=1_000))

    assert page.context["title"] == "Schedule"
    text = plain(page)
    assert re.search(r"1 release will be offered to 10 % of devices from … UTC on ?\.", text)
    assert "of 1 device will be offered it from … on." in text
    assert "now" not in text.partition("1 release will be")[2].partition("Chosen")[0]


@pytest.mark.parametrize("time", ["", "2020-01-01T00:00", "soon"])
def test_a_release_is_not_scheduled_without_a_time_to_come(admin_page: Client, time: str) -> None:
    release = draft(APP, publish_at=datetime(2099, 1, 2, 3, 4, tzinfo=UTC))

    page = confirm(admin_page, "schedule", release, rollout_percent="100", publish_at=time)

    assert set(page.context["form"].errors) == {"publish_at"}
    assert "Nothing was done." in page.content.decode()
    release.refresh_from_db()
    assert release.state == "draft"


def test_a_planned_release_shows_its_time_and_can_be_published_now_instead(admin_page: Client) -> None:
    release = draft(APP, publish_at=datetime(2099, 1, 2, 3, 4, tzinfo=UTC))

    page = choose(admin_page, "schedule", release).content.decode()
    assert 'value="2099-01-02T03:04"' in page
    assert "from 2099-01-02 03:04 UTC on" in page

    page = choose(admin_page, "publish", release).content.decode()
    assert "2099" not in page
    assert "from now on" in page
    confirm(admin_page, "publish", release, rollout_percent="100")
    release.refresh_from_db()
    assert release.publish_at is not None
    assert abs(release.publish_at - timezone.now()) < timedelta(minutes=1)


def test_releases_with_different_rollouts_get_the_one_that_is_asked_for(admin_page: Client) -> None:
    first, second = draft(APP, rollout_basis_points=1_000), draft(SHARED)

    page = choose(admin_page, "publish", first, second)
    assert page.context["form"]["rollout_percent"].value() is None

    confirm(admin_page, "publish", first, second, rollout_percent="20")
    assert set(BundleRelease.objects.values_list("rollout_basis_points", flat=True)) == {2_000}


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        ({"rollout_percent": ""}, "rollout_percent"),
        ({"rollout_percent": "101"}, "rollout_percent"),
    ],
)
def test_wrong_terms_are_errors_of_the_page(admin_page: Client, terms: dict[str, str], field: str) -> None:
    release = draft(APP)

    page = confirm(admin_page, "publish", release, **terms)

    assert set(page.context["form"].errors) == {field}
    assert "Nothing was done." in page.content.decode()
    release.refresh_from_db()
    assert release.state == "draft"


def test_what_the_service_refuses_is_an_error_of_the_page(admin_page: Client, chapter: Chapter) -> None:
    release = draft(chapter_scope(chapter), experts=("alpha",))

    page = confirm(admin_page, "publish", release, rollout_percent="10")

    assert "alpha" in page.context["form"].non_field_errors()[0]
    assert page.context["form"]["rollout_percent"].value() == "10", "what was entered is kept"


def test_notices_are_told(admin_page: Client) -> None:
    published(APP, "2.0.0")
    release = draft(APP, "1.0.0")

    assert "Roll-back" in told(confirm(admin_page, "publish", release, rollout_percent="100"))


def test_a_withdrawn_release_is_published_again(admin_page: Client) -> None:
    release = published(APP)
    withdraw(release)

    confirm(admin_page, "publish", release, rollout_percent="100")

    release.refresh_from_db()
    assert release.state == "published"


def test_the_time_of_an_earlier_publication_is_not_proposed_again(admin_page: Client) -> None:
    release = published(APP, publish_at=datetime(2099, 1, 2, 3, 4, tzinfo=UTC))
    withdraw(release)

    for action in ("publish", "schedule"):
        page = choose(admin_page, action, release).content.decode()
        assert "1 release will be offered" in page
        assert "2099" not in page
    shown = plain(admin_page.get(f"{LIST}{release.pk}/change/"))
    assert "1 of 1 device will be offered it now." in shown

    confirm(admin_page, "publish", release, rollout_percent="100")
    release.refresh_from_db()
    assert release.state == "published"
    assert release.publish_at is not None
    assert release.publish_at <= timezone.now()


def test_what_somebody_did_meanwhile_is_told_and_in_the_audit(admin_page: Client) -> None:
    release = draft(APP)
    seen = BundleRelease.objects.get(pk=release.pk)
    publish(release)
    withdraw(release)

    page = confirm(admin_page, "publish", seen, rollout_percent="100")

    assert "can't be published" in page.context["form"].non_field_errors()[0]
    release.refresh_from_db()
    assert release.state == "withdrawn"
    assert "can't be published" in ReleaseEvent.objects.latest("pk").refusal


def test_the_others_are_not_published_when_one_is_gone(admin_page: Client) -> None:
    stays, gone = draft(APP), draft(SHARED)
    drafts.delete_draft(release=BundleRelease.objects.get(pk=gone.pk), principal=SOMEBODY)

    assert "is gone" in told(confirm(admin_page, "publish", stays, gone, rollout_percent="100"))

    stays.refresh_from_db()
    assert stays.state == "draft"


def test_a_filter_of_the_list_does_not_hide_what_somebody_did_meanwhile(admin_page: Client) -> None:
    seen, other = draft(APP), draft(SHARED)
    publish(BundleRelease.objects.get(pk=seen.pk))
    form = {
        "action": "publish",
        "confirmed": "yes",
        "rollout_percent": "100",
        "_selected_action": [str(seen.pk), str(other.pk)],
        f"state-{seen.pk}": "draft",
        f"state-{other.pk}": "draft",
    }

    page = admin_page.post(f"{LIST}?state__exact=draft", form)

    assert "can't be published" in page.context["form"].non_field_errors()[0]
    other.refresh_from_db()
    assert other.state == "draft"


@pytest.mark.parametrize("chosen", ["x", "00000000-0000-4000-8000-00000000000\0"])
@pytest.mark.parametrize("fields", [{}, {"confirmed": "yes", "select_across": "1"}])
@pytest.mark.parametrize("action", ["publish", "schedule", "verify", "delete_selected"])
def test_a_choice_that_is_no_id_is_told(admin_page: Client, action: str, fields: dict[str, str], chosen: str) -> None:
    release = draft(APP)
    form = {"action": action, "_selected_action": [str(release.pk), chosen], **fields}

    assert "Nothing was done." in told(admin_page.post(LIST, form, follow=True))


@pytest.mark.parametrize(
    "action", ["publish", "schedule", "publish_now", "widen", "withdraw", "withdraw_only_these", "verify"]
)
def test_a_choice_that_is_gone_leads_to_no_page(admin_page: Client, action: str) -> None:
    gone = BundleRelease(pk="00000000-0000-4000-8000-000000000000")

    for response in (choose(admin_page, action, gone), confirm(admin_page, action, gone, rollout_percent="1")):
        assert "Nothing was done." in told(response)
        assert "0 releases" not in response.content.decode().partition("Chosen")[0].partition("consequence")[2]


@pytest.mark.parametrize(
    ("action", "state"),
    [
        ("publish", "published"),
        ("schedule", "published"),
        ("publish_now", "draft"),
        ("publish_now", "published"),
        ("widen", "draft"),
        ("withdraw", "draft"),
        ("withdraw_only_these", "withdrawn"),
    ],
)
def test_an_act_that_is_impossible_is_told_before_its_page(admin_page: Client, action: str, state: str) -> None:
    release = draft(APP)
    if state != "draft":
        publish(release)
    if state == "withdrawn":
        withdraw(release)

    assert "can't be" in told(choose(admin_page, action, release))


def test_more_than_one_act_may_have_are_refused(admin_page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RELEASES_PER_ACT_MAX", 1)

    assert "At most 1 releases" in told(choose(admin_page, "publish", draft(APP), draft(SHARED)))


def test_the_page_of_an_act_has_a_bounded_number_of_queries(
    admin_page: Client, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    chosen = [draft(chapter_scope(chapter)), draft(APP), draft(SHARED)]
    publish(*chosen)
    form = {"action": "withdraw", "_selected_action": [str(chosen[0].pk)]}
    admin_page.post(LIST, form)

    # Session, user, count of the list, its page's keys and rows, the chosen, their companions; and their reach:
    # published, enrolments, devices of learners, how many devices, devices of all.
    with django_assert_num_queries(12):
        page = admin_page.post(LIST, form)

    assert len(page.context["companions"]) == 2


# --- Moving a time ----------------------------------------------------------------------------------------------

SOON, LATER = datetime(2099, 1, 2, 3, 4, tzinfo=UTC), datetime(2099, 2, 3, 4, 5, tzinfo=UTC)


def move(page: Client, release: BundleRelease, publish_at: str = "2099-02-03T04:05") -> Any:
    """Send what the page before moving a time sends, which shows the time that the instance has."""
    seen = release.publish_at.isoformat() if release.publish_at else ""
    return confirm(page, "reschedule", release, publish_at=publish_at, **{f"time-{release.pk}": seen})


def test_the_time_of_a_scheduled_release_is_moved_with_those_published_together(
    admin_page: Client, staff: Actor
) -> None:
    release, companion, other = draft(APP), draft(SHARED), draft(("experts", "alpha"))
    for scheduled in ((release, companion), (other,)):
        publish_releases(releases=scheduled, principal=SOMEBODY, terms=Terms(5_000, SOON))
    release.refresh_from_db()
    before = (release.cohort_key, release.published_at, release.rollout_basis_points)

    page = choose(admin_page, "reschedule", release)
    text = plain(page)
    assert 'value="2099-01-02T03:04"' in page.content.decode(), "the time that it has"
    assert "2 releases will be offered from 2099-01-02 03:04 UTC on" in text
    assert "Published with it, and moved together" in text
    assert "App agents 1.0.0: the time so far is 2099-01-02 03:04 UTC." in text

    done = move(admin_page, release)

    assert "Offered from 2099-02-03 04:05 UTC on: App agents 1.0.0, Shared experts 1.0.0." in told(done)
    assert "Scheduled: no device is offered it before 2099-02-03 04:05 UTC." in told(done)
    for one in (release, companion, other):
        one.refresh_from_db()
    assert (release.publish_at, companion.publish_at, other.publish_at) == (LATER, LATER, SOON)
    assert (release.cohort_key, release.published_at, release.rollout_basis_points) == before
    event = ReleaseEvent.objects.filter(action="rescheduled", release=release).get()
    assert event.changes == {"publish_at": [SOON.isoformat(), LATER.isoformat()]}
    assert (event.user, event.refusal) == (staff.user, "")
    history = plain(admin_page.get(f"{LIST}{release.pk}/history/"))
    assert "Time changed" in history
    assert "Offered from: 2099-01-02 03:04:00 UTC → 2099-02-03 04:05:00 UTC" in history


def test_a_device_is_offered_it_by_the_new_time_only(
    admin_page: Client, learner: Actor, transactional_db: None
) -> None:
    release = draft(APP)
    publish_releases(releases=[release], principal=SOMEBODY, terms=Terms(publish_at=SOON))
    release.refresh_from_db()
    at = timezone.now() + timedelta(days=1)

    assert "Offered from" in told(move(admin_page, release, f"{at:%Y-%m-%dT%H:%M}"))

    body: dict[str, Any] = {"installed": {}}
    assert learner.post("/v1/updates/check-app", body).json()["required"] == []
    BundleRelease.objects.filter(pk=release.pk).update(publish_at=timezone.now())  # that time has come
    catalogue.forget()
    assert len(learner.post("/v1/updates/check-app", body).json()["required"]) == 1


@pytest.mark.parametrize("time", ["", "2020-01-01T00:00", "soon"])
def test_a_time_is_not_moved_into_the_past(admin_page: Client, time: str) -> None:
    release = published(APP, publish_at=SOON)

    page = move(admin_page, release, time)

    assert set(page.context["form"].errors) == {"publish_at"}
    assert "Nothing was done." in page.content.decode()
    release.refresh_from_db()
    assert release.publish_at == SOON


def test_only_what_is_scheduled_has_a_time_to_move(admin_page: Client) -> None:
    planned, offered, scheduled = draft(APP, publish_at=SOON), published(SHARED), published(("experts", "a"))
    BundleRelease.objects.filter(pk=scheduled.pk).update(publish_at=SOON)

    assert "only a scheduled release has one" in told(choose(admin_page, "reschedule", planned))
    assert "only a scheduled release has one" in told(choose(admin_page, "reschedule", offered))
    assert choose(admin_page, "reschedule", scheduled).context["title"] == "Change the time"
    offered_actions = admin_page.get(f"{LIST}{scheduled.pk}/change/").context["object_actions"]
    assert offered_actions["reschedule"] == "Change the time"


def test_a_time_that_came_meanwhile_is_told_and_in_the_audit(admin_page: Client) -> None:
    release = published(APP, publish_at=SOON)
    came = timezone.now() - timedelta(minutes=1)
    BundleRelease.objects.filter(pk=release.pk).update(publish_at=came)

    page = move(admin_page, release)

    (error,) = page.context["form"].non_field_errors()
    assert f"it came at {came:%Y-%m-%d %H:%M} UTC, and devices are offered the release since." in error
    release.refresh_from_db()
    assert release.publish_at == came
    event = ReleaseEvent.objects.latest("pk")
    assert (event.action, event.refusal) == ("rescheduled", error.replace("\xa0", " "))


def test_a_time_that_somebody_else_moved_meanwhile_is_told(admin_page: Client) -> None:
    release = published(APP, publish_at=SOON)
    BundleRelease.objects.filter(pk=release.pk).update(publish_at=SOON + timedelta(days=1))

    (error,) = move(admin_page, release).context["form"].non_field_errors()

    assert "was changed to 2099-01-03 03:04 UTC a moment ago" in error


def test_what_was_withdrawn_meanwhile_is_not_moved(admin_page: Client) -> None:
    release = published(APP, publish_at=SOON)
    seen = BundleRelease.objects.get(pk=release.pk)
    withdraw(release)

    (error,) = move(admin_page, seen).context["form"].non_field_errors()

    assert "it is withdrawn since a moment ago" in error


def test_what_was_published_after_a_scheduled_release_is_said_to_stay(admin_page: Client) -> None:
    release = published(APP, "2.0.0", publish_at=SOON)
    published(APP, "1.9.1")

    for page in (admin_page.get(f"{LIST}{release.pk}/change/"), choose(admin_page, "reschedule", release)):
        text = plain(page)
        assert "0 of 1 device will be offered it from 2099-01-02 03:04 UTC on." in text
        assert "1.9.1 was published after it, and stays what devices get." in text


def test_who_may_not_publish_moves_no_time() -> None:
    browser, _ = member_of("Authors")
    release = published(APP, publish_at=SOON)

    assert "reschedule" not in browser.get(f"{LIST}{release.pk}/change/").context["object_actions"]
    assert told(move(browser, release)) == "No action selected."
    release.refresh_from_db()
    assert release.publish_at == SOON


# --- Widening and withdrawing -----------------------------------------------------------------------------------


def test_widening_takes_those_published_together(admin_page: Client, chapter: Chapter) -> None:
    chosen, companion = (
        draft(chapter_scope(chapter), rollout_basis_points=1_000),
        draft(APP, rollout_basis_points=1_000),
    )
    publish(chosen, companion)
    other = published(SHARED, rollout_basis_points=1_000)

    text = " ".join(choose(admin_page, "widen", chosen).content.decode().split())
    assert "2 releases will be offered to" in text
    assert "Published with it, and widened together" in text
    assert "App agents 1.0.0" in text

    page = confirm(admin_page, "widen", chosen, rollout_percent="50")
    assert "Offered to 50 % of devices now: " in told(page)
    assert "Chapter TST100/ch1_intro 1.0.0" in told(page)
    for release, rollout in ((chosen, 5_000), (companion, 5_000), (other, 1_000)):
        release.refresh_from_db()
        assert release.rollout_basis_points == rollout


def test_a_rollout_is_never_narrowed(admin_page: Client) -> None:
    release = published(APP, rollout_basis_points=5_000)

    page = confirm(admin_page, "widen", release, rollout_percent="10")

    assert "can only be widened" in page.context["form"].non_field_errors()[0]
    release.refresh_from_db()
    assert release.rollout_basis_points == 5_000


def test_widening_to_what_it_is_already_is_refused(admin_page: Client) -> None:
    release = published(APP, rollout_basis_points=5_000)

    page = confirm(admin_page, "widen", release, rollout_percent="50")

    assert page.context["form"].errors == {"rollout_percent": ["It is 50 % already: give a larger share."]}
    assert not ReleaseEvent.objects.filter(action="widened").exists()


@pytest.mark.parametrize(
    ("share", "proposed"),
    [(0, "1"), (100, "5"), (1_000, "25"), (1_250, "25"), (2_500, "50"), (5_000, "100"), (9_000, "100")],
)
def test_the_next_step_of_a_rollout_is_proposed(admin_page: Client, share: int, proposed: str) -> None:
    page = choose(admin_page, "widen", published(APP, rollout_basis_points=share))

    assert f'value="{proposed}"' in str(page.context["form"]["rollout_percent"])
    assert f"1 release will be offered to {proposed} % of devices" in plain(page)


def test_withdrawing_takes_those_published_together_and_names_them(admin_page: Client) -> None:
    chosen, companion = draft(APP), draft(SHARED)
    publish(chosen, companion)

    text = " ".join(choose(admin_page, "withdraw", chosen).content.decode().split())
    assert "2 releases will be taken back" in text
    assert "Published with it, and withdrawn together" in text

    page = confirm(admin_page, "withdraw", chosen)
    assert "App agents 1.0.0" in told(page)
    assert "Shared experts 1.0.0" in told(page)
    assert not BundleRelease.objects.exclude(state="withdrawn").exists()


def test_notices_of_every_act_are_told(admin_page: Client, chapter: Chapter) -> None:
    published(("experts", "alpha"), rollout_basis_points=1_000)
    release = draft(chapter_scope(chapter), experts=("alpha",))

    assert "alpha is not offered to every device" in told(confirm(admin_page, "publish", release, rollout_percent="1"))
    release.refresh_from_db()
    assert "alpha is not offered to every device" in told(confirm(admin_page, "widen", release, rollout_percent="5"))
    assert "is offered to all devices any more" in told(confirm(admin_page, "withdraw", release))


def test_only_the_chosen_ones_are_withdrawn_when_that_is_asked(admin_page: Client) -> None:
    chosen, companion = draft(APP), draft(SHARED)
    publish(chosen, companion)

    text = " ".join(choose(admin_page, "withdraw_only_these", chosen).content.decode().split())
    assert "Devices that have it keep it" in text
    assert "shared" not in text.partition("<h2>")[2]

    assert told(confirm(admin_page, "withdraw_only_these", chosen)).startswith("Withdrawn: App agents 1.0.0.")
    companion.refresh_from_db()
    assert companion.state == "published"


def test_a_learner_sees_at_once_what_was_done_here(admin_page: Client, learner: Actor, transactional_db: None) -> None:
    release = draft(APP)
    body: dict[str, Any] = {"installed": {}}
    assert learner.post("/v1/updates/check-app", body).json()["required"] == []

    confirm(admin_page, "publish", release, rollout_percent="100")
    assert len(learner.post("/v1/updates/check-app", body).json()["required"]) == 1

    release.refresh_from_db()
    confirm(admin_page, "withdraw", release)
    assert learner.post("/v1/updates/check-app", body).json()["required"] == []


def test_the_page_of_a_release_offers_what_can_be_done_with_it(admin_page: Client) -> None:
    release = draft(APP, rollout_basis_points=1_000)
    page = f"{LIST}{release.pk}/change/"

    assert set(admin_page.get(page).context["object_actions"]) == {"publish", "schedule", "verify"}
    publish(release)
    assert set(admin_page.get(page).context["object_actions"]) == {"widen", "withdraw", "verify"}
    withdraw(release)
    offered = admin_page.get(page).context["object_actions"]
    assert (offered["publish"], offered["schedule"]) == ("Publish again", "Schedule")


PRIMARY_CLASS = "bg-primary-600"


def button(page: str, action: str) -> str:
    """Return the button of the page of a release for an action."""
    return page.partition(f'name="action" value="{action}"')[2].partition("</form>")[0]


def test_only_what_somebody_most_likely_came_for_stands_out(admin_page: Client) -> None:
    page = f"{LIST}{draft(APP).pk}/change/"

    shown = admin_page.get(page).content.decode()
    assert PRIMARY_CLASS in button(shown, "publish")
    assert "Schedule" in button(shown, "schedule")
    assert "Check the stored file" in button(shown, "verify")
    assert PRIMARY_CLASS not in button(shown, "schedule") + button(shown, "verify")

    author, _ = member_of("Authors")
    alone = button(author.get(page).content.decode(), "verify")
    assert "Check the stored file" in alone
    assert PRIMARY_CLASS not in alone


# --- Verifying --------------------------------------------------------------------------------------------------


def test_bytes_are_verified(admin_page: Client, staff: Actor) -> None:
    release = draft(APP)

    assert told(choose(admin_page, "verify", release)) == "The stored file of App agents 1.0.0 is as it should be."

    release.refresh_from_db()
    assert release.verified_at is not None
    assert events("action", "user")[-1] == ("verified", staff.user.pk)


def test_wrong_bytes_are_told_and_the_others_are_verified_all_the_same(admin_page: Client, artifact_root: Path) -> None:
    wrong, right = draft(APP), draft(SHARED)
    path = artifact_root / wrong.artifact_key
    path.chmod(0o644)
    path.write_bytes(b"x" * wrong.size_bytes)

    text = told(choose(admin_page, "verify", wrong, right))

    assert "App agents 1.0.0: The SHA-256 is" in text
    assert "The stored file of Shared experts 1.0.0 is as it should be." in text


# --- Who may ----------------------------------------------------------------------------------------------------


def test_nobody_but_staff_gets_in(learner: Actor) -> None:
    browser = Client()
    assert browser.get(LIST).status_code == 302
    browser.force_login(learner.user)
    assert browser.get(LIST).status_code == 302


def test_an_author_uploads_and_can_not_publish(chapter: Chapter) -> None:
    browser, author = member_of("Authors")

    raw = bundle_of(("chapter", "ch1_intro"))
    assert upload(browser, raw, chapter=str(chapter.pk)).status_code == 302
    release = BundleRelease.objects.get()
    assert release.created_by == author.user

    actions = dict(browser.get(LIST).context["action_form"].fields["action"].choices)
    assert set(actions) == {"", "verify", "delete_selected"}
    assert set(browser.get(f"{LIST}{release.pk}/change/").context["object_actions"]) == {"verify"}
    assert told(confirm(browser, "publish", release, rollout_percent="100")) == "No action selected."
    release.refresh_from_db()
    assert release.state == "draft"

    publish(release)
    for action in ("schedule", "widen", "withdraw", "withdraw_only_these"):
        assert told(confirm(browser, action, release, rollout_percent="100")) == "No action selected."
    release.refresh_from_db()
    assert release.state == "published"


def test_an_author_finds_a_chapter(chapter: Chapter) -> None:
    browser, _ = member_of("Authors")
    query = {"app_label": "updates", "model_name": "bundlerelease", "field_name": "chapter", "term": "ch1"}
    assert len(browser.get(reverse("admin:autocomplete"), query).json()["results"]) == 1


def test_a_publisher_publishes_widens_and_withdraws() -> None:
    browser, publisher = member_of("Publishers")
    release = draft(APP)

    confirm(browser, "publish", release, rollout_percent="10")
    release.refresh_from_db()
    confirm(browser, "widen", release, rollout_percent="20")
    confirm(browser, "withdraw", release)

    done = events("action", "user")[1:]
    assert done == [(action, publisher.user.pk) for action in ("published", "widened", "withdrawn")]


def test_who_may_only_look_can_change_nothing() -> None:
    release = draft(APP)
    viewer = make_actor("viewer", is_staff=True)
    viewer.user.user_permissions.add(Permission.objects.get(codename="view_bundlerelease"))
    browser = Client()
    browser.force_login(viewer.user)
    page = f"{LIST}{release.pk}/"

    shown = browser.get(f"{page}change/")
    assert shown.context["object_actions"] == {}
    assert "100 %" in shown.content.decode()
    assert browser.get(f"{LIST}add/").status_code == 403
    assert browser.post(f"{page}change/", change_form()).status_code == 403
    assert browser.post(f"{page}delete/", {"post": "yes"}).status_code == 403
    assert upload(browser, bundle_of(SHARED)).status_code == 403
    for action in ("publish", "verify", "delete_selected"):
        confirm(browser, action, release, rollout_percent="100", post="yes")

    assert BundleRelease.objects.get().state == "draft"
    assert len(events("action")) == 1


def test_a_forged_post_is_refused(staff: Actor) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(staff.user)
    release = draft(APP)

    assert browser.post(f"{LIST}add/", {**FORM, "archive": archive(bundle_of(APP))}).status_code == 403
    assert confirm(browser, "publish", release, rollout_percent="100").status_code == 403
