"""The audit in the admin: a release's history, and the list of all that happened."""

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from config.errors import ErrorCode
from courses.models import Chapter
from tests.cast import Actor, make_actor
from updates.models import BundleRelease, ReleaseEvent
from updates.principals import ADMIN_KEY, person
from updates.services.drafts import delete_draft, update_draft
from updates.services.publication import publish_releases, withdraw_releases
from updates.services.uploads import upload_draft
from updates.tests.shelf import APP, SHARED, SOMEBODY, a_bundle, chapter_scope, draft, publish, published, refused

LIST = "/admin/updates/releaseevent/"

pytestmark = pytest.mark.django_db


def history(page: Client, release: BundleRelease) -> Any:
    response = page.get(f"/admin/updates/bundlerelease/{release.pk}/history/")
    assert response.status_code == 200
    return response


def entries(page: Client, release: BundleRelease) -> list[tuple[str, str, list[str]]]:
    """Return action, actor and changes of each entry, the newest first."""
    shown = history(page, release).context["entries"]
    return [(entry.event.action, entry.event.actor_name, [str(change) for change in entry.changes]) for entry in shown]


def refuse_other_bytes(scope: tuple[str, str]) -> None:
    with a_bundle(scope, files={"other.md": "other"}) as bundle, refused(ErrorCode.BUNDLE_RELEASE_CONFLICT):
        upload_draft(file=bundle.file, bundle_type=scope[0], scope_id=scope[1], version="1.0.0", principal=ADMIN_KEY)


def test_who_did_what_when_and_from_what_to_what(admin_page: Client, staff: Actor) -> None:
    release = draft(APP)
    changes = {"rollout_basis_points": 500, "required_experts": ["alpha"], "is_mandatory": False}
    update_draft(release=release, changes=changes, principal=person(staff.user))
    BundleRelease.objects.filter(pk=release.pk).update(required_experts=[])
    release.refresh_from_db()
    publish_releases(releases=[release], principal=person(staff.user))
    release.refresh_from_db()
    withdraw_releases(releases=[release], principal=ADMIN_KEY)

    withdrawn, publication, changed, created = entries(admin_page, release)

    assert withdrawn[:2] == ("withdrawn", "ADMIN_API_KEY")
    assert "State: Published → Withdrawn" in withdrawn[2]
    assert publication[:2] == ("published", "staff@example.com")
    assert changed[:2] == ("changed", "staff@example.com")
    assert set(changed[2]) == {"Rollout: 100 % → 5 %", "Required experts: alpha", "Mandatory: yes → no"}
    assert created[0] == "created"
    assert f"SHA-256: {release.sha256}" in created[2]
    assert "Offered from: " not in " ".join(created[2]), "what has no value is left out"
    page = history(admin_page, release).content.decode()
    assert "ADMIN_API_KEY" in page
    assert f"{release.created_at:%Y-%m-%d}" in page


def test_what_was_refused_and_what_was_told(admin_page: Client) -> None:
    release = published(APP, "1.0.0")
    published(APP, "2.0.0")
    refuse_other_bytes(APP)
    withdraw_releases(releases=[release], principal=SOMEBODY)
    release.refresh_from_db()
    publish(release)

    page = " ".join(history(admin_page, release).content.decode().split())

    assert "<strong>refused</strong>" in page
    assert "Draft made: refused" in admin_page.get(LIST).content.decode(), "phones show no outcome beside it"
    assert "exists already with other bytes" in page
    assert "Notice: Roll-back" in page


def test_it_covers_earlier_drafts_of_the_version_and_nothing_else(admin_page: Client) -> None:
    delete_draft(release=draft(APP), principal=SOMEBODY)
    draft(APP, "2.0.0")
    draft(SHARED)
    release = draft(APP)

    assert [action for action, *_ in entries(admin_page, release)] == ["created", "deleted", "created"]


def test_what_it_shows_is_escaped(admin_page: Client) -> None:
    release = draft(APP)
    ReleaseEvent.objects.update(actor_name="<b>x", refusal="<i>x", notices=["<u>x"], changes={"<s>": ["<q>", "<p>"]})

    page = history(admin_page, release).content.decode()
    page += admin_page.get(LIST).content.decode()
    page += admin_page.get(f"{LIST}{ReleaseEvent.objects.get().pk}/change/").content.decode()

    assert not any(f"{tag}x" in page for tag in ("<b>", "<i>", "<u>"))
    assert "<q>" not in page


def test_long_histories_have_pages(admin_page: Client, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    release = draft(APP)
    event = ReleaseEvent.objects.get()
    for _ in range(120):
        event.pk = None
        event.save()
    path = f"/admin/updates/bundlerelease/{release.pk}/history/"
    admin_page.get(path)

    with django_assert_num_queries(5):  # session, user, release, count, page
        first = admin_page.get(path)
    second = admin_page.get(f"{path}?p=2")

    assert (len(first.context["entries"]), len(second.context["entries"])) == (100, 21)
    assert 'href="?p=2"' in first.content.decode()
    assert admin_page.get(f"{path}?p=x").status_code == 200


def test_of_a_release_that_is_not_there(admin_page: Client) -> None:
    response = admin_page.get("/admin/updates/bundlerelease/00000000-0000-4000-8000-000000000000/history/")
    assert response["Location"] == "/admin/"


def test_who_may_look_at_releases_sees_their_history(learner: Actor) -> None:
    release = draft(APP)
    viewer = make_actor("viewer", is_staff=True)
    browser = Client()
    browser.force_login(viewer.user)
    path = f"/admin/updates/bundlerelease/{release.pk}/history/"
    assert browser.get(path).status_code == 403

    viewer.user.user_permissions.add(Permission.objects.get(codename="view_bundlerelease"))
    assert browser.get(path).status_code == 200
    assert browser.get(LIST).status_code == 403


# --- The list of all ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", 5),
        ("action__exact=published", 1),
        ("outcome=refused", 1),
        ("outcome=done", 4),
        ("outcome=x", 5),
        ("actor_kind__exact=admin_key", 1),
        ("bundle_type__exact=chapter", 1),
        ("q=shared", 1),
        ("q=9.9.9", 1),
        ("q=tst100", 1),
        ("q=ADMIN_API_KEY", 1),
    ],
)
def test_search_and_filters(admin_page: Client, chapter: Chapter, query: str, found: int) -> None:
    published(APP)
    draft(SHARED)
    draft(chapter_scope(chapter), "9.9.9")
    refuse_other_bytes(APP)

    assert len(admin_page.get(f"{LIST}?{query}").context["cl"].result_list) == found


def test_the_list_has_a_bounded_number_of_queries(
    admin_page: Client, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for number in range(3):
        draft(chapter_scope(chapter), f"1.{number}.0")
    admin_page.get(LIST)

    with django_assert_num_queries(4) as captured:  # session, user, count, page
        page = admin_page.get(LIST).content.decode()

    assert "Chapter TST100/ch1_intro 1.2.0" in page
    assert '"manifest"' not in captured[-1]["sql"]


def test_an_entry_names_what_was_done_in_the_same_act(
    admin_page: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    publish(draft(APP), draft(SHARED))
    event = ReleaseEvent.objects.get(action="published", bundle_type="app_agents")
    path = f"{LIST}{event.pk}/change/"
    admin_page.get(path)

    with django_assert_num_queries(4):  # session, user, entry, those of the same act
        page = admin_page.get(path).content.decode()

    assert "Shared experts 1.0.0" in page
    assert f"/admin/updates/bundlerelease/{event.release_id}/change/" in page
    assert "State: Draft → Published" in page


def test_an_entry_outlives_what_it_is_about(admin_page: Client) -> None:
    delete_draft(release=draft(APP), principal=SOMEBODY)

    for event in ReleaseEvent.objects.all():
        assert "App agents 1.0.0" in admin_page.get(f"{LIST}{event.pk}/change/").content.decode()


def test_courses_are_named_by_their_codes(
    admin_page: Client, chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    scope = chapter_scope(chapter)
    for version in ("1.0.0", "1.1.0"):
        delete_draft(release=draft(scope, version), principal=SOMEBODY)
    ReleaseEvent.objects.filter(action="deleted").update(refusal=f"chapter/{scope[1]} is {scope[1]}.")
    release = draft(scope)
    admin_page.get(LIST)

    with django_assert_num_queries(5):  # session, user, count, page, courses
        page = admin_page.get(LIST).content.decode()

    assert page.count("Chapter TST100/ch1_intro 1.1.0") == 2
    assert page.count("Refused: chapter/TST100/ch1_intro is TST100/ch1_intro.") == 2
    event = ReleaseEvent.objects.get(action="deleted", version="1.0.0")
    for path in (f"{LIST}{event.pk}/change/", f"/admin/updates/bundlerelease/{release.pk}/history/"):
        page = admin_page.get(path).content.decode()
        assert "chapter/TST100/ch1_intro is TST100/ch1_intro." in page
        assert str(chapter.course_id) not in page


def test_nobody_changes_the_audit(admin_page: Client) -> None:
    draft(APP)
    event = ReleaseEvent.objects.get()

    assert admin_page.get(f"{LIST}add/").status_code == 403
    assert admin_page.post(f"{LIST}{event.pk}/change/", {"actor_name": "x"}).status_code == 403
    assert admin_page.post(f"{LIST}{event.pk}/delete/", {"post": "yes"}).status_code == 403
    form = {"action": "delete_selected", "_selected_action": [str(event.pk)], "post": "yes"}
    admin_page.post(LIST, form)

    assert ReleaseEvent.objects.get().actor_name == event.actor_name
