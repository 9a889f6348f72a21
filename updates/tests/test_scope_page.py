"""The admin's page of a scope: what devices get and have, all its releases, and its history."""

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags
from pytest_django import DjangoAssertNumQueries

from config import limits
from courses.models import Chapter
from tests.cast import Actor, make_actor
from updates.admin import scopes
from updates.models import AdoptionDay, BundleRelease, ReleaseEvent
from updates.tests.shelf import APP, SHARED, chapter_scope, draft, published, withdraw

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("calm_catalogue")]


def address(scope: tuple[str, str], query: str = "") -> str:
    return f"{reverse('admin:updates_scope', args=scope)}{query}"


def text_of(page: Client, scope: tuple[str, str], query: str = "") -> str:
    """The page's own text, with single spaces."""
    response = page.get(address(scope, query))
    assert response.status_code == 200
    content = response.content.decode()
    assert content.count("<h1") == 1
    return " ".join(strip_tags(content[content.index('id="content-main"') :].replace("<", " <")).split())


def check_app(actor: Actor, version: str) -> None:
    assert actor.post("/v1/updates/check-app", {"installed": {"app_agents": version}}).status_code == 200


@pytest.fixture
def devices(db: None) -> list[Actor]:
    return [make_actor(f"device{number}") for number in range(4)]


def test_what_a_chapter_is_and_what_its_devices_get(admin_page: Client, learner: Actor, chapter: Chapter) -> None:
    published(chapter_scope(chapter), "1.0.0")
    draft(chapter_scope(chapter), "2.0.0")
    body = {"course_id": str(chapter.course_id), "chapter_id": str(chapter.pk), "installed": {"chapter_bundle": ""}}
    learner.post("/v1/updates/check-chapter", body)

    text = text_of(admin_page, chapter_scope(chapter))

    assert "TST100: Testing" in text
    assert "ch1_intro: Introduction" in text
    assert "1 of 1 device that was offered it is still behind." in text
    assert "2.0.0 Draft" in text
    heading = re.search(r"<h1.*?</h1>", admin_page.get(address(chapter_scope(chapter))).content.decode(), re.DOTALL)
    assert heading
    assert strip_tags(heading[0]).strip() == "Chapter TST100/ch1_intro"


def test_how_far_rollouts_got(admin_page: Client, devices: list[Actor]) -> None:
    published(APP, "1.0.0")
    check_app(devices[0], "1.0.0")
    check_app(devices[1], "")
    published(APP, "1.1.0", rollout_basis_points=10_000)
    for device in devices:
        check_app(device, "1.0.0")
    check_app(devices[3], "1.1.0")
    half = published(APP, "1.2.0", rollout_basis_points=5_000)
    later = published(APP, "2.0.0", publish_at=timezone.now() + timedelta(days=1))

    response = admin_page.get(address(APP))

    current, offers = response.context["current"], response.context["offers"]
    assert current.release.version == "1.1.0"
    assert (current.adoption.progress.offered, current.adoption.progress.installed) == (4, 1)
    assert [(offer.release, offer.now, offer.rollout) for offer in offers] == [
        (later, False, "100 %"),
        (half, True, "50 %"),
    ]
    text = text_of(admin_page, APP)
    assert "3 of 4 devices that were offered it are still behind. Offered 4 Installed 1 Still behind 3" in text
    assert "to 50 % of devices" in text
    assert "No device was offered it yet, and none has it." in text
    assert f"{later.publish_at:%Y-%m-%d %H:%M} UTC" in text


def test_a_rollout_that_everybody_has(admin_page: Client, devices: list[Actor]) -> None:
    published(APP, "1.0.0")
    check_app(devices[0], "1.0.0")
    assert "The one device that was offered it has it." in text_of(admin_page, APP)

    check_app(devices[1], "1.0.0")
    assert "All 2 devices that were offered it have it." in text_of(admin_page, APP)


def test_what_is_older_than_the_current_release_is_no_rollout(admin_page: Client) -> None:
    published(APP, "1.0.0", rollout_basis_points=5_000)
    published(APP, "1.1.0")
    withdraw(published(APP, "1.2.0", rollout_basis_points=5_000))

    assert admin_page.get(address(APP)).context["offers"] == []


def test_the_chart_has_its_numbers_as_a_table(admin_page: Client, devices: list[Actor]) -> None:
    published(APP, "1.0.0")
    for device, version in zip(devices, ("1.0.0", "1.0.0", "", "dev"), strict=True):
        check_app(device, version)

    response = admin_page.get(address(APP))

    chart = response.context["chart"]
    assert [(series.name, series.values[-1]) for series in chart.series] == [
        ("1.0.0", 2),
        ("Not a release of ours", 1),
        ("Nothing installed", 1),
    ]
    assert len(chart.labels) == 30
    assert re.search(r"<th scope=\"row\">\w+ \d+</th>\s*<td class=\"number\">2</td>", response.content.decode())


def test_the_chart_tells_apart_a_few_versions_only(admin_page: Client) -> None:
    rows = [
        AdoptionDay(
            bundle_type=APP[0],
            scope_id=APP[1],
            day=timezone.now().date(),
            version=f"1.{number}.0",
            offered_version="",
            slot=0,
            devices=number,
        )
        for number in range(1, 11)
    ]
    AdoptionDay.objects.bulk_create(rows)

    chart = admin_page.get(address(APP)).context["chart"]

    assert [series.name for series in chart.series] == ["1.10.0", "1.9.0", "1.8.0", "1.7.0", "1.6.0", "Other releases"]
    assert sum(series.values[-1] or 0 for series in chart.series) == 55
    assert chart.series[-1].values[-1] == 15


def test_an_empty_scope_says_what_will_be_there(admin_page: Client) -> None:
    text = text_of(admin_page, SHARED)

    assert "No release is offered to all devices." in text
    assert "Nothing. A release that goes to a part of the devices" in text
    assert "No device has checked this yet." in text
    assert "There is none yet." in text
    assert "Nothing yet. Uploads" in text_of(admin_page, SHARED, "?tab=history")


def test_the_history_is_of_all_versions(admin_page: Client) -> None:
    withdraw(published(APP, "1.0.0"))
    draft(APP, "2.0.0")
    published(SHARED, "9.9.9")

    text = text_of(admin_page, APP, "?tab=history")

    assert re.search(r"2\.0\.0 .*Draft made .*1\.0\.0 .*Withdrawn .*1\.0\.0 .*Published .*1\.0\.0 .*Draft made", text)
    assert "9.9.9" not in text


def test_both_lists_are_paged(admin_page: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scopes, "RELEASES_PER_PAGE", 2)
    monkeypatch.setattr(scopes, "HISTORY_PER_PAGE", 2)
    for number in range(3):
        draft(APP, f"1.{number}.0")

    assert [row.release.version for row in admin_page.get(address(APP)).context["rows"]] == ["1.2.0", "1.1.0"]
    assert [row.release.version for row in admin_page.get(address(APP, "?p=2")).context["rows"]] == ["1.0.0"]
    first = admin_page.get(address(APP, "?tab=history"))
    assert 'href="?tab=history&amp;p=2"' in first.content.decode()
    second = admin_page.get(address(APP, "?tab=history&p=2"))
    assert [entry.event.version for entry in second.context["entries"]] == ["1.0.0"]


@pytest.mark.parametrize("version", ["1.0.0", "<b>1</b>"])
def test_nothing_is_shown_as_markup(admin_page: Client, version: str) -> None:
    AdoptionDay.objects.create(
        bundle_type="experts", scope_id="x", day=timezone.now().date(), version=version, offered_version="", slot=0,
        devices=1,
    )  # fmt: skip

    assert "<b>1</b>" not in admin_page.get(address(("experts", "x"))).content.decode()


# --- Who, and what ----------------------------------------------------------------------------------------------


def page_of(actor: Actor) -> Client:
    client = Client()
    client.force_login(actor.user)
    return client


def test_who_may_see_releases_may_see_it() -> None:
    published(APP)
    reader = make_actor("reader", is_staff=True)
    assert page_of(reader).get(address(APP)).status_code == 403

    reader.user.user_permissions.add(Permission.objects.get(codename="view_bundlerelease"))

    response = page_of(reader).get(address(APP))
    assert response.status_code == 200
    assert "Upload a release" not in response.content.decode()
    assert page_of(reader).get(address(APP, "?tab=history")).status_code == 200


def test_strangers_are_sent_to_the_login(learner: Actor) -> None:
    assert "/login/" in Client().get(address(APP))["Location"]
    assert "/login/" in page_of(learner).get(address(APP))["Location"]


@pytest.mark.parametrize(
    "scope",
    [
        ("app_agents", "other"),
        ("experts_shared", "core"),
        ("nothing", "core"),
        ("device", "core"),
        ("experts", "nobody"),
        ("experts", "a\x00"),
        ("chapter", "ch1_intro"),
        ("chapter", f"{uuid.uuid4()}/ch1_intro"),
        ("chapter", "a/b/c"),
    ],
)
def test_an_unknown_scope_is_not_found(admin_page: Client, scope: tuple[str, str]) -> None:
    base = address(APP).removesuffix("app_agents/core/")

    assert admin_page.get(f"{base}{scope[0]}/{scope[1].replace(chr(0), '%00')}/").status_code == 404


def test_a_chapter_that_has_nothing_yet_has_its_page(admin_page: Client, chapter: Chapter) -> None:
    assert admin_page.get(address(chapter_scope(chapter))).status_code == 200
    upper = (chapter_scope(chapter)[0], chapter_scope(chapter)[1].upper())
    assert admin_page.get(address(upper)).status_code == 404


@pytest.mark.parametrize("code", ["difference", "history", "change"])
def test_no_chapter_code_leads_elsewhere(admin_page: Client, chapter: Chapter, code: str) -> None:
    other = Chapter.objects.create(course=chapter.course, chapter_code=code, title="Odd", order=9)

    assert admin_page.get(address(chapter_scope(other))).context["scope"].chapter == other


def test_an_expert_is_known_by_what_was_refused_or_asked_for(admin_page: Client) -> None:
    release = draft(("experts", "gone"), "1.0.0")
    BundleRelease.objects.filter(pk=release.pk).delete()
    assert ReleaseEvent.objects.filter(scope_id="gone").exists()

    assert admin_page.get(address(("experts", "gone"))).status_code == 200


def test_the_upload_button_knows_the_chapter(admin_page: Client, chapter: Chapter) -> None:
    url = reverse("admin:updates_bundlerelease_add")
    chapters = admin_page.get(address(chapter_scope(chapter))).content.decode()

    assert f'href="{url}?chapter={chapter.pk}"' in chapters
    assert f'href="{url}"' in admin_page.get(address(APP)).content.decode()
    form = admin_page.get(f"{url}?chapter={chapter.pk}").context["adminform"].form
    assert str(form["chapter"].value()) == str(chapter.pk)


def test_the_page_of_a_release_shows_how_far_it_got(admin_page: Client, devices: list[Actor]) -> None:
    release = published(APP, "1.0.0")
    check_app(devices[0], "")
    check_app(devices[1], "1.0.0")

    shown = admin_page.get(reverse("admin:updates_bundlerelease_change", args=[release.pk])).content.decode()

    assert "How far it got" in shown
    assert "1 of 2 devices that were offered it are still behind." in shown
    assert address(APP) in shown
    assert scopes.adoption_box(draft(APP, "2.0.0")) is None


def test_the_number_of_queries_does_not_grow(
    admin_page: Client, devices: list[Actor], chapter: Chapter, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    def queries(overview: int, history: int, scope: tuple[str, str]) -> None:
        with django_assert_num_queries(overview):
            admin_page.get(address(scope))
        with django_assert_num_queries(history):
            admin_page.get(address(scope, "?tab=history"))

    def fill(scope: tuple[str, str], versions: Any) -> None:
        for version in versions:
            published(scope, f"1.{version}.0")
            published(scope, f"2.{version}.0", rollout_basis_points=100)
            check_app(devices[0], f"1.{version}.0")

    fill(APP, range(2))
    fill(chapter_scope(chapter), range(2))
    queries(8, 4, APP)
    queries(9, 5, chapter_scope(chapter))
    fill(APP, range(2, 6))
    queries(8, 4, APP)


def test_a_device_that_was_not_seen_lately_counts_no_more(
    admin_page: Client, devices: list[Actor], monkeypatch: pytest.MonkeyPatch
) -> None:
    published(APP, "1.0.0")
    check_app(devices[0], "")
    moved = timezone.now().date() - timedelta(days=limits.ADOPTION_WINDOW_DAYS)
    AdoptionDay.objects.update(day=moved)

    assert "No device was offered it yet" in text_of(admin_page, APP)
