"""What is scheduled: it is called so until its time, and its time can come at once."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.formats import date_format

from config.errors import ErrorCode
from courses.models import Chapter
from tests.cast import Actor
from tests.races import WAIT_SECONDS, in_thread, wait_until_blocked
from updates.models import BundleRelease, ReleaseEvent
from updates.services.publication import (
    Terms,
    one_act_at_a_time,
    publish_releases,
    reschedule_releases,
    withdraw_releases,
)
from updates.tests.shelf import (
    APP,
    SHARED,
    SOMEBODY,
    chapter_scope,
    draft,
    outcomes,
    publish,
    published,
    refused,
    withdraw,
)
from updates.tests.test_release_admin import LIST, choose, confirm, member_of, plain, told

SOON, LATER = datetime(2099, 1, 2, 3, 4, tzinfo=UTC), datetime(2099, 2, 3, 4, 5, tzinfo=UTC)

pytestmark = pytest.mark.django_db


def page_of(release: BundleRelease) -> str:
    return f"{LIST}{release.pk}/change/"


# --- What it is called ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planned", [None, SOON])
def test_it_is_scheduled_for_its_time_on_every_page(admin_page: Client, planned: datetime | None) -> None:
    release = draft(APP, "7.7.7", publish_at=planned)
    publish_releases(releases=[release], principal=SOMEBODY, terms=Terms(publish_at=SOON))

    scope = "/admin/updates/bundlerelease/scope/app_agents/core/"
    pages = [LIST, page_of(release), scope, "/admin/"]
    histories = [f"{LIST}{release.pk}/history/", f"{scope}?tab=history"]
    for address in (*pages, *histories):
        text = plain(admin_page.get(address))
        assert "Scheduled for 2099-01-02 03:04 UTC" in text, address
        for untrue in ("Published (UTC)", "published just now", "→ Published", "Published at", "As soon as devices"):
            assert untrue not in text, (address, untrue)
    for address in histories:
        text = plain(admin_page.get(address))
        assert "Scheduled State: Draft → Scheduled for 2099-01-02 03:04 UTC Notice: Scheduled: no device" in text
    found = admin_page.get("/admin/search/?q=7.7.7").content.decode()
    assert "Scheduled for 2099-01-02 03:04 UTC" in found
    audit = plain(admin_page.get("/admin/updates/releaseevent/"))
    assert "Scheduled App agents 7.7.7" in audit


def test_from_its_time_on_it_is_published_since_then(admin_page: Client) -> None:
    release = published(APP, "7.7.7", publish_at=SOON)
    at = timezone.now() - timedelta(days=3, hours=1)
    BundleRelease.objects.filter(pk=release.pk).update(publish_at=at, published_at=at - timedelta(days=9))

    text = plain(admin_page.get(page_of(release)))

    assert "State Published Kind" in text
    assert f"Published (UTC) {date_format(at, 'DATETIME_FORMAT')}" in text
    assert "3\xa0days ago" in admin_page.get(LIST).content.decode()
    history = plain(admin_page.get(f"{LIST}{release.pk}/history/"))
    assert "Draft → Scheduled for 2099-01-02 03:04 UTC" in history, "which is what was done then"


def test_what_was_withdrawn_before_its_time_was_never_published(admin_page: Client) -> None:
    release = published(APP, "7.7.7", publish_at=SOON)
    withdraw(release)

    text = plain(admin_page.get(page_of(release)))
    history = plain(admin_page.get(f"{LIST}{release.pk}/history/"))

    assert "Published (UTC)" not in text
    assert "State: Scheduled for 2099-01-02 03:04 UTC → Withdrawn" in history


def test_publishing_at_once_is_told_as_it_was(admin_page: Client) -> None:
    release = draft(APP, "7.7.7", publish_at=SOON)
    confirm(admin_page, "publish", release, rollout_percent="100")

    history = plain(admin_page.get(f"{LIST}{release.pk}/history/"))

    assert "Published State: Draft → Published" in history


def test_a_withdrawn_release_says_what_is_true_of_it(admin_page: Client, learner: Actor) -> None:
    release = published(APP, "7.7.7")
    withdraw(release)
    text = plain(admin_page.get(page_of(release)))
    assert "It is withdrawn: no device is offered it, and none had it when it last checked." in text
    assert "As soon as devices check" not in text

    publish(release)
    installed = {"installed": {"app_agents": "7.7.7"}}
    assert learner.post("/v1/updates/check-app", installed).status_code == 200
    withdraw(release)
    text = plain(admin_page.get(page_of(release)))
    assert "It is withdrawn: no device is offered it. 1 device still had it when it last checked." in text
    assert "Still behind" not in text


# --- Publishing it now ----------------------------------------------------------------------------------------------


def publish_now(page: Client, release: BundleRelease) -> Any:
    """Send what the page before it sends, which shows the time that the instance has."""
    assert release.publish_at is not None
    return confirm(page, "publish_now", release, **{f"time-{release.pk}": release.publish_at.isoformat()})


def test_a_scheduled_release_is_published_now_with_those_published_together(
    admin_page: Client, staff: Actor, learner: Actor, transactional_db: None
) -> None:
    release, companion, other = draft(APP, "7.7.7"), draft(SHARED, "7.7.7"), draft(("experts", "alpha"), "7.7.7")
    for scheduled in ((release, companion), (other,)):
        publish_releases(releases=scheduled, principal=SOMEBODY, terms=Terms(10_000, SOON))
    release.refresh_from_db()
    actions = admin_page.get(f"{LIST}{release.pk}/change/").context["object_actions"]
    assert actions["publish_now"] == "Publish now"

    text = plain(choose(admin_page, "publish_now", release))
    assert "2 releases will be offered from now on, whatever time they were scheduled for." in text
    assert "Published with it, and offered together" in text
    assert "App agents 7.7.7: the time so far is 2099-01-02 03:04 UTC. 2 of 2 devices will be offered it now." in text
    release.refresh_from_db()
    assert release.publish_at == SOON, "nothing before it is confirmed"

    done = told(publish_now(admin_page, release))

    assert "Published, and offered from now on: App agents 7.7.7, Shared experts 7.7.7." in done
    for one in (release, companion, other):
        one.refresh_from_db()
    assert other.publish_at == SOON
    assert release.publish_at == companion.publish_at
    assert release.publish_at is not None
    assert release.publish_at <= timezone.now()
    event = ReleaseEvent.objects.filter(action="rescheduled", release=release).get()
    assert event.changes == {"publish_at": [SOON.isoformat(), release.publish_at.isoformat()]}
    assert (event.user, event.refusal) == (staff.user, "")
    offered = learner.post("/v1/updates/check-app", {"installed": {}}).json()["required"]
    assert {item["version"] for item in offered} == {"7.7.7"}
    assert "State Published Kind" in plain(admin_page.get(f"{LIST}{release.pk}/change/"))
    assert "publish_now" not in admin_page.get(f"{LIST}{release.pk}/change/").context["object_actions"]


def test_what_needs_an_expert_that_comes_later_is_not_published_now(admin_page: Client, chapter: Chapter) -> None:
    published(("experts", "alpha"), "7.7.7", publish_at=SOON)
    release = published(chapter_scope(chapter), "7.7.7", experts=("alpha",), publish_at=LATER)

    (error,) = publish_now(admin_page, release).context["form"].non_field_errors()

    assert "These experts are required and have no published release: alpha." in error
    release.refresh_from_db()
    assert release.publish_at == LATER


def test_who_may_not_publish_publishes_nothing_now() -> None:
    browser, _ = member_of("Authors")
    release = published(APP, "7.7.7", publish_at=SOON)

    assert "publish_now" not in browser.get(f"{LIST}{release.pk}/change/").context["object_actions"]
    assert told(publish_now(browser, release)) == "No action selected."
    release.refresh_from_db()
    assert release.publish_at == SOON


def test_what_its_time_has_published_meanwhile_is_told(admin_page: Client) -> None:
    release = published(APP, "7.7.7", publish_at=SOON)
    came = timezone.now() - timedelta(minutes=1)
    BundleRelease.objects.filter(pk=release.pk).update(publish_at=came)

    (error,) = publish_now(admin_page, release).context["form"].non_field_errors()

    assert f"it came at {came:%Y-%m-%d %H:%M} UTC, and devices are offered the release since." in error
    release.refresh_from_db()
    assert release.publish_at == came


# --- While its time comes -------------------------------------------------------------------------------------------

Doing = Callable[[BundleRelease], Any]


def do_reschedule(release: BundleRelease) -> Any:
    return reschedule_releases(releases=[release], principal=SOMEBODY, publish_at=LATER)


def do_publish_now(release: BundleRelease) -> Any:
    return reschedule_releases(releases=[release], principal=SOMEBODY, publish_at=None)


def do_withdraw(release: BundleRelease) -> Any:
    return withdraw_releases(releases=[release], principal=SOMEBODY)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("act", [do_reschedule, do_publish_now])
def test_a_time_that_comes_while_an_act_waits_for_another_has_come(act: Doing) -> None:
    at = timezone.now() + timedelta(seconds=2)
    release = published(APP, "7.7.7", publish_at=at)

    with one_act_at_a_time():
        waiting = in_thread(lambda: act(BundleRelease.objects.get(pk=release.pk)))
        wait_until_blocked()
        time.sleep(max((at - timezone.now()).total_seconds(), 0))

    with refused(ErrorCode.BUNDLE_RELEASE_CONFLICT, "devices are offered the release since"):
        waiting.result(WAIT_SECONDS)
    release.refresh_from_db()
    assert (release.state, release.publish_at) == ("published", at)
    assert [event.refusal != "" for event in release.events.filter(action="rescheduled")] == [True]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("comes", [True, False])
def test_withdrawing_while_the_time_comes_says_whether_it_came(comes: bool) -> None:
    at = timezone.now() + timedelta(seconds=2)
    release = published(APP, "7.7.7", publish_at=at if comes else SOON)

    with one_act_at_a_time():
        waiting = in_thread(lambda: do_withdraw(BundleRelease.objects.get(pk=release.pk)))
        wait_until_blocked()
        time.sleep(max((at - timezone.now()).total_seconds(), 0))

    notices = " ".join(map(str, waiting.result(WAIT_SECONDS).notices))
    assert ("before its time" in notices) != comes
    assert ("offered to all devices any more" in notices) == comes
    release.refresh_from_db()
    assert release.state == "withdrawn"
    assert (release.offered_since is not None) == comes
    (event,) = release.events.filter(action="withdrawn")
    assert ("publish_at" in event.changes) != comes


@pytest.mark.django_db(transaction=True)
def test_of_two_who_change_a_time_one_wins() -> None:
    for round_ in range(5):
        release = published(APP, f"7.7.{round_}", publish_at=SOON)
        seen = [BundleRelease.objects.get(pk=release.pk) for _ in range(2)]

        ended = outcomes(partial(do_publish_now, seen[0]), partial(do_reschedule, seen[1]))

        release.refresh_from_db()
        assert sorted(ended) == ["BUNDLE_RELEASE_CONFLICT", "done"]
        assert (release.publish_at == LATER) == (ended[1] == "done")
        assert release.events.filter(action="rescheduled", refusal="").count() == 1


@pytest.mark.django_db(transaction=True)
def test_what_is_withdrawn_is_not_published_now() -> None:
    for round_ in range(5):
        release = published(APP, f"7.7.{round_}", publish_at=SOON)
        seen = [BundleRelease.objects.get(pk=release.pk) for _ in range(2)]

        published_now, withdrawn = outcomes(partial(do_publish_now, seen[0]), partial(do_withdraw, seen[1]))

        release.refresh_from_db()
        assert (withdrawn, release.state) == ("done", "withdrawn")
        was_offered = published_now == "done"
        assert (release.offered_since is not None) == was_offered
        assert was_offered or release.publish_at == SOON
