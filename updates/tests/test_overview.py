"""The admin's first page: what it tells, to whom, and what it costs."""

from collections.abc import Callable
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import strip_tags
from pytest_django import Settings

from config import limits
from config.errors import ErrorCode
from courses.models import Chapter
from tests.cast import Actor, make_actor
from updates.models import BundleRelease, ReleaseEvent
from updates.services.uploads import upload_draft
from updates.tests.archives import packed
from updates.tests.shelf import (
    APP,
    SHARED,
    SOMEBODY,
    chapter_scope,
    draft,
    publish,
    published,
    refused,
    widen,
    withdraw,
)

pytestmark = pytest.mark.django_db

INDEX = reverse("admin:index")


def text_of(client: Client) -> str:
    """Return what the page says, between its tags."""
    response = client.get(INDEX)
    assert response.status_code == 200
    page = response.content.decode()
    content = page[page.index('id="content-main"') : page.index('id="search-dialog"')]
    return " ".join(unescape(strip_tags(content)).split())


def staff_with(*permissions: str) -> Client:
    """A browser of somebody of the staff who may do just this."""
    actor = make_actor("clerk", is_staff=True)
    for permission in permissions:
        app, _, codename = permission.partition(".")
        actor.user.user_permissions.add(Permission.objects.get(content_type__app_label=app, codename=codename))
    client = Client()
    client.force_login(actor.user)
    return client


def check_app(actor: Actor, installed: str) -> None:
    body = {"desktop_version": "1.0.0", "sidecar_version": "1.0.0", "installed": {"app_agents": installed}}
    assert actor.post("/v1/updates/check-app", body).status_code == 200


def stand_since(release: BundleRelease, days: int) -> None:
    """Let everything that was done to the release be so many days ago."""
    then = timezone.now() - timedelta(days=days)
    ReleaseEvent.objects.filter(release=release).update(created_at=then)
    BundleRelease.objects.filter(pk=release.pk).update(published_at=then)


def fail_upload() -> None:
    with refused(ErrorCode.BUNDLE_INVALID):
        upload_draft(
            file=packed({"readme.md": b"no manifest"}),
            bundle_type=APP[0],
            scope_id=APP[1],
            version="6.6.6",
            principal=SOMEBODY,
        )


def test_an_empty_server_says_what_to_do_first(admin_page: Client) -> None:
    text = text_of(admin_page)
    assert "Everything is all right." in text
    assert "Nothing was published yet. Upload a bundle" in text
    assert "No upload failed, and no act was refused." in text
    assert "No device has checked for updates yet." in text


def test_it_tells_what_was_published_by_whom_and_how_far_it_got(
    admin_page: Client, learner: Actor, fellow: Actor, chapter: Chapter
) -> None:
    published(APP, "1.0.0")
    publish(draft(APP, "1.1.0"), draft(SHARED, "2.0.0"))
    published(chapter_scope(chapter), "3.0.0")
    check_app(learner, "1.1.0")
    check_app(fellow, "1.0.0")
    text = text_of(admin_page)
    assert "App agents 1.1.0 Installed on 1 of 2 devices that were offered it; 1 still behind." in text
    assert "Chapter TST100/ch1_intro 3.0.0 No device was offered it yet." in text
    assert f"by {SOMEBODY.name}" in text
    # The newest act first, and what was published together in the order of the act.
    places = [
        text.index(name) for name in ("ch1_intro 3.0.0", "App agents 1.1.0", "Shared experts 2.0.0", "App agents 1.0.0")
    ]
    assert places == sorted(places)


def test_what_was_withdrawn_since_is_marked(admin_page: Client) -> None:
    release = published(APP)
    assert "Withdrawn since." not in text_of(admin_page)
    withdraw(release)
    assert "App agents 1.0.0 Withdrawn since." in text_of(admin_page)


def test_a_version_that_was_published_again_stands_there_once(admin_page: Client, staff: Actor) -> None:
    first = published(APP, "1.0.0")
    published(SHARED)
    for _ in range(2):
        withdraw(first)
        publish(first)
    response = admin_page.get(INDEX)
    acts = response.context["report"].cards[0].context["acts"]

    assert [[one.name for one in act.releases] for act in acts] == [["App agents 1.0.0"], ["Shared experts 1.0.0"]]
    text = text_of(admin_page)
    assert text.count("App agents 1.0.0") == 1
    assert "Published 2 times before" in text
    earlier = ReleaseEvent.objects.filter(action="published", release=first).order_by("pk")
    assert [one.at for one in acts[0].releases[0].earlier] == [event.created_at for event in earlier[:2]][::-1]


def test_what_of_an_act_was_published_again_since_is_left_out_of_it(admin_page: Client) -> None:
    app, shared = draft(APP), draft(SHARED)
    publish(app, shared)
    withdraw(app, shared)
    publish(shared)
    acts = admin_page.get(INDEX).context["report"].cards[0].context["acts"]

    assert [[one.name for one in act.releases] for act in acts] == [["Shared experts 1.0.0"], ["App agents 1.0.0"]]


def test_a_rollout_is_shown_until_everybody_has_it(admin_page: Client) -> None:
    release = published(APP, rollout_basis_points=1_000)
    assert "10 % of the devices since" in text_of(admin_page)
    widen(release, 10_000)
    assert "None: each release that is published reaches all devices" in text_of(admin_page)


def test_a_rollout_whose_place_a_later_release_took_is_over(admin_page: Client) -> None:
    published(APP, "1.0.0", rollout_basis_points=1_000)
    published(APP, "1.1.0", rollout_basis_points=2_000)
    assert "10 % of the devices since" in text_of(admin_page)
    published(APP, "1.2.0")
    text = text_of(admin_page)
    assert "10 % of the devices since" not in text
    assert "20 % of the devices since" not in text


def test_a_later_release_that_is_still_to_come_takes_no_place(admin_page: Client) -> None:
    published(APP, "1.0.0", rollout_basis_points=1_000)
    published(APP, "1.1.0", publish_at=timezone.now() + timedelta(days=2))
    assert "10 % of the devices since" in text_of(admin_page)


def test_a_rollout_that_stands_still_needs_a_look(admin_page: Client) -> None:
    release = published(APP, rollout_basis_points=1_000)
    stand_since(release, limits.ROLLOUT_STANDS_STILL_DAYS - 1)
    assert "Everything is all right." in text_of(admin_page)
    stand_since(release, limits.ROLLOUT_STANDS_STILL_DAYS)
    text = text_of(admin_page)
    assert "1 thing needs a look. 1 rollout has stood still for 7 days or longer: widen it or withdraw it." in text
    assert "It has stood still for 7 days." in text
    widen(release, 2_000)
    assert "Everything is all right." in text_of(admin_page)


def test_what_is_scheduled_is_told_and_no_reason_to_worry(admin_page: Client) -> None:
    at = timezone.now() + timedelta(days=2)
    published(APP, publish_at=at)
    text = text_of(admin_page)
    assert "Everything is all right." in text
    assert f"1 release is scheduled: it is offered from {at:%Y-%m-%d %H:%M} UTC on." in text
    assert f"App agents 1.0.0 Scheduled for {at:%Y-%m-%d %H:%M} UTC" in text
    assert text.count("App agents 1.0.0") == 1, "not among what is published as well"
    assert "Nothing was published yet." in text


def test_a_scheduled_release_counts_as_published_from_its_time_on(admin_page: Client) -> None:
    early = published(APP, publish_at=timezone.now() + timedelta(days=2))
    published(SHARED)
    came = timezone.now()
    BundleRelease.objects.filter(pk=early.pk).update(publish_at=came)

    (first, second) = admin_page.get(INDEX).context["report"].cards[0].context["acts"]

    assert [first.releases[0].name, second.releases[0].name] == ["App agents 1.0.0", "Shared experts 1.0.0"]
    assert first.publication.at == came


def test_what_was_withdrawn_before_its_time_was_never_published(admin_page: Client) -> None:
    release = published(APP, publish_at=timezone.now() + timedelta(days=2))
    withdraw(release)
    for passed in (release.publish_at, release.withdrawn_at and release.withdrawn_at + timedelta(microseconds=1)):
        BundleRelease.objects.filter(pk=release.pk).update(publish_at=passed)
        assert "Nothing was published yet." in text_of(admin_page)


def test_what_is_scheduled_does_not_stand_among_what_needs_a_look(admin_page: Client) -> None:
    published(APP, publish_at=timezone.now() + timedelta(days=2))
    fail_upload()
    page = admin_page.get(INDEX).content.decode()
    needs_a_look, _, rest = page.partition('<section class="overview-state urgent">')[2].partition("</section>")
    assert "1 thing needs a look." in needs_a_look
    assert "1 upload or act failed" in needs_a_look
    assert "scheduled" not in needs_a_look
    assert "1 release is scheduled" in rest


def test_a_rollout_begins_at_its_time(admin_page: Client) -> None:
    at = timezone.now() + timedelta(days=2)
    release = published(APP, publish_at=at, rollout_basis_points=1_000)
    stand_since(release, limits.ROLLOUT_STANDS_STILL_DAYS)
    text = text_of(admin_page)
    assert "10 % of the devices since" not in text
    assert "Everything is all right." in text

    came = timezone.now() - timedelta(hours=1)
    BundleRelease.objects.filter(pk=release.pk).update(publish_at=came)
    text = text_of(admin_page)
    assert f"10 % of the devices since {came:%Y-%m-%d %H:%M} UTC." in text
    assert "Everything is all right." in text, "it has not stood still yet"


def test_a_later_release_takes_the_place_when_its_time_comes(admin_page: Client) -> None:
    published(APP, "1.0.0", rollout_basis_points=1_000)
    later = published(APP, "1.1.0", publish_at=timezone.now() + timedelta(days=2))
    BundleRelease.objects.filter(pk=later.pk).update(publish_at=timezone.now())
    assert "10 % of the devices since" not in text_of(admin_page)


def test_an_upload_that_failed_needs_a_look_for_a_day_and_is_shown_for_a_week(admin_page: Client) -> None:
    fail_upload()
    text = text_of(admin_page)
    assert "1 upload or act failed in the last 24 hours." in text
    assert "The upload failed: App agents 6.6.6" in text
    assert ReleaseEvent.objects.get().refusal in text
    ReleaseEvent.objects.update(created_at=timezone.now() - timedelta(days=2))
    text = text_of(admin_page)
    assert "Everything is all right." in text
    assert "App agents 6.6.6" in text
    ReleaseEvent.objects.update(created_at=timezone.now() - timedelta(days=8))
    assert "App agents 6.6.6" not in text_of(admin_page)


def test_what_was_done_since_needs_no_look(admin_page: Client) -> None:
    fail_upload()
    published(APP, "6.6.5")
    assert "1 upload or act failed in the last 24 hours." in text_of(admin_page), "another version is no answer"

    draft(APP, "6.6.6")

    text = text_of(admin_page)
    assert "Everything is all right." in text
    assert "The upload failed: App agents 6.6.6" in text
    assert "Done since." in text


def test_a_reason_names_courses_by_their_codes(admin_page: Client, chapter: Chapter) -> None:
    scope = chapter_scope(chapter)
    draft(scope)
    ReleaseEvent.objects.update(refusal=f"The scope is {scope[1]}.")

    assert "The scope is TST100/ch1_intro." in text_of(admin_page)


def test_checks_and_active_devices_are_a_chart_with_its_numbers(admin_page: Client, learner: Actor) -> None:
    check_app(learner, "")
    charts = [part.split("</figure>")[0] for part in admin_page.get(INDEX).content.decode().split("<figure")[1:]]
    assert ["Active devices per day" in charts[0], "Checks for updates per day" in charts[1]] == [True, True]
    assert charts[0].count("<tr>") == limits.OVERVIEW_ACTIVITY_DAYS + 1
    assert '<td class="number">1</td>' in charts[0]


def test_without_a_permission_nothing_of_releases_is_told() -> None:
    published(APP)
    text = text_of(staff_with())
    assert "You are logged in, but may not see anything here yet." in text
    assert "App agents" not in text


def test_who_may_not_read_the_audit_sees_neither_failures_nor_names() -> None:
    published(APP)
    fail_upload()
    text = text_of(staff_with("updates.view_bundlerelease"))
    assert "App agents 1.0.0" in text
    assert SOMEBODY.name not in text
    assert "6.6.6" not in text
    assert "Nothing that you may see needs a look." in text


def test_who_may_not_upload_is_not_sent_there() -> None:
    client = staff_with("updates.view_bundlerelease")
    assert "Upload a bundle" not in text_of(client)


def _many(chapter: Chapter, number: int) -> None:
    for minor in range(number):
        published(chapter_scope(chapter), f"1.{minor}.0", rollout_basis_points=1_000)
        published(APP, f"1.{minor}.0", publish_at=timezone.now() + timedelta(days=1))
        fail_upload()


@pytest.mark.parametrize("number", [1, limits.OVERVIEW_ROWS + 2])
def test_it_costs_the_same_whatever_there_is(
    admin_page: Client,
    chapter: Chapter,
    number: int,
    settings: Settings,
    django_assert_num_queries: Callable[..., Any],
) -> None:
    settings.ADMIN_OVERVIEW = ["updates.overview.overview"]
    _many(chapter, number)
    # Session and user; publications, rollouts, what is scheduled, failures, names of courses, progress, activity.
    with django_assert_num_queries(9):
        admin_page.get(INDEX)


def test_lists_say_what_they_leave_out(admin_page: Client, chapter: Chapter) -> None:
    _many(chapter, limits.OVERVIEW_ROWS + 2)
    assert text_of(admin_page).count("And 2 more.") == 3
